"""redis-py through a failover: failover_redis_py.py sentinel|cluster off|default|once PORT,PORT,PORT KEY

It runs with redis-py 5.3 and with the current one.
"""

from redis.backoff import NoBackoff
from redis.cluster import ClusterNode, RedisCluster
from redis.retry import Retry
from redis.sentinel import Sentinel

from writer import arguments, write

HOST = "127.0.0.1"
NEVER = Retry(NoBackoff(), 0)
discovery, retries, ports, key = arguments()

if discovery == "sentinel":
    # By default it knocks at a dead Sentinel several times, seconds apart, before it asks the next one.
    sentinel = Sentinel([(HOST, port) for port in ports], sentinel_kwargs={"socket_timeout": 2, "retry": NEVER})
    client = sentinel.master_for("talon", **({} if retries else {"retry": NEVER}))
else:
    nodes = [ClusterNode(HOST, port) for port in ports]
    client = RedisCluster(startup_nodes=nodes, **({} if retries else {"cluster_error_retry_attempts": 0}))

write(lambda: client.incr(key), client.execute_command)
