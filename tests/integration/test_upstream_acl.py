"""The Redis user that the guide tells operators to make may do all that a daemon asks for, and nothing is refused."""

import itertools
import os
import re

import pytest

from fleet import PREFIX, STATE, in_step, serves, start_fleet
from harcad_harness import ROOT, SLOW, wait_until

GUIDE = os.path.join(ROOT, "docs", "guide.md")


def rules_of_the_guide():
    """Of "The Redis user of an ACL needs: `…` and `…`, …": what stands in backquotes, to the end of the paragraph."""
    with open(GUIDE, encoding="utf-8") as file:
        (paragraph,) = re.findall(r"The Redis user of an ACL needs:(.*?)\n\n", file.read(), re.DOTALL)
    return [rule for quoted in re.findall(r"`([^`]+)`", paragraph) for rule in quoted.split() if rule[0] in "~&+"]


@pytest.fixture
def restricted(redis_server):
    """The URL of a user with those rights alone."""
    rules = rules_of_the_guide()
    assert len(rules) > 30, rules
    redis_server.client().execute_command("ACL", "SETUSER", "cache", "on", ">secret", "resetkeys", "resetchannels", "-@all", *rules)
    return f"redis://cache:secret@127.0.0.1:{redis_server.port}"


def denied(redis_server):
    return redis_server.client().info("errorstats").get("errorstat_NOPERM")


def test_user_of_the_guide_may_do_all_a_fleet_does(make_harcad, redis_server, restricted):
    writer, reader = start_fleet(make_harcad, restricted, 2, {"upstream.foreign_writes": "yes"})
    with writer.raw() as conn:
        for options in ((), ("EX", "100"), ("MODEL", "m"), ("PXAT", "99999999999999"), ("NX", "GET"), ("KEEPTTL",)):
            assert conn.command("SET", "k" + "".join(options[:1]), "v", *options) in ("OK", None)
            serves(reader, "k" + "".join(options[:1]), b"v")
        for command, answer in (
                (("INCR", "n"), 1), (("INCRBYFLOAT", "n", "1.5"), b"2.5"), (("APPEND", "a", "x"), 1), (("SETRANGE", "a", "1", "y"), 2),
                (("EXPIRE", "k", "100"), 1), (("PEXPIREAT", "k", "99999999999999"), 1), (("PERSIST", "k"), 1),
                (("COPY", "k", "c"), 1), (("RENAME", "c", "d"), "OK"), (("DEL", "d"), 1), (("MSETNX", "e", "1", "f", "2"), 1),
                (("EXISTS", "e", "f", "g"), 2), (("CLEAR", "MODEL", "m"), "OK"), (("CLEAR", "KEY", "e"), 1), (("TYPE", "f"), "string")):
            assert conn.command(*command) == answer, command
        assert conn.command("SCAN", "0")[1]
        assert conn.command("DBSIZE") > 0
        values = itertools.count()

        def caught_up():
            """What is written next is read from the journal, unless the link is up again already."""
            redis_server.client().execute_command("CLIENT", "KILL", "TYPE", "pubsub")
            value = next(values)
            assert conn.command("SET", "k", value) == "OK"
            in_step(writer, reader)
            serves(reader, "k", b"%d" % value)
            return reader.info()["replays"] > 0

        wait_until(caught_up)
        assert conn.command("FLUSHALL") == "OK"
    assert writer.info()["foreign_writes"] == "on"
    assert denied(redis_server) is None, writer.log()


def test_user_of_the_guide_may_end_what_was_given_up(make_harcad, redis_server, restricted):
    node, = start_fleet(make_harcad, restricted, 1, {"upstream.timeout": f"{int(500 * SLOW)}ms"})
    redis_server.pause()
    with node.raw() as conn:
        assert conn.command("SET", "k", "v") == "OK"
    redis_server.resume()
    in_step(node)
    wait_until(lambda: "upstream_stragglers_ended" in node.log(), message="it was ended")
    assert denied(redis_server) is None, node.log()


def test_user_of_the_guide_may_sweep_up_what_was_cleared(make_harcad, redis_server, restricted):
    node, = start_fleet(make_harcad, restricted, 1)
    with node.raw() as conn, redis_server.client() as upstream:
        assert conn.command("SET", "k", "v", "MODEL", "m") == "OK" and conn.command("SET", "raw", "v") == "OK"
        assert conn.command("CLEAR", "MODEL", "m") == "OK" and conn.command("CLEAR", "MODEL", "default") == "OK"
        wait_until(lambda: upstream.hget(STATE, "swept") == upstream.hget(STATE, "clears"), message="what was cleared is swept up")
        assert upstream.exists(PREFIX + b"raw") and not upstream.exists(PREFIX + b"k")
    assert denied(redis_server) is None, node.log()
