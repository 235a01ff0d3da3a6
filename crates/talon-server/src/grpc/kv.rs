//! The service `Kv`: each method builds the core's call and reads its reply with [`talon_core::typed`], so it means the same
//! as the embedded database's function of that name.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use talon_core::typed::{self, Function, TimeLeft, Ttl};
use talon_core::{Call, Consistency, Database, Refusal, Reply, Request as Words};
use talon_proto::v1;
use talon_proto::v1::batch_write::Write;
use talon_proto::v1::kv_server::Kv;
use talon_proto::v1::set_request;
use talon_proto::v1::ttl_response::State;
use tokio::time::Instant;
use tonic::{Code, Request, Response, Status, Streaming};

use super::door::{self, Door};
use super::pipeline;
use super::reply::to_message;
use super::scans::{self, Pages, Wanted};
use super::status::{self, Fate};
use crate::snapshots::{TooLong, TooMany};

/// Serves [`Kv`] over a door.
pub(super) struct KvDoor<D> {
    door: Arc<Door<D>>,
}

type Answer<T> = Result<Response<T>, Status>;

impl<D: Database> KvDoor<D> {
    pub(super) fn new(door: Arc<Door<D>>) -> KvDoor<D> {
        KvDoor { door }
    }

    /// Takes a request apart, and carries a function out that writes.
    async fn write<M, T>(
        &self,
        request: Request<M>,
        function: impl FnOnce(M) -> Result<Function<T>, Refusal>,
    ) -> Result<T, Status> {
        let deadline = self.door.deadline(request.metadata());
        self.door.write(function(request.into_inner()), deadline).await
    }

    /// Takes a request for one key apart, and carries a function out that reads it.
    async fn read_key<T>(
        &self,
        request: Request<v1::ReadKeyRequest>,
        function: impl FnOnce(Bytes) -> Function<T>,
    ) -> Result<(T, Option<u64>), Status> {
        let deadline = self.door.deadline(request.metadata());
        let v1::ReadKeyRequest { key, read } = request.into_inner();
        self.door.read(function(key), self.door.reading(read)?, deadline).await
    }

    /// Takes a request without arguments apart, and carries a function out that reads.
    async fn read<T>(
        &self,
        request: Request<v1::ReadRequest>,
        function: Function<T>,
    ) -> Result<(T, Option<u64>), Status> {
        let deadline = self.door.deadline(request.metadata());
        let reading = self.door.reading(request.into_inner().read)?;
        self.door.read(function, reading, deadline).await
    }

    async fn scan<P: scans::Page>(
        &self,
        wanted: Wanted,
        consistency: Result<Consistency, Status>,
        deadline: Instant,
    ) -> Answer<Pages<P>> {
        let view = self.door.view(consistency?, deadline).await?;
        Ok(Response::new(scans::run(&self.door, view, wanted)?))
    }

    fn snapshot_ttl(&self, ttl_ms: u64) -> Result<Duration, Status> {
        let snapshots = &self.door.settings.snapshots;
        let asked = (ttl_ms != 0).then(|| Duration::from_millis(ttl_ms));
        snapshots.ttl(asked).map_err(|TooLong| {
            let max = snapshots.limits().ttl_max.as_millis();
            status::invalid(format!("ERR a snapshot is kept for {max} ms at most"))
        })
    }

    fn snapshot(&self, id: u64) -> Result<Arc<dyn talon_core::PointInTime>, Status> {
        self.door.settings.snapshots.view(id).ok_or_else(no_snapshot)
    }
}

#[tonic::async_trait]
impl<D: Database> Kv for KvDoor<D> {
    async fn set(&self, request: Request<v1::SetRequest>) -> Answer<v1::SetResponse> {
        self.write(request, |set| typed::set(set.key, set.value, ttl(set.ttl))).await?;
        Ok(Response::new(v1::SetResponse {}))
    }

    async fn set_nx(&self, request: Request<v1::SetRequest>) -> Answer<v1::FlagResponse> {
        done(self.write(request, |set| typed::setnx(set.key, set.value, ttl(set.ttl))).await?)
    }

    async fn m_set(&self, request: Request<v1::MSetRequest>) -> Answer<v1::MSetResponse> {
        self.write(request, |mset| typed::mset(mset.pairs.into_iter().map(|pair| (pair.key, pair.value)))).await?;
        Ok(Response::new(v1::MSetResponse {}))
    }

