// Everyday traffic with ioredis: everyday_ioredis.mjs PORT,PORT,PORT

import assert from "node:assert/strict";
import { setTimeout as pause } from "node:timers/promises";

import { Cluster, Redis } from "ioredis";

const nodes = process.argv[2].split(",").map((port) => ({ host: "127.0.0.1", port: Number(port) }));

async function traffic(client, prefix) {
  const key = (name) => `{${prefix}}:${name}`;
  assert.equal(await client.set(key("a"), "value", "EX", 100), "OK");
  assert.equal(await client.set(key("a"), "other", "NX"), null);
  assert.equal(await client.get(key("a")), "value");
  assert.deepEqual(await client.getBuffer(key("a")), Buffer.from("value"));
  assert.ok((await client.ttl(key("a"))) > 90);
  assert.equal(await client.mset(key("b"), "1", key("c"), "2"), "OK");
  assert.deepEqual(await client.mget(key("b"), key("nothing"), key("c")), ["1", null, "2"]);
  assert.equal(await client.incrby(key("count"), 5), 5);
  await assert.rejects(client.incr(key("a")), /not an integer/);
  assert.deepEqual(await client.multi().set(key("x"), "1").incr(key("x")).get(key("x")).exec(), [
    [null, "OK"],
    [null, 2],
    [null, "2"],
  ]);
  const pipeline = client.pipeline();
  for (let number = 0; number < 200; number += 1) pipeline.set(key(`many:${number}`), number);
  assert.equal((await pipeline.exec()).filter(([error, answer]) => error === null && answer === "OK").length, 200);
  assert.equal(await client.del(key("a"), key("b"), key("c"), key("count"), key("x")), 5);
}

// A follower answers once it has applied the write.
async function reads(client, expected) {
  const end = performance.now() + 10_000;
  while ((await client.get("{read}:anywhere")) !== expected) {
    assert.ok(performance.now() < end, `${expected} is not seen`);
    await pause(10);
  }
}

const master = new Redis({ sentinels: nodes, name: "talon" });
const cluster = new Cluster(nodes);
await traffic(master, "ioredis:sentinel");
await traffic(cluster, "ioredis:cluster");
await master.set("{read}:anywhere", "ioredis");
const scanned = [];
for await (const keys of master.scanStream({ match: "{ioredis:sentinel}:many:*", count: 50 })) scanned.push(...keys);
assert.equal(new Set(scanned).size, 200);
const readers = [
  ...nodes.map((node) => new Redis(node)),
  new Redis({ sentinels: nodes, name: "talon", role: "slave" }),
  new Cluster(nodes, { scaleReads: "slave" }),
];
for (const reader of readers) await reads(reader, "ioredis");
console.log("ioredis");
process.exit(0);
