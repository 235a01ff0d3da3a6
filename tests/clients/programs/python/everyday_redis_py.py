"""Everyday traffic with redis-py: everyday_redis_py.py PORT,PORT,PORT

By the address of each node, by Sentinel and by Cluster commands; in RESP2 and RESP3, with and without decoding. It runs with
redis-py 5.3 and with the current one.
"""

import sys
import time

import redis
from redis.cluster import ClusterNode, RedisCluster
from redis.sentinel import Sentinel

HOST = "127.0.0.1"
ports = [int(port) for port in sys.argv[1].split(",")]
nodes = [ClusterNode(HOST, port) for port in ports]
sentinel = Sentinel([(HOST, port) for port in ports])


def traffic(client, decoded, prefix):
    """What caches, counters, locks and sessions do with one client that may write."""
    word = (lambda text: text) if decoded else (lambda text: text.encode())
    key = lambda name: f"{{{prefix}}}:{name}"
    assert client.set(key("a"), "value") is True
    assert client.get(key("a")) == word("value")
    assert client.set(key("a"), "other", nx=True) is None
    assert client.set(key("a"), "other", xx=True, get=True) == word("value")
    assert client.set(key("session"), "s", ex=100) is True
    assert 90 < client.ttl(key("session")) <= 100
    assert client.expire(key("a"), 50) in (1, True) and client.persist(key("a")) in (1, True)
    assert client.mset({key("b"): "1", key("c"): "2"}) is True
    assert client.mget([key("b"), key("nothing"), key("c")]) == [word("1"), None, word("2")]
    assert client.incr(key("count"), 5) == 5 and client.decr(key("count")) == 4
    assert float(client.incrbyfloat(key("ratio"), 1.5)) == 1.5
    assert client.append(key("a"), "+") == 6 and client.strlen(key("a")) == 6
    assert client.getrange(key("a"), 0, 1) == word("ot") and client.setrange(key("a"), 0, "O") == 6
    assert client.getdel(key("b")) == word("1") and client.getex(key("c"), ex=60) == word("2")
    assert client.exists(key("a"), key("b")) == 1 and client.type(key("a")) == word("string")
    found = set(client.scan_iter(match=key("*"), count=2))
    assert found == {word(key(name)) for name in ("a", "c", "count", "ratio", "session")}, found
    assert client.delete(key("a"), key("c"), key("count"), key("ratio"), key("session")) == 5
    try:
        client.set(key("text"), "no number")
        client.incr(key("text"))
        raise AssertionError("INCR of a text")
    except redis.ResponseError as error:
        assert "not an integer" in str(error), error
    # MULTI and EXEC, which is what pipeline() does unless told otherwise.
    with client.pipeline() as pipeline:
        pipeline.set(key("x"), "1").incr(key("x")).get(key("x"))
        assert pipeline.execute() == [True, 2, word("2")]
    with client.pipeline(transaction=False) as pipeline:
        for number in range(200):
            pipeline.set(key(f"many:{number}"), number)
        assert pipeline.execute() == [True] * 200


def reads(client, expected):
    """A follower answers once it has applied the write."""
    end = time.monotonic() + 10
    while client.get("{read}:anywhere") != expected:
        assert time.monotonic() < end, client.get("{read}:anywhere")
        time.sleep(0.01)


for protocol in (2, 3):
    for decoded in (False, True):
        options = {"protocol": protocol, "decode_responses": decoded}
        master = sentinel.master_for("talon", **options)
        run = f"{redis.__version__}:{protocol}:{decoded}"
        traffic(master, decoded, f"master:{run}")
        traffic(RedisCluster(startup_nodes=nodes, **options), decoded, f"cluster:{run}")
        assert master.set("{read}:anywhere", run)
        expected = run if decoded else run.encode()
        for port in ports:
            client = redis.Redis(host=HOST, port=port, **options)
            assert client.ping() and client.info("server")["redis_version"] and client.dbsize() >= 1
            reads(client, expected)
        reads(sentinel.slave_for("talon", **options), expected)
        reads(RedisCluster(startup_nodes=nodes, read_from_replicas=True, **options), expected)
print("redis-py", redis.__version__)
