"""WATCH: EXEC does nothing when a key that is watched has changed, as Redis does it. Each of the cases is told to a real
Redis too; a random sequence of two clients must be answered as there."""

import random
import time

import pytest

from fleet import in_threads
from harcad_harness import RawConn, RespError, SLOW, wait_until

KEYS = [b"a", b"b", b"c", b"d"]

# Steps: (client, command …). What each is answered is compared.
CASES = {
    "nothing changes": [(0, "WATCH", "a", "b"), (1, "SET", "c", "1"), (0, "MULTI"), (0, "SET", "a", "2"), (0, "EXEC"), (0, "GET", "a")],
    "set": [(0, "WATCH", "a"), (1, "SET", "a", "1"), (0, "MULTI"), (0, "SET", "a", "2"), (0, "EXEC"), (0, "GET", "a")],
    "set between MULTI and EXEC": [(0, "WATCH", "a"), (0, "MULTI"), (0, "GET", "a"), (1, "SET", "a", "1"), (0, "EXEC"), (0, "EXEC")],
    "set to the same": [(0, "SET", "a", "1"), (0, "WATCH", "a"), (1, "SET", "a", "1"), (0, "MULTI"), (0, "EXEC")],
    "made and removed": [(0, "WATCH", "a"), (1, "SET", "a", "1"), (1, "DEL", "a"), (0, "MULTI"), (0, "EXEC")],
    "removed": [(0, "SET", "a", "1"), (0, "WATCH", "a"), (1, "UNLINK", "a"), (0, "MULTI"), (0, "EXEC")],
    "changed by itself": [(0, "WATCH", "a"), (0, "SET", "a", "1"), (0, "MULTI"), (0, "EXEC")],
    "changed in part": [(0, "SET", "a", "abc"), (0, "WATCH", "a"), (1, "SETRANGE", "a", "1", "x"), (0, "MULTI"), (0, "EXEC"),
                        (0, "WATCH", "a"), (1, "APPEND", "a", "x"), (0, "MULTI"), (0, "EXEC"), (0, "WATCH", "n"), (1, "INCR", "n"), (0, "MULTI"), (0, "EXEC")],
    "given another expiry": [(0, "SET", "a", "1"), (0, "WATCH", "a"), (1, "EXPIRE", "a", "100"), (0, "MULTI"), (0, "EXEC"),
                             (0, "WATCH", "a"), (1, "PERSIST", "a"), (0, "MULTI"), (0, "EXEC"), (0, "WATCH", "a"), (1, "GETEX", "a", "EX", "9"), (0, "MULTI"), (0, "EXEC")],
    "renamed, copied": [(0, "SET", "a", "1"), (0, "WATCH", "a"), (1, "RENAME", "a", "b"), (0, "MULTI"), (0, "EXEC"),
                        (0, "WATCH", "c"), (1, "COPY", "b", "c"), (0, "MULTI"), (0, "EXEC"), (0, "WATCH", "b"), (1, "COPY", "b", "d"), (0, "MULTI"), (0, "EXEC")],
    "one of several": [(0, "WATCH", "a", "b"), (0, "WATCH", "c"), (1, "MSET", "x", "1", "c", "1"), (0, "MULTI"), (0, "EXEC")],
    "flushed": [(0, "SET", "a", "1"), (0, "WATCH", "a"), (1, "FLUSHALL"), (0, "MULTI"), (0, "EXEC")],
    "read": [(0, "SET", "a", "1"), (0, "WATCH", "a"), (1, "GET", "a"), (1, "TOUCH", "a"), (1, "SETNX", "a", "2"), (0, "MULTI"), (0, "EXEC")],
    "by a transaction": [(0, "WATCH", "a"), (1, "MULTI"), (1, "SET", "a", "1"), (1, "EXEC"), (0, "MULTI"), (0, "EXEC")],
    "once only": [(0, "WATCH", "a"), (1, "SET", "a", "1"), (0, "MULTI"), (0, "EXEC"), (0, "MULTI"), (0, "GET", "a"), (0, "EXEC")],
    "forgotten by UNWATCH": [(0, "WATCH", "a"), (1, "SET", "a", "1"), (0, "UNWATCH"), (0, "MULTI"), (0, "EXEC")],
    "forgotten by DISCARD": [(0, "WATCH", "a"), (1, "SET", "a", "1"), (0, "MULTI"), (0, "DISCARD"), (0, "MULTI"), (0, "EXEC")],
    "forgotten by RESET": [(0, "WATCH", "a"), (1, "SET", "a", "1"), (0, "RESET"), (0, "MULTI"), (0, "EXEC")],
    "not by a DISCARD without MULTI": [(0, "WATCH", "a"), (1, "SET", "a", "1"), (0, "DISCARD"), (0, "MULTI"), (0, "EXEC")],
    "not by an UNWATCH that is queued": [(0, "WATCH", "a"), (1, "SET", "a", "1"), (0, "MULTI"), (0, "UNWATCH"), (0, "EXEC")],
    "forgotten by EXECABORT": [(0, "WATCH", "a"), (1, "SET", "a", "1"), (0, "MULTI"), (0, "NOSUCH"), (0, "EXEC"), (0, "MULTI"), (0, "EXEC")],
    "inside MULTI": [(0, "MULTI"), (0, "WATCH", "a"), (0, "SET", "a", "1"), (0, "EXEC"), (0, "MULTI"), (0, "UNWATCH"), (0, "EXEC")],
    "arity": [(0, "WATCH"), (0, "UNWATCH", "a"), (0, "WATCH", ""), (1, "SET", "", "1"), (0, "MULTI"), (0, "EXEC")],
    "twice": [(0, "WATCH", "a"), (1, "SET", "a", "1"), (0, "WATCH", "a"), (0, "MULTI"), (0, "EXEC")],
    "in the table": [(0, "COMMAND", "GETKEYS", "WATCH", "a", "b"), (0, "COMMAND", "GETKEYS", "UNWATCH")],
}


