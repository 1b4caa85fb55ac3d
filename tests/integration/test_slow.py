"""SLOWLOG and LATENCY, beside a real Redis where it has them."""

import re

import pytest

from harcad_harness import wait_until
from wire import WireConn

SAME = [["SLOWLOG"], ["SLOWLOG", "GET"], ["SLOWLOG", "GET", "-1"], ["SLOWLOG", "GET", "0"], ["SLOWLOG", "GET", "-2"], ["SLOWLOG", "GET", "x"],
        ["SLOWLOG", "get", "1", "2"], ["SLOWLOG", "LEN"], ["SLOWLOG", "LEN", "x"], ["SLOWLOG", "RESET"], ["SLOWLOG", "RESET", "x"], ["SLOWLOG", "FOO"],
        ["LATENCY"], ["LATENCY", "LATEST"], ["LATENCY", "LATEST", "x"], ["LATENCY", "HISTORY"], ["LATENCY", "HISTORY", "command"],
        ["LATENCY", "HISTORY", "x", "y"], ["LATENCY", "RESET"], ["LATENCY", "RESET", "command", "x"], ["LATENCY", "FOO"],
        ["LATENCY", "DOCTOR", "x"], ["LATENCY", "GRAPH"], ["LATENCY", "GRAPH", "command"], ["LATENCY", "GRAPH", "x\r\ny"], ["LATENCY", "HISTOGRAM", "nope"]]
DEFAULTS = [["CONFIG", "GET", "slowlog-log-slower-than"], ["CONFIG", "GET", "slowlog-max-len"]]


@pytest.mark.parametrize("resp", [2, 3])
def test_slow_nothing_slow_replies_as_redis_does(redis_server, harcad_of_each_mode, resp):
    with WireConn(redis_server.address, resp) as theirs, WireConn(harcad_of_each_mode.address, resp) as ours:
        def same(commands):
            for command in commands:
                expected, _ = theirs.ask(*command)
                assert (command, ours.ask(*command)[0]) == (command, expected)

        same(DEFAULTS)
        # On a busy machine anything may take long.
        for conn, setting in ((theirs, ("slowlog-log-slower-than", "-1")), (ours, ("server.slowlog_slower_than", "1h"))):
            assert conn.command("CONFIG", "SET", *setting) == "OK"
            conn.command("SLOWLOG", "RESET")
            conn.command("LATENCY", "RESET")
        same(SAME)


def commands(entries):
    return [[word.decode() for word in entry[3]] for entry in entries]


def test_slowlog_entry_is_shown_as_in_redis(redis_server, make_harcad):
    """Long arguments and many are cut the same way."""
    harcad = make_harcad({"server.slowlog_slower_than": "0"})
    asked = [["SET", "key", "v" * 200], ["GET", "key"], ["MGET", *[f"k{i}" for i in range(40)]], ["MGET", *[f"k{i}" for i in range(31)]],
             ["SET", "b", b"\x00\xff" * 64]]
    with WireConn(redis_server.address) as theirs, WireConn(harcad.address) as ours:
        assert theirs.command("CONFIG", "SET", "slowlog-log-slower-than", "0") == "OK"
        for conn in (theirs, ours):
            conn.command("CLIENT", "SETNAME", "me")
            conn.command("SLOWLOG", "RESET")
            for command in asked:
                conn.command(*command)
        a, b = theirs.command("SLOWLOG", "GET", "5"), ours.command("SLOWLOG", "GET", "5")
    assert [entry[3] for entry in a] == [entry[3] for entry in b]
    assert [entry[5] for entry in b] == [b"me"] * 5
    for entry in b:
        assert len(entry) == 6 and all(isinstance(number, int) for number in entry[:3])
        assert re.fullmatch(rb"127\.0\.0\.1:\d+", entry[4])
    assert [entry[0] for entry in b] == list(range(b[0][0], b[0][0] - 5, -1))


def test_slowlog_is_bounded_and_newest_first(make_harcad):
    harcad = make_harcad({"server.slowlog_slower_than": "0", "server.slowlog_max_len": "5"})
    with harcad.raw() as conn:
        for i in range(20):
            conn.command("GET", f"k{i}")
        assert commands(conn.command("SLOWLOG", "GET", "3")) == [["GET", "k19"], ["GET", "k18"], ["GET", "k17"]]
        assert conn.command("SLOWLOG", "LEN") == 5
        assert len(conn.command("SLOWLOG", "GET", "-1")) == 5
        assert conn.command("CONFIG", "SET", "server.slowlog_max_len", "2") == "OK"
        conn.command("GET", "k")
        assert conn.command("SLOWLOG", "LEN") == 2
        assert conn.command("CONFIG", "SET", "server.slowlog_slower_than", "1h") == "OK"
        assert conn.command("SLOWLOG", "RESET") == "OK"
        assert conn.command("SLOWLOG", "LEN") == 0


def test_slowlog_of_no_entries_keeps_none(make_harcad):
    harcad = make_harcad({"server.slowlog_slower_than": "0", "server.slowlog_max_len": "0"})
    with harcad.raw() as conn:
        conn.command("GET", "a")
        assert conn.command("SLOWLOG", "GET") == []


