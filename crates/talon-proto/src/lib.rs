//! What is generated from `proto/talon/v1/*.proto`: messages, clients and servers of every gRPC service of Talon.
//!
//! *Enters*: the `.proto` files, at build time. *Leaves*: [`v1`], and what all who call these
//! services ask of a failure ([`not_even_sent`], [`nobody_listens`], [`is_broken`]). *Must never know*: anything else; what the messages
//! mean is the business of `talon-server`, `talon-client` and `talon-raft`.
//!
//! Fields of type `bytes` are [`bytes::Bytes`], so a value is not copied on its way through.

/// All packages, as nested modules.
#[allow(missing_docs, clippy::all, clippy::pedantic, rustdoc::all)]
mod packages {
    include!(concat!(env!("OUT_DIR"), "/packages.rs"));
}

pub use packages::talon::v1;

/// Whether nothing could be connected to, so that nobody can have seen the request.
pub fn not_even_sent(status: &tonic::Status) -> bool {
    causes(status).any(|error| error.is::<tonic::ConnectError>())
}

/// Whether the machine is there, and nobody listens at that port of it.
pub fn nobody_listens(status: &tonic::Status) -> bool {
    let refused = |error: &std::io::Error| error.kind() == std::io::ErrorKind::ConnectionRefused;
    causes(status).any(|error| error.downcast_ref().is_some_and(refused))
}

/// Whether the connection failed, and not whoever is at its other end.
pub fn is_broken(status: &tonic::Status) -> bool {
    causes(status).next().is_some()
}

fn causes(status: &tonic::Status) -> impl Iterator<Item = &(dyn std::error::Error + 'static)> {
    std::iter::successors(std::error::Error::source(status), |error| error.source())
}

/// The descriptors of the services that clients speak (`Kv`, `Cluster`), encoded, for the reflection service.
pub const PUBLIC_FILE_DESCRIPTOR_SET: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/public.fds"));