    async fn batch(&self, request: Request<v1::BatchRequest>) -> Answer<v1::BatchResponse> {
        self.write(request, |batch| {
            let requests = batch.writes.into_iter().map(batch_write).collect::<Result<_, _>>()?;
            Ok(typed::batch(requests))
        })
        .await?;
        Ok(Response::new(v1::BatchResponse {}))
    }

    async fn append(&self, request: Request<v1::KeyValueRequest>) -> Answer<v1::LengthResponse> {
        let length = self.write(request, |append| Ok(typed::append(append.key, append.value))).await?;
        Ok(Response::new(v1::LengthResponse { length_bytes: length as u64 }))
    }

    async fn set_range(&self, request: Request<v1::SetRangeRequest>) -> Answer<v1::LengthResponse> {
        let length = self.write(request, |set| Ok(typed::setrange(set.key, set.offset, set.value))).await?;
        Ok(Response::new(v1::LengthResponse { length_bytes: length as u64 }))
    }

    async fn get_set(&self, request: Request<v1::KeyValueRequest>) -> Answer<v1::ValueResponse> {
        value((self.write(request, |set| Ok(typed::getset(set.key, set.value))).await?, None))
    }

    async fn rename(&self, request: Request<v1::RenameRequest>) -> Answer<v1::RenameResponse> {
        self.write(request, |rename| Ok(typed::rename(rename.source, rename.destination))).await?;
        Ok(Response::new(v1::RenameResponse {}))
    }

    async fn get(&self, request: Request<v1::ReadKeyRequest>) -> Answer<v1::ValueResponse> {
        value(self.read_key(request, typed::get).await?)
    }

    async fn m_get(&self, request: Request<v1::MGetRequest>) -> Answer<v1::MGetResponse> {
        let deadline = self.door.deadline(request.metadata());
        let v1::MGetRequest { keys, read } = request.into_inner();
        let (values, applied_index) = self.door.read(typed::mget(keys), self.door.reading(read)?, deadline).await?;
        let values = values.into_iter().map(|value| v1::OptionalValue { value }).collect();
        Ok(Response::new(v1::MGetResponse { values, applied_index }))
    }

    async fn exists(&self, request: Request<v1::ReadKeyRequest>) -> Answer<v1::FlagResponse> {
        let (yes, applied_index) = self.read_key(request, typed::exists).await?;
        Ok(Response::new(v1::FlagResponse { yes, applied_index }))
    }

    async fn str_len(&self, request: Request<v1::ReadKeyRequest>) -> Answer<v1::OptionalNumberResponse> {
        let (length, applied_index) = self.read_key(request, typed::strlen).await?;
        let number = length.map(|length| length as u64);
        Ok(Response::new(v1::OptionalNumberResponse { number, applied_index }))
    }

    async fn get_range(&self, request: Request<v1::GetRangeRequest>) -> Answer<v1::ValueResponse> {
        let deadline = self.door.deadline(request.metadata());
        let v1::GetRangeRequest { key, start, end, read } = request.into_inner();
        let function = typed::getrange(key, start, end);
        let (part, index) = self.door.read(function, self.door.reading(read)?, deadline).await?;
        value((Some(part), index))
    }

    async fn key_type(&self, request: Request<v1::ReadKeyRequest>) -> Answer<v1::KeyTypeResponse> {
        let (key_type, applied_index) = self.read_key(request, typed::key_type).await?;
        Ok(Response::new(v1::KeyTypeResponse { key_type: key_type.name().to_owned(), applied_index }))
    }

    async fn random_key(&self, request: Request<v1::ReadRequest>) -> Answer<v1::RandomKeyResponse> {
        let (key, applied_index) = self.read(request, typed::random_key()).await?;
        Ok(Response::new(v1::RandomKeyResponse { key, applied_index }))
    }

    async fn del(&self, request: Request<v1::KeyRequest>) -> Answer<v1::FlagResponse> {
        done(self.write(request, |del| Ok(typed::del(del.key))).await?)
    }

    async fn m_del(&self, request: Request<v1::MDelRequest>) -> Answer<v1::CountResponse> {
        count((self.write(request, |del| Ok(typed::mdel(del.keys))).await?, None))
    }

