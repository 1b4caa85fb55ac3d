"""Commands that look at all keys there are let other clients have their turns meanwhile."""

import select
import time

import pytest

from harcad_harness import SLOW, wait_until

KEYS = 300_000
LIFE_S = 4 * SLOW
TURNS = 5  # of others, at least; were there none, one PING could be before the walk, and one behind


def fill(harcad, *options):
    with harcad.raw() as conn:
        for first in range(0, KEYS, 10_000):
            conn.send(b"".join(conn.encode("SET", f"k{i}", "v", *options) for i in range(first, first + 10_000)))
            for _ in range(10_000):
                conn.read_reply()


def pings_beside(harcad, *command):
    """(how many PINGs of another client were answered before the command was, its answer)"""
    with harcad.raw() as walker, harcad.raw() as other:
        walker.command("PING")
        other.command("PING")
        walker.send(walker.encode(*command))
        pings = 0
        while not select.select([walker.sock], [], [], 0)[0]:
            assert other.command("PING") == "PONG"
            pings += 1
        return pings, walker.read_reply()


# Files with nothing in them: what is walked is memory either way.
TIERS = pytest.mark.parametrize("tiers", [{"file.enabled": "no"}, {"file.write": "demote"}], ids=["memory", "files"])


@TIERS
def test_randomkey_among_what_has_expired_lets_others_have_their_turns(make_harcad, tiers):
    """It has to look at nearly all of it: the sweep has just begun."""
    harcad = make_harcad(tiers)
    for _ in range(3):
        expires_at = time.time() + LIFE_S
        fill(harcad, "PXAT", int(expires_at * 1000))
        wait_until(lambda end=expires_at + 0.002: time.time() > end, 2 * LIFE_S, interval=0.001)
        pings, key = pings_beside(harcad, "RANDOMKEY")
        assert key is None
        if pings >= TURNS:
            return
    assert pings >= TURNS


@TIERS
def test_keys_lets_others_have_their_turns(make_harcad, tiers):
    harcad = make_harcad(tiers)
    fill(harcad)
    for _ in range(3):
        pings, keys = pings_beside(harcad, "KEYS", "none*")
        assert keys == []
        if pings >= TURNS:
            return
    assert pings >= TURNS
