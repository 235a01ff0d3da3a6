//! Who may speak: those who know the password; and without a password, those on this machine (protected mode).

use std::net::IpAddr;
use std::sync::Arc;

use tonic::metadata::MetadataMap;
use tonic::service::Interceptor;
use tonic::{Code, Request, Status};

use super::status::{Fate, status};
use crate::secret::Secret;

/// Stands before every service but health, whose answer is no secret and whose askers know no password.
#[derive(Clone)]
pub(super) struct Gate {
    password: Option<Arc<Secret>>,
    protected_mode: bool,
}

impl Gate {
    pub(super) fn new(password: Option<Secret>, protected_mode: bool) -> Gate {
        // An empty password is none, as it is in Redis.
        Gate { password: password.filter(|password| !password.matches(b"")).map(Arc::new), protected_mode }
    }

    fn check(&self, peer: Option<IpAddr>, metadata: &MetadataMap) -> Result<(), Status> {
        match &self.password {
            Some(password) => match given_password(metadata) {
                None => Err(status(Code::Unauthenticated, Fate::NotApplied, "NOAUTH Authentication required.")),
                Some(given) if password.matches(&given) => Ok(()),
                Some(_) => Err(status(Code::Unauthenticated, Fate::NotApplied, "WRONGPASS invalid password")),
            },
            // A peer without an address is taken for a stranger.
            None if self.protected_mode && !peer.is_some_and(|peer| peer.to_canonical().is_loopback()) => Err(status(
                Code::PermissionDenied,
                Fate::NotApplied,
                "DENIED this node is in protected mode: it has no password and takes requests from its own \
                     machine only. Set requirepass, or protected_mode = false if its network is safe.",
            )),
            None => Ok(()),
        }
    }
}

impl Interceptor for Gate {
    fn call(&mut self, request: Request<()>) -> Result<Request<()>, Status> {
        self.check(request.remote_addr().map(|address| address.ip()), request.metadata())?;
        Ok(request)
    }
}

/// `authorization: Bearer …`, `password: …`, or `password-bin` for one that is not ASCII.
fn given_password(metadata: &MetadataMap) -> Option<Vec<u8>> {
    if let Some(value) = metadata.get("authorization") {
        let (scheme, password) = value.as_bytes().split_first_chunk::<7>()?;
        return scheme.eq_ignore_ascii_case(b"bearer ").then(|| password.to_vec());
    }
    if let Some(value) = metadata.get("password") {
        return Some(value.as_bytes().to_vec());
    }
    metadata.get_bin("password-bin")?.to_bytes().ok().map(|password| password.to_vec())
}

#[cfg(test)]
mod tests {
    use tonic::metadata::MetadataValue;

    use super::*;

    fn loopback() -> Option<IpAddr> {
        Some("127.0.0.1".parse().expect("an address"))
    }

    fn stranger() -> Option<IpAddr> {
        Some("192.0.2.7".parse().expect("an address"))
    }

    fn with(name: &'static str, value: &str) -> MetadataMap {
        let mut metadata = MetadataMap::new();
        metadata.insert(name, value.parse().expect("ascii"));
        metadata
    }

    #[test]
    fn a_password_is_taken_in_three_forms() {
        let gate = Gate::new(Some(Secret::new("ope sésame")), true);
        let mut binary = MetadataMap::new();
        binary.insert_bin("password-bin", MetadataValue::from_bytes("ope sésame".as_bytes()));
        assert!(gate.check(stranger(), &binary).is_ok());

        let gate = Gate::new(Some(Secret::new("sesame")), true);
        for metadata in
            [with("authorization", "Bearer sesame"), with("authorization", "bearer sesame"), with("password", "sesame")]
        {
            assert!(gate.check(stranger(), &metadata).is_ok());
        }
        let wrong = ["Bearer sesam", "Bearer sesamee", "Bearer ", "Bear", "Basic sesame", "Bearer sesamesesame"];
        for value in wrong {
            let refused = gate.check(loopback(), &with("authorization", value)).expect_err(value);
            assert_eq!(refused.code(), Code::Unauthenticated);
        }
        assert!(gate.check(loopback(), &MetadataMap::new()).expect_err("none").message().starts_with("NOAUTH"));
    }

    #[test]
    fn protected_mode_keeps_strangers_out_until_told_otherwise() {
        let none = MetadataMap::new();
        let protected = Gate::new(None, true);
        assert!(protected.check(loopback(), &none).is_ok());
        assert!(protected.check(Some("::1".parse().expect("an address")), &none).is_ok());
        assert!(protected.check(Some("::ffff:127.0.0.1".parse().expect("an address")), &none).is_ok());
        assert_eq!(protected.check(stranger(), &none).expect_err("a stranger").code(), Code::PermissionDenied);
        assert_eq!(protected.check(None, &none).expect_err("nobody").code(), Code::PermissionDenied);
        assert!(Gate::new(None, false).check(stranger(), &none).is_ok());
        assert!(Gate::new(Some(Secret::new("")), true).check(stranger(), &none).is_err());
    }
}
