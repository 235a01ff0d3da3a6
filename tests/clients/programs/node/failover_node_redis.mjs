// node-redis through a failover: failover_node_redis.mjs sentinel|cluster default|once PORT,PORT,PORT KEY
//
// It has no switch for its retries. Its cluster client sends nothing again but upon redirections, and looks for the
// leader of a dead node's slots only after 5 s unless it is told otherwise.

import { createCluster, createSentinel } from "redis";

import { programArguments, write } from "./writer.mjs";

const { discovery, nodes, key } = programArguments();
const client =
  discovery === "sentinel"
    ? createSentinel({ name: "talon", sentinelRootNodes: nodes })
    : createCluster({
        rootNodes: nodes.map(({ host, port }) => ({ url: `redis://${host}:${port}` })),
        topologyRefreshOnReconnectionAttemptStrategy: 100,
      });
client.on("error", (error) => console.error(error.message));
await client.connect();
await write(
  () => client.incr(key),
  (words) => (discovery === "sentinel" ? client.sendCommand(false, words) : client.sendCommand(key, false, words)),
);
