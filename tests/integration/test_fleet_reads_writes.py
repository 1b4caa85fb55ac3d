"""Reads and writes of a fleet: what the shared Redis holds is what each daemon answers, and the other way round."""

import os
import random
import time

import pytest

from fleet import MAGIC, ONE_TURN, PREFIX, STATE, calls, frame_parts, prime, serves, start_fleet
from harcad_harness import RawConn, RespError, SLOW, wait_until

VALUES = {
    "empty": b"",
    "one byte": b"x",
    "one MiB": os.urandom(1 << 20),
    "binary": bytes(range(256)),
    "like a frame": MAGIC + b"\1\0 and so on, longer than the header of a frame is",
    "the magic alone": MAGIC,
}
WRONGTYPE = RespError("WRONGTYPE Operation against a key holding the wrong kind of value")


@pytest.fixture
def fleet(make_harcad, redis_server):
    return start_fleet(make_harcad, redis_server)


@pytest.fixture
def node(make_harcad, redis_server):
    return start_fleet(make_harcad, redis_server, 1)[0]


# ---- through to the upstream and back ----


def test_get_fetches_the_value_and_its_remaining_ttl_together(redis_server, node):
    redis_server.client().set(PREFIX + b"k", b"v", px=100_000)
    with node.raw() as conn:
        assert conn.command("GET", "k") == b"v"
        before = calls(redis_server, "get", "pttl", "ttl")
        assert 100_000 - 30_000 * SLOW < conn.command("PTTL", "k") <= 100_000
        assert conn.command("GET", "k") == b"v"
        assert calls(redis_server, "get", "pttl", "ttl") == before, "both came with the first GET"
    assert node.info()["fills"] == 1


@pytest.mark.parametrize("writer", ["redis", "sibling"])
def test_a_copy_expires_at_the_daemon_with_the_key(make_harcad, redis_server, writer):
    nodes = start_fleet(make_harcad, redis_server, 2)
    with nodes[0].raw() as conn:
        started = time.monotonic()
        if writer == "redis":
            redis_server.client().set(PREFIX + b"k", b"v", px=1500)
        else:
            nodes[1].client().set("k", b"v", px=1500)
        assert conn.command("GET", "k") == b"v"
        wait_until(lambda: conn.command("GET", "k") is None, message="it expires here too", interval=0.02)
        assert time.monotonic() - started >= 1.45
        assert conn.command("PTTL", "k") == -2


@pytest.mark.parametrize("value", VALUES.values(), ids=VALUES)
def test_values_of_all_kinds_go_through_and_back(redis_server, fleet, value):
    upstream = redis_server.client()
    assert fleet[0].client().set("k", value)
    stored = upstream.get(PREFIX + b"k")
    if value.startswith(MAGIC):
        assert frame_parts(stored)[4] == value
    else:
        assert stored == value, "raw, so that any client can read it"
    with fleet[0].raw() as conn:
        assert conn.command("SET", "m", value, "MODEL", "a/b:c@d") == "OK"
    model, seq, incarnation, epoch, inner = frame_parts(upstream.get(PREFIX + b"m"))
    assert (model, epoch, inner) == (b"a/b:c@d", 0, value)
    assert (seq, incarnation) == (int(upstream.hget(STATE, "seq")), int(upstream.hget(STATE, "inc")))
    for each in fleet:
        with each.raw() as conn:
            assert conn.command("MGET", "k", "m") == [value, value]
            assert conn.command("MODEL", "OF", "m") == b"a/b:c@d"
            assert conn.command("STRLEN", "m") == len(value)


def test_an_acknowledged_write_is_in_redis(redis_server, node):
    upstream, client = redis_server.client(), node.client()
    for i in range(200):
        assert client.set("k", i)
        assert upstream.get(PREFIX + b"k") == b"%d" % i
    assert client.delete("k") == 1
    assert upstream.exists(PREFIX + b"k") == 0


def test_a_ttl_set_at_one_daemon_is_seen_by_all(redis_server, fleet):
    fleet[0].client().set("k", "v", px=100_000)
    for node in fleet:
        assert 100_000 - 30_000 * SLOW < node.client().pttl("k") <= 100_000
    assert fleet[1].client().expire("k", 1000) == 1
    for node in fleet:
        wait_until(lambda node=node: 900 < node.client().ttl("k") <= 1000)
    assert fleet[2].client().persist("k") == 1
    for node in fleet:
        wait_until(lambda node=node: node.client().ttl("k") == -1)
    assert redis_server.client().ttl(PREFIX + b"k") == -1


