// What the failover programs share: INCR of one key, one after the other, with every outcome on a line of its own.
//
//     ok NUMBER REPLY MS          acknowledged with this reply, MS milliseconds after the program began
//     failed NUMBER MS ERROR      rejected; what became of it is unknown
//
// A command that failed is not sent again by the program; the next one follows 20 ms later, as in an application that
// writes 50 times a second. With `once` for RETRIES it is sent again, with the same number, as `ONCE SESSION NUMBER INCR KEY`,
// until it is acknowledged. It ends when its input ends.

import { randomUUID } from "node:crypto";
import { setTimeout as pause } from "node:timers/promises";

// How long it rests after a success: several programs share one machine.
const REST_MS = 5;
const REST_AFTER_FAILURE_MS = 20;

// DISCOVERY RETRIES PORT,PORT,PORT KEY, as every failover program takes them; RETRIES is `off`, `default` or `once`.
export function programArguments() {
  const [discovery, retries, ports, key] = process.argv.slice(2);
  const nodes = ports.split(",").map((port) => ({ host: "127.0.0.1", port: Number(port) }));
  return { discovery, retries: retries !== "off", nodes, key };
}

// Calls `incr` until the input ends; with `once`, `command` with the words of a command of Talon's.
export async function write(incr, command) {
  const once = process.argv[3] === "once";
  const key = process.argv[5];
  const session = randomUUID();
  let ended = false;
  process.stdin.resume();
  process.stdin.on("end", () => {
    ended = true;
  });
  const begun = performance.now();
  for (let number = 1; !ended; ) {
    try {
      const reply = once ? await command(["ONCE", session, String(number), "INCR", key]) : await incr();
      console.log(`ok ${number} ${reply} ${(performance.now() - begun).toFixed(1)}`);
      number += 1;
      await pause(REST_MS);
    } catch (error) {
      const text = `${error.name}: ${error.message}`.replace(/\s+/g, " ");
      console.log(`failed ${number} ${(performance.now() - begun).toFixed(1)} ${text.slice(0, 200)}`);
      number += once ? 0 : 1;
      await pause(REST_AFTER_FAILURE_MS);
    }
  }
  process.exit(0);
}
