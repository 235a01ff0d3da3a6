//! `SNAPSHOT …`: points in time that later reads name, and a connection's plain reads from one of them.

use std::time::Duration;

use bytes::Bytes;
use talon_core::error::{NOT_AN_INTEGER, SYNTAX};
use talon_core::numbers::parse_integer;
use talon_core::planted::{Bug, is_planted};
use talon_core::{Call, Consistency, Database, Denied, Outcome, Refusal, Reply, Request};

use super::deferred::Settled;
use crate::snapshots::{Described, Snapshots, TooLong, TooMany};

const NO_SNAPSHOT: Refusal = Refusal::new("NOSNAPSHOT unknown or expired snapshot");
const NO_WRITES: Refusal =
    Refusal::new("ERR this connection reads from a snapshot and takes no writes (SNAPSHOT USE OFF ends that)");

/// One of them.
#[derive(Debug)]
pub(crate) enum SnapshotCommand {
    Create {
        ttl: Option<Duration>,
    },
    /// A read on a snapshot.
    Read {
        id: u64,
        request: Request,
    },
    Use(Option<u64>),
    Extend {
        id: u64,
        ttl: Option<Duration>,
    },
    Release(u64),
    List,
}

/// `[PX ms]`
fn ttl(args: &[Bytes]) -> Result<Option<Duration>, Refusal> {
    match args {
        [] => Ok(None),
        [px, ms] if px.eq_ignore_ascii_case(b"px") => {
            let ms = parse_integer(ms).ok_or(NOT_AN_INTEGER)?;
            let ms = u64::try_from(ms).ok().filter(|ms| *ms > 0);
            Ok(Some(Duration::from_millis(ms.ok_or(Refusal::new("ERR invalid expire time in 'snapshot' command"))?)))
        }
        _ => Err(SYNTAX),
    }
}

/// What is no number names no snapshot.
fn id(arg: &Bytes) -> Result<u64, Refusal> {
    parse_integer(arg).and_then(|id| u64::try_from(id).ok()).ok_or(NO_SNAPSHOT)
}

impl SnapshotCommand {
    /// `CREATE [PX ms]`
    pub fn create(args: &[Bytes]) -> Result<SnapshotCommand, Refusal> {
        Ok(SnapshotCommand::Create { ttl: ttl(args)? })
    }

    /// `GET id key…`, `SCAN id prefix offset limit`: another command behind the number.
    pub fn read(command: &str, args: &[Bytes]) -> Result<SnapshotCommand, Refusal> {
        let [number, args @ ..] = args else { return Err(SYNTAX) };
        let request = Request::parse(command.as_bytes(), args.to_vec())?;
        Ok(SnapshotCommand::Read { id: id(number)?, request })
    }

    /// `USE id|OFF`
    pub fn use_it(args: &[Bytes]) -> Result<SnapshotCommand, Refusal> {
        match args {
            [off] if off.eq_ignore_ascii_case(b"off") => Ok(SnapshotCommand::Use(None)),
            [number] => Ok(SnapshotCommand::Use(Some(id(number)?))),
            _ => Err(SYNTAX),
        }
    }

    /// `EXTEND id [PX ms]`
    pub fn extend(args: &[Bytes]) -> Result<SnapshotCommand, Refusal> {
        let [number, args @ ..] = args else { return Err(SYNTAX) };
        Ok(SnapshotCommand::Extend { id: id(number)?, ttl: ttl(args)? })
    }

    /// `RELEASE id`
    pub fn release(args: &[Bytes]) -> Result<SnapshotCommand, Refusal> {
        let [number] = args else { return Err(SYNTAX) };
        Ok(SnapshotCommand::Release(id(number)?))
    }

