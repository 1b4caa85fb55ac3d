"""P4, CLEAR MODEL in a fleet: everything of that model is forgotten everywhere, at once, and nothing else is."""

import os
import time

import pytest

from fleet import MAGIC, PREFIX, STATE, frame_parts, in_step, prime, serves, start_fleet
from harcad_harness import SLOW, wait_until

KEYS = 10_000
SOON = 5 * SLOW


@pytest.fixture
def fleet(make_harcad, redis_server):
    return start_fleet(make_harcad, redis_server)


def write_all(conn, names, *options, chunk=500):
    """SET name value-of-name for each of them, pipelined."""
    for at in range(0, len(names), chunk):
        part = names[at:at + chunk]
        conn.send(b"".join(conn.encode("SET", name, b"v-" + name, *options) for name in part))
        for _ in part:
            assert conn.read_reply() == "OK"


def read_all(conn, names, chunk=500):
    found = []
    for at in range(0, len(names), chunk):
        found += conn.command("MGET", *names[at:at + chunk])
    return found


def count(conn, names):
    """How many of them are there."""
    return sum(value is not None for value in read_all(conn, names))


def set_of(conn, model, key, value):
    assert conn.command("SET", key, value, "MODEL", model) == "OK"


@pytest.mark.parametrize("model", ["gone", "default"])
def test_p4_clear_model_is_o1_and_takes_that_model_and_nothing_else(redis_server, fleet, model):
    gone = [b"gone%d" % i for i in range(KEYS)]
    kept = [b"kept%d" % i for i in range(KEYS)]
    values = [b"v-" + name for name in kept]
    conns = [node.raw() for node in fleet]
    write_all(conns[0], gone, "MODEL", model)
    write_all(conns[0], kept, "MODEL", "kept")
    for conn in conns:
        assert count(conn, gone) == KEYS
        assert read_all(conn, kept) == values
    started = time.monotonic()
    assert conns[0].command("CLEAR", "MODEL", model) == "OK"
    took = time.monotonic() - started
    print(f"the reply took {took * 1e3:.2f} ms")
    assert took < 0.5 * SLOW
    assert count(conns[0], gone) == 0, "after OK none is left here"
    for node in fleet[1:]:
        serves(node, gone[-1], None, SOON)
    before = [node.info() for node in fleet]
    for conn in conns:
        assert count(conn, gone) == 0
        assert read_all(conn, kept) == values
    for node, info in zip(fleet, before):
        # Fills side by side whose keys share a stamp are not all kept.
        assert node.info()["memory_hits"] >= info["memory_hits"] + 0.9 * KEYS, "copies of the others are still there"
    wait_until(lambda: fleet[1].info()["memory_entries"] <= KEYS, message="memory of what was cleared is given back")
    assert conns[0].command("DBSIZE") == KEYS, "what was cleared does not count"
    # What is written now is the new model's, for everyone.
    set_of(conns[2], model, gone[0], "new")
    for node in fleet:
        serves(node, gone[0], b"new", SOON)
        with node.raw() as conn:
            assert conn.command("MODEL", "OF", gone[0]) == model.encode()
    assert frame_parts(redis_server.client().get(PREFIX + gone[0]))[3] == 1
    for conn in conns:
        conn.close()


def test_scan_passes_over_what_was_cleared(fleet):
    with fleet[0].raw() as conn:
        for i in range(50):
            set_of(conn, "m", f"m{i}", "x")
            set_of(conn, "n", f"n{i}", "x")
            conn.command("SET", f"d{i}", "x")
        conn.command("CLEAR", "MODEL", "m")
        conn.command("CLEAR", "MODEL", "default")
        conn.command("SET", "d1", "new")
    expected = sorted([b"d1"] + [b"n%d" % i for i in range(50)])
    for node in fleet:
        wait_until(lambda node=node: sorted(node.client().scan_iter(count=20)) == expected, SOON)
        assert node.client().dbsize() == 51


def test_what_was_cleared_is_absent_to_conditions(fleet):
    with fleet[0].raw() as one, fleet[1].raw() as two:
        for i in range(8):
            assert one.command("SET", f"k{i}", "old", "MODEL", "m", "EX", "1000") == "OK"
        one.command("CLEAR", "MODEL", "m")
        assert two.command("SET", "k0", "new", "NX") == "OK"
        assert two.command("SET", "k1", "new", "XX") is None
        assert two.command("SET", "k2", "new", "GET") is None
        assert two.command("GETDEL", "k3") is None
        assert two.command("EXPIRE", "k4", "100") == 0
        assert two.command("PERSIST", "k5") == 0
        assert two.command("DEL", "k6") == 0
        assert two.command("SET", "k7", "new", "KEEPTTL") == "OK"
        assert two.command("TTL", "k7") == -1, "an expiry of what is gone is not kept"
        serves(fleet[1], "k1", None)  # from when on it has heard of the clear
        assert two.command("MGET", *[f"k{i}" for i in range(8)]) == [b"new", None, b"new"] + [None] * 4 + [b"new"]


