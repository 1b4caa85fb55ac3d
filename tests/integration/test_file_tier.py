"""The file tier of a daemon that is on its own: what survives a restart and a kill, and what must not come back."""

import glob
import os
import subprocess
import time

import pytest

from file_tier import SMALL_MEMORY, fill, loaded, tier_dir, value
from harcad_harness import SLOW, Harcad, RespError, wait_until

@pytest.fixture(params=["stop", "kill"])
def comes_back(request):
    """Ends the daemon, one way or the other, and starts it again."""
    def again(harcad):
        harcad.restart(hard=request.param == "kill")
        loaded(harcad)
        return harcad.client()

    again.hard = request.param == "kill"
    return again


# ---- P6: it is found again ----


def test_p6_restart_finds_all_that_was_acknowledged(make_harcad, comes_back):
    harcad = make_harcad()
    client = harcad.client()
    client.set("plain", b"\0\xff\r\n" * 1000)
    client.execute_command("SET", "of-model", "v", "MODEL", "minilm", "EX", 1000)
    client.set("expires", "v", px=3_600_000)
    client.mset({f"m:{i}": i for i in range(500)})
    client.incr("n", 41)
    client.append("text", "one ")
    client.append("text", "two")
    client.set("empty", "")
    client = comes_back(harcad)
    assert client.get("plain") == b"\0\xff\r\n" * 1000
    assert client.execute_command("MODEL", "OF", "of-model") == b"minilm"
    assert 990 < client.ttl("of-model") <= 1000
    assert 3_500_000 < client.pttl("expires") <= 3_600_000
    assert client.mget([f"m:{i}" for i in range(500)]) == [str(i).encode() for i in range(500)]
    assert client.incr("n") == 42
    assert client.get("text") == b"one two"
    assert client.get("empty") == b""
    assert client.dbsize() == 506
    assert harcad.info()["file_hits"] > 0


def test_p6_reads_from_files_when_memory_has_no_room(make_harcad):
    harcad = make_harcad(SMALL_MEMORY)
    fill(harcad, "k", 4000)
    client = harcad.client()
    assert harcad.info()["memory_evicted"] > 2000
    for start in range(0, 4000, 100):
        keys = range(start, start + 100)
        assert client.mget([f"k:{i}" for i in keys]) == [value("k", i) for i in keys]
    info = harcad.info()
    assert info["misses"] == 0
    assert info["file_hits"] > 2000
    assert client.dbsize() == 4000


# ---- P2: what is gone stays gone ----


CHANGES = {
    "del": lambda c: c.delete("k"),
    "unlink": lambda c: c.unlink("k"),
    "getdel": lambda c: c.getdel("k"),
    "clear-key": lambda c: c.execute_command("CLEAR", "KEY", "k"),
    "clear-model": lambda c: c.execute_command("CLEAR", "MODEL", "m"),
    "clear-all": lambda c: c.execute_command("CLEAR", "ALL"),
    "flushall": lambda c: c.flushall(),
    "rename": lambda c: c.rename("k", "other"),
    "expire-past": lambda c: c.expireat("k", 1),
}


@pytest.mark.parametrize("change", CHANGES)
@pytest.mark.parametrize("write", ["through", "demote"])
@pytest.mark.parametrize("evicted", [False, True])
def test_p2_what_was_removed_never_returns(make_harcad, comes_back, change, write, evicted):
    """Whether it was in memory, or in a file only, when it was removed."""
    harcad = make_harcad({**SMALL_MEMORY, "file.write": write})
    client = harcad.client()
    client.execute_command("SET", "k", b"v" * 5000, "MODEL", "m")
    if evicted:
        client.get("k")
        fill(harcad, "other", 1500)
    CHANGES[change](client)
    assert client.get("k") is None
    client = comes_back(harcad)
    assert client.get("k") is None
    assert client.exists("k") == 0