    pub async fn carry_out<D: Database>(
        self,
        database: &D,
        snapshots: &Snapshots,
        consistency: Consistency,
    ) -> Settled {
        match self {
            SnapshotCommand::Create { ttl } => create(database, snapshots, consistency, ttl).await.into(),
            SnapshotCommand::Read { id, request } => {
                let mut outcomes = execute(database, snapshots, id, vec![Call::One(request)]).await;
                outcomes.pop().unwrap_or(Err(Denied::NoLeader)).into()
            }
            SnapshotCommand::Use(None) => Settled::Using(None),
            SnapshotCommand::Use(Some(id)) if snapshots.view(id).is_some() => Settled::Using(Some(id)),
            SnapshotCommand::Use(Some(_)) => Ok(Reply::Error(NO_SNAPSHOT)).into(),
            SnapshotCommand::Extend { id, ttl } => Ok(match snapshots.ttl(ttl) {
                Err(TooLong) => Reply::Error(too_long(snapshots)),
                Ok(ttl) if snapshots.extend(id, ttl) => Reply::Ok,
                Ok(_) => Reply::Error(NO_SNAPSHOT),
            })
            .into(),
            SnapshotCommand::Release(id) => {
                Ok(if snapshots.release(id) { Reply::Ok } else { Reply::Error(NO_SNAPSHOT) }).into()
            }
            SnapshotCommand::List => Ok(Reply::Array(snapshots.list().iter().map(describe).collect())).into(),
        }
    }
}

async fn create<D: Database>(
    database: &D,
    snapshots: &Snapshots,
    consistency: Consistency,
    ttl: Option<Duration>,
) -> Outcome {
    let Ok(ttl) = snapshots.ttl(ttl) else { return Ok(Reply::Error(too_long(snapshots))) };
    let too_many = || {
        let line = format!(
            "ERR there are {} snapshots, and there may be no more: release one, or wait for one to end",
            snapshots.limits().snapshots_max
        );
        Ok(Reply::Error(Refusal::from_string(line)))
    };
    // Asked before the work of making it.
    if !snapshots.has_room() {
        return too_many();
    }
    let view = database.point_in_time(consistency).await?;
    let (index, clock_ms) = (view.index(), view.clock_ms());
    match snapshots.keep(view, ttl) {
        Ok(id) => Ok(Reply::Array([id, index, clock_ms].map(|number| Reply::Integer(number as i64)).to_vec())),
        Err(TooMany) => too_many(),
    }
}

fn too_long(snapshots: &Snapshots) -> Refusal {
    let max = snapshots.limits().ttl_max.as_millis();
    Refusal::from_string(format!("ERR a snapshot is kept for {max} ms at most"))
}

fn describe(snapshot: &Described) -> Reply {
    let number = |number: u64| Reply::Integer(number as i64);
    Reply::Map(vec![
        (Reply::bulk("id"), number(snapshot.id)),
        (Reply::bulk("index"), number(snapshot.index)),
        (Reply::bulk("clock-ms"), number(snapshot.clock_ms)),
        (Reply::bulk("age-ms"), number(snapshot.age.as_millis() as u64)),
        (Reply::bulk("ttl-ms"), number(snapshot.rest.as_millis() as u64)),
    ])
}

/// Carries out calls on a snapshot; those that write are refused.
pub(crate) async fn execute<D: Database>(
    database: &D,
    snapshots: &Snapshots,
    id: u64,
    calls: Vec<Call>,
) -> Vec<Outcome> {
    let Some(view) = snapshots.view(id) else {
        return calls.iter().map(|_| Ok(Reply::Error(NO_SNAPSHOT))).collect();
    };
    let writes: Vec<bool> = calls.iter().map(Call::is_write).collect();
    let reads = calls.into_iter().filter(|call| !call.is_write()).collect();
    let outcomes = match is_planted(Bug::HandleMovesOn) {
        true => database.execute(reads, Consistency::Snapshot).await,
        false => database.read_at(view, reads).await,
    };
    let mut outcomes = outcomes.into_iter();
    let answer = |is_write| match is_write {
        true => Ok(Reply::Error(NO_WRITES)),
        false => outcomes.next().unwrap_or(Err(Denied::NoLeader)),
    };
    writes.into_iter().map(answer).collect()
}