def test_slowlog_shows_no_passwords(make_harcad):
    harcad = make_harcad({"server.slowlog_slower_than": "0", "server.password": "secret"})
    with harcad.raw() as conn:
        conn.command("AUTH", "wrong-secret")
        conn.command("AUTH", "default", "secret")
        conn.command("HELLO", "2", "AUTH", "default", "secret")
        conn.command("CONFIG", "SET", "server.password", "secret")
        shown = commands(conn.command("SLOWLOG", "GET", "-1"))
    assert ["AUTH", "(redacted)"] in shown and ["CONFIG", "SET", "(redacted)", "(redacted)"] in shown
    assert "secret" not in str(shown)


def test_slowlog_pipelined_commands_are_each_shown(make_harcad):
    harcad = make_harcad({"server.slowlog_slower_than": "0"})
    with WireConn(harcad.address) as conn:
        conn.ask_all([["GET", f"k{i}"] for i in range(100)])
        assert commands(conn.command("SLOWLOG", "GET", "100")) == [["GET", f"k{i}"] for i in range(99, -1, -1)]


def test_slowlog_exec_is_one_command(make_harcad):
    harcad = make_harcad({"server.slowlog_slower_than": "0"})
    with harcad.raw() as conn:
        for command in (["MULTI"], ["SET", "a", "1"], ["EXEC"]):
            conn.command(*command)
        assert commands(conn.command("SLOWLOG", "GET", "1")) == [["EXEC"]]


def test_slow_command_that_waits_for_the_upstream_is_timed_with_the_wait(make_redis, make_harcad):
    redis = make_redis()
    harcad = make_harcad({"upstream.timeout": "15s", "server.slowlog_slower_than": "200ms"}, upstream=redis)
    harcad.wait_info(upstream_state="up", event_link="up")
    with harcad.raw() as conn, WireConn(redis.address) as behind:
        conn.command("SET", "quick", "1")
        conn.command("SLOWLOG", "RESET")
        conn.command("LATENCY", "RESET")
        behind.command("CLIENT", "PAUSE", "1000", "ALL")
        assert conn.command("GET", "absent") is None
        entries = conn.command("SLOWLOG", "GET")
        assert commands(entries) == [["GET", "absent"]]
        assert 200_000 <= entries[0][2] < 15_000_000
        (event, _, latest, most), = conn.command("LATENCY", "LATEST")
        assert event == b"waited" and 200 <= latest == most
        assert [ms for _, ms in conn.command("LATENCY", "HISTORY", "waited")] == [latest]
        assert conn.command("LATENCY", "RESET", "command", "waited") == 1
        assert conn.command("LATENCY", "LATEST") == []


def test_slow_command_over_many_keys_is_shown_and_a_quick_one_is_not(make_harcad):
    harcad = make_harcad({"server.slowlog_slower_than": "1ms", "file.enabled": "no"})  # which KEYS may have to wait for
    with WireConn(harcad.address) as conn:
        conn.ask_all([["SET", f"key:{i}", "x"] for i in range(50_000)])
        conn.command("SLOWLOG", "RESET")

        def shown():
            conn.command("KEYS", "*")
            return [entry for entry in conn.command("SLOWLOG", "GET") if entry[3] == [b"KEYS", b"*"]]

        entries = wait_until(shown)
        assert entries[0][2] >= 1000
        assert {event[0] for event in conn.command("LATENCY", "LATEST")} & {b"command", b"waited"}  # walked at once, or in turns


@pytest.mark.parametrize("resp", [2, 3])
def test_latency_doctor_and_graph_tell_people_what_there_is(make_harcad, resp):
    harcad = make_harcad({"server.slowlog_slower_than": "10ms"})
    with WireConn(harcad.address, resp) as conn:
        def nothing_was_slow():
            conn.command("LATENCY", "RESET")  # what greeted it may have been, on a machine with much else to do
            return b"No command has taken 10 ms or longer" in conn.command("LATENCY", "DOCTOR")

        wait_until(nothing_was_slow)
        assert conn.command("CONFIG", "SET", "server.slowlog_slower_than", "1ms") == "OK"
        pieces = [conn.encode("MSET", *[word for i in range(n) for word in (f"key:{i}", "x")]) for n in (50_000, 150_000, 100_000)]

        def differing():
            """Samples of at least three heights: one a second, of ever other work."""
            samples = conn.command("LATENCY", "HISTORY", "command")
            conn.send(pieces[len(samples) % 3])
            assert conn.read_reply() == "OK"
            return len({ms for _, ms in samples}) >= 3

        wait_until(differing, interval=0.05)
        assert conn.command("CONFIG", "SET", "server.slowlog_slower_than", "1h") == "OK"
        wire, text = conn.ask("LATENCY", "DOCTOR")
        assert wire[:1] == (b"$" if resp == 2 else b"=")
        assert re.search(rb"^command: \d+ seconds with slow ones, the last \d+s ago; \d+ ms in the mean, at most \d+ ms\. ", text, re.M)
        samples = [ms for _, ms in conn.command("LATENCY", "HISTORY", "command")]
        wire, text = conn.ask("LATENCY", "GRAPH", "command")
        assert wire[:1] == (b"$" if resp == 2 else b"=")
    low, high = min(samples), max(samples)
    levels = [(ms - low) * 11 // (high - low) for ms in samples]
    rows = ["".join(" " if level < 3 * row else "_-`"[level - 3 * row] if level < 3 * row + 3 else "|" for level in levels) for row in (3, 2, 1, 0)]
    lines = text.decode().split("\n")
    assert lines[:6] == [f"command - high {high} ms, low {low} ms (all time high {high} ms)", "-" * 80, *rows]
    assert lines[6] == "" and re.fullmatch(r"\d+", lines[7]) and set(lines[8]) <= set("0123456789s")
