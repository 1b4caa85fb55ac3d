"""Changes of what is there (INCR and its like), copies and MSETNX where several are at work: threads, daemons, and an
upstream that is down."""

import struct
import threading

import pytest

from fleet import PATIENT
from harcad_harness import wait_until
from wire import PREFIX, WireConn

MAGIC = b"\xf5hc\x01"


def in_step(harcad):
    harcad.wait_info(upstream_state="up", event_link="up")
    return harcad


def at_once(*jobs):
    """Runs the jobs in threads of their own; raises what one of them raised."""
    errors = []

    def run(job):
        try:
            job()
        except BaseException as error:  # pylint: disable=broad-except
            errors.append(error)

    threads = [threading.Thread(target=run, args=(job,)) for job in jobs]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not errors, errors


def increments(harcad, n):
    def job():
        with WireConn(harcad.address) as conn:
            for _ in range(n // 50):
                conn.ask_all([["INCR", "counter"], ["APPEND", "text", "x"]] * 50)
    return job


def test_changes_by_several_workers_lose_nothing(make_harcad):
    harcad = make_harcad({"server.workers": "4"})
    at_once(*[increments(harcad, 2000)] * 6)
    with harcad.raw() as conn:
        assert conn.command("MGET", "counter", "text") == [b"12000", b"x" * 12000]


def test_changes_by_several_daemons_lose_nothing(make_redis, make_harcad):
    redis = make_redis()
    daemons = [in_step(make_harcad({"upstream.timeout": "5s"}, upstream=redis)) for _ in range(2)]
    with daemons[0].raw() as conn:
        conn.command("SET", "counter", "0", "MODEL", "m")
    at_once(*[increments(each, 500) for each in daemons], *[increments(each, 500) for each in daemons])
    for each in daemons:
        with each.raw() as conn:
            wait_until(lambda conn=conn: conn.command("MGET", "counter", "text") == [b"2000", b"x" * 2000])
            assert conn.command("GET", "counter", "MODEL", "m") == b"2000"


@pytest.mark.parametrize("files, size", [("no", 200_000), ("yes", 2000)])
def test_renames_by_several_workers_are_each_one_step(make_harcad, files, size):
    """A value goes round between four names: where it is in the end tells how many renames found it."""
    harcad = make_harcad({"server.workers": "4", "file.enabled": files})
    found = []
    with harcad.raw() as conn:
        conn.command("SET", "n0", "v" * size)

    def mover():
        with WireConn(harcad.address) as conn:
            for _ in range(3):
                replies = conn.ask_all([["RENAME", f"n{i % 4}", f"n{(i + 1) % 4}"] for i in range(2000)])
                found.append(sum(meaning == "OK" for _, meaning in replies))

    at_once(*[mover] * 4)
    with harcad.raw() as conn:
        there = [i for i, value in enumerate(conn.command("MGET", "n0", "n1", "n2", "n3")) if value]
    assert there == [sum(found) % 4]


def test_msetnx_of_several_workers_is_all_or_none(make_harcad):
    harcad = make_harcad({"server.workers": "4"})
    won = []

    def setter(name):
        def job():
            with WireConn(harcad.address) as conn:
                for i in range(200):
                    if conn.command("MSETNX", f"a{i}", name, f"b{i}", name):
                        won.append(i)
        return job

    at_once(*[setter(name) for name in "wxyz"])
    assert sorted(won) == list(range(200))
    with harcad.raw() as conn:
        for i in range(200):
            a, b = conn.command("MGET", f"a{i}", f"b{i}")
            assert a == b


CHANGES = [["INCR", "n"], ["DECR", "n"], ["INCRBY", "n", "5"], ["DECRBY", "n", "5"], ["INCRBYFLOAT", "n", "1.5"], ["APPEND", "n", "1"],
           ["SETRANGE", "n", "0", "1"], ["MSETNX", "x", "1", "y", "1"], ["RENAME", "n", "x"], ["RENAMENX", "n", "x"], ["COPY", "n", "x"]]


def test_changes_are_refused_while_the_upstream_is_down(make_redis, make_harcad):
    redis = make_redis()
    harcad = in_step(make_harcad(PATIENT, upstream=redis))
    with harcad.raw() as conn:
        conn.command("SET", "n", "1")
        assert conn.command("GET", "n") == b"1"
        redis.stop()
        harcad.wait_info(upstream_state="down")
        for command in CHANGES:
            assert (command, str(conn.command(*command)).split()[0]) == (command, "UPSTREAMDOWN")
        assert harcad.info()["queued_writes"] == 0


def test_changes_are_seen_by_siblings_and_keep_raw_values_raw(make_redis, make_harcad):
    redis = make_redis()
    one, two = [in_step(make_harcad(PATIENT, upstream=redis)) for _ in range(2)]
    with one.raw() as a, two.raw() as b, WireConn(redis.address) as plain:
        a.command("SET", "raw", "1")
        a.command("SET", "framed", "1", "MODEL", "m")
        assert b.command("MGET", "raw", "framed") == [b"1", b"1"]
        a.command("INCRBY", "raw", "4")
        a.command("INCRBYFLOAT", "framed", "0.5")
        a.command("COPY", "framed", "other")
        wait_until(lambda: b.command("MGET", "raw", "framed", "other") == [b"5", b"1.5", b"1.5"])
        a.command("RENAME", "raw", "moved")
        wait_until(lambda: b.command("MGET", "raw", "moved") == [None, b"5"])
        assert plain.command("GET", PREFIX + "moved") == b"5"
        stored = {key: plain.command("GET", PREFIX + key) for key in ("framed", "other")}
    seqs = []
    for value in stored.values():
        _, codec, model_len, seq, _, _, raw_len, checksum = struct.unpack("<BBHQIIII", value[4:32])
        assert (value[:4], codec, value[32:32 + model_len], raw_len, checksum, value[32 + model_len:]) == (MAGIC, 0, b"m", 3, 0, b"1.5")
        seqs.append(seq)
    assert seqs[1] == seqs[0] + 1  # the copy has a number of its own


@pytest.mark.parametrize("upstream", [False, True], ids=["embedded", "fleet"])
def test_copy_between_templates_keeps_the_model(make_redis, make_harcad, upstream):
    """The name of a key decides the model of a raw value: what gets another name carries its own along."""
    harcad = make_harcad({**PATIENT, "model.templates": "emb:{model}:{id}"}, upstream=make_redis() if upstream else None)
    if upstream:
        in_step(harcad)
    with harcad.raw() as conn:
        conn.command("SET", "plain", "1")
        conn.command("SET", "emb:a:1", "2")
        conn.command("COPY", "plain", "emb:b:1")
        conn.command("RENAME", "emb:a:1", "emb:b:2")
        conn.command("COPY", "emb:b:2", "plain2")
        assert [conn.command("MODEL", "OF", key) for key in ("emb:b:1", "emb:b:2", "plain2")] == [b"default", b"a", b"a"]
        assert conn.command("CLEAR", "MODEL", "b") == "OK"
        assert conn.command("MGET", "emb:b:1", "emb:b:2", "plain2") == [b"1", b"2", b"2"]
        assert conn.command("CLEAR", "MODEL", "a") == "OK"
        assert conn.command("MGET", "emb:b:1", "emb:b:2", "plain2") == [b"1", None, None]


def test_change_too_large_for_memory_leaves_what_is_there(make_harcad):
    harcad = make_harcad({"memory.max_bytes": "8M"})
    with harcad.raw() as conn:
        conn.command("SET", "a", "x" * 900_000)
        assert str(conn.command("APPEND", "a", "y" * 200_000)).startswith("OOM ")
        assert str(conn.command("SETRANGE", "a", "2000000", "y")).startswith("OOM ")
        assert conn.command("GET", "a") == b"x" * 900_000
