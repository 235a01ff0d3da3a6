"""cachelib's RedisCache: cachelib_cache.py PORT,PORT,PORT"""

import sys

from cachelib import RedisCache
from redis.sentinel import Sentinel

ports = [int(port) for port in sys.argv[1].split(",")]
master = Sentinel([("127.0.0.1", port) for port in ports]).master_for("talon")
cache = RedisCache(host=master, key_prefix="cachelib:", default_timeout=100)
assert cache.set("a", {"answer": 42}) and cache.get("a") == {"answer": 42}
assert not cache.add("a", 1) and cache.add("b", [1, 2])
assert sorted(cache.set_many({"c": "x", "d": 3})) == ["c", "d"]
assert cache.get_many("a", "b", "nothing", "c") == [{"answer": 42}, [1, 2], None, "x"]
assert cache.get_dict("c", "d") == {"c": "x", "d": 3}
assert cache.inc("n", 5) == 5 and cache.dec("n", 2) == 3
assert cache.has("a") and cache.delete("a") and not cache.has("a")
assert sorted(cache.delete_many("b", "c")) == ["b", "c"]
assert cache.set("brief", 1, timeout=-1) and cache.set("e", 1, timeout=50)
assert cache.clear() and cache.get("e") is None
print("cachelib")
