//! What a node says of the others: who is not heard, and who led last.

mod support;

use support::{Door, Wire, show};
use talon_core::{DOWN_AFTER_MS, Role};
use talon_server::resp::RespSettings;

/// Inside a transaction, where nobody is waited for.
async fn at_once(client: &mut Wire, line: &str) -> String {
    for line in ["MULTI", line] {
        client.say(line).await;
    }
    client.say("EXEC").await
}

fn count(text: &str, word: &str) -> usize {
    text.matches(word).count()
}

#[tokio::test]
async fn a_member_that_is_not_heard_is_down_and_left_out_where_clients_would_go_to_it() {
    let door = Door::open(3, RespSettings::default()).await;
    let mut client = door.client().await;
    let own = door.address.port();
    let third = (own + 2).to_string();
    door.database.change_status(|status| status.members[2].silent_ms = Some(DOWN_AFTER_MS - 1));
    let info = client.say("INFO replication").await;
    assert!(info.contains("connected_slaves:2") && info.contains(&format!("port={third},state=online")), "{info}");
    assert!(info.contains("lag=0\r\n") && info.contains("lag=4\r\n"), "{info}");
    assert!(client.say("CLUSTER SLOTS").await.contains(&third));
    door.database.change_status(|status| status.members[2].silent_ms = Some(DOWN_AFTER_MS));
    for leads in [true, false] {
        if !leads {
            door.database.change_status(|status| (status.leader_id, status.role) = (Some(2), Role::Follower));
            client = door.client().await;
        }
        assert!(!client.say("CLUSTER SLOTS").await.contains(&third));
        let nodes = client.say("CLUSTER NODES").await;
        assert_eq!((count(&nodes, "fail"), count(&nodes, " connected")), (1, 2), "{nodes}");
        assert!(nodes.contains(&format!(":{third}@{} slave,fail ", own + 2002)), "{nodes}");
        assert!(nodes.contains(" disconnected\n"), "{nodes}");
        let shards = client.say("CLUSTER SHARDS").await;
        assert_eq!((count(&shards, "\"online\""), count(&shards, "\"fail\"")), (2, 1), "{shards}");
        for line in ["SENTINEL REPLICAS talon", "SENTINEL SENTINELS talon"] {
            let described = client.say(line).await;
            assert_eq!(count(&described, "\"s_down,"), 1, "{line}: {described}");
        }
        let replicas = client.say("SENTINEL REPLICAS talon").await;
        assert!(replicas.contains("\"s_down,slave,disconnected\""), "{replicas}");
        assert_eq!(count(&replicas, "\"master-link-status\", \"err\""), 1, "{replicas}");
        assert!(client.say("SENTINEL CKQUORUM talon").await.starts_with("OK "));
        if leads {
            assert!(client.say("INFO replication").await.contains("connected_slaves:1\r\n"));
            assert!(!client.say("ROLE").await.contains(&third));
        }
    }
    door.database.change_status(|status| status.members[1].silent_ms = Some(DOWN_AFTER_MS));
    let no_quorum =
        "!NOQUORUM 1 usable Sentinels. Not enough available Sentinels to reach the majority and authorize a failover";
    assert_eq!(client.say("SENTINEL CKQUORUM talon").await, no_quorum);
}

#[tokio::test]
async fn while_nobody_leads_the_slots_are_the_last_leaders_and_it_has_failed() {
    let door = Door::open(3, RespSettings::default()).await;
    let own = door.address.port();
    door.database.change_status(|status| (status.leader_id, status.role) = (Some(2), Role::Follower));
    door.database.change_status(|status| status.leader_id = None);
    let mut client = door.client().await;
    let slots = at_once(&mut client, "CLUSTER SLOTS").await;
    assert!(slots.starts_with(&format!("[[[(0), (16383), [\"127.0.0.1\", ({}), ", own + 1)), "{slots}");
    assert!(slots.contains(&format!("({own})")), "it answers reads: {slots}");
    let nodes = at_once(&mut client, "CLUSTER NODES").await;
    assert!(nodes.contains(&format!(":{}@{} master,fail - ", own + 1, own + 2001)), "{nodes}");
    assert!(nodes.contains("disconnected 0-16383") && nodes.contains("myself,slave "), "{nodes}");
    assert!(at_once(&mut client, "CLUSTER INFO").await.contains("cluster_state:fail"));
    let shards = at_once(&mut client, "CLUSTER SHARDS").await;
    assert_eq!((count(&shards, "\"master\""), count(&shards, "\"fail\"")), (1, 1), "{shards}");
    assert_eq!(client.say("ROLE").await, format!("[\"slave\", \"127.0.0.1\", ({}), \"connect\", (0)]", own + 1));
    let info = client.say("INFO replication").await;
    assert!(info.contains(&format!("master_host:127.0.0.1\r\nmaster_port:{}\r\n", own + 1)), "{info}");
    assert!(info.contains("master_link_status:down") && info.contains("master_link_down_since_seconds:0"), "{info}");
    assert!(client.say("SENTINEL CKQUORUM talon").await.starts_with("!NOQUORUM"));
    // Where none was ever known, nobody has the slots.
    door.database.change_status(|status| status.last_leader_id = Some(9));
    assert_eq!(at_once(&mut client, "CLUSTER SLOTS").await, "[[]]");
}

#[tokio::test]
async fn resp3_has_the_nodes_metadata_as_a_map() {
    let door = Door::open(3, RespSettings::default()).await;
    let mut client = door.client().await;
    assert!(client.say("HELLO 3").await.starts_with('{'));
    assert_eq!(count(&client.say("CLUSTER SLOTS").await, ", {}]"), 3);
}

#[tokio::test]
async fn subscribers_are_told_of_followers_that_go_down() {
    let door = Door::open(3, RespSettings::default()).await;
    let port = door.address.port();
    let mut client = door.client().await;
    client.say("PSUBSCRIBE ?sdown").await;
    for (silent_ms, channel) in [(DOWN_AFTER_MS, "+sdown"), (0, "-sdown")] {
        door.database.change_status(|status| status.members[2].silent_ms = Some(silent_ms));
        let place = format!("127.0.0.1:{0} 127.0.0.1 {0}", port + 2);
        let words = format!("slave {place} @ talon 127.0.0.1 {port}");
        let told = show(&client.reply().await.expect("a message"));
        assert_eq!(told, format!("[\"pmessage\", \"?sdown\", \"{channel}\", \"{words}\"]"));
    }
}