@pytest.mark.parametrize("write", ["through", "demote"])
def test_p2_overwritten_value_never_returns(make_harcad, comes_back, write):
    harcad = make_harcad({**SMALL_MEMORY, "file.write": write})
    client = harcad.client()
    for i in range(50):
        client.set(f"k:{i}", b"old" * 1000)
        client.get(f"k:{i}")
    fill(harcad, "other", 1500)
    for i in range(50):
        client.set(f"k:{i}", f"new:{i}")
    client = comes_back(harcad)
    for i in range(50):
        expected = (f"new:{i}".encode(),) if write == "through" or not comes_back.hard else (f"new:{i}".encode(), None)
        assert client.get(f"k:{i}") in expected


@pytest.mark.parametrize("write", ["through", "demote"])
def test_p2_expiry_that_was_shortened_holds(make_harcad, comes_back, write):
    harcad = make_harcad({**SMALL_MEMORY, "file.write": write})
    client = harcad.client()
    client.set("k", b"v" * 5000)
    client.get("k")
    fill(harcad, "other", 1500)
    assert client.pexpire("k", 200) == 1
    wait_until(lambda: client.get("k") is None)
    client = comes_back(harcad)
    assert client.get("k") is None


def test_expiry_survives_in_milliseconds(make_harcad, comes_back):
    harcad = make_harcad()
    client = harcad.client()
    client.set("k", "v")
    client.pexpireat("k", 1_999_999_999_123)
    client.set("no-more", "v", ex=100)
    client.persist("no-more")
    client = comes_back(harcad)
    assert client.execute_command("PEXPIRETIME", "k") == 1_999_999_999_123
    assert client.ttl("no-more") == -1


def test_p4_a_model_cleared_once_is_cleared_after_many_restarts(make_harcad):
    harcad = make_harcad()
    client = harcad.client()
    for i in range(100):
        client.execute_command("SET", f"a:{i}", "old", "MODEL", "a")
        client.execute_command("SET", f"b:{i}", "stays", "MODEL", "b")
    client.execute_command("CLEAR", "MODEL", "a")
    client.execute_command("SET", "a:0", "new", "MODEL", "a")
    for hard in (True, False, True):
        harcad.restart(hard=hard)
        loaded(harcad)
        client = harcad.client()
        assert client.mget([f"a:{i}" for i in range(100)]) == [b"new"] + [None] * 99
        assert client.mget([f"b:{i}" for i in range(100)]) == [b"stays"] * 100


# ---- writes that look at what is there ----


def in_files_only(make_harcad, settings=None):
    """A daemon that has k:0 … k:9 in files and not in memory."""
    harcad = make_harcad({**SMALL_MEMORY, **(settings or {})})
    client = harcad.client()
    for i in range(10):
        client.set(f"k:{i}", f"{i}", ex=1000)
    fill(harcad, "other", 1500)
    return harcad, client


def test_conditions_see_what_is_in_files(make_harcad):
    harcad, client = in_files_only(make_harcad)
    assert client.setnx("k:0", "x") is False
    assert client.set("k:1", "x", xx=True) is True
    assert client.set("k:2", "x", get=True) == b"2"
    assert client.execute_command("SET", "k:3", "x", "KEEPTTL") is not None
    assert 900 < client.ttl("k:3") <= 1000
    assert client.incr("k:4") == 5
    assert client.append("k:5", "+") == 2
    assert client.delete("k:6", "nothing") == 1
    assert client.expire("k:7", 50) == 1
    assert client.getex("k:8", persist=True) == b"8"
    assert client.ttl("k:8") == -1
    assert client.msetnx({"k:9": "x", "fresh": "x"}) is False
    assert client.get("k:9") == b"9"
    assert client.get("k:1") == b"x"


def test_transaction_sees_what_is_in_files(make_harcad):
    harcad, client = in_files_only(make_harcad)
    with client.pipeline(transaction=True) as pipe:
        pipe.incr("k:1")
        pipe.get("k:2")
        pipe.setnx("k:3", "x")
        pipe.rename("k:4", "k:5")
        pipe.get("k:5")
        assert pipe.execute() == [2, b"2", False, True, b"4"]


def test_pipeline_keeps_order_around_what_is_in_files(make_harcad):
    harcad, _ = in_files_only(make_harcad)
    with harcad.raw() as conn:
        commands = []
        for i in range(10):
            key = f"k:{i}"
            commands += [("GET", key), ("SET", key, f"new{i}"), ("GET", key), ("APPEND", key, "!"), ("GET", key)]
        conn.send(b"".join(conn.encode(*command) for command in commands))
        for i in range(10):
            new = f"new{i}".encode()
            assert [conn.read_reply() for _ in range(5)] == [b"%d" % i, "OK", new, len(new) + 1, new + b"!"]


