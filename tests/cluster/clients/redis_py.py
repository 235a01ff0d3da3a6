"""Writes with redis-py until its input ends, whatever happens to the cluster, and says what was acknowledged.

    redis_py.py plain|sentinel|cluster PORT,PORT,PORT PREFIX

The first port is the leader's. Every number is written once; a write that raises is of unknown fate.
"""

import json
import sys
import threading
import time

import redis
from redis.backoff import ExponentialBackoff, NoBackoff
from redis.cluster import ClusterNode, RedisCluster
from redis.exceptions import ConnectionError, MovedError, TimeoutError
from redis.retry import Retry
from redis.sentinel import Sentinel

HOST = "127.0.0.1"
kind, ports, prefix = sys.argv[1], [int(port) for port in sys.argv[2].split(",")], sys.argv[3]


def retry(times):
    return Retry(ExponentialBackoff(cap=0.5, base=0.02), times)


class Plain:
    """What an application does that knows all nodes and nothing of clusters."""

    def __init__(self):
        self.place = 0
        self.connect(ports[0])

    def connect(self, port):
        self.client = redis.Redis(host=HOST, port=port, socket_timeout=10, retry=retry(3))

    def call(self, work):
        try:
            return work(self.client)
        except MovedError as moved:
            self.connect(moved.port)
            return work(self.client)
        except (ConnectionError, TimeoutError):
            self.place = (self.place + 1) % len(ports)
            self.connect(ports[self.place])
            raise


class Wrapped:
    def __init__(self, client):
        self.client = client

    def call(self, work):
        return work(self.client)


def open_client():
    if kind == "plain":
        return Plain()
    if kind == "sentinel":
        # By default it knocks at a dead sentinel four times, seconds apart, before it asks the next one.
        asking = {"socket_timeout": 2, "retry": Retry(NoBackoff(), 0)}
        sentinel = Sentinel([(HOST, port) for port in ports], sentinel_kwargs=asking)
        # These retries go to the address that was found; the Sentinels are asked again at the next call.
        return Wrapped(sentinel.master_for("talon", socket_timeout=10, retry=retry(3)))
    return Wrapped(RedisCluster(startup_nodes=[ClusterNode(HOST, port) for port in ports], socket_timeout=10))


def write(client, number):
    key = f"{{{prefix}}}:{number}"
    if number % 10:
        return client.set(key, f"v{number}")
    pipeline = client.pipeline()
    pipeline.set(key, f"v{number}")
    pipeline.get(key)
    answers = pipeline.execute()
    assert answers[1] == f"v{number}".encode(), answers
    return answers[0]


stop = threading.Event()
threading.Thread(target=lambda: (sys.stdin.read(), stop.set()), daemon=True).start()
client = open_client()
acknowledged, errors, number, gap, last, said = [], {}, 0, 0.0, time.monotonic(), 0.0
while not stop.is_set():
    number += 1
    try:
        assert client.call(lambda redis_client: write(redis_client, number)) is True
        acknowledged.append(number)
        now = time.monotonic()
        gap, last = max(gap, now - last), now
    except (redis.RedisError, redis.exceptions.RedisClusterException) as error:
        name = f"{type(error).__name__}: {str(error)[:60]}"
        errors[name] = errors.get(name, 0) + 1
        time.sleep(0.02)
    if time.monotonic() - said > 0.05:
        said = time.monotonic()
        print(f"acknowledged {len(acknowledged)}", flush=True)
print(json.dumps({"acknowledged": acknowledged, "errors": errors, "gap_ms": int(gap * 1000)}), flush=True)