def test_ttl_default_is_given_to_what_is_stored_without_one(make_harcad, redis_server):
    node, = start_fleet(make_harcad, redis_server, 1, {"ttl.default": "100s"})
    node.client().set("k", "v")
    node.client().set("own", "v", ex=10)
    assert 50 < redis_server.client().ttl(PREFIX + b"k") <= 100
    assert 0 < redis_server.client().ttl(PREFIX + b"own") <= 10
    assert 50 < node.client().ttl("k") <= 100


def test_ttl_local_max_caps_copies_and_not_keys(make_harcad, redis_server):
    node, = start_fleet(make_harcad, redis_server, 1, {"ttl.local_max": "300ms", "ttl.jitter": "0"})
    client = node.client()
    client.set("k", "v", ex=1000)
    assert redis_server.client().ttl(PREFIX + b"k") > 900
    assert client.ttl("k") > 900
    # Redis is changed behind the fleet's back: only the cap makes the daemon look again.
    redis_server.client().set(PREFIX + b"k", "other")
    wait_until(lambda: client.get("k") == b"other", message="the copy is fetched anew")


@pytest.mark.parametrize("mode", ["always", "never"])
def test_upstream_frame_decides_which_values_get_a_frame(make_harcad, redis_server, mode):
    nodes = start_fleet(make_harcad, redis_server, 2, {"upstream.frame": mode})
    upstream = redis_server.client()
    with nodes[0].raw() as conn:
        conn.command("SET", "plain", "v")
        conn.command("SET", "of-model", "v", "MODEL", "m")
        conn.command("SET", "like", VALUES["like a frame"])
    framed = {key: frame_parts(upstream.get(PREFIX + key)) for key in (b"plain", b"of-model", b"like")}
    assert framed[b"like"][4] == VALUES["like a frame"], "or nobody could tell"
    if mode == "always":
        assert framed[b"plain"][0] in (b"", b"default") and framed[b"of-model"][0] == b"m"
    else:
        assert framed[b"plain"] is None and framed[b"of-model"] is None
    with nodes[1].raw() as conn:
        assert conn.command("MGET", "plain", "of-model", "like") == [b"v", b"v", VALUES["like a frame"]]


# ---- prefixes ----


@pytest.mark.parametrize("prefix", ["", "app:", "weird *?[x]\\:"])
def test_the_prefix_is_put_before_keys_and_taken_off(make_harcad, redis_server, prefix):
    nodes = start_fleet(make_harcad, redis_server, 2, {"upstream.prefix": prefix})
    upstream = redis_server.client()
    nodes[0].client().set("k", "v")
    assert upstream.get(prefix + "k") == b"v"
    assert nodes[1].client().get("k") == b"v"
    upstream.set("someone else's" if prefix else "harcad/other/state", "stays")
    assert list(nodes[1].client().scan_iter()) == [b"k"]
    assert nodes[1].client().dbsize() == 1
    assert nodes[1].client().flushdb()
    serves(nodes[0], "k", None)
    assert upstream.get("someone else's" if prefix else "harcad/other/state") == b"stays"
    assert upstream.hget(STATE, "inc"), "the fleet's own key is no application's"


def test_two_fleets_on_one_redis_do_not_disturb_each_other(make_harcad, redis_server):
    names = ("one", "two")
    fleets = [start_fleet(make_harcad, redis_server, 2, {"fleet.name": n, "upstream.prefix": n + ":"}) for n in names]
    for name, (first, _) in zip(names, fleets):
        with first.raw() as conn:
            assert conn.command("MSET", "k", name, "only-" + name, "x") == "OK"
            assert conn.command("SET", "m", name, "MODEL", "m") == "OK"
    for name, nodes in zip(names, fleets):
        prime(nodes[1], "k", "m")
    before = fleets[1][1].info()
    fleets[0][0].client().delete("k")
    with fleets[0][0].raw() as conn:
        assert conn.command("CLEAR", "MODEL", "m") == "OK"
    assert fleets[0][0].client().flushdb()
    serves(fleets[0][1], "k", None)
    serves(fleets[0][1], "m", None)
    for node in fleets[1]:
        client = node.client()
        assert client.mget("k", "m", "only-two", "only-one") == [b"two", b"two", b"x", None]
        assert sorted(client.scan_iter()) == [b"k", b"m", b"only-two"]
    after = fleets[1][1].info()
    assert after["invalidations_in"] == before["invalidations_in"]
    assert after["memory_hits"] >= before["memory_hits"] + 2, "its copies were still there"


# ---- SCAN and its kin ----


