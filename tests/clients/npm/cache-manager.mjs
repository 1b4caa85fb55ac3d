// cache-manager, with keyv over @keyv/redis as its only store, and behind a store in the application's memory.

import { createKeyv } from "@keyv/redis";
import { createCache } from "cache-manager";
import { Keyv } from "keyv";
import { assert, place, session, until, url, vector } from "./steps.mjs";

const shared = (where = url, more = {}) => createKeyv(where, { namespace: "cm", ...more });
const cache = createCache({ stores: [shared()], ttl: 60_000 });
const tiered = createCache({ stores: [new Keyv(), shared()] });

await session({
  async "keeps vectors"() {
    for (let i = 0; i < 16; i++) await cache.set(`vec:${i}`, vector(i));
    for (let i = 0; i < 16; i++) assert.deepEqual(await cache.get(`vec:${i}`), vector(i));
    assert.equal(await cache.get("none"), undefined);
  },

  async "tells and honours lifetimes"() {
    assert.ok((await cache.ttl("vec:0")) > Date.now());
    await cache.set("short", "x", 40);
    await until(async () => (await cache.get("short")) === undefined);
  },

  async "computes what is not there, once"() {
    let calls = 0;
    const embed = () => cache.wrap("wrapped", async () => (calls++, vector(99)), 30_000);
    const results = await Promise.all(Array.from({ length: 20 }, embed));
    results.forEach((result) => assert.deepEqual(result, vector(99)));
    assert.deepEqual(await embed(), vector(99));
    assert.equal(calls, 1);
  },

  async "refreshes what is about to expire"() {
    let calls = 0;
    const fresh = () => cache.wrap("fresh", async () => ++calls, { ttl: 5_000, refreshThreshold: 10_000 });
    assert.equal(await fresh(), 1);
    await until(async () => (await fresh()) > 1);
  },

  async "takes many at once"() {
    await cache.mset([{ key: "m:1", value: 1 }, { key: "m:2", value: { two: 2 }, ttl: 9_000 }]);
    assert.deepEqual(await cache.mget(["m:1", "m:none", "m:2"]), [1, undefined, { two: 2 }]);
    await cache.mdel(["m:1", "m:2"]);
    assert.equal(await cache.get("m:1"), undefined);
    assert.equal(await cache.del("vec:0"), true);
    assert.equal(await cache.get("vec:0"), undefined);
  },

  async "stands behind a store in memory"() {
    await tiered.set("t:1", vector(1));
    const other = createCache({ stores: [new Keyv(), shared()] });
    assert.deepEqual(await other.get("t:1"), vector(1));
    await tiered.del("t:1");
    assert.equal(await cache.get("t:1"), undefined);
    await other.disconnect();
  },

  async "authenticates, and says when it may not"() {
    const locked = `redis://${place.host}:${place.authPort}`;
    const right = createCache({ stores: [shared({ url: locked, password: place.password })] });
    await right.set("a", vector(2));
    assert.deepEqual(await right.get("a"), vector(2));
    await right.disconnect();
    const store = shared(locked, { throwOnErrors: true });
    const none = createCache({ stores: [store] });
    await assert.rejects(none.set("a", 1), /NOAUTH/);
    await none.disconnect();
  },

  async "comes back after the daemon has closed the connection"() {
    const keyv = shared();
    const own = createCache({ stores: [keyv] });
    await own.set("kept", 1);
    const client = await keyv.store.getClient();
    const id = await client.clientId();
    // By itself; the answer may or may not come first.
    assert.equal(await client.sendCommand(["CLIENT", "KILL", "ID", `${id}`, "SKIPME", "no"]).catch(() => 1), 1);
    assert.equal(await until(() => own.get("kept")), 1);
    assert.notEqual(await client.clientId(), id);
    await own.disconnect();
  },

  async "uses the Unix socket"() {
    const near = createCache({ stores: [shared({ socket: { path: place.path } })] });
    assert.deepEqual(await near.get("vec:3"), vector(3));
    await near.disconnect();
  },

  async "clears"() {
    await cache.clear();
    assert.equal(await cache.get("vec:1"), undefined);
    await cache.disconnect();
    await tiered.disconnect();
  },
});
