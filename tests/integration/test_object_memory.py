"""OBJECT and MEMORY: what a key costs and how it is used, seen without using it."""

import pytest

from wire import Err, encode_reply, started

SYNTAX = Err("ERR syntax error")
NOT_INT = Err("ERR value is not an integer or out of range")


@pytest.fixture(scope="module", params=["redis", "embedded", "fleet"])
def target(request):
    with started(request.param) as each:
        yield each


@pytest.fixture(scope="module", params=["embedded", "fleet"])
def harcad_target(request):
    with started(request.param) as each:
        yield each


def arity(name):
    return Err(f"ERR wrong number of arguments for '{name}' command")


STEPS = [
    (["OBJECT"], arity("object")), (["OBJECT", "FOO", "a"], Err("ERR unknown subcommand 'FOO'. Try OBJECT HELP.")),
    *[step for sub in ("encoding", "freq", "idletime", "refcount") for step in [
        (["OBJECT", sub], arity(f"object|{sub}")), (["OBJECT", sub, "a", "b"], arity(f"object|{sub}")), (["OBJECT", sub, "absent"], None)]],
    (["SET", "a", "12"], None), (["OBJECT", "ENCODING", "a"], b"int"), (["SET", "a", "x" * 44], None), (["OBJECT", "ENCODING", "a"], b"embstr"),
    (["SET", "a", "x" * 45], None), (["OBJECT", "ENCODING", "a"], b"raw"), (["OBJECT", "REFCOUNT", "a"], 1),
    (["MEMORY"], arity("memory")), (["MEMORY", "USAGE"], arity("memory|usage")), (["MEMORY", "USAGE", "absent"], None),
    (["MEMORY", "USAGE", "absent", "SAMPLES", "0"], None), (["MEMORY", "USAGE", "absent", "FOO", "1"], SYNTAX),
    (["MEMORY", "USAGE", "a", "SAMPLES"], SYNTAX), (["MEMORY", "USAGE", "a", "SAMPLES", "-1"], SYNTAX),
    (["MEMORY", "USAGE", "a", "SAMPLES", "x"], NOT_INT), (["MEMORY", "FOO"], Err("ERR unknown subcommand 'FOO'. Try MEMORY HELP.")),
    (["MEMORY", "STATS", "x"], arity("memory|stats")), (["MEMORY", "DOCTOR", "x"], arity("memory|doctor")),
]


@pytest.mark.parametrize("resp", [2, 3])
def test_object_memory_replies_as_redis(target, resp):
    with target.connect(resp) as conn:
        conn.command("FLUSHALL")
        for command, expected in STEPS:
            wire = conn.ask(*command)[0]
            if command[0] != "SET":
                assert (command, wire) == (command, encode_reply(expected, resp))


def test_object_looks_without_counting_as_use(harcad_target):
    with harcad_target.connect() as conn:
        conn.command("SET", "used", "1")
        for _ in range(3):
            conn.command("GET", "used")
        before = harcad_target.server.info()
        for _ in range(3):
            assert conn.command("OBJECT", "FREQ", "used") == 3
            assert conn.command("OBJECT", "IDLETIME", "used") in (0, 1)
            conn.command("OBJECT", "ENCODING", "used")
            conn.command("MEMORY", "USAGE", "used")
        after = harcad_target.server.info()
    assert {name: after[name] - before[name] for name in ("memory_hits", "misses")} == {"memory_hits": 0, "misses": 0}


def test_memory_usage_grows_with_the_value(harcad_target):
    with harcad_target.connect() as conn:
        conn.command("SET", "small", "x")
        conn.command("SET", "large", "x" * 100_000)
        small, large = (conn.command("MEMORY", "USAGE", key) for key in ("small", "large"))
    assert 50 < small < 400 and 100_000 < large < 140_000


def test_memory_stats_and_doctor_tell_of_the_memory_tier(harcad_target):
    with harcad_target.connect(3) as conn:
        conn.command("FLUSHALL")
        conn.command("SET", "a", "x" * 1000)
        conn.command("GET", "a")
        stats = conn.command("MEMORY", "STATS")
        assert stats[b"keys.count"] >= 1 and stats[b"keys.bytes-per-key"] > 0
        assert stats[b"total.allocated"] == stats[b"overhead.total"] + stats[b"dataset.bytes"]
        assert stats[b"maxmemory"] == harcad_target.server.info()["maxmemory"]
        assert 0 < stats[b"dataset.percentage"] <= 100
        assert b"There is room." in conn.command("MEMORY", "DOCTOR")
        assert len(conn.command("MEMORY", "MALLOC-STATS")) > 100
        assert conn.command("MEMORY", "PURGE") == "OK"


def test_object_of_another_type_is_told_by_the_upstream():
    with started("fleet") as fleet, fleet.connect() as conn:
        fleet.behind("RPUSH", "@list", "x")
        assert conn.command("OBJECT", "ENCODING", "list") == fleet.behind("OBJECT", "ENCODING", "@list")
        assert str(conn.command("OBJECT", "FREQ", "list")) == str(fleet.behind("OBJECT", "FREQ", "@list")), "a long error"
        assert conn.command("OBJECT", "REFCOUNT", "list") == 1
        assert conn.command("OBJECT", "IDLETIME", "list") in (0, 1)
        assert conn.command("MEMORY", "USAGE", "list", "SAMPLES", "0") == fleet.behind("MEMORY", "USAGE", "@list", "SAMPLES", "0")
