//! What clients, and libraries above them, do all day.

use talon_clients_tests::{Runner, node, python, run};
use talon_tests_support::{Cluster, ClusterOptions, wait_until};

use crate::{alone, ports};

fn run_all(cluster: &Cluster, scripts: impl IntoIterator<Item = Option<Runner>>) {
    for script in scripts.into_iter().flatten() {
        run(&script, &[ports(cluster)]);
    }
}

#[test]
fn clients_for_python_and_node() {
    let _turn = alone();
    let cluster = Cluster::start(3);
    let scripts = [
        Some(python("current", "everyday_redis_py.py")),
        Some(python("redis-5", "everyday_redis_py.py")),
        Some(python("current", "everyday_glide.py")),
        node("everyday_ioredis.mjs"),
        node("everyday_node_redis.mjs"),
    ];
    run_all(&cluster, scripts);
}

#[test]
fn plain_clients_of_any_node() {
    let _turn = alone();
    let mut cluster = Cluster::start_with(&ClusterOptions::nodes(3).flag("--writes-on-follower", "forward"));
    cluster.wait_until_serving();
    let scripts = [Some(python("current", "anywhere_redis_py.py")), Some(python("redis-5", "anywhere_redis_py.py"))];
    run_all(&cluster, scripts);
}

#[test]
fn libraries_above_the_clients() {
    let _turn = alone();
    let cluster = Cluster::start(3);
    let scripts = [
        Some(python("current", "cachelib_cache.py")),
        Some(python("current", "celery_results.py")),
        Some(python("current", "django_cache.py")),
        node("connect_redis.mjs"),
        node("keyv.mjs"),
    ];
    run_all(&cluster, scripts);
}

#[test]
fn the_crate_redis() -> redis::RedisResult<()> {
    use redis::Commands;

    let _turn = alone();
    let cluster = Cluster::start(3);
    let urls: Vec<String> = cluster.nodes.iter().map(|node| format!("redis://{}", node.address())).collect();
    for protocol in ["resp2", "resp3"] {
        let urls: Vec<String> = urls.iter().map(|url| format!("{url}?protocol={protocol}")).collect();
        let mut client = redis::cluster::ClusterClient::new(urls.clone())?.get_connection()?;
        let key = |name: &str| format!("{{redis-rs:{protocol}}}:{name}");
        assert!(client.set_options::<_, _, bool>(
            key("a"),
            "value",
            redis::SetOptions::default().with_expiration(redis::SetExpiry::EX(100))
        )?);
        assert!((91..=100).contains(&client.ttl::<_, i64>(key("a"))?));
        assert!(!client.set_nx::<_, _, bool>(key("a"), "other")?);
        client.mset::<_, _, ()>(&[(key("b"), 1), (key("c"), 2)])?;
        let values: Vec<Option<i64>> = client.mget(&[key("b"), key("nothing"), key("c")])?;
        assert_eq!(values, [Some(1), None, Some(2)]);
        assert_eq!(client.incr::<_, _, i64>(key("b"), 5)?, 6);
        let mut pipeline = redis::cluster::cluster_pipe();
        (0..100).for_each(|number| {
            pipeline.set(key(&format!("many:{number}")), number).ignore();
        });
        pipeline.get(key("many:99"));
        assert_eq!(pipeline.query::<Vec<i64>>(&mut client)?, [99]);
        assert_eq!(client.del::<_, i64>(&[key("a"), key("b")])?, 2);
        // By the plain address of any node: a follower answers once it has applied the write.
        for url in urls {
            let mut plain = redis::Client::open(url.as_str())?.get_connection()?;
            let seen = wait_until(std::time::Duration::from_secs(10), || {
                plain.get::<_, Option<i64>>(key("many:99")).is_ok_and(|value| value == Some(99))
            });
            assert!(seen, "{url} does not show the write");
        }
    }
    Ok(())
}