    async fn del_prefix(&self, request: Request<v1::DelPrefixRequest>) -> Answer<v1::CountResponse> {
        count((self.write(request, |del| Ok(typed::del_prefix(del.prefix))).await?, None))
    }

    async fn expire(&self, request: Request<v1::ExpireRequest>) -> Answer<v1::ExpireResponse> {
        self.write(request, |expire| typed::expire(expire.key, expire.ttl_secs)).await?;
        Ok(Response::new(v1::ExpireResponse {}))
    }

    async fn p_expire(&self, request: Request<v1::PExpireRequest>) -> Answer<v1::ExpireResponse> {
        self.write(request, |expire| typed::pexpire(expire.key, expire.ttl_ms)).await?;
        Ok(Response::new(v1::ExpireResponse {}))
    }

    async fn ttl(&self, request: Request<v1::ReadKeyRequest>) -> Answer<v1::TtlResponse> {
        time_left(self.read_key(request, typed::ttl).await?)
    }

    async fn p_ttl(&self, request: Request<v1::ReadKeyRequest>) -> Answer<v1::TtlResponse> {
        time_left(self.read_key(request, typed::pttl).await?)
    }

    async fn persist(&self, request: Request<v1::KeyRequest>) -> Answer<v1::FlagResponse> {
        done(self.write(request, |persist| Ok(typed::persist(persist.key))).await?)
    }

    async fn expire_at(&self, request: Request<v1::ExpireAtRequest>) -> Answer<v1::FlagResponse> {
        done(self.write(request, |expire| typed::expire_at(expire.key, expire.expire_at_secs)).await?)
    }

    async fn expire_time(&self, request: Request<v1::ReadKeyRequest>) -> Answer<v1::OptionalNumberResponse> {
        let (number, applied_index) = self.read_key(request, typed::expire_time).await?;
        Ok(Response::new(v1::OptionalNumberResponse { number, applied_index }))
    }

    async fn incr(&self, request: Request<v1::KeyRequest>) -> Answer<v1::IntegerResponse> {
        integer(self.write(request, |incr| Ok(typed::incrby(incr.key, 1))).await?)
    }

    async fn decr(&self, request: Request<v1::KeyRequest>) -> Answer<v1::IntegerResponse> {
        integer(self.write(request, |decr| Ok(typed::decrby(decr.key, 1))).await?)
    }

    async fn incr_by(&self, request: Request<v1::IncrByRequest>) -> Answer<v1::IntegerResponse> {
        integer(self.write(request, |incr| Ok(typed::incrby(incr.key, incr.by))).await?)
    }

    async fn decr_by(&self, request: Request<v1::IncrByRequest>) -> Answer<v1::IntegerResponse> {
        integer(self.write(request, |decr| Ok(typed::decrby(decr.key, decr.by))).await?)
    }

    async fn incr_by_float(&self, request: Request<v1::IncrByFloatRequest>) -> Answer<v1::FloatResponse> {
        let value = self.write(request, |incr| typed::incrbyfloat(incr.key, incr.by)).await?;
        Ok(Response::new(v1::FloatResponse { value }))
    }

    type KeysPrefixStream = Pages<v1::KeysPage>;

    async fn keys_prefix(&self, request: Request<v1::KeysPrefixRequest>) -> Answer<Self::KeysPrefixStream> {
        let deadline = self.door.deadline(request.metadata());
        let v1::KeysPrefixRequest { prefix, consistency, max_staleness_ms } = request.into_inner();
        let consistency = self.door.consistency(consistency, max_staleness_ms);
        self.scan(Wanted::prefix(prefix, 0, 0), consistency, deadline).await
    }

    type KeysMatchStream = Pages<v1::KeysPage>;

    async fn keys_match(&self, request: Request<v1::KeysMatchRequest>) -> Answer<Self::KeysMatchStream> {
        let deadline = self.door.deadline(request.metadata());
        let v1::KeysMatchRequest { pattern, consistency, max_staleness_ms } = request.into_inner();
        let consistency = self.door.consistency(consistency, max_staleness_ms);
        self.scan(Wanted::pattern(&pattern), consistency, deadline).await
    }

    type KeysPrefixLimitStream = Pages<v1::KeysPage>;

