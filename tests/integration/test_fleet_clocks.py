"""P8: nothing is decided by whether two machines' clocks agree. One daemon lives a day ahead of Redis, the other a day behind."""

import os
import time

import pytest

from fleet import prime, serves, start_fleet
from harcad_harness import SLOW, wait_until

DAY_S = 86400
FAKETIME = f"/usr/lib/{os.uname().machine}-linux-gnu/faketime/libfaketimeMT.so.1"

pytestmark = pytest.mark.skipif(SLOW > 1, reason="faketime and sanitizers both stand in for libc")


@pytest.fixture
def apart(make_harcad, redis_server):
    """(ahead, behind)."""
    def make(settings, *, upstream):
        offset_s = offsets.pop(0)
        env = {"LD_PRELOAD": FAKETIME, "FAKETIME": f"{offset_s:+d}s", "FAKETIME_DONT_FAKE_MONOTONIC": "1"}
        return make_harcad(settings, upstream=upstream, env=env)

    offsets = [DAY_S, -DAY_S]
    nodes = start_fleet(make, redis_server, 2)
    clocks = [int(node.raw().command("TIME")[0]) - time.time() for node in nodes]
    assert clocks[0] > DAY_S - 60 and clocks[1] < 60 - DAY_S, "their clocks are apart"
    return nodes


def test_p8_the_later_write_is_the_newer_one(apart):
    for number in range(20):
        writer, reader = apart if number % 2 == 0 else reversed(apart)
        with writer.raw() as conn:
            assert conn.command("SET", "k", number) == "OK"
        for node in apart:
            serves(node, "k", b"%d" % number)
            prime(node, "k")


@pytest.mark.parametrize("first", [0, 1])
def test_p8_a_clear_is_of_what_was_written_before_it(apart, first):
    with apart[first].raw() as one, apart[1 - first].raw() as other:
        assert one.command("SET", "old", "v", "MODEL", "m") == "OK"
        serves(apart[1 - first], "old", b"v")
        assert other.command("CLEAR", "MODEL", "m") == "OK"
        assert other.command("GET", "old") is None
        serves(apart[first], "old", None)
        assert one.command("SET", "new", "v", "MODEL", "m") == "OK"
        serves(apart[1 - first], "new", b"v")


@pytest.mark.parametrize("first", [0, 1])
def test_p8_a_life_is_as_long_everywhere(apart, first):
    writer, reader = apart[first], apart[1 - first]
    with writer.raw() as one, reader.raw() as other:
        assert one.command("SET", "long", "v", "EX", "1000") == "OK"
        assert one.command("SET", "until", "v", "PXAT", int(time.time() * 1000) + 1_000_000) == "OK", "by the upstream's clock"
        for key in ("long", "until"):
            for node, conn in ((writer, one), (reader, other)):
                serves(node, key, b"v")
                prime(node, key)
                assert conn.command("GET", key) == b"v"
                assert 900 < conn.command("TTL", key) <= 1000
        began = time.monotonic()
        assert one.command("SET", "short", "v", "PX", "1500") == "OK"
        prime(reader, "short")
        wait_until(lambda: one.command("GET", "short") is None and other.command("GET", "short") is None, message="it expires")
        assert time.monotonic() - began >= 1.4
