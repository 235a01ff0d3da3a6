// Writes with a client for Node.js until its input ends, whatever happens to the cluster, and says what was acknowledged.
//
//     node.mjs ioredis-cluster|ioredis-sentinel|node-redis-cluster PORT,PORT,PORT PREFIX
//
// Every number is written once; a write that fails is of unknown fate.

const [kind, portList, prefix] = process.argv.slice(2);
const nodes = portList.split(",").map((port) => ({ host: "127.0.0.1", port: Number(port) }));
const errors = {};

function count(error) {
  const name = `${error.name}: ${String(error.message).slice(0, 60)}`;
  errors[name] = (errors[name] ?? 0) + 1;
}

async function openClient() {
  if (kind.startsWith("ioredis")) {
    const { Redis, Cluster } = await import("ioredis");
    const client =
      kind === "ioredis-cluster"
        ? new Cluster(nodes, { redisOptions: { commandTimeout: 10000 } })
        : new Redis({ sentinels: nodes, name: "talon", commandTimeout: 10000 });
    client.on("error", count);
    return client;
  }
  const { createCluster } = await import("redis");
  const client = createCluster({
    rootNodes: nodes.map(({ host, port }) => ({ url: `redis://${host}:${port}` })),
    defaults: { socket: { reconnectStrategy: 100, connectTimeout: 2000 } },
  });
  client.on("error", count);
  await client.connect();
  return client;
}

const pause = (ms) => new Promise((resolve) => setTimeout(resolve, ms));
let stop = false;
process.stdin.resume();
process.stdin.on("end", () => {
  stop = true;
});

const client = await openClient();
const acknowledged = [];
let [number, gap, last, said] = [0, 0, performance.now(), 0];
while (!stop) {
  number += 1;
  try {
    const answer = await client.set(`{${prefix}}:${number}`, `v${number}`);
    if (answer !== "OK") throw new Error(`answered ${answer}`);
    acknowledged.push(number);
    gap = Math.max(gap, performance.now() - last);
    last = performance.now();
  } catch (error) {
    count(error);
    await pause(20);
  }
  if (performance.now() - said > 50) {
    said = performance.now();
    console.log(`acknowledged ${acknowledged.length}`);
  }
}
console.log(JSON.stringify({ acknowledged, errors, gap_ms: Math.round(gap) }));
process.exit(0);
