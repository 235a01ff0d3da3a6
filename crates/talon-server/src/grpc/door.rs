//! What all methods share: carrying a call out within its deadline, and reading its request's wishes.

use std::sync::Arc;
use std::time::Duration;

use talon_core::consistency::BOUND_MS_MAX;
use talon_core::typed::Function;
use talon_core::{Call, Consistency, Database, Denied, PointInTime, Refusal, Reply, Request};
use talon_proto::v1;
use tokio::sync::Semaphore;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tonic::metadata::MetadataMap;
use tonic::{Code, Status};

use super::settings::Settings;
use super::status::{self, Fate};

/// The data behind the door, with the door's bounds.
pub(super) struct Door<D> {
    pub(super) database: Arc<D>,
    pub(super) settings: Settings,
    /// The places for scans.
    pub(super) scans: Arc<Semaphore>,
    /// Cancelled when the node goes down.
    pub(super) stopping: CancellationToken,
}

/// How a read is to be answered.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Reading {
    pub(super) consistency: Consistency,
    pub(super) with_index: bool,
}

/// The request that a command's words make.
pub(super) fn parse(words: Vec<bytes::Bytes>) -> Result<Request, Refusal> {
    let mut words = words.into_iter();
    let name = words.next().ok_or(Refusal::new("ERR a command needs a name"))?;
    Request::parse(&name, words.collect())
}

/// The requests that the commands of a transaction make; one that cannot be read refuses them all.
pub(super) fn parse_all(commands: Vec<v1::Command>) -> Result<Vec<Request>, Refusal> {
    commands.into_iter().map(|command| parse(command.words)).collect()
}

impl<D: Database> Door<D> {
    pub(super) fn new(database: Arc<D>, settings: Settings, stopping: CancellationToken) -> Door<D> {
        let scans = Arc::new(Semaphore::new(settings.scans_max.min(Semaphore::MAX_PERMITS)));
        Door { database, settings, scans, stopping }
    }

    /// The wishes of a request; none are the defaults.
    pub(super) fn reading(&self, options: Option<v1::ReadOptions>) -> Result<Reading, Status> {
        let v1::ReadOptions { consistency, with_index, max_staleness_ms } = options.unwrap_or_default();
        Ok(Reading { consistency: self.consistency(consistency, max_staleness_ms)?, with_index })
    }

    /// The consistency with this number, and this bound if it has one.
    pub(super) fn consistency(&self, number: i32, max_staleness_ms: u64) -> Result<Consistency, Status> {
        match v1::Consistency::try_from(number) {
            Ok(v1::Consistency::Default) => Ok(self.settings.consistency),
            Ok(v1::Consistency::Linearizable) => Ok(Consistency::Linearizable),
            Ok(v1::Consistency::Lease) => Ok(Consistency::Lease),
            Ok(v1::Consistency::Snapshot) => Ok(Consistency::Snapshot),
            Ok(v1::Consistency::Bounded) if max_staleness_ms <= BOUND_MS_MAX => {
                Ok(Consistency::Bounded { ms: max_staleness_ms })
            }
            Ok(v1::Consistency::Bounded) => {
                Err(status::invalid(format!("ERR max_staleness_ms of {max_staleness_ms} is above {BOUND_MS_MAX}")))
            }
            Err(_) => Err(status::invalid(format!("ERR there is no consistency with the number {number}"))),
        }
    }

    /// When a request has to be answered: after the server's bound, or a little before the client's own deadline, so that
    /// the client hears what became of it.
    pub(super) fn deadline(&self, metadata: &MetadataMap) -> Instant {
        let bound = self.settings.request_time();
        let wish = metadata.get("grpc-timeout").and_then(|value| parse_timeout(value.as_bytes()));
        let time = wish.map_or(bound, |wish| bound.min(wish - (wish / 10).min(Duration::from_millis(50))));
        Instant::now() + time
    }

    /// Whether a call is small enough to be proposed.
    pub(super) fn check_size(&self, call: &Call) -> Result<(), Denied> {
        // A read leaves nothing in the log, but its size on its way is bounded all the same.
        call.check_size(self.settings.request_bytes_max)
    }

    /// Carries one call out.
    pub(super) async fn call(&self, call: Call, consistency: Consistency, deadline: Instant) -> Result<Reply, Status> {
        self.check_size(&call).map_err(|denied| status::from_denied(&denied))?;
        let is_write = call.is_write();
        let outcomes = tokio::time::timeout_at(deadline, self.database.execute(vec![call], consistency)).await;
        let outcome = outcomes.map_err(|_| out_of_time(is_write))?.pop();
        // A database that answers fewer outcomes than calls breaks its contract; what it did with the call is unknown.
        outcome.unwrap_or(Err(Denied::InDoubt)).map_err(|denied| status::from_denied(&denied))
    }

