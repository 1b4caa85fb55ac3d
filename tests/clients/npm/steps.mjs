// What the sessions in this folder share: where the daemons are, steps that are run one after the other and reported
// a line each, and values that hold every byte there is.
//
//     HARCAD_KIND         embedded, or fleet; or redis, to see that a session is right about Redis
//     HARCAD_PORT         the daemon's; keys emb:MODEL:ID belong to MODEL there
//     HARCAD_SOCKET       its Unix socket
//     HARCAD_AUTH_PORT    a daemon that wants the password in HARCAD_PASSWORD
//     HARCAD_UPSTREAM_PORT    the redis-server behind both, in a fleet

import assert from "node:assert/strict";
import { setTimeout as sleep } from "node:timers/promises";

export { assert };

export const place = {
  host: "127.0.0.1",
  port: Number(process.env.HARCAD_PORT),
  path: process.env.HARCAD_SOCKET,
  authPort: Number(process.env.HARCAD_AUTH_PORT),
  password: process.env.HARCAD_PASSWORD,
  upstreamPort: Number(process.env.HARCAD_UPSTREAM_PORT) || undefined,
};
export const url = `redis://${place.host}:${place.port}`;
export const onRedis = process.env.HARCAD_KIND === "redis";
export const canWatch = process.env.HARCAD_KIND !== "fleet";

/** A vector of 1024 floats as an application keeps it: 4 KiB, all byte values, another one for each seed. */
export function vector(seed) {
  return Buffer.from(Array.from({ length: 4096 }, (_, i) => (i + seed * 31 + (i >> 8)) & 0xff));
}

/** Polls until the function gives something true, which is returned; what it throws counts as "not yet". */
export async function until(what, timeoutMs = 10_000) {
  const deadline = Date.now() + timeoutMs;
  let last;
  while (Date.now() < deadline) {
    try {
      const result = await what();
      if (result) return result;
    } catch (error) {
      last = error;
    }
    await sleep(10);
  }
  throw new Error(`not within ${timeoutMs} ms: ${what} (${last})`);
}

/**
 * Runs the steps, objects of functions by name; ends the process, with 1 when one of them failed. `own`: what only
 * a harcad does so; all others hold for Redis as well.
 */
export async function session(steps, own = {}) {
  let failed = 0;
  for (const [name, step] of Object.entries(onRedis ? steps : { ...steps, ...own })) {
    try {
      await Promise.race([step(), sleep(20_000, null, { ref: false }).then(() => assert.fail("hangs"))]);
      console.log(`ok ${name}`);
    } catch (error) {
      failed++;
      console.log(`FAILED ${name}: ${error?.stack ?? error}`);
    }
  }
  process.exit(failed ? 1 : 0);
}