def test_scan_dbsize_and_flushdb_mean_the_own_prefix_only(redis_server, fleet):
    upstream = redis_server.client()
    fleet[0].client().mset({f"k{i}": i for i in range(300)})
    with fleet[0].raw() as conn:
        conn.command("SET", "m", "v", "MODEL", "m")
    upstream.mset({f"other{i}": i for i in range(50)})
    expected = sorted([b"m"] + [b"k%d" % i for i in range(300)])
    for node in fleet:
        assert sorted(node.client().scan_iter(count=17)) == expected
        assert node.client().dbsize() == 301
        assert sorted(node.client().scan_iter(match="k1?")) == [b"k1%d" % i for i in range(10)]
    prime(fleet[2], "k1", "m")
    assert fleet[1].client().flushdb()
    assert fleet[1].client().mget("k0", "m") == [None, None]
    for node in fleet:
        serves(node, "k1", None)
        serves(node, "m", None)
        assert node.client().dbsize() == 0
    assert len(upstream.keys("other*")) == 50
    assert upstream.hget(STATE, "inc")


# ---- other types ----


def test_keys_of_other_types_are_wrong_types_and_can_be_replaced(redis_server, fleet):
    upstream = redis_server.client()
    upstream.rpush(PREFIX + b"list", "a", "b")
    with fleet[0].raw() as conn:
        assert conn.command("GET", "list") == WRONGTYPE
        assert conn.command("STRLEN", "list") == WRONGTYPE
        assert conn.command("GETDEL", "list") == WRONGTYPE
        assert conn.command("GETEX", "list", "EX", "10") == WRONGTYPE
        assert conn.command("SET", "list", "v", "GET") == WRONGTYPE
        assert conn.command("MGET", "list", "nope") == [None, None]
        assert conn.command("EXISTS", "list") == 1
        assert conn.command("TYPE", "list") == "list"
        assert conn.command("SETNX", "list", "v") == 0
        assert conn.command("EXPIRE", "list", "1000") == 1
        assert 900 < conn.command("TTL", "list") <= 1000
        assert upstream.llen(PREFIX + b"list") == 2, "all that left it alone"
        assert conn.command("SET", "list", "v") == "OK"
        assert conn.command("GET", "list") == b"v"
    upstream.sadd(PREFIX + b"set", "a")
    with fleet[1].raw() as conn:
        assert conn.command("DEL", "set") == 1
        assert conn.command("GET", "list") == b"v"
    assert upstream.exists(PREFIX + b"set") == 0


# ---- decided upstream ----


def test_conditions_are_decided_by_what_all_have_written(fleet):
    first, second, third = (node.raw() for node in fleet)
    assert second.command("GET", "k") is None
    assert first.command("SET", "k", "1") == "OK"
    assert second.command("SETNX", "k", "2") == 0
    assert second.command("SET", "k", "2", "NX") is None
    assert third.command("SET", "k", "2", "XX", "GET") == b"1"
    assert first.command("SET", "k", "3", "NX", "GET") == b"2"
    assert first.command("GETDEL", "k") == b"2"
    assert second.command("SET", "k", "4", "XX") is None
    assert second.command("GETDEL", "k") is None
    assert third.command("SET", "k", "5", "PX", "100000", "NX") == "OK"
    assert first.command("SET", "k", "6", "KEEPTTL") == "OK"
    assert 0 < second.command("PTTL", "k") <= 100_000
    assert second.command("GETEX", "k", "PERSIST") == b"6"
    serves(fleet[0], "k", b"6")
    wait_until(lambda: first.command("TTL", "k") == -1)
    for conn in (first, second, third):
        conn.close()


def random_write(rng):
    """A write of one of few keys."""
    key = f"k{rng.randrange(4)}"
    value = f"v{rng.randrange(1000)}"
    ttl = str(rng.randrange(100, 10000) * 100)  # no two alike: GT and LT would hang on the millisecond
    return rng.choice([
        ["SET", key, value], ["SET", key, value, "NX"], ["SET", key, value, "XX"], ["SET", key, value, "GET"],
        ["SET", key, value, "KEEPTTL"], ["SET", key, value, "EX", ttl], ["SET", key, value, "XX", "KEEPTTL", "GET"],
        ["SET", key, value, "NX", "GET", "EX", ttl], ["SETNX", key, value], ["GETSET", key, value],
        ["SETEX", key, ttl, value], ["GETDEL", key], ["GETEX", key, "EX", ttl], ["GETEX", key, "PERSIST"],
        ["MSET", "k0", value, "k1", value], ["DEL", key], ["DEL", "k0", "k1", "k0"], ["UNLINK", key], ["PERSIST", key],
        ["EXPIRE", key, ttl], ["EXPIRE", key, ttl, rng.choice(["NX", "XX", "GT", "LT"])], ["EXPIRE", key, "-1"],
    ])