    async fn keys_prefix_limit(&self, request: Request<v1::ScanRequest>) -> Answer<Self::KeysPrefixLimitStream> {
        let deadline = self.door.deadline(request.metadata());
        let v1::ScanRequest { prefix, offset, limit, consistency, max_staleness_ms } = request.into_inner();
        let consistency = self.door.consistency(consistency, max_staleness_ms);
        self.scan(Wanted::prefix(prefix, offset, limit), consistency, deadline).await
    }

    type ScanPrefixLimitStream = Pages<v1::PairsPage>;

    async fn scan_prefix_limit(&self, request: Request<v1::ScanRequest>) -> Answer<Self::ScanPrefixLimitStream> {
        let deadline = self.door.deadline(request.metadata());
        let v1::ScanRequest { prefix, offset, limit, consistency, max_staleness_ms } = request.into_inner();
        let consistency = self.door.consistency(consistency, max_staleness_ms);
        self.scan(Wanted::prefix(prefix, offset, limit), consistency, deadline).await
    }

    async fn key_count(&self, request: Request<v1::ReadRequest>) -> Answer<v1::CountResponse> {
        count(self.read(request, typed::key_count()).await?)
    }

    async fn disk_space(&self, request: Request<v1::ReadRequest>) -> Answer<v1::CountResponse> {
        count(self.read(request, typed::disk_space()).await?)
    }

    async fn create_snapshot(&self, request: Request<v1::CreateSnapshotRequest>) -> Answer<v1::CreateSnapshotResponse> {
        let deadline = self.door.deadline(request.metadata());
        let v1::CreateSnapshotRequest { ttl_ms, consistency, max_staleness_ms } = request.into_inner();
        let ttl = self.snapshot_ttl(ttl_ms)?;
        let snapshots = &self.door.settings.snapshots;
        if !snapshots.has_room() {
            return Err(too_many_snapshots(TooMany));
        }
        let view = self.door.view(self.door.consistency(consistency, max_staleness_ms)?, deadline).await?;
        let (applied_index, clock_ms) = (view.index(), view.clock_ms());
        let id = snapshots.keep(view, ttl).map_err(too_many_snapshots)?;
        let ttl_ms = ttl.as_millis() as u64;
        Ok(Response::new(v1::CreateSnapshotResponse { id, applied_index, clock_ms, ttl_ms }))
    }

    async fn snapshot_get(&self, request: Request<v1::SnapshotGetRequest>) -> Answer<v1::ValueResponse> {
        let deadline = self.door.deadline(request.metadata());
        let v1::SnapshotGetRequest { id, key } = request.into_inner();
        let view = self.snapshot(id)?;
        let index = view.index();
        let function = typed::get(key);
        let reply = self.door.read_at(view, function.call.clone(), deadline).await?;
        value((function.answer(reply).map_err(|refusal| status::from_refusal(&refusal))?, Some(index)))
    }

    type SnapshotScanStream = Pages<v1::PairsPage>;

    async fn snapshot_scan(&self, request: Request<v1::SnapshotScanRequest>) -> Answer<Self::SnapshotScanStream> {
        let v1::SnapshotScanRequest { id, prefix, offset, limit } = request.into_inner();
        let view = self.snapshot(id)?;
        Ok(Response::new(scans::run(&self.door, view, Wanted::prefix(prefix, offset, limit))?))
    }

    async fn extend_snapshot(&self, request: Request<v1::ExtendSnapshotRequest>) -> Answer<v1::ExtendSnapshotResponse> {
        let v1::ExtendSnapshotRequest { id, ttl_ms } = request.into_inner();
        let ttl = self.snapshot_ttl(ttl_ms)?;
        if !self.door.settings.snapshots.extend(id, ttl) {
            return Err(no_snapshot());
        }
        Ok(Response::new(v1::ExtendSnapshotResponse { ttl_ms: ttl.as_millis() as u64 }))
    }

    async fn release_snapshot(&self, request: Request<v1::ReleaseSnapshotRequest>) -> Answer<v1::FlagResponse> {
        done(self.door.settings.snapshots.release(request.into_inner().id))
    }