# ---- templates ----


def test_raw_values_under_a_template_belong_to_its_model(make_harcad, redis_server):
    nodes = start_fleet(make_harcad, redis_server, 3, {"model.templates": "emb:{model}:{id}"})
    upstream = redis_server.client()
    for i in range(20):
        upstream.set(PREFIX + b"emb:a:1:%d" % i, "raw")  # model "a:1"
        upstream.set(PREFIX + b"emb:a:2:%d" % i, "raw")
    with nodes[0].raw() as one, nodes[1].raw() as two, nodes[2].raw() as three:
        assert one.command("SET", "emb:a:1:own", "v") == "OK"
        assert two.command("MODEL", "OF", "emb:a:1:7") == b"a:1"
        assert two.command("MODEL", "OF", "emb:a:1:own") == b"a:1"
        assert two.command("MGET", "emb:a:1:1", "emb:a:1:own") == [b"raw", b"v"]
        assert one.command("CLEAR", "MODEL", "a:1") == "OK"
        assert one.command("MGET", "emb:a:1:1", "emb:a:1:2", "emb:a:1:own") == [None, None, None]
        wait_until(lambda: two.command("MGET", "emb:a:1:1", "emb:a:1:own") == [None, None], SOON)
        assert two.command("GET", "emb:a:2:1") == b"raw"
        wait_until(lambda: sorted(nodes[2].client().scan_iter()) == sorted(b"emb:a:2:%d" % i for i in range(20)), SOON)
        assert three.command("SET", "emb:a:1:1", "new") == "OK"
        for node in nodes:
            serves(node, "emb:a:1:1", b"new", SOON)
        assert upstream.get(PREFIX + b"emb:a:1:1").startswith(MAGIC), "with the epoch it is of"


def test_ids_of_fixed_length_need_no_separator(make_harcad, redis_server):
    node, = start_fleet(make_harcad, redis_server, 1, {"model.templates": "cache/{model}{id:4}"})
    redis_server.client().mset({PREFIX + b"cache/m/1abcd": "x", PREFIX + b"cache/mabcd": "y", PREFIX + b"cache/abcd": "z"})
    with node.raw() as conn:
        assert [conn.command("MODEL", "OF", key) for key in ("cache/m/1abcd", "cache/mabcd", "cache/abcd")] == \
            [b"m/1", b"m", b"default"]
        conn.command("CLEAR", "MODEL", "m/1")
        assert conn.command("MGET", "cache/m/1abcd", "cache/mabcd", "cache/abcd") == [None, b"y", b"z"]


# ---- epochs outlive daemons ----


@pytest.mark.parametrize("hard", [False, True], ids=["stopped", "killed"])
def test_p2_what_was_cleared_stays_cleared_after_a_restart(redis_server, fleet, hard):
    with fleet[0].raw() as conn:
        set_of(conn, "m", "old", "v")
        set_of(conn, "n", "other", "v")
        conn.command("CLEAR", "MODEL", "m")
        set_of(conn, "m", "new", "v")
    for node in fleet:
        node.kill() if hard else node.stop()
    for node in fleet:
        node.start()
    in_step(*fleet)
    for node in fleet:
        with node.raw() as conn:
            assert conn.command("MGET", "old", "new", "other") == [None, b"v", b"v"]
            info = conn.command("MODEL", "INFO", "m")
            assert dict(zip(info[::2], info[1::2]))[b"epoch"] == 1
    assert redis_server.client().hget(STATE, "m:m") == b"1"


def test_many_clears_in_a_row_are_all_heard(fleet):
    for i in range(100):
        with fleet[i % 3].raw() as conn:
            set_of(conn, "m", "k", i)
            assert conn.command("CLEAR", "MODEL", "m") == "OK"
            assert conn.command("GET", "k") is None
    for node in fleet:
        def epoch(node=node):
            with node.raw() as conn:
                info = conn.command("MODEL", "INFO", "m")
            return dict(zip(info[::2], info[1::2]))[b"epoch"]

        wait_until(lambda epoch=epoch: epoch() == 100, SOON)
        serves(node, "k", None)


def test_get_with_a_model_asserts_it(fleet):
    with fleet[0].raw() as one, fleet[1].raw() as two:
        set_of(one, "m", "k", os.urandom(10))
        assert two.command("GET", "k", "MODEL", "other") is None
        assert two.command("GET", "k", "MODEL", "m") is not None
    prime(fleet[1], "k")
    assert fleet[1].info()["model_mismatches"] == 1
