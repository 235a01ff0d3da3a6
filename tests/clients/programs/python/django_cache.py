"""django-redis, over Sentinel: django_cache.py PORT,PORT,PORT

Its lock(), incr() and decr() are scripts, which Talon has not. Its SentinelClient would read from followers, which are a moment
behind; this reads what it has just written.
"""

import sys

from django.conf import settings

ports = [int(port) for port in sys.argv[1].split(",")]
settings.configure(
    DJANGO_REDIS_CONNECTION_FACTORY="django_redis.pool.SentinelConnectionFactory",
    CACHES={
        "default": {
            "BACKEND": "django_redis.cache.RedisCache",
            "LOCATION": "redis://talon/0",
            "KEY_PREFIX": "django",
            "OPTIONS": {
                "CLIENT_CLASS": "django_redis.client.DefaultClient",
                "SENTINELS": [("127.0.0.1", port) for port in ports],
            },
        }
    },
)

from django.core.cache import cache  # noqa: E402 - only once there are settings

cache.set("a", {"answer": 42}, timeout=100)
assert cache.get("a") == {"answer": 42} and 90 < cache.ttl("a") <= 100
assert not cache.add("a", 1) and cache.add("b", 2)
cache.set_many({"c": 3, "d": "x"}, timeout=100)
assert cache.get_many(["a", "c", "d", "nothing"]) == {"a": {"answer": 42}, "c": 3, "d": "x"}
assert cache.get_or_set("e", lambda: "made") == "made"
assert cache.touch("a", 50) and cache.ttl("a") <= 50
assert cache.persist("a") and cache.ttl("a") is None
assert cache.expire("a", timeout=70) and cache.pexpire("a", timeout=70_000)
assert cache.has_key("a") and "b" in cache
assert set(cache.keys("*")) == {"a", "b", "c", "d", "e"}
assert set(cache.iter_keys("[cd]")) == {"c", "d"}
assert cache.delete("b") and cache.delete_many(["c"]) == 1
assert cache.delete_pattern("*") == 3 and cache.get("a") is None
print("django-redis")
