// connect-redis, the session store, above node-redis's cluster client: connect_redis.mjs PORT,PORT,PORT

import assert from "node:assert/strict";

import { RedisStore } from "connect-redis";
import { createClient, createCluster } from "redis";

const rootNodes = process.argv[2].split(",").map((port) => ({ url: `redis://127.0.0.1:${port}` }));
const cluster = await createCluster({ rootNodes }).connect();
// It scans with the client it is given, which a cluster client cannot: the leader's own.
const client = await createClient({ url: `redis://${cluster.masters[0].address}` }).connect();
const store = new RedisStore({ client, prefix: "session:", ttl: 100 });
const session = { cookie: { maxAge: 60_000 }, user: "someone" };
await store.set("one", session);
await store.set("two", session);
assert.deepEqual(await store.get("one"), session);
await store.touch("one", session);
assert.ok((await client.ttl("session:one")) > 50);
assert.equal(await store.length(), 2);
assert.deepEqual((await store.ids()).sort(), ["one", "two"]);
assert.equal((await store.all()).length, 2);
await store.destroy("one");
assert.equal(await store.get("one"), null);
await store.clear();
assert.equal(await store.length(), 0);
console.log("connect-redis");
process.exit(0);
