"""valkey-glide through a failover: failover_glide.py cluster default|once PORT,PORT,PORT KEY

It has no client for Sentinel, and no switch for its retries.
"""

from glide_sync import GlideClusterClient, GlideClusterClientConfiguration, NodeAddress

from writer import arguments, write

discovery, retries, ports, key = arguments()
assert discovery == "cluster" and retries
nodes = [NodeAddress("127.0.0.1", port) for port in ports]
# By default a command may take 250 ms, retries and all.
client = GlideClusterClient.create(GlideClusterClientConfiguration(nodes, request_timeout=10_000))
write(lambda: client.incr(key), lambda *words: client.custom_command([str(word) for word in words]))
