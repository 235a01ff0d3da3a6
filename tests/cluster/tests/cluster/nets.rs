//! The nets hold: a store that loses, doubles or tears is caught. The store is redis-server, and what it does wrong is done
//! to it by hand.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::Duration;

use talon_cluster_tests::{AllBooks, Load, LoadOptions};
use talon_tests_support::{Client, RedisServer, Value};

use crate::alone;

fn complaint(books: &AllBooks, client: &mut Client) -> Option<String> {
    let mut books = books.clone();
    let verdict = catch_unwind(AssertUnwindSafe(|| books.check(client)));
    verdict.err().map(|panic| panic.downcast_ref::<String>().cloned().unwrap_or_default())
}

#[test]
fn the_books_catch_what_a_store_must_not_do() {
    let _turn = alone();
    let server = RedisServer::start(&[]);
    let load = Load::start(&[server.address()], &LoadOptions::new("net", 3));
    assert!(load.goes_on(500, Duration::from_secs(30)));
    let books = load.stop();
    let mut client = Client::connect(server.address()).expect("it serves");
    assert_eq!(complaint(&books, &mut client), None, "nothing is wrong yet");
    let of_first = &books.books[0];
    let (key, refused) = (of_first.keys.acknowledged[3], 1_000_000);
    let key = format!("net:0:u:{key}");
    let markers = client.call(&["GET", "net:0:a"]).expect("an answer").text().expect("markers");
    let cut: String = markers.split_inclusive(',').skip(1).collect();
    let dump = |client: &mut Client, key: &str| client.call(&["GET", key]).expect("an answer").text().expect("a value");
    // What is done to it, and what is complained of then.
    for (key, words, caught) in [
        (key.as_str(), vec!["DEL", &key], "LOST 1 acknowledged keys"),
        (&key, vec!["SET", &key, "other"], "has the value other"),
        ("net:0:a", vec!["SET", "net:0:a", &cut], "LOST 1 acknowledged APPENDs"),
        ("net:0:a", vec!["APPEND", "net:0:a", &markers], "appended twice"),
        ("net:0:a", vec!["APPEND", "net:0:a", "99999999,"], "refused or unsent APPENDs"),
        ("net:1:c", vec!["INCR", "net:1:c"], "the counter is"),
        ("net:1:c", vec!["DECR", "net:1:c"], "the counter is"),
        ("net:2:p:a", vec!["INCR", "net:2:p:a"], "half a transaction"),
        ("net:2:p:c", vec!["DECR", "net:2:p:c"], "the counter of transactions"),
        ("net:shared", vec!["DECR", "net:shared"], "the counter of all"),
    ] {
        let before = dump(&mut client, key);
        client.call(&words).expect("an answer");
        let complaint = complaint(&books, &mut client).unwrap_or_default();
        assert!(complaint.contains(caught), "after {words:?}: `{complaint}`");
        assert_eq!(client.call(&["SET", key, &before]).expect("an answer"), Value::Simple("OK".to_owned()));
    }
    let mut refusing = books.clone();
    refusing.books[0].keys.refused.push(refused);
    let value = refusing.books[0].value(refused);
    client.call(&["SET", &format!("net:0:u:{refused}"), &value]).expect("an answer");
    let complaint = complaint(&refusing, &mut client).unwrap_or_default();
    assert!(complaint.contains("refused writes are there"), "{complaint}");
}
