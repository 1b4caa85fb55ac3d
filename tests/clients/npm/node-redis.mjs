// node-redis, as an application that keeps vectors uses it. Argument: the protocol, 2 or 3.

import { createClient, createClientPool, RESP_TYPES, WatchError } from "redis";
import { assert, canWatch, onRedis, place, session, until, url, vector } from "./steps.mjs";

const RESP = Number(process.argv[2] ?? 2);
const options = { url, RESP };

async function connect(more = {}) {
  const client = createClient({ ...options, ...more });
  client.on("error", () => {});
  return client.connect();
}

const redis = await connect({ name: "app" });
const bytes = redis.withTypeMapping({ [RESP_TYPES.BLOB_STRING]: Buffer });

await session({
  async "shakes hands"() {
    assert.equal(await redis.ping(), "PONG");
    assert.equal(await redis.clientGetName(), "app");
    assert.equal((await redis.hello(RESP)).proto, RESP);
    if (!onRedis) assert.equal((await redis.clientInfo()).libName, "node-redis"); // Redis 7.0 keeps none
  },

  async "keeps vectors byte for byte"() {
    for (let i = 0; i < 16; i++) assert.equal(await redis.set(`vec:${i}`, vector(i)), "OK");
    for (let i = 0; i < 16; i++) assert.deepEqual(await bytes.get(`vec:${i}`), vector(i));
    assert.deepEqual(await bytes.mGet(["vec:3", "vec:none", "vec:5"]), [vector(3), null, vector(5)]);
    const key = Buffer.from([0, 255, 13, 10, 128]);
    await redis.set(key, "binary key");
    assert.equal(await redis.get(key), "binary key");
  },

  async "expires"() {
    await redis.set("ttl:a", "x", { expiration: { type: "EX", value: 100 } });
    assert.ok((await redis.ttl("ttl:a")) > 90);
    await redis.setEx("ttl:b", 50, "x");
    assert.equal(await redis.pExpire("ttl:b", 90_000), 1);
    assert.ok((await redis.pTTL("ttl:b")) > 80_000);
    assert.equal(await redis.persist("ttl:b"), 1);
    assert.equal(await redis.ttl("ttl:b"), -1);
    await redis.pSetEx("ttl:c", 30, "x");
    await until(async () => (await redis.get("ttl:c")) === null);
    assert.equal(await redis.set("ttl:a", "y", { expiration: "KEEPTTL", GET: true }), "x");
    assert.equal(await redis.set("ttl:a", "z", { condition: "NX" }), null);
    assert.equal(await redis.getEx("ttl:a", { type: "EX", value: 200 }), "y");
    assert.ok((await redis.expireTime("ttl:a")) > Date.now() / 1000 + 150);
  },

  async "pipelines what is asked in one turn"() {
    await Promise.all(Array.from({ length: 500 }, (_, i) => redis.set(`pipe:${i}`, vector(i))));
    const replies = await Promise.all(Array.from({ length: 500 }, (_, i) => bytes.get(`pipe:${i}`)));
    replies.forEach((reply, i) => assert.deepEqual(reply, vector(i)));
    assert.deepEqual(await redis.multi().set("pipe:n", "1").incr("pipe:n").execAsPipeline(), ["OK", 2]);
  },

  async "runs transactions"() {
    assert.deepEqual(await redis.multi().set("tx:a", "1").incr("tx:a").get("tx:a").exec(), ["OK", 2, "2"]);
    await assert.rejects(redis.multi().set("tx:a", "7").addCommand(["NOSUCH"]).exec(), /EXECABORT|unknown command/);
    assert.equal(await redis.get("tx:a"), "2");
  },

  async "watches keys, or is told why not"() {
    const other = await connect();
    await redis.set("watch:a", "1");
    if (!canWatch) {
      await assert.rejects(other.watch("watch:a"), /WATCH .*upstream/);
    } else {
      await other.watch("watch:a");
      await redis.set("watch:a", "2");
      await assert.rejects(other.multi().set("watch:a", "3").exec(), WatchError);
      await other.watch("watch:a");
      assert.deepEqual(await other.multi().set("watch:a", "4").exec(), ["OK"]);
      assert.equal(await redis.get("watch:a"), "4");
      assert.equal(await other.unwatch(), "OK");
    }
    await other.close();
  },

  async "scans to the end"() {
    await Promise.all(Array.from({ length: 1000 }, (_, i) => redis.set(`scan:${i}`, String(i))));
    const seen = new Set();
    for await (const keys of redis.scanIterator({ MATCH: "scan:*", COUNT: 100, TYPE: "string" })) keys.forEach((key) => seen.add(key));
    assert.equal(seen.size, 1000);
  },

  async "gets errors in Redis's words"() {
    await assert.rejects(redis.sendCommand(["NOSUCH", "a"]), { message: "ERR unknown command 'NOSUCH', with args beginning with: 'a' " });
    await assert.rejects(redis.sendCommand(["GET"]), { message: "ERR wrong number of arguments for 'get' command" });
    await redis.set("e", "text");
    await assert.rejects(redis.incr("e"), { message: "ERR value is not an integer or out of range" });
    assert.equal(await redis.ping(), "PONG");
  },

  async "authenticates"() {
    const to = { url: `redis://${place.host}:${place.authPort}`, socket: { reconnectStrategy: false } };
    await assert.rejects(async () => (await connect(to)).get("a"), /NOAUTH/);
    await assert.rejects(connect({ ...to, password: "wrong" }), /WRONGPASS/);
    const named = await connect({ url: `redis://default:${place.password}@${place.host}:${place.authPort}/0` });
    assert.equal(await named.set("a", "1"), "OK");
    await named.close();
  },

  async "comes back after the daemon has closed the connection"() {
    const killer = await connect();
    const id = await redis.clientId();
    assert.equal(await killer.clientKill({ filter: "ID", id }), 1);
    await until(async () => (await redis.clientId()) !== id);
    assert.equal(await redis.clientGetName(), "app");
    assert.deepEqual(await bytes.get("vec:1"), vector(1));
    await killer.close();
  },

  async "pools connections"() {
    const pool = await createClientPool(options, { minimum: 2, maximum: 4 }).on("error", () => {}).connect();
    await Promise.all(Array.from({ length: 50 }, (_, i) => pool.set(`pool:${i}`, String(i))));
    assert.equal(await pool.get("pool:49"), "49");
    await pool.close();
  },

  async "uses the Unix socket"() {
    const near = await connect({ url: undefined, socket: { path: place.path } });
    assert.equal(await near.set("unix", "1"), "OK");
    await near.close();
  },

  async "asks for what operators ask"() {
    assert.match(await redis.info(), /redis_version:7/);
    assert.match((await redis.configGet("maxmemory")).maxmemory, /^[0-9]+$/);
    assert.ok((await redis.dbSize()) > 1000);
    assert.ok((await redis.commandCount()) > 50);
    assert.equal((await redis.commandInfo(["get"]))[0].name, "get");
    assert.equal((await redis.clientList()).length >= 1, true);
    assert.equal((await redis.time()).length ?? 1, 2);
    assert.ok(await redis.memoryUsage("vec:1"));
    assert.equal(await redis.type("vec:1"), "string");
  },
}, {
  async "is told that there are no scripts, no channels and no tracking"() {
    await assert.rejects(redis.eval("return 1"), /unknown command 'eval'|not passed on/i);
    const subscriber = await connect();
    await assert.rejects(subscriber.subscribe("news", () => {}), /unknown command 'subscribe'|not passed on/i);
    subscriber.destroy();
    if (RESP === 3) {
      const tracked = connect({ clientSideCache: { ttl: 0, maxEntries: 0, evictPolicy: "LRU" }, socket: { host: place.host, port: place.port, reconnectStrategy: false } });
      await assert.rejects(tracked, /unknown subcommand 'TRACKING'/i);
    }
  },

  async "names models"() {
    await redis.sendCommand(["SET", "m:1", vector(1), "MODEL", "minilm"]);
    assert.equal(await redis.sendCommand(["MODEL", "OF", "m:1"]), "minilm");
    await redis.set("emb:e5@v2:17", vector(2));
    assert.equal(await redis.sendCommand(["MODEL", "OF", "emb:e5@v2:17"]), "e5@v2");
    const own = await connect();
    assert.equal(await own.sendCommand(["MODEL", "USE", "gte"]), "OK");
    await own.set("m:2", "x");
    assert.equal(await own.sendCommand(["MODEL", "OF", "m:2"]), "gte");
    assert.equal(await redis.sendCommand(["CLEAR", "MODEL", "minilm"]), "OK");
    assert.equal(await redis.get("m:1"), null);
    assert.equal(await redis.get("m:2"), "x");
    await own.close();
  },
});
