"""What becomes of the file tier when its files are damaged, its disk is full, slow or broken, or its directory is not what
it was: nothing older ever comes back (P2), what is not hit by it is found again (P6), and memory goes on as if nothing
were.
"""

import contextlib
import errno
import os
import re
import shutil
import socket
import stat
import struct
import subprocess
import threading
import time

import pytest

from failing_disk import FailingDisk
from file_tier import fill, loaded, tier_dir, value
from fleet import PATIENT, in_step
from harcad_harness import SLOW, Harcad, wait_until

QUICK = {"file.retry": "200ms", "file.max_bytes": "64M"}
STALL_S = 0.25 * SLOW  # far below what the disk is made to take, far above what a busy machine does to a hit


@pytest.fixture
def disk(tmp_path):
    disk = FailingDisk(str(tmp_path))
    yield disk
    disk.heal()


def tier_log(harcad, event):
    return re.findall(rf"^.*\b{event}\b.*$", harcad.log(), re.MULTILINE)


def wait_state(harcad, state):
    return wait_until(lambda: (info := harcad.info())["file_state"] == state and info, message=f"file_state:{state}")


# ---- damage: real segments, each region of them ----


LIVE = {f"live:{i}".encode(): value("live", i, 200) for i in range(24)}
OVERWRITTEN = {f"twice:{i}".encode(): value("new", i, 150) for i in range(6)}
GONE = [b"deleted:0", b"deleted:1", b"cleared:0", b"cleared:1", b"expired:0"]


@pytest.fixture(scope="module")
def sealed(tmp_path_factory):
    """A directory as a clean stop leaves it: everything in one segment, which has an index file."""
    directory = str(tmp_path_factory.mktemp("sealed") / "cache")
    with Harcad({"file.dir": directory, **QUICK}) as harcad:
        client = harcad.client()
        for key in OVERWRITTEN:
            client.set(key, "OLD")
        for key in GONE:
            client.execute_command("SET", key, "GONE", "MODEL", "gone" if b"cleared" in key else "m")
        for key, text in LIVE.items():
            client.execute_command("SET", key, text, "MODEL", "m", "EX", 100_000)
        client.mset(OVERWRITTEN)
        client.delete(*GONE[:2])
        client.execute_command("CLEAR", "MODEL", "gone")
        client.pexpireat("expired:0", 1)
        harcad.stop()
    return directory


def only(directory, ending):
    found = [name for name in os.listdir(directory) if name.endswith(ending)]
    assert len(found) == 1, found
    return os.path.join(directory, found[0])


def served(directory, **settings):
    """What a daemon has of all keys when it starts there; and its INFO. Nothing wrong, nothing outdated."""
    with Harcad({"file.dir": directory, "warmup.enabled": "no", **QUICK, **settings}) as harcad:
        loaded(harcad)
        client = harcad.client()
        wanted = {**LIVE, **OVERWRITTEN}
        got = dict(zip(wanted, client.mget(list(wanted))))
        assert client.mget(GONE) == [None] * len(GONE)
        assert [key for key, text in got.items() if text not in (None, wanted[key])] == []
        info = harcad.info()
        client.set("works", "yes")
        assert client.get("works") == b"yes"
        harcad.stop()
    return {key for key, text in got.items() if text is not None}, info


def copies(sealed, tmp_path, changes):
    """A copy of the directory for each of the changes, made by change(copy)."""
    for number, change in enumerate(changes):
        copy = str(tmp_path / str(number))
        shutil.copytree(sealed, copy)
        change(copy)
        yield copy
        shutil.rmtree(copy)


def flip(path, offset, length=8):
    with open(path, "r+b") as file:
        file.seek(offset)
        bytes_there = file.read(length)
        file.seek(offset)
        file.write(bytes(byte ^ (0x5A + 35 * i) % 255 + 1 for i, byte in enumerate(bytes_there)))