def alike(conn, key, value, ttl):
    return conn.command("GET", key) == value and abs(conn.command("TTL", key) - ttl) <= (5 * SLOW if ttl > 0 else 0)


@pytest.mark.parametrize("frame", ["auto", "always"])
def test_writes_at_any_daemon_answer_as_redis_would(make_harcad, make_redis, frame):
    """The same writes in turn at random daemons and at a Redis of its own: the same answers, the same state."""
    seed = int(os.environ.get("HC_SEED", random.randrange(1 << 32)))
    print(f"HC_SEED={seed}")
    rng = random.Random(seed)
    model = make_redis()
    nodes = start_fleet(make_harcad, make_redis(), 3, {"upstream.frame": frame})
    conns = [node.raw() for node in nodes]
    with RawConn(model.address) as with_model:
        for step in range(400):
            command, at = random_write(rng), rng.randrange(3)
            assert conns[at].command(*command) == with_model.command(*command), f"step {step}: {command} at {at}"
            # What another daemon wrote may be an event's way off.
            key = f"k{rng.randrange(4)}"
            expected = (with_model.command("GET", key), with_model.command("TTL", key))
            wait_until(lambda key=key, at=at, expected=expected: alike(conns[at], key, *expected),
                       message=f"step {step}, after {command}: {key} is {expected} at {at}", interval=0.001)
        for key in ("k0", "k1", "k2", "k3"):
            for node in nodes:
                serves(node, key, with_model.command("GET", key))
    for conn in conns:
        conn.close()


# ---- many writes in one call ----


BATCH = 16


def pipelined(conn, commands):
    conn.send(b"".join(conn.encode(*command) for command in commands))
    return [conn.read_reply() for _ in commands]


@pytest.mark.parametrize("options", [(), ("EX", "1000"), ("MODEL", "a/b"), ("MODEL", "cleared", "PX", "1000000")], ids=" ".join)
@pytest.mark.parametrize("alike", [True, False])
def test_pipelined_sets_are_one_call_with_dense_numbers(make_harcad, redis_server, options, alike):
    """The script has a short form for SETs alike; one that is not gives all of them the long one, and the same results."""
    writer, reader = start_fleet(make_harcad, redis_server, 2, ONE_TURN)
    upstream = redis_server.client()
    with writer.raw() as conn, reader.raw() as other:
        assert conn.command("CLEAR", "MODEL", "cleared") == "OK"
        assert pipelined(conn, [("SET", f"k{i}", "old", *options) for i in range(BATCH)]) == ["OK"] * BATCH
        prime(reader, *(f"k{i}" for i in range(BATCH)))
        before, batches, resyncs = int(upstream.hget(STATE, "seq")), writer.info()["upstream_batches"], reader.info()["resyncs"]

        commands = [("SET", f"k{i % 12}", f"new{i}", *options) for i in range(BATCH)]
        if not alike:
            commands.append(("SET", "k15", "other", *options, "GET"))
        replies = pipelined(conn, commands)

        assert replies[:BATCH] == ["OK"] * BATCH
        assert writer.info()["upstream_batches"] == batches + 1
        assert int(upstream.hget(STATE, "seq")) == before + len(commands)
        expected = {f"k{i}": b"old" for i in range(12, BATCH)} | {key: value.encode() for _, key, value, *_ in commands}
        for key, value in expected.items():
            serves(reader, key, value)
            assert conn.command("GET", key) == value
            parts = frame_parts(upstream.get(PREFIX + key.encode()))
            assert ("MODEL" in options) == (parts is not None)
            if parts and value != b"old":
                number = max(at for at, command in enumerate(commands) if command[1] == key)
                assert parts[1] == before + 1 + number and parts[3] == ("cleared" in options)
            assert (other.command("TTL", key) > 0) == ("EX" in options or "PX" in options)
        assert reader.info()["resyncs"] == resyncs


def test_pipelined_sets_at_a_server_out_of_memory_all_fail(make_harcad, redis_server):
    (node,) = start_fleet(make_harcad, redis_server, 1)
    upstream = redis_server.client()
    with node.raw() as conn:
        assert conn.command("SET", "k0", "old") == "OK"
        seq = upstream.hget(STATE, "seq")
        upstream.config_set("maxmemory", 1)
        for options in ((), ("EX", "1000")):
            replies = pipelined(conn, [("SET", f"k{i}", "new", *options) for i in range(BATCH)])
            assert all(isinstance(reply, RespError) and str(reply).startswith("OOM ") for reply in replies)
        upstream.config_set("maxmemory", 0)
        assert upstream.hget(STATE, "seq") == seq
        assert conn.command("MGET", *(f"k{i}" for i in range(BATCH))) == [b"old", *[None] * (BATCH - 1)]
