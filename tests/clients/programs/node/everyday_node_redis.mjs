// Everyday traffic with node-redis: everyday_node_redis.mjs PORT,PORT,PORT

import assert from "node:assert/strict";
import { setTimeout as pause } from "node:timers/promises";

import { createClient, createCluster } from "redis";

const urls = process.argv[2].split(",").map((port) => `redis://127.0.0.1:${port}`);
const rootNodes = urls.map((url) => ({ url }));

async function traffic(client, prefix) {
  const key = (name) => `{${prefix}}:${name}`;
  assert.equal(await client.set(key("a"), "value", { expiration: { type: "EX", value: 100 } }), "OK");
  assert.equal(await client.set(key("a"), "other", { condition: "NX" }), null);
  assert.equal(await client.get(key("a")), "value");
  assert.ok((await client.ttl(key("a"))) > 90);
  assert.equal(await client.mSet({ [key("b")]: "1", [key("c")]: "2" }), "OK");
  assert.deepEqual(await client.mGet([key("b"), key("nothing"), key("c")]), ["1", null, "2"]);
  assert.equal(await client.incrBy(key("count"), 5), 5);
  await assert.rejects(client.incr(key("a")), /not an integer/);
  const transaction = client.multi().set(key("x"), "1").incr(key("x")).get(key("x"));
  assert.deepEqual(await transaction.exec(), ["OK", 2, "2"]);
  // Commands of one turn go out as one pipeline.
  const sets = Array.from({ length: 200 }, (_, number) => client.set(key(`many:${number}`), `${number}`));
  assert.deepEqual(new Set(await Promise.all(sets)), new Set(["OK"]));
  assert.equal(await client.del([key("a"), key("b"), key("c"), key("count"), key("x")]), 5);
}

for (const RESP of [2, 3]) {
  const cluster = await createCluster({ rootNodes, RESP }).connect();
  await traffic(cluster, `node-redis:${RESP}`);
  const reading = await createCluster({ rootNodes, RESP, useReplicas: true }).connect();
  const readers = [reading, ...(await Promise.all(urls.map((url) => createClient({ url, RESP }).connect())))];
  await cluster.set("{read}:anywhere", `node-redis ${RESP}`);
  for (const reader of readers) {
    // A follower answers once it has applied the write.
    const end = performance.now() + 10_000;
    while ((await reader.get("{read}:anywhere")) !== `node-redis ${RESP}`) {
      assert.ok(performance.now() < end, "the value is not seen");
      await pause(10);
    }
  }
  const scanned = new Set();
  for await (const keys of readers[1].scanIterator({ MATCH: `{node-redis:${RESP}}:many:*`, COUNT: 50 })) {
    keys.forEach((key) => scanned.add(key));
  }
  assert.equal(scanned.size, 200);
}
console.log("node-redis");
process.exit(0);