def shown(reply):
    return str(reply) if isinstance(reply, RespError) else [shown(each) for each in reply] if isinstance(reply, list) else reply


def play(address, steps, resp):
    conns = [RawConn(address) for _ in range(2)]
    try:
        for conn in conns:
            conn.command("HELLO", resp)
        conns[0].command("FLUSHALL")
        return [shown(conns[client].command(*command)) for client, *command in steps]
    finally:
        for conn in conns:
            conn.close()


@pytest.mark.parametrize("resp", [2, 3], ids=["resp2", "resp3"])
def test_watch_case_is_answered_as_redis_does(redis_server, harcad, resp):
    for name, steps in CASES.items():
        expected, got = (play(server.address, steps, resp) for server in (redis_server, harcad))
        assert got == expected, name


def random_steps(draw, n):
    """Of two clients on few keys; nothing is removed that may not be there: harcad takes that for a change."""
    steps = []
    for _ in range(n):
        client, key = draw.randrange(2), draw.choice(KEYS)
        steps.append((client, *draw.choice([
            ("WATCH", key), ("WATCH", key, draw.choice(KEYS)), ("UNWATCH",), ("MULTI",), ("EXEC",), ("EXEC",), ("DISCARD",), ("GET", key),
            ("SET", key, "%d" % draw.randrange(9)), ("INCR", key), ("EXPIRE", key, "100"), ("PERSIST", key), ("SETNX", key, "1"), ("GETSET", key, "3"),
            ("RENAME", key, draw.choice(KEYS)), ("MSET", key, "1", draw.choice(KEYS), "2"), ("WATCH",), ("NOSUCH",)])))
    return steps