def test_scan_and_keys_meet_what_is_in_files(make_harcad):
    harcad, client = in_files_only(make_harcad)
    expected = {f"k:{i}".encode() for i in range(10)}
    assert set(client.scan_iter(match="k:*", count=100)) == expected
    cursor, cursors = client.scan(0, count=10)[0], []
    while cursor != 0:
        cursors.append(cursor)
        cursor = client.scan(cursor, count=10)[0]
    assert max(cursors) < 10**14, "more digits than a number keeps that a client in Lua prints"
    assert set(client.keys("k:*")) == expected
    assert client.dbsize() == 1510
    assert client.randomkey() is not None


# ---- moves between the tiers ----


def test_promoted_when_read_often_enough(make_harcad):
    harcad = make_harcad({**SMALL_MEMORY, "file.promote_hits": "3"})
    client = harcad.client()
    client.set("k", "v" * 3000)
    fill(harcad, "other", 1500)
    tiers = []
    for _ in range(4):
        tiers.append(client.execute_command("EXPLAIN", "k")[3])
        assert client.get("k") == b"v" * 3000
    assert tiers == [b"file"] * 3 + [b"memory"]
    assert harcad.info()["file_promoted"] == 1


def test_a_walk_over_everything_does_not_drive_out_what_is_hot(make_harcad):
    harcad = make_harcad(SMALL_MEMORY)
    client = harcad.client()
    fill(harcad, "cold", 2000)
    hot = [f"hot:{i}" for i in range(100)]
    for key in hot:
        client.set(key, "h" * 4000)
    for _ in range(5):
        client.mget(hot)
    for i in range(2000):
        assert client.get(f"cold:{i}") == value("cold", i)
    before = harcad.info()["memory_hits"]
    client.mget(hot)
    assert harcad.info()["memory_hits"] - before > 80


def test_demote_writes_what_was_read(make_harcad):
    harcad = make_harcad({**SMALL_MEMORY, "file.write": "demote"})
    client = harcad.client()
    fill(harcad, "once", 200)
    fill(harcad, "again", 200)
    client.mget([f"again:{i}" for i in range(200)])
    fill(harcad, "other", 2000)
    assert 0 < harcad.info()["file_demoted"] <= 210
    got = client.mget([f"again:{i}" for i in range(200)])
    assert sum(v is not None for v in got) > 150  # most of them in memory still
    assert all(v in (None, value("again", i)) for i, v in enumerate(got))


def test_demote_spills_memory_at_shutdown(make_harcad):
    harcad = make_harcad({"file.write": "demote"})
    fill(harcad, "k", 2000)
    harcad.restart()
    loaded(harcad)
    assert harcad.client().mget([f"k:{i}" for i in range(2000)]) == [value("k", i) for i in range(2000)]
    assert "spilled" in harcad.log()


def test_warming_brings_the_hottest_back(make_harcad):
    harcad = make_harcad({"memory.max_bytes": "16M", "warmup.share": "20"})
    client = harcad.client()
    fill(harcad, "cold", 2000)
    hot = [f"hot:{i}" for i in range(100)]
    for key in hot:
        client.set(key, "h" * 4000)
    for _ in range(5):
        client.mget(hot)
    harcad.restart()
    info = wait_until(lambda: harcad.info()["warmup_state"] == "done" and harcad.info())
    assert 100 <= info["warmup_loaded"] < 1500
    client = harcad.client()
    assert client.mget(hot) == [b"h" * 4000] * 100
    assert harcad.info()["memory_hits"] == 100


