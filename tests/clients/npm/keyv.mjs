// keyv over @keyv/redis, which brings node-redis. Vectors are kept as Base64 by its serializer.

import KeyvRedis, { createKeyv } from "@keyv/redis";
import { Keyv } from "keyv";
import { assert, place, session, until, url, vector } from "./steps.mjs";

const store = new KeyvRedis(url, { throwOnErrors: true });
const keyv = new Keyv({ store, namespace: "app", useKeyPrefix: false });
store.namespace = "app";

await session({
  async "keeps vectors and objects"() {
    for (let i = 0; i < 16; i++) assert.equal(await keyv.set(`vec:${i}`, vector(i)), true);
    for (let i = 0; i < 16; i++) assert.deepEqual(await keyv.get(`vec:${i}`), vector(i));
    const answer = { model: "gpt", tokens: [1, 2, 3], text: "grüße\r\n\0" };
    await keyv.set("answer", answer);
    assert.deepEqual(await keyv.get("answer"), answer);
    assert.equal(await keyv.get("none"), undefined);
    assert.equal(await keyv.has("answer"), true);
    assert.equal(await keyv.has("none"), false);
  },

  async "expires"() {
    await keyv.set("short", "x", 40);
    await keyv.set("long", "x", 100_000);
    await until(async () => (await keyv.get("short")) === undefined);
    const client = await store.getClient();
    assert.ok((await client.pTTL("app::long")) > 90_000);
  },

  async "takes many at once"() {
    const entries = Array.from({ length: 100 }, (_, i) => ({ key: `many:${i}`, value: i, ttl: 60_000 }));
    await keyv.setMany(entries);
    const found = await keyv.getMany([...entries.map(({ key }) => key), "none"]);
    assert.deepEqual(found, [...entries.map(({ value }) => value), undefined]);
    assert.equal(await keyv.deleteMany(["many:0", "many:1"]), true);
    assert.equal(await keyv.get("many:1"), undefined);
    assert.equal(await keyv.delete("many:2"), true);
    assert.equal(await keyv.delete("many:2"), false);
  },

  async "walks and clears its namespace only"() {
    const client = await store.getClient();
    await client.set("elsewhere", "stays");
    const seen = new Map();
    for await (const [key, value] of keyv.iterator()) seen.set(key, value);
    assert.equal(seen.get("many:3"), 3);
    assert.equal(seen.size, 16 + 1 + 1 + 97);
    await keyv.clear();
    assert.equal(await keyv.get("many:3"), undefined);
    assert.equal(await client.get("elsewhere"), "stays");
  },

  async "clears everything when it has no namespace and is told to"() {
    const all = createKeyv(url, { noNamespaceAffectsAll: true });
    await all.set("one", 1);
    await all.clear();
    assert.equal(await all.get("one"), undefined);
    assert.equal(await (await store.getClient()).dbSize(), 0);
    await all.disconnect();
  },

  async "authenticates, and says when it may not"() {
    const right = createKeyv({ url: `redis://:${place.password}@${place.host}:${place.authPort}` }, { throwOnErrors: true });
    await right.set("a", 1);
    assert.equal(await right.get("a"), 1);
    await right.disconnect();
    const none = createKeyv({ url: `redis://${place.host}:${place.authPort}` }, { throwOnErrors: true });
    await assert.rejects(none.set("a", 1), /NOAUTH/);
    await none.disconnect();
  },

  async "comes back after the daemon has closed the connection"() {
    const client = await store.getClient();
    await keyv.set("kept", 1);
    const id = await client.clientId();
    // By itself; the answer may or may not come first.
    assert.equal(await client.sendCommand(["CLIENT", "KILL", "ID", `${id}`, "SKIPME", "no"]).catch(() => 1), 1);
    assert.equal(await until(() => keyv.get("kept")), 1);
    assert.notEqual(await client.clientId(), id);
  },

  async "uses the Unix socket and RESP3"() {
    const near = createKeyv({ socket: { path: place.path }, RESP: 3 }, { namespace: "near" });
    await near.set("v", vector(7));
    assert.deepEqual(await near.get("v"), vector(7));
    await near.disconnect();
  },
}, {
  async "names models by the key"() {
    const models = createKeyv(url, { namespace: "emb:minilm", keyPrefixSeparator: ":" });
    await models.set("17", vector(17));
    const client = await store.getClient();
    assert.equal(await client.sendCommand(["MODEL", "OF", "emb:minilm:17"]), "minilm");
    await client.sendCommand(["CLEAR", "MODEL", "minilm"]);
    assert.equal(await models.get("17"), undefined);
    await models.disconnect();
  },
});