def places(path, count):
    """So many places in a file, its first and last bytes among them; with HARCAD_EVERY_BYTE all multiples of 8."""
    size = os.path.getsize(path)
    if os.environ.get("HARCAD_EVERY_BYTE"):
        return list(range(0, size, 8))
    head = list(range(0, min(96, size), 8))
    return sorted({*head, *(size * i // count // 8 * 8 for i in range(count)), max(0, size - 8)})


@pytest.mark.limit(3600 if os.environ.get("HARCAD_EVERY_BYTE") else 60)
def test_p2_p6_damage_anywhere_in_a_segment_costs_that_record(sealed, tmp_path):
    offsets = places(only(sealed, ".log"), 20)
    damaged = 0
    for copy in copies(sealed, tmp_path, [lambda d, o=o: flip(only(d, ".log"), o) for o in offsets]):
        found, info = served(copy)
        missing = len(LIVE) + len(OVERWRITTEN) - len(found)
        assert missing <= 1
        damaged += info["file_damaged"]
    assert damaged >= len(offsets) // 2  # the values' records; deletes and heads are told by the index file alone


@pytest.mark.limit(3600 if os.environ.get("HARCAD_EVERY_BYTE") else 60)
def test_p2_p6_damage_anywhere_in_an_index_file_costs_nothing(sealed, tmp_path):
    offsets = places(only(sealed, ".idx"), 8)
    for copy in copies(sealed, tmp_path, [lambda d, o=o: flip(only(d, ".idx"), o) for o in offsets]):
        assert len(served(copy)[0]) == len(LIVE) + len(OVERWRITTEN)
        assert len(served(copy)[0]) == len(LIVE) + len(OVERWRITTEN)  # and it has a new one


def test_p2_damage_to_the_tier_file_costs_all_and_brings_nothing_back(sealed, tmp_path):
    """Without its secret nothing can be verified. The version's own 8 bytes say it is of none, not of a newer."""
    offsets = (0, 8, 16, 24, 32, 100, 223, 500, 504)
    for copy in copies(sealed, tmp_path, [lambda d, o=o: flip(os.path.join(d, "tier"), o) for o in offsets]):
        assert served(copy)[0] == set()


def test_p2_p6_truncated_files_cost_what_is_cut_off(sealed, tmp_path):
    for ending in (".log", ".idx"):
        size = os.path.getsize(only(sealed, ending))
        lengths = sorted({0, 1, 15, 16, 63, 64, size // 3, size // 2, size - 1})
        for copy in copies(sealed, tmp_path, [lambda d, e=ending, n=n: os.truncate(only(d, e), n) for n in lengths]):
            found, _ = served(copy)
            assert ending == ".log" or len(found) == len(LIVE) + len(OVERWRITTEN)
    for copy in copies(sealed, tmp_path, [lambda d, n=n: os.truncate(os.path.join(d, "tier"), n) for n in (0, 7, 511)]):
        assert served(copy)[0] == set()


def test_p2_a_segment_that_is_gone_or_all_noise_still_deletes(sealed, tmp_path):
    """The index file says what it changed. Older values of it lie in an older segment here."""
    def two_segments(directory):
        with Harcad({"file.dir": directory, **QUICK}) as harcad:
            loaded(harcad)
            client = harcad.client()
            client.delete(b"live:0")
            client.set("live:1", "newest")
            harcad.kill()
        with Harcad({"file.dir": directory, **QUICK}) as harcad:  # seals what the kill left
            loaded(harcad)
            harcad.stop()

    def noise(directory):
        two_segments(directory)
        newest = max(os.path.join(directory, name) for name in os.listdir(directory) if name.endswith(".log"))
        with open(newest, "r+b") as file:
            size = os.path.getsize(newest)
            file.write(os.urandom(size))

    for copy in copies(sealed, tmp_path, [noise]):
        with Harcad({"file.dir": copy, **QUICK}) as harcad:
            loaded(harcad)
            assert harcad.client().mget("live:0", "live:1") == [None, None]
            harcad.stop()


# ---- the directory ----


FOREIGN = ("notes.txt", "segment-1.log", "segment-zzzzzzzzzzzz.log", "segment-000000000001.bak", "SEGMENT-000000000001.LOG", "tier.old")


def test_foreign_files_are_left_alone(sealed, tmp_path):
    def litter(directory):
        for name in FOREIGN:
            with open(os.path.join(directory, name), "wb") as file:
                file.write(b"somebody's")
        os.mkdir(os.path.join(directory, "folder"))
        os.mkdir(os.path.join(directory, "segment-0000000000aa.log"))
        os.symlink("/etc/passwd", os.path.join(directory, "link"))
        os.mkfifo(os.path.join(directory, "fifo"))
        os.mkfifo(os.path.join(directory, "segment-0000000000bb.log"))

    for copy in copies(sealed, tmp_path, [litter]):
        assert len(served(copy)[0]) == len(LIVE) + len(OVERWRITTEN)
        run = subprocess.run([Harcad.binary(), "--inspect", copy], stdout=subprocess.PIPE, check=False)
        assert f"foreign files {len(FOREIGN) + 5}".encode() in run.stdout
        for name in FOREIGN:
            with open(os.path.join(copy, name), "rb") as file:
                assert file.read() == b"somebody's"
        assert os.path.isdir(os.path.join(copy, "folder"))
        assert os.path.islink(os.path.join(copy, "link"))
        assert stat.S_ISFIFO(os.stat(os.path.join(copy, "fifo")).st_mode)


def test_daemons_own_files_are_not_foreign(make_harcad):
    """What is to be warmed lies beside the segments."""
    harcad = make_harcad()
    client = harcad.client()
    client.set("k", "v")
    client.get("k")
    harcad.restart()
    loaded(harcad)
    assert os.path.exists(os.path.join(tier_dir(harcad), "warm.keys"))
    assert not tier_log(harcad, "file_foreign")
    assert b"foreign files 0" in harcad.run("--inspect", tier_dir(harcad)).stdout


def content(directory):
    found = {}
    for name in sorted(os.listdir(directory)):
        path = os.path.join(directory, name)
        with open(path, "rb") as file:
            found[name] = (file.read(), os.stat(path).st_mtime_ns)
    return found


@pytest.mark.parametrize("name", ["tier", ".log", ".idx"])
def test_directory_of_a_newer_format_is_refused_and_untouched(sealed, tmp_path, name):
    def newer(directory):
        path = os.path.join(directory, "tier") if name == "tier" else only(directory, name)
        with open(path, "r+b") as file:
            file.seek(8)
            file.write(struct.pack("<II", 2, ~2 & 0xFFFFFFFF))

    for copy in copies(sealed, tmp_path, [newer]):
        before = content(copy)
        daemon = Harcad({"file.dir": copy})
        try:
            run = daemon.run(*daemon.argv(0)[1:])
        finally:
            daemon.close()
        assert run.returncode != 0
        assert b"newer format" in run.stderr
        assert content(copy) == before


@contextlib.contextmanager
def mounted(path, size):
    """A small file system of its own."""
    os.mkdir(path)
    mount = subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", path], capture_output=True, check=False)
    if mount.returncode != 0:
        pytest.skip(f"mounting is not allowed here: {mount.stderr.decode().strip()}")
    try:
        yield path
    finally:
        subprocess.run(["umount", "-l", path], check=True)


def test_full_disk_costs_the_oldest_and_comes_back_by_itself(make_harcad, tmp_path):
    with mounted(str(tmp_path / "small"), "24M") as path:
        harcad = make_harcad({**QUICK, "file.dir": os.path.join(path, "cache"), "memory.max_bytes": "8M"})
        client = harcad.client()
        client.set("hot", "h")
        client.set("changed", "old")
        # Full of others' bytes: not even the oldest segments are enough.
        with open(os.path.join(path, "ballast"), "wb", buffering=0) as ballast, contextlib.suppress(OSError):
            while True:
                ballast.write(bytes(65536))
        fill(harcad, "k", 2000)
        info = wait_state(harcad, "off")
        assert info["file_fault"] == "ENOSPC" and info["file_faults"] >= 1
        client.set("changed", "new")
        assert client.get("hot") == b"h"
        os.unlink(os.path.join(path, "ballast"))
        wait_state(harcad, "on")
        assert len(tier_log(harcad, "file_off")) == 1
        fill(harcad, "again", 1000)
        harcad.restart(hard=True)
        loaded(harcad)
        client = harcad.client()
        assert client.get("changed") in (None, b"new")
        assert client.get("again:999") == value("again", 999)
        harcad.stop()


def test_disk_smaller_than_max_bytes_is_used_and_not_more(make_harcad, tmp_path):
    """Segments of the log go, oldest first, as if that were the bound."""
    with mounted(str(tmp_path / "small"), "16M") as path:
        harcad = make_harcad({**QUICK, "file.dir": os.path.join(path, "cache"), "memory.max_bytes": "2M"})
        fill(harcad, "k", 8000)
        client = harcad.client()
        assert client.get("k:7999") == value("k", 7999)
        wait_state(harcad, "on")
        harcad.stop()


def test_read_only_directory_is_said_at_the_start(tmp_path):
    with mounted(str(tmp_path / "ro"), "8M") as path:
        subprocess.run(["mount", "-o", "remount,ro", path], check=True)
        daemon = Harcad({"file.dir": os.path.join(path, "cache")})
        try:
            run = daemon.run(*daemon.argv(0)[1:])
        finally:
            daemon.close()
        assert run.returncode != 0
        assert b"file.dir" in run.stderr and b"Read-only" in run.stderr


def test_p2_directory_that_vanishes_is_made_anew_and_empty(make_harcad):
    harcad = make_harcad({**QUICK, "memory.max_bytes": "2M"})
    client = harcad.client()
    fill(harcad, "k", 1500)
    client.set("hot", "h")
    os.rename(tier_dir(harcad), tier_dir(harcad) + ".away")
    wait_until(lambda: harcad.info()["file_faults"] == 1)
    assert client.get("hot") == b"h"
    wait_state(harcad, "on")
    assert len(tier_log(harcad, "file_off")) == 1
    client.set("after", "a")
    harcad.restart(hard=True)
    loaded(harcad)
    client = harcad.client()
    assert client.get("after") == b"a"
    assert client.get("k:0") is None


# ---- a disk that fails ----


FAULTS = {
    "write-0": ("write", errno.EIO, 0, "everysec"),
    "write-1": ("write", errno.EIO, 1, "no"),
    "write-7": ("write", errno.EIO, 7, "always"),
    "write-rofs": ("write", errno.EROFS, 3, "everysec"),
    "write-full": ("write", errno.ENOSPC, 2, "everysec"),
    "sync-always": ("sync", errno.EIO, 2, "always"),
    "sync-everysec": ("sync", errno.EIO, 0, "everysec"),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_p2_p6_disk_that_fails_and_comes_back(make_harcad, disk, fault):
    """Nobody is told an error, memory's hits go on, what was changed meanwhile is not outdated afterwards."""
    kind, err, after, sync = FAULTS[fault]
    harcad = make_harcad({**QUICK, "file.sync": sync}, env=disk.env)
    client = harcad.client()
    for i in range(60):
        client.set(f"k:{i}", f"old:{i}")
    disk.fail(kind, err, after=after)
    for i in range(20):
        client.set(f"k:{i}", f"new:{i}")
    info = wait_state(harcad, "off")
    assert info["file_fault"] == errno.errorcode[err]
    assert info["file_faults"] == 1
    client.delete(*[f"k:{i}" for i in range(20, 40)])
    assert client.get("k:0") == b"new:0"
    assert client.get("k:50") == b"old:50"
    wait_until(lambda: disk.calls(kind) > after + 4 if kind == "write" else True)  # it tries again and again
    assert len(tier_log(harcad, "file_off")) == 1
    disk.heal()
    wait_state(harcad, "on")
    client.set("after", "a")
    harcad.restart(hard=True)
    loaded(harcad)
    client = harcad.client()
    assert client.get("after") == b"a"
    assert all(client.get(f"k:{i}") in (None, f"new:{i}".encode()) for i in range(20))
    assert client.mget([f"k:{i}" for i in range(20, 40)]) == [None] * 20
    assert client.mget([f"k:{i}" for i in range(40, 60)]) == [f"old:{i}".encode() for i in range(40, 60)]


def test_p2_killed_while_the_disk_fails_trusts_nothing(make_harcad, disk):
    harcad = make_harcad({**QUICK, "file.retry": "1h"}, env=disk.env)
    client = harcad.client()
    client.set("k", "old")
    client.set("other", "o")
    disk.fail("write", errno.EIO)
    client.set("k", "new")
    wait_state(harcad, "off")
    client.delete("k")
    harcad.kill()
    disk.heal()
    harcad.start()
    loaded(harcad)
    assert harcad.client().mget("k", "other") == [None, None]


def test_reads_that_fail_are_counted_and_ask_again(make_harcad, disk):
    """Tried again some times, then a miss for that read alone: the tier stays on, the value is there for the next."""
    harcad = make_harcad({**QUICK, "memory.max_bytes": "2M"}, env=disk.env)
    fill(harcad, "k", 1500)
    client = harcad.client()
    disk.fail("read_cached", errno.EAGAIN)  # nothing is in the page cache
    disk.fail("read", errno.EIO, times=11)
    got = [client.get(f"k:{i}") for i in range(20)]
    assert got.count(None) == 2
    assert all(text in (None, value("k", i)) for i, text in enumerate(got))
    info = harcad.info()
    assert info["file_read_errors"] == 11 and info["file_state"] == "on"
    assert client.mget([f"k:{i}" for i in range(20)]) == [value("k", i) for i in range(20)]


# ---- a disk that hangs ----


class HotReader(threading.Thread):
    """GETs of a key that memory has, one after another, on a connection of its own: the longest it waited."""

    def __init__(self, harcad):
        super().__init__(daemon=True)
        self.harcad, self.over, self.longest_s, self.reads, self.error = harcad, threading.Event(), 0.0, 0, None

    def run(self):
        try:
            with self.harcad.raw() as conn:
                while not self.over.is_set():
                    began = time.monotonic()
                    assert conn.command("GET", "hot") == b"h"
                    self.longest_s = max(self.longest_s, time.monotonic() - began)
                    self.reads += 1
                    time.sleep(0.001)
        except (AssertionError, OSError) as error:
            self.error = error

    def finish(self):
        self.over.set()
        self.join()
        assert self.error is None
        return self.longest_s


def is_silent(conn, seconds):
    conn.sock.settimeout(seconds)
    try:
        conn.sock.recv(1, socket.MSG_PEEK)
        return False
    except (TimeoutError, socket.timeout):
        return True
    finally:
        conn.sock.settimeout(10 * SLOW)


def test_disk_that_hangs_in_writes_keeps_writers_waiting_and_nobody_else(make_harcad, disk):
    harcad = make_harcad({**QUICK, "file.queue_bytes": "1M"}, env=disk.env)
    client = harcad.client()
    client.set("hot", "h")
    with harcad.raw() as writer, harcad.raw() as other:
        disk.delay("write", 600_000)
        writer.send(writer.encode("SET", "k", "v" * 3000) * 1000)  # more than the queue takes
        other.send(other.encode("SET", "k2", "v"))
        reader = HotReader(harcad)
        reader.start()
        assert is_silent(other, 1.0)  # not before the log has it
        assert client.get("nothing") is None
        assert harcad.info()["file_queue_records"] > 0
        assert reader.finish() < STALL_S
        assert reader.reads > 50
        disk.heal()
        assert other.read_reply() == "OK"
        assert [writer.read_reply() for _ in range(1000)] == ["OK"] * 1000
    assert harcad.info()["file_state"] == "on"


def test_disk_that_hangs_sheds_demotions(make_harcad, redis_server, disk):
    """With an upstream nobody waits for the disk at all."""
    harcad = make_harcad({**QUICK, **PATIENT, "memory.max_bytes": "2M", "file.queue_bytes": "1M"}, upstream=redis_server,
                         env=disk.env)
    in_step(harcad)
    client = harcad.client()
    client.set("hot", "h")
    disk.delay("write", 600_000)
    reader = HotReader(harcad)
    reader.start()
    for start in range(0, 3000, 100):  # each is read again, so that memory wants to demote it
        keys = {f"k:{i}": value("k", i) for i in range(start, start + 100)}
        client.mset(keys)
        client.mget(list(keys))
        client.get("hot")
    assert reader.finish() < STALL_S
    assert harcad.info()["file_shed"] > 0
    disk.heal()
    wait_until(lambda: harcad.info()["file_queue_records"] == 0)


def test_disk_that_hangs_in_reads_keeps_only_those_reads_waiting(make_harcad, disk):
    harcad = make_harcad({**QUICK, "memory.max_bytes": "2M"}, env=disk.env)
    fill(harcad, "k", 1500)
    client = harcad.client()
    client.set("hot", "h")
    disk.fail("read_cached", errno.EAGAIN)
    disk.delay("read", 600_000)
    with contextlib.ExitStack() as stack:
        conns = [stack.enter_context(harcad.raw()) for _ in range(20)]
        for i, conn in enumerate(conns):
            conn.send(conn.encode("GET", f"k:{i}"))
        reader = HotReader(harcad)
        reader.start()
        client.set("written", "w")
        assert is_silent(conns[0], 0.5)
        assert reader.finish() < STALL_S
        disk.heal()
        assert [conn.read_reply() for conn in conns] == [value("k", i) for i in range(20)]


def test_many_who_want_one_record_are_one_read(make_harcad, disk):
    harcad = make_harcad({**QUICK, "memory.max_bytes": "2M"}, env=disk.env)
    fill(harcad, "k", 1500)
    before = harcad.info()
    disk.fail("read_cached", errno.EAGAIN)
    disk.delay("read", 600_000)
    with contextlib.ExitStack() as stack:
        conns = [stack.enter_context(harcad.raw()) for _ in range(20)]
        for conn in conns:
            conn.send(conn.encode("GET", "k:7") * 2)
        assert is_silent(conns[0], 0.5)
        disk.heal()
        for conn in conns:
            assert [conn.read_reply(), conn.read_reply()] == [value("k", 7)] * 2
    after = harcad.info()
    assert after["fills_coalesced"] - before["fills_coalesced"] >= 19
    assert after["file_reads"] - before["file_reads"] <= 1 + 20  # whoever asked behind may read it once more


@pytest.mark.parametrize("mode", ["embedded", "fleet"])
def test_read_that_waits_for_a_disk_is_not_shown_what_is_written_behind_it(make_harcad, make_redis, disk, mode):
    settings = {**QUICK, "memory.max_bytes": "2M", "file.write": "through"}
    harcad = make_harcad(settings, upstream=make_redis() if mode == "fleet" else None, env=disk.env)
    if mode == "fleet":
        in_step(harcad)
    fill(harcad, "k", 1500)
    in_file = [i for i in range(100) if dict(zip(*[iter(harcad.client().execute_command("EXPLAIN", f"k:{i}"))] * 2))[b"tier"] == b"file"]
    disk.fail("read_cached", errno.EAGAIN)
    disk.delay("read", 600_000)
    with harcad.raw() as conn:
        commands = [command for i in in_file for command in (("GET", f"k:{i}"), ("SET", f"k:{i}", "new"), ("GET", f"k:{i}"))]
        conn.send(b"".join(conn.encode(*command) for command in commands))
        wait_until(lambda: disk.calls("read") > 0, message="it waits for the disk")
        assert is_silent(conn, 0.1)
        disk.heal()
        for i in in_file:
            assert [conn.read_reply() for _ in range(3)] == [value("k", i), "OK", b"new"]
    assert in_file


# ---- what a power cut may cost ----


def test_sync_always_syncs_before_each_ok(make_harcad, disk):
    harcad = make_harcad({**QUICK, "file.sync": "always"}, env=disk.env)
    client = harcad.client()
    for i in range(20):
        begun, before = disk.done("write"), disk.done("sync")
        client.set("k", i)
        assert disk.done("write") > begun and disk.done("sync") > before
    disk.delay("sync", 600_000)
    with harcad.raw() as conn:
        conn.send(conn.encode("SET", "k", "v"))
        assert is_silent(conn, 0.5)
        disk.heal()
        assert conn.read_reply() == "OK"


def test_sync_everysec_does_not_hold_writes_up(make_harcad, disk):
    harcad = make_harcad({**QUICK, "file.sync": "everysec"}, env=disk.env)
    client = harcad.client()
    before = disk.done("sync")
    client.set("k", "v")
    wait_until(lambda: disk.done("sync") > before, message="it is synced within a second or so")
    disk.delay("sync", 600_000)
    for i in range(50):
        client.set("k", i)
    disk.heal()


def test_sync_no_never_syncs_data(make_harcad, disk):
    harcad = make_harcad({**QUICK, "file.sync": "no"}, env=disk.env)
    client = harcad.client()
    for i in range(50):
        client.set("k", i)
    time.sleep(1.2)
    assert disk.calls("sync") == 0
