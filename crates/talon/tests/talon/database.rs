//! The embedded database behind the trait of the front doors.

use talon_core::entry::TRANSACTION_TOO_LARGE;
use talon_core::{Call, Consistency, Database, Denied, Reply, Role};

use crate::machine::{grow, grow_too_many, one, request};
use crate::support::{World, block_on};

fn execute(world: &World, calls: Vec<Call>) -> Vec<talon_core::Outcome> {
    block_on(world.db().execute(calls, Consistency::Default))
}

#[test]
fn a_pipeline_sees_its_own_writes() {
    let world = World::new();
    let outcomes = execute(&world, vec![one("GET k"), one("SET k 1"), one("GET k"), one("INCR k"), one("GET k")]);
    let expected = [Reply::Null, Reply::Ok, Reply::bulk("1"), Reply::Integer(2), Reply::bulk("2")];
    assert_eq!(outcomes, expected.map(Ok));
    assert_eq!(execute(&world, vec![one("GET k"), one("STRLEN k")]), [Ok(Reply::bulk("2")), Ok(Reply::Integer(1))]);
    assert_eq!(execute(&world, Vec::new()), []);
}

#[test]
fn a_transaction_is_answered_as_a_whole() {
    let world = World::new();
    let transaction = Call::Transaction(vec![request("SET k 1"), request("INCR k"), request("GET k")]);
    let replies = Reply::Array(vec![Reply::Ok, Reply::Integer(2), Reply::bulk("2")]);
    assert_eq!(execute(&world, vec![transaction]), [Ok(replies)]);
    let reads = Call::Transaction(vec![request("GET k"), request("EXISTS k")]);
    assert_eq!(execute(&world, vec![reads]), [Ok(Reply::Array(vec![Reply::bulk("2"), Reply::Integer(1)]))]);
}

#[test]
fn what_is_too_large_is_denied_and_the_rest_is_done() {
    let world = World::new();
    let value = bytes::Bytes::from(vec![0; 16 << 20]);
    let set = |key: &'static str| talon_core::Request::parse(b"SET", vec![key.into(), value.clone()]).unwrap();
    let large = Call::Transaction(vec![set("a"), set("b"), set("c"), set("d")]);
    let outcomes = execute(&world, vec![one("SET before 1"), large, one("SET after 1")]);
    assert!(matches!(outcomes[1], Err(Denied::TooLarge { bytes_max: 67_108_864, .. })), "{:?}", outcomes[1]);
    assert_eq!((&outcomes[0], &outcomes[2]), (&Ok(Reply::Ok), &Ok(Reply::Ok)));
    assert_eq!(execute(&world, vec![one("DBSIZE")]), [Ok(Reply::Integer(2))]);
}

#[test]
fn a_pipeline_that_writes_much_is_carried_out_in_parts() {
    let world = World::new();
    let before = world.db().machine().applied().index;
    let (mut calls, mut expected) = (vec![grow_too_many()], vec![Ok(Reply::Error(TRANSACTION_TOO_LARGE))]);
    for number in 1..=10 {
        calls.extend([Call::One(grow(&number.to_string())), one("INCR n"), one("STRLEN 1")]);
        let length = Reply::Integer(talon_core::limits::VALUE_BYTES_MAX as i64);
        expected.extend([Ok(Reply::Integer(0)), Ok(Reply::Integer(number)), Ok(length)]);
    }
    assert!(execute(&world, calls) == expected, "each once, and in order");
    assert_eq!(world.db().machine().applied().index, before + 4, "the refused one, 4, 4 and 2");
    assert_eq!(execute(&world, vec![one("DBSIZE")]), [Ok(Reply::Integer(11))]);
}

#[test]
fn a_read_that_meets_an_end_makes_it_true_for_everyone() {
    let world = World::new();
    execute(&world, vec![one("SET k 1 PX 100")]);
    world.clock.pass(100);
    assert_eq!(execute(&world, vec![one("GET k")]), [Ok(Reply::Null)]);
    assert!(world.db().machine().applied().clock_ms >= crate::support::START_MS + 100);
}

#[test]
fn a_point_in_time_stays() {
    let world = World::new();
    execute(&world, vec![one("SET k 1"), one("SET due 1 PX 10")]);
    world.clock.pass(10);
    let point = block_on(world.db().point_in_time(Consistency::Default)).unwrap();
    execute(&world, vec![one("SET k 2")]);
    assert_eq!(point.read(&request("GET k")), Ok(Reply::bulk("1")));
    assert_eq!(point.read(&request("GET due")), Ok(Reply::Null));
    assert_eq!(point.index() + 1, world.db().machine().applied().index);
    assert!(point.clock_ms() >= crate::support::START_MS + 10);
}

#[test]
fn the_status_is_that_of_a_node_alone() {
    let world = World::new();
    let status = world.db().status();
    assert_eq!((status.role, status.clustered, status.serving), (Role::Leader, false, true));
    assert_eq!(status.cluster_id.len(), 32);
    assert_eq!(status.leader().map(|leader| leader.id), Some(status.node_id));
    block_on(world.db().status_changed(status.version + 1));
}

#[test]
fn many_tasks_at_once_are_exact() {
    let world = World::new();
    let pending: Vec<_> = (0..200)
        .map(|_| Box::pin(world.db().execute(vec![one("INCR k"), one("INCR k")], Consistency::Default)))
        .collect();
    let mut sums = Vec::new();
    for outcome in pending {
        for reply in block_on(outcome) {
            match reply {
                Ok(Reply::Integer(sum)) => sums.push(sum),
                other => panic!("{other:?}"),
            }
        }
    }
    assert_eq!(sums, (1..=400).collect::<Vec<i64>>());
}
