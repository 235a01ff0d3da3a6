// ioredis through a failover: failover_ioredis.mjs sentinel|cluster off|default|once PORT,PORT,PORT KEY

import { Cluster, Redis } from "ioredis";

import { programArguments, write } from "./writer.mjs";

const { discovery, retries, nodes, key } = programArguments();
const never = { maxRetriesPerRequest: 0 };
let client;
if (discovery === "sentinel") {
  client = new Redis({ sentinels: nodes, name: "talon", ...(retries ? {} : never) });
} else {
  client = new Cluster(nodes, retries ? {} : { retryDelayOnFailover: 0, retryDelayOnClusterDown: 0, redisOptions: never });
}
// Without a listener it prints them.
client.on("error", (error) => console.error(error.message));
await write(
  () => client.incr(key),
  (words) => client.call(...words),
);
