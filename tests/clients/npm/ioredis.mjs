// ioredis, as an application that keeps vectors uses it.

import Redis from "ioredis";
import { assert, canWatch, place, session, until, vector } from "./steps.mjs";

const at = { host: place.host, port: place.port };
const redis = new Redis({ ...at, connectionName: "app", maxRetriesPerRequest: 3 });

await session({
  async "connects, waits for INFO, names itself"() {
    assert.equal(await redis.ping(), "PONG");
    assert.equal(redis.status, "ready");
    assert.equal(await redis.client("GETNAME"), "app");
    assert.match(await redis.info("server"), /^redis_version:7\./m);
  },

  async "keeps vectors byte for byte"() {
    for (let i = 0; i < 16; i++) assert.equal(await redis.set(`vec:${i}`, vector(i)), "OK");
    for (let i = 0; i < 16; i++) assert.deepEqual(await redis.getBuffer(`vec:${i}`), vector(i));
    const many = await redis.mgetBuffer("vec:3", "vec:none", "vec:5");
    assert.deepEqual(many, [vector(3), null, vector(5)]);
    const key = Buffer.from([0, 255, 13, 10, 128]);
    await redis.set(key, "binary key");
    assert.equal(await redis.get(key), "binary key");
  },

  async "expires"() {
    await redis.set("ttl:a", "x", "EX", 100);
    assert.ok((await redis.ttl("ttl:a")) > 90);
    await redis.setex("ttl:b", 50, "x");
    await redis.pexpire("ttl:b", 90_000);
    assert.ok((await redis.pttl("ttl:b")) > 80_000);
    assert.equal(await redis.persist("ttl:b"), 1);
    assert.equal(await redis.ttl("ttl:b"), -1);
    await redis.set("ttl:c", "x", "PX", 30);
    await until(async () => (await redis.get("ttl:c")) === null);
    assert.equal(await redis.set("ttl:a", "y", "KEEPTTL", "GET"), "x");
    assert.equal(await redis.set("ttl:a", "z", "EX", 9, "NX"), null);
  },

  async "pipelines"() {
    const pipeline = redis.pipeline();
    for (let i = 0; i < 500; i++) pipeline.set(`pipe:${i}`, vector(i)).getBuffer(`pipe:${i}`);
    const replies = await pipeline.exec();
    assert.equal(replies.length, 1000);
    for (let i = 0; i < 500; i++) {
      assert.deepEqual(replies[2 * i], [null, "OK"]);
      assert.deepEqual(replies[2 * i + 1], [null, vector(i)]);
    }
    const mixed = await redis.pipeline().set("pipe:n", "text").incr("pipe:n").get("pipe:n").exec();
    assert.equal(mixed[1][0].message, "ERR value is not an integer or out of range");
    assert.equal(mixed[2][1], "text");
  },

  async "pipelines by itself"() {
    const auto = new Redis({ ...at, enableAutoPipelining: true });
    const replies = await Promise.all(Array.from({ length: 100 }, (_, i) => auto.getBuffer(`pipe:${i}`)));
    replies.forEach((reply, i) => assert.deepEqual(reply, vector(i)));
    await auto.quit();
  },

  async "runs transactions"() {
    const replies = await redis.multi().set("tx:a", "1").incr("tx:a").get("tx:a").exec();
    assert.deepEqual(replies, [[null, "OK"], [null, 2], [null, "2"]]);
    await redis.multi({ pipeline: false });
    assert.equal(await redis.set("tx:a", "5"), "QUEUED");
    assert.equal(await redis.discard(), "OK");
    assert.equal(await redis.get("tx:a"), "2");
    await assert.rejects(redis.multi().set("tx:a", "7").call("NOSUCH").exec(), /EXECABORT/);
    assert.equal(await redis.get("tx:a"), "2");
  },

  async "watches keys, or is told why not"() {
    const other = new Redis(at);
    await redis.set("watch:a", "1");
    if (!canWatch) {
      await assert.rejects(redis.watch("watch:a"), /WATCH .*upstream/);
    } else {
      await redis.watch("watch:a");
      await other.set("watch:a", "2");
      assert.equal(await redis.multi().set("watch:a", "3").exec(), null);
      await redis.watch("watch:a");
      assert.deepEqual(await redis.multi().set("watch:a", "4").exec(), [[null, "OK"]]);
      assert.equal(await other.get("watch:a"), "4");
    }
    await other.quit();
  },

  async "scans to the end"() {
    const writes = redis.pipeline();
    for (let i = 0; i < 1000; i++) writes.set(`scan:${i}`, i);
    await writes.exec();
    const seen = new Set();
    for await (const keys of redis.scanStream({ match: "scan:*", count: 100 })) keys.forEach((key) => seen.add(key));
    assert.equal(seen.size, 1000);
  },

  async "gets errors in Redis's words"() {
    await assert.rejects(redis.call("NOSUCH", "a"), { message: "ERR unknown command 'NOSUCH', with args beginning with: 'a' " });
    await assert.rejects(redis.call("GET"), { message: "ERR wrong number of arguments for 'get' command" });
    await assert.rejects(redis.set("e", "v", "EX", 0), /invalid expire time/);
    await assert.rejects(redis.set("e", "v", "PX", "soon"), /not an integer/);
    assert.equal(await redis.ping(), "PONG");
  },

  async "authenticates"() {
    const quiet = (client) => client.on("error", () => {});
    const to = { host: place.host, port: place.authPort, retryStrategy: null, maxRetriesPerRequest: 0 };
    const none = quiet(new Redis({ ...to, enableReadyCheck: false }));
    await assert.rejects(none.get("a"), /NOAUTH Authentication required/);
    none.disconnect();
    const wrong = quiet(new Redis({ ...to, password: "wrong", enableReadyCheck: false }));
    await assert.rejects(wrong.get("a"), /NOAUTH|WRONGPASS/);
    wrong.disconnect();
    for (const user of [{}, { username: "default" }]) {
      const right = new Redis({ ...to, ...user, password: place.password });
      assert.equal(await right.set("a", "1"), "OK");
      await right.quit();
    }
  },

  async "comes back after the daemon has closed the connection"() {
    const killer = new Redis(at);
    const id = await redis.client("ID");
    assert.equal(await killer.client("KILL", "ID", id), 1);
    assert.deepEqual(await until(() => redis.getBuffer("vec:1")), vector(1));
    assert.notEqual(await redis.client("ID"), id);
    assert.equal(await redis.client("GETNAME"), "app");
    await killer.quit();
  },

  async "uses the Unix socket"() {
    const near = new Redis({ path: place.path });
    assert.deepEqual(await near.getBuffer("vec:2"), vector(2));
    await near.quit();
  },
}, {
  async "is told that there are no scripts and no channels"() {
    redis.defineCommand("twice", { numberOfKeys: 1, lua: "return redis.call('get', KEYS[1])" });
    if (process.env.HARCAD_KIND !== "fleet") /* there scripts are passed on */
        await assert.rejects(redis.twice("vec:0"), /unknown command 'eval/i);
    await assert.rejects(redis.eval("return 1", 0), /unknown command 'eval'|not passed on/i);
    const subscriber = new Redis(at);
    await assert.rejects(subscriber.subscribe("news"), /unknown command 'subscribe'|not passed on/i);
    subscriber.disconnect();
  },

  async "names models"() {
    await redis.call("SET", "m:1", vector(1), "MODEL", "minilm");
    assert.equal(await redis.call("MODEL", "OF", "m:1"), "minilm");
    assert.equal(await redis.call("GET", "m:1", "MODEL", "other"), null);
    await redis.set("emb:e5@v2:17", vector(2));
    assert.equal(await redis.call("MODEL", "OF", "emb:e5@v2:17"), "e5@v2");
    const own = new Redis(at);
    assert.equal(await own.call("MODEL", "USE", "gte"), "OK");
    await own.set("m:2", "x");
    assert.equal(await own.call("MODEL", "OF", "m:2"), "gte");
    assert.equal(await redis.call("CLEAR", "MODEL", "minilm"), "OK");
    assert.equal(await redis.get("m:1"), null);
    assert.equal(await redis.get("m:2"), "x");
    await own.quit();
  },
});
