"""Plain clients of any node, where nodes forward: anywhere_redis_py.py PORT,PORT,PORT

Optimistic transactions as redis-py offers them (WATCH, MULTI, EXEC, again if a key was touched), on all nodes at once.
"""

import sys
import threading

import redis

HOST = "127.0.0.1"
ROUNDS = 25
ports = [int(port) for port in sys.argv[1].split(",")]


def count(client, key, raised):
    """One more, if nobody else counts meanwhile; client.transaction() does it again until that is so."""

    def step(pipeline):
        number = int(pipeline.get(key) or 0)
        pipeline.multi()
        pipeline.set(key, number + 1)
        pipeline.incr(f"{key}:checked")

    for _ in range(ROUNDS):
        assert client.transaction(step, key)[0] is True
        raised.append(1)


for protocol in (2, 3):
    key = f"anywhere:{redis.__version__}:{protocol}"
    clients = [redis.Redis(host=HOST, port=port, protocol=protocol) for port in ports]
    raised = []
    threads = [threading.Thread(target=count, args=(client, key, raised)) for client in clients for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    expected = len(threads) * ROUNDS
    assert len(raised) == expected, raised
    for client in clients:
        # Each has written there, and finds what it has written; the newest is in what the leader answers.
        client.execute_command("CLIENT", "CONSISTENCY", "LINEARIZABLE")
        assert [int(value) for value in client.mget([key, f"{key}:checked"])] == [expected] * 2
        # A key that somebody else touches ends the transaction of whoever watches it, on whatever node.
        with client.pipeline() as pipeline:
            pipeline.watch(key)
            clients[0].set(key, "touched")
            pipeline.multi()
            pipeline.set(key, "lost")
            try:
                pipeline.execute()
                raise AssertionError("a touched key was overwritten")
            except redis.WatchError:
                pass
        with client.pipeline() as pipeline:
            pipeline.watch(key)
            pipeline.unwatch()
            clients[0].set(key, "again")
            pipeline.multi()
            pipeline.get(key)
            assert pipeline.execute() == [b"again"]
        assert client.set(key, expected) and client.set(f"{key}:checked", expected)
print("redis-py", redis.__version__)