    /// A point in time to read from.
    pub(super) async fn view(
        &self,
        consistency: Consistency,
        deadline: Instant,
    ) -> Result<Arc<dyn PointInTime>, Status> {
        let view = tokio::time::timeout_at(deadline, self.database.point_in_time(consistency)).await;
        view.map_err(|_| out_of_time(false))?.map_err(|denied| status::from_denied(&denied))
    }

    /// Carries a function out that writes.
    pub(super) async fn write<T>(
        &self,
        function: Result<Function<T>, Refusal>,
        deadline: Instant,
    ) -> Result<T, Status> {
        let mut function = function.map_err(|refusal| status::from_refusal(&refusal))?;
        let call = std::mem::replace(&mut function.call, Call::Transaction(Vec::new()));
        let reply = self.call(call, Consistency::Default, deadline).await?;
        function.answer(reply).map_err(|refusal| status::from_refusal(&refusal))
    }

    /// Carries a function out that reads; with the log position it stands at, if that was asked for.
    pub(super) async fn read<T>(
        &self,
        mut function: Function<T>,
        reading: Reading,
        deadline: Instant,
    ) -> Result<(T, Option<u64>), Status> {
        let call = std::mem::replace(&mut function.call, Call::Transaction(Vec::new()));
        let (reply, index) = self.read_call(call, reading, deadline).await?;
        let answer = function.answer(reply).map_err(|refusal| status::from_refusal(&refusal))?;
        Ok((answer, index))
    }

    /// Carries a call out that reads; with the log position it stands at, if that was asked for.
    pub(super) async fn read_call(
        &self,
        call: Call,
        reading: Reading,
        deadline: Instant,
    ) -> Result<(Reply, Option<u64>), Status> {
        if !reading.with_index {
            return Ok((self.call(call, reading.consistency, deadline).await?, None));
        }
        let view = self.view(reading.consistency, deadline).await?;
        let index = view.index();
        Ok((self.read_at(view, call, deadline).await?, Some(index)))
    }

    /// Reads from a point in time.
    pub(super) async fn read_at(
        &self,
        view: Arc<dyn PointInTime>,
        call: Call,
        deadline: Instant,
    ) -> Result<Reply, Status> {
        let read = self.database.read_at(view, vec![call]);
        let mut outcomes = tokio::time::timeout_at(deadline, read).await.map_err(|_| out_of_time(false))?;
        outcomes.pop().ok_or_else(broken_read)?.map_err(|denied| status::from_denied(&denied))
    }
}

/// A read ended in a panic, or the runtime is going down.
pub(super) fn broken_read() -> Status {
    status::status(Code::Internal, Fate::NotApplied, "FAULT a read was not carried out to its end")
}

/// The deadline is over. A write may be on its way all the same.
pub(super) fn out_of_time(is_write: bool) -> Status {
    if is_write {
        status::from_denied(&Denied::InDoubt)
    } else {
        status::status(Code::DeadlineExceeded, Fate::NotApplied, "TIMEOUT the read was not answered in time")
    }
}

/// gRPC's `grpc-timeout`: up to 8 digits and a unit.
fn parse_timeout(value: &[u8]) -> Option<Duration> {
    let (unit, digits) = value.split_last()?;
    if digits.is_empty() || digits.len() > 8 || !digits.iter().all(u8::is_ascii_digit) {
        return None;
    }
    let number = digits.iter().fold(0u64, |number, digit| number * 10 + u64::from(digit - b'0'));
    match unit {
        b'H' => Some(Duration::from_secs(number * 3_600)),
        b'M' => Some(Duration::from_secs(number * 60)),
        b'S' => Some(Duration::from_secs(number)),
        b'm' => Some(Duration::from_millis(number)),
        b'u' => Some(Duration::from_micros(number)),
        b'n' => Some(Duration::from_nanos(number)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn timeouts_are_read_as_grpc_writes_them() {
        assert_eq!(parse_timeout(b"5S"), Some(Duration::from_secs(5)));
        assert_eq!(parse_timeout(b"99999999H"), Some(Duration::from_secs(99_999_999 * 3_600)));
        assert_eq!(parse_timeout(b"20m"), Some(Duration::from_millis(20)));
        for wrong in [&b""[..], b"S", b"5", b"-5S", b"123456789S", b"5 S"] {
            assert_eq!(parse_timeout(wrong), None);
        }
    }
}
