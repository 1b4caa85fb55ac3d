// bentocache: its memory as the first level, its Redis driver (ioredis) as the second.

import { BentoCache, bentostore } from "bentocache";
import { memoryDriver } from "bentocache/drivers/memory";
import { redisBusDriver, redisDriver } from "bentocache/drivers/redis";
import Redis from "ioredis";
import { assert, place, session, until, vector } from "./steps.mjs";

const connection = { host: place.host, port: place.port };
const base64 = (seed) => vector(seed).toString("base64");

/** One that keeps all in that Redis only. */
function onlyShared(connection) {
  const store = bentostore().useL2Layer(redisDriver({ connection }));
  return new BentoCache({ default: "shared", prefix: "bento", suppressL2Errors: false, stores: { shared: store } });
}

/** As one instance of the application has it. */
function instance(more = {}) {
  return new BentoCache({
    default: "tiered",
    prefix: "bento",
    stores: {
      tiered: bentostore().useL1Layer(memoryDriver({ maxSize: "10mb" })).useL2Layer(redisDriver({ connection })),
      shared: bentostore().useL2Layer(redisDriver({ connection })),
      ...more,
    },
  });
}

/** A cache whose first level hears of others' changes over the channels of that port. */
function withBus(port) {
  const bus = redisBusDriver({ connection: { host: place.host, port } });
  const tiered = bentostore().useL1Layer(memoryDriver({})).useL2Layer(redisDriver({ connection }));
  return instance({ bus: tiered.useBus(bus) }).use("bus");
}

const bento = instance();
const sibling = instance();
const redis = new Redis(connection);

await session({
  async "computes what is not there, once, and shares it"() {
    let calls = 0;
    const embed = (cache) => cache.getOrSet({ key: "vec:1", ttl: "1h", factory: async () => (calls++, base64(1)) });
    const results = await Promise.all(Array.from({ length: 20 }, () => embed(bento)));
    results.forEach((result) => assert.equal(result, base64(1)));
    assert.equal(await embed(sibling), base64(1));
    assert.equal(calls, 1);
    assert.ok((await redis.ttl("bento:vec:1")) > 3000);
  },

  async "keeps, tells and deletes"() {
    const cache = bento.use("shared");
    for (let i = 0; i < 16; i++) await cache.set({ key: `k:${i}`, value: { i, v: base64(i) } });
    assert.deepEqual(await cache.get({ key: "k:3" }), { i: 3, v: base64(3) });
    assert.equal(await cache.has({ key: "k:3" }), true);
    assert.equal(await cache.missing({ key: "none" }), true);
    assert.deepEqual((await cache.pull("k:4")).i, 4);
    assert.equal(await cache.has({ key: "k:4" }), false);
    assert.equal(await cache.delete({ key: "k:5" }), true);
    assert.equal(await cache.deleteMany({ keys: ["k:6", "k:7"] }), true);
    assert.equal(await cache.has({ key: "k:7" }), false);
  },

  async "expires, and serves what is stale while it computes"() {
    const cache = bento.use("shared");
    await cache.set({ key: "short", value: 1, ttl: 40 });
    await until(async () => (await cache.get({ key: "short" })) === undefined);
    await cache.set({ key: "graced", value: "old", ttl: 20, grace: "1h" });
    await until(async () => (await cache.get({ key: "graced" })) === undefined);
    const failing = () => { throw new Error("the model is down"); };
    assert.equal(await cache.getOrSet({ key: "graced", ttl: 20, grace: "1h", factory: failing }), "old");
  },

  async "forgets by tag and by namespace"() {
    const cache = bento.use("shared");
    await cache.set({ key: "tagged", value: 1, tags: ["minilm"] });
    await cache.set({ key: "other", value: 2, tags: ["e5"] });
    await cache.deleteByTag({ tags: ["minilm"] });
    assert.equal(await cache.get({ key: "tagged" }), undefined);
    assert.equal(await cache.get({ key: "other" }), 2);
    const users = cache.namespace("users");
    await users.set({ key: "1", value: "u" });
    await users.clear();
    assert.equal(await users.get({ key: "1" }), undefined);
    assert.equal(await cache.get({ key: "other" }), 2);
  },

  async "authenticates, and says when it may not"() {
    const locked = { host: place.host, port: place.authPort };
    const right = onlyShared({ ...locked, password: place.password });
    await right.set({ key: "a", value: base64(2) });
    assert.equal(await right.get({ key: "a" }), base64(2));
    await right.disconnectAll();
    const none = onlyShared(locked);
    await assert.rejects(none.set({ key: "a", value: 1 }), (error) => /NOAUTH/.test(`${error} ${error.cause}`));
    await none.disconnectAll();
  },

  async "comes back after the daemon has closed the connection"() {
    const cache = onlyShared({ ...connection, connectionName: "to-be-closed" });
    await cache.set({ key: "kept", value: 1 });
    const found = async () => /id=(\d+) .*name=to-be-closed/.exec(await redis.client("LIST"))?.[1];
    const id = await found();
    assert.equal(await redis.client("KILL", "ID", id), 1);
    assert.equal(await until(() => cache.get({ key: "kept" })), 1);
    assert.notEqual(await found(), id);
    await cache.disconnectAll();
  },

  async "uses the Unix socket"() {
    const near = onlyShared({ path: place.path });
    assert.equal((await near.get({ key: "k:3" })).v, base64(3));
    await near.disconnectAll();
  },

  async "clears its prefix only"() {
    await redis.set("elsewhere", "stays");
    await bento.use("shared").clear();
    assert.equal(await bento.use("shared").get({ key: "other" }), undefined);
    assert.equal(await redis.get("elsewhere"), "stays");
  },

  async "leaves"() {
    await bento.disconnectAll();
    await sibling.disconnectAll();
  },
}, {
  // Its promise to subscribe is nobody's: where it is refused, Node ends an application that does not listen for that.
  async "is refused a bus by the daemon, in words"() {
    const refused = new Promise((resolve) => process.once("unhandledRejection", resolve));
    const cache = withBus(place.port);
    await cache.set({ key: "b", value: 1 });
    assert.equal(await cache.get({ key: "b" }), 1);
    assert.match(String(await refused), /unknown command 'subscribe'|not passed on/i);
  },

  async "has its bus go over a Redis, where there is one"() {
    if (!place.upstreamPort) return;
    const [one, two] = [withBus(place.upstreamPort), withBus(place.upstreamPort)];
    await one.set({ key: "c", value: 1 });
    await until(async () => (await two.get({ key: "c" })) === 1);
    await until(async () => {
      await one.set({ key: "c", value: 2 }); // again, until the other one listens
      return (await two.get({ key: "c" })) === 2;
    });
  },
});