    async fn execute(&self, request: Request<v1::ExecuteRequest>) -> Answer<v1::ExecuteResponse> {
        let deadline = self.door.deadline(request.metadata());
        let v1::ExecuteRequest { words, read, read_only } = request.into_inner();
        let reading = self.door.reading(read)?;
        let (reply, applied_index) = match door::parse(words) {
            Err(refusal) => (Reply::Error(refusal), None),
            Ok(request) if request.command.is_write() && read_only => {
                let line = format!("ERR '{}' writes, and the request is read-only", request.command.facts.name);
                (Reply::Error(Refusal::from_string(line)), None)
            }
            Ok(request) if request.command.is_write() => {
                (self.door.call(Call::One(request), reading.consistency, deadline).await?, None)
            }
            Ok(request) => self.door.read_call(Call::One(request), reading, deadline).await?,
        };
        Ok(Response::new(v1::ExecuteResponse { reply: Some(to_message(reply)), applied_index }))
    }

    async fn execute_transaction(
        &self,
        request: Request<v1::ExecuteTransactionRequest>,
    ) -> Answer<v1::ExecuteTransactionResponse> {
        let deadline = self.door.deadline(request.metadata());
        let v1::ExecuteTransactionRequest { commands, consistency, max_staleness_ms } = request.into_inner();
        let consistency: Consistency = self.door.consistency(consistency, max_staleness_ms)?;
        // As EXEC does: a command that cannot even be read lets none be carried out.
        let requests = door::parse_all(commands).map_err(|refusal| status::from_refusal(&refusal))?;
        match self.door.call(Call::Transaction(requests), consistency, deadline).await? {
            Reply::Array(replies) => {
                let replies = replies.into_iter().map(to_message).collect();
                Ok(Response::new(v1::ExecuteTransactionResponse { replies }))
            }
            Reply::Error(refusal) => Err(status::from_refusal(&refusal)),
            _ => Err(status::from_refusal(&typed::UNEXPECTED)),
        }
    }

    type PipelineStream = pipeline::Answers;

    async fn pipeline(&self, request: Request<Streaming<v1::PipelineRequest>>) -> Answer<Self::PipelineStream> {
        Ok(Response::new(pipeline::run(Arc::clone(&self.door), request.into_inner())))
    }
}

fn ttl(ttl: Option<set_request::Ttl>) -> Option<Ttl> {
    ttl.map(|ttl| match ttl {
        set_request::Ttl::TtlSecs(secs) => Ttl::Secs(secs),
        set_request::Ttl::TtlMs(millis) => Ttl::Millis(millis),
    })
}

/// One write of a batch; whatever could be refused is refused here.
fn batch_write(write: v1::BatchWrite) -> Result<Words, Refusal> {
    let call = match write.write {
        Some(Write::Set(set)) => typed::set(set.key, set.value, ttl(set.ttl))?.call,
        Some(Write::Del(key)) => typed::mdel(vec![key]).call,
        None => return Err(Refusal::new("ERR a batch holds an empty write")),
    };
    match call {
        Call::One(request) => Ok(request),
        Call::Transaction(_) => Err(typed::UNEXPECTED),
    }
}

fn done(yes: bool) -> Answer<v1::FlagResponse> {
    Ok(Response::new(v1::FlagResponse { yes, applied_index: None }))
}

fn value((value, applied_index): (Option<Bytes>, Option<u64>)) -> Answer<v1::ValueResponse> {
    Ok(Response::new(v1::ValueResponse { value, applied_index }))
}

fn count((count, applied_index): (u64, Option<u64>)) -> Answer<v1::CountResponse> {
    Ok(Response::new(v1::CountResponse { count, applied_index }))
}

fn integer(value: i64) -> Answer<v1::IntegerResponse> {
    Ok(Response::new(v1::IntegerResponse { value }))
}

fn time_left((time, applied_index): (TimeLeft, Option<u64>)) -> Answer<v1::TtlResponse> {
    let (state, left) = match time {
        TimeLeft::NoKey => (State::NoKey, 0),
        TimeLeft::Endless => (State::NoTtl, 0),
        TimeLeft::Left(left) => (State::Ends, left),
    };
    Ok(Response::new(v1::TtlResponse { state: state.into(), left, applied_index }))
}

fn no_snapshot() -> Status {
    status::status(Code::NotFound, Fate::Refused, "NOSNAPSHOT unknown or expired snapshot")
}

fn too_many_snapshots(_: TooMany) -> Status {
    status::status(Code::ResourceExhausted, Fate::NotApplied, "BUSY too many snapshots are kept; release one")
}