@pytest.mark.parametrize("seed", range(20240601, 20240605))
def test_watch_random_sequence_is_answered_as_redis_does(redis_server, harcad, seed):
    steps = random_steps(random.Random(seed), 800)
    expected, got = (play(server.address, steps, 2) for server in (redis_server, harcad))
    differing = [i for i in range(len(steps)) if got[i] != expected[i]]
    assert not differing, f"seed {seed}: {steps[max(0, differing[0] - 12):differing[0] + 1]}: {got[differing[0]]} not {expected[differing[0]]}"
    assert any(reply is None and step[1] == "EXEC" for step, reply in zip(steps, got)), "some EXEC did nothing"
    assert any(isinstance(reply, list) and reply and step[1] == "EXEC" for step, reply in zip(steps, got)), "some EXEC did something"


@pytest.mark.tsan
def test_watch_increments_by_several_clients_are_never_lost(make_harcad):
    """The classic use: read, compute, write if nobody else did. What was carried out must all be there. Many other keys
    are watched with it, so that EXEC takes a while to look at all of them."""
    harcad = make_harcad({"server.workers": 2})
    wanted = 150
    others = [f"other:{i}" for i in range(2000)]

    def increment():
        done = 0
        with harcad.raw() as conn:
            while done < wanted:
                assert conn.command("WATCH", *others, "n") == "OK"
                value = int(conn.command("GET", "n") or 0)
                conn.command("MULTI")
                conn.command("SET", "n", value + 1)
                done += conn.command("EXEC") == ["OK"]

    in_threads(*[increment] * 4)
    with harcad.raw() as conn:
        assert conn.command("GET", "n") == b"%d" % (4 * wanted)


def watched_then(conn, prepare, meanwhile):
    prepare()
    assert conn.command("WATCH", "k") == "OK"
    meanwhile()
    conn.command("MULTI")
    conn.command("SET", "k", "mine")
    return conn.command("EXEC")


def test_watch_key_that_goes_without_a_write_makes_exec_do_nothing(make_harcad):
    harcad = make_harcad({"memory.max_bytes": "4M", "file.enabled": "no"})
    with harcad.raw() as conn, harcad.raw() as other:
        def set_key(*options):
            return lambda: conn.command("SET", "k", "v" * 1000, *options)

        def expire():
            wait_until(lambda: other.command("EXISTS", "k") == 0)

        def evict():
            other.command("CLIENT", "NO-TOUCH", "ON")
            deadline = time.monotonic() + 30 * SLOW
            i = 0
            while other.command("EXISTS", "k") and time.monotonic() < deadline:
                other.send(b"".join(other.encode("SET", f"fill:{i + j}", "x" * 1000) for j in range(100)))
                assert [other.read_reply() for _ in range(100)] == ["OK"] * 100
                i += 100
            assert other.command("EXISTS", "k") == 0

        def nothing():
            pass

        assert watched_then(conn, set_key("PX", 300), expire) is None
        assert watched_then(conn, set_key("MODEL", "m"), lambda: other.command("CLEAR", "MODEL", "m")) is None
        assert watched_then(conn, set_key(), lambda: other.command("CLEAR", "ALL")) is None
        assert watched_then(conn, set_key(), evict) is None
        assert watched_then(conn, set_key("MODEL", "m"), nothing) == ["OK"]
        assert watched_then(conn, set_key("MODEL", "m"), lambda: other.command("CLEAR", "MODEL", "other")) == ["OK"]


def test_watch_too_many_keys_is_refused_naming_the_setting(make_harcad):
    harcad = make_harcad({"client.request_max": "1M", "client.value_max": "512K"})
    with harcad.raw() as conn:
        replies = [conn.command("WATCH", "%d" % i + "x" * 100_000) for i in range(20)]
        assert replies[0] == "OK"
        assert "client.request_max" in str(replies[-1])
        assert conn.command("UNWATCH") == "OK"
        assert conn.command("WATCH", "a") == "OK"


def test_watch_with_an_upstream_is_refused_saying_why(redis_server, make_harcad):
    harcad = make_harcad(upstream=redis_server)
    with harcad.raw() as conn:
        assert "WATCH is for daemons without an upstream" in str(conn.command("WATCH", "a"))
        assert conn.command("UNWATCH") == "OK"
        conn.command("MULTI")
        assert conn.command("EXEC") == []