def test_keys_file_is_warmed_first(make_harcad):
    harcad = make_harcad()
    client = harcad.client()
    client.set(b"a b\n\xff\\", "v")
    client.set("second", "v")
    path = os.path.join(harcad.dir, "keys")
    with open(path, "w", encoding="ascii") as keys:
        keys.write("a b\\x0a\\xff\\x5c\n\nsecond\nunknown\n")
    harcad.settings.update({"warmup.keys_file": path, "warmup.enabled": "no"})
    harcad.restart()
    info = wait_until(lambda: harcad.info()["warmup_state"] == "done" and harcad.info())
    assert (info["warmup_keys"], info["warmup_tried"], info["warmup_loaded"]) == (3, 3, 2)
    assert harcad.client().execute_command("EXPLAIN", b"a b\n\xff\\")[3] == b"memory"


def test_warming_stops_at_its_share_however_fast_it_is(make_harcad):
    """Values of any size: what they take in memory counts."""
    for size in (20, 4000):
        harcad = make_harcad({"memory.max_bytes": "8M", "file.max_bytes": "256M"})
        keys = (4 << 20) // (size + 20) + 30_000
        fill(harcad, "k", keys, size)
        path = os.path.join(harcad.dir, "keys")
        with open(path, "w", encoding="ascii") as names:
            names.writelines(f"k:{i}\n" for i in range(keys))
        harcad.settings.update({"warmup.keys_file": path, "warmup.enabled": "no", "warmup.share": 25, "warmup.rate": "16G"})
        harcad.restart()
        info = wait_until(lambda h=harcad: h.info()["warmup_state"] == "done" and h.info())
        assert 0.9 * (2 << 20) < info["memory_bytes"] < 1.2 * (2 << 20)
        assert info["evicted_keys"] == 0 and info["warmup_tried"] < keys


def test_prefetch_brings_keys_into_memory(make_harcad):
    harcad, client = in_files_only(make_harcad)
    assert client.execute_command("PREFETCH", *[f"k:{i}" for i in range(10)], "nothing") == 10
    wait_until(lambda: all(client.execute_command("EXPLAIN", f"k:{i}")[3] == b"memory" for i in range(10)))


# ---- the directory ----


def explain(client, key):
    words = client.execute_command("EXPLAIN", key)
    return dict(zip(words[::2], words[1::2]))


@pytest.mark.parametrize("size", [2000, 100_000], ids=["by the worker", "by a reader"])
def test_explain_tells_of_what_is_in_a_file(make_harcad, size):
    harcad = make_harcad({**SMALL_MEMORY, "warmup.enabled": "no"})
    client = harcad.client()
    begun = time.time()
    client.execute_command("SET", "k", b"v" * size, "MODEL", "m")
    harcad.restart(hard=True)
    loaded(harcad)
    found = explain(harcad.client(), "k")
    assert (found[b"tier"], found[b"model"], found[b"bytes_raw"], found[b"suspect"]) == (b"file", b"m", size, b"no")
    assert found[b"bytes_stored"] == harcad.info()["file_live_bytes"]
    assert 0 <= found[b"age_s"] <= time.time() - begun + 1
    assert found[b"hits"] == 0


def test_explain_of_what_was_demoted_has_its_hits_and_age(make_harcad):
    harcad = make_harcad({**SMALL_MEMORY, "file.write": "demote", "warmup.enabled": "no"})
    client = harcad.client()
    client.set("k", "v")
    assert [client.get("k") for _ in range(3)] == [b"v"] * 3
    wait_until(lambda: explain(client, "k")[b"age_s"] >= 1)
    harcad.restart()
    loaded(harcad)
    found = explain(harcad.client(), "k")
    assert (found[b"tier"], found[b"hits"]) == (b"file", 3) and found[b"age_s"] >= 1


def test_second_daemon_says_who_has_the_directory(make_harcad):
    harcad = make_harcad()
    other = Harcad({"file.dir": tier_dir(harcad), "listen.tcp": "127.0.0.1:0"})
    try:
        run = other.run(*other.argv(0)[1:])
        assert run.returncode != 0
        assert str(harcad.pid) in run.stderr.decode()
        assert "file.dir" in run.stderr.decode()
    finally:
        other.close()


def test_file_tier_can_be_off(make_harcad):
    harcad = make_harcad({"file.enabled": "no"})
    client = harcad.client()
    client.set("k", "v")
    assert not os.path.exists(tier_dir(harcad))
    assert harcad.info()["file_enabled"] == "no"
    harcad.restart()
    assert harcad.client().get("k") is None


