// Keyv with @keyv/redis, which has a cluster client of its own: keyv.mjs PORT,PORT,PORT

import assert from "node:assert/strict";

import KeyvRedis, { createCluster } from "@keyv/redis";
import { Keyv } from "keyv";

const rootNodes = process.argv[2].split(",").map((port) => ({ url: `redis://127.0.0.1:${port}` }));
const failures = [];
const keyv = new Keyv(new KeyvRedis(createCluster({ rootNodes })), { namespace: "keyv" });
keyv.on("error", (error) => failures.push(error));
assert.equal(await keyv.set("a", { answer: 42 }), true);
assert.deepEqual(await keyv.get("a"), { answer: 42 });
await keyv.set("brief", 1, 50_000);
assert.equal(await keyv.has("brief"), true);
await keyv.setMany([
  { key: "b", value: 1 },
  { key: "c", value: 2, ttl: 60_000 },
]);
assert.deepEqual(await keyv.getMany(["b", "nothing", "c"]), [1, undefined, 2]);
assert.equal(await keyv.delete("a"), true);
assert.equal(await keyv.get("a"), undefined);
assert.equal(await keyv.deleteMany(["b", "c"]), true);
await keyv.clear();
assert.equal(await keyv.get("brief"), undefined);
assert.deepEqual(failures, []);
console.log("keyv");
process.exit(0);
