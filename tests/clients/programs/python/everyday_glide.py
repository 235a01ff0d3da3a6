"""Everyday traffic with valkey-glide: everyday_glide.py PORT,PORT,PORT"""

import sys

from glide_sync import (
    ClusterBatch,
    ConditionalChange,
    ExpirySet,
    ExpiryType,
    GlideClusterClient,
    GlideClusterClientConfiguration,
    NodeAddress,
    ProtocolVersion,
    ReadFrom,
)

nodes = [NodeAddress("127.0.0.1", int(port)) for port in sys.argv[1].split(",")]
for protocol in (ProtocolVersion.RESP2, ProtocolVersion.RESP3):
    for read_from in (ReadFrom.PRIMARY, ReadFrom.PREFER_REPLICA):
        settings = {"protocol": protocol, "read_from": read_from, "request_timeout": 5000}
        client = GlideClusterClient.create(GlideClusterClientConfiguration(nodes, **settings))
        key = lambda name: f"{{glide:{protocol.name}:{read_from.name}}}:{name}"
        assert client.set(key("a"), "value", expiry=ExpirySet(ExpiryType.SEC, 100)) == "OK"
        assert client.set(key("a"), "other", conditional_set=ConditionalChange.ONLY_IF_DOES_NOT_EXIST) is None
        assert 90 < client.ttl(key("a")) <= 100
        assert client.mset({key("b"): "1", key("c"): "2"}) == "OK"
        assert client.incr(key("b")) == 2 and client.incrbyfloat(key("c"), 0.5) == 2.5
        if read_from == ReadFrom.PRIMARY:
            assert client.mget([key("a"), key("b"), key("nothing")]) == [b"value", b"2", None]
        transaction = ClusterBatch(is_atomic=True).set(key("x"), "1").incr(key("x")).get(key("x"))
        assert client.exec(transaction, raise_on_error=True) == ["OK", 2, b"2"]
        pipeline = ClusterBatch(is_atomic=False)
        for number in range(100):
            pipeline.set(key(f"many:{number}"), str(number))
        assert client.exec(pipeline, raise_on_error=True) == ["OK"] * 100
        assert client.delete([key("a"), key("b"), key("c"), key("x")]) == 4
        client.close()
print("valkey-glide")