def test_directory_given_by_systemd_is_used(make_harcad, tmp_path):
    harcad = make_harcad(env={"CACHE_DIRECTORY": str(tmp_path / "cache")})
    harcad.client().set("k", "v")
    assert glob.glob(str(tmp_path / "cache" / "*"))


def test_inspect_lists_and_verifies(make_harcad):
    harcad = make_harcad()
    client = harcad.client()
    client.execute_command("SET", "k", "v", "MODEL", "minilm")
    fill(harcad, "k", 500)
    beside = harcad.run("--inspect", tier_dir(harcad))
    assert beside.returncode == 0, beside.stdout + beside.stderr
    harcad.stop()
    run = harcad.run("--inspect", tier_dir(harcad))
    assert run.returncode == 0, run.stdout + run.stderr
    assert b"minilm" in run.stdout
    segment = max(glob.glob(os.path.join(tier_dir(harcad), "*")), key=os.path.getsize)
    with open(segment, "r+b") as file:
        file.seek(os.path.getsize(segment) // 3)
        file.write(b"\xde\xad\xbe\xef" * 8)
    assert harcad.run("--inspect", tier_dir(harcad)).returncode == 1


def test_max_bytes_is_never_exceeded(make_harcad):
    harcad = make_harcad({"memory.max_bytes": "1M", "file.max_bytes": "16M"})
    for round_number in range(10):
        fill(harcad, f"r{round_number}", 1000)
        # (It complains, and goes on, when a segment is gone by the time it looks at it.)
        used = int(subprocess.run(["du", "-sb", tier_dir(harcad)], capture_output=True, check=False).stdout.split()[0])
        assert used <= 16 << 20
    client = harcad.client()
    assert client.get("r9:999") == value("r9", 999)
    assert harcad.info()["file_segments_reclaimed"] > 0


def test_values_larger_than_files_take_are_kept_in_memory(make_harcad):
    harcad = make_harcad({"file.max_bytes": "8M"})
    client = harcad.client()
    client.set("k", "small")
    client.set("k", b"x" * (4 << 20))
    assert client.strlen("k") == 4 << 20
    harcad.restart(hard=True)
    loaded(harcad)
    assert harcad.client().get("k") is None


def test_errors_of_writes_that_look_stay_as_they_are(make_harcad):
    harcad, _ = in_files_only(make_harcad)
    with harcad.raw() as conn:
        assert conn.command("SET", "k:0", "text") == "OK"
        assert isinstance(conn.command("INCR", "k:0"), RespError)
        assert conn.command("SET", "k:1", "v", "NX", "XX") == RespError("ERR syntax error")


def test_expired_all_at_once_leaves_the_index_soon(make_harcad):
    """Long before the pass that comes each half minute."""
    harcad = make_harcad()
    client = harcad.client()
    expires_at = int(1000 * (time.time() + 3 * SLOW))
    for start in range(0, 50_000, 1000):
        pipe = client.pipeline(transaction=False)
        for number in range(start, start + 1000):
            pipe.set(f"k:{number}", "v", pxat=expires_at)
        pipe.execute()
    client.set("stays", "v")
    assert harcad.info()["file_entries"] == 50_001
    wait_until(lambda: harcad.info()["file_entries"] == 1, 15 * SLOW, "what has expired is out of the index")
    assert client.get("stays") == b"v"



def test_expired_all_at_once_leaves_the_index_soon_although_most_was_alive_just_before(make_harcad):
    """The first to expire have the files looked through in vain: of what is there they are few."""
    harcad = make_harcad()
    client = harcad.client()
    now_ms = int(1000 * time.time())
    for count, expires_at in ((60_000, now_ms + int(9000 * SLOW)), (6000, now_ms + int(4000 * SLOW))):
        for start in range(0, count, 1000):
            pipe = client.pipeline(transaction=False)
            for number in range(start, start + 1000):
                pipe.set(f"{count}:{number}", "v", pxat=expires_at)
            pipe.execute()
    wait_until(lambda: harcad.info()["file_entries"] == 60_000, 10 * SLOW, "the few are out of the index")
    wait_until(lambda: harcad.info()["file_entries"] == 0, 15 * SLOW, "all are")