"""Moves between memory and files, on traces: what the two tiers answer together, what moving costs, and what a walk over
everything does to memory. The bench does the same on recorded traces, see scripts/measure/file.py."""

import contextlib
import os
import sys

import pytest

from file_tier import tier_dir, value
from harcad_harness import ROOT

sys.path.insert(0, os.path.join(ROOT, "scripts"))

from kit import replay  # noqa: E402  needs the path above
from kit.resp import Client  # noqa: E402

MIB = 1 << 20
MEMORY, FILES = 4 * MIB, 16 * MIB
TRACE = {"requests": 30_000, "keys": 8_000}  # of 4 KiB: 32 MiB


def replayed(harcad, trace, watch=None):
    with Client(("127.0.0.1", harcad.port)) as client:
        return replay.replay(client, trace, watch).hit_ratio


def used(directory):
    """Bytes of all files in it, each in whole blocks."""
    total = 0
    for entry in os.scandir(directory):
        with contextlib.suppress(FileNotFoundError):
            total += 512 * entry.stat().st_blocks
    return total


# What demotion adds is less by intent: what memory evicts without its having been read again goes nowhere.
@pytest.mark.parametrize("write, share", [("through", 0.8), ("demote", 0.05)])
def test_two_tiers_hit_about_as_often_as_memory_of_both_budgets(make_harcad, write, share):
    alone = make_harcad({"memory.max_bytes": MEMORY + FILES, "file.enabled": "no"})
    best = replayed(alone, replay.zipf(**TRACE))

    def is_worth_it():
        """Which time has its part in: a machine with much else to do gets less of demotion."""
        both = make_harcad({"memory.max_bytes": MEMORY, "file.max_bytes": FILES, "file.write": write})
        without = make_harcad({"memory.max_bytes": MEMORY, "file.enabled": "no"})
        found, least = (replayed(harcad, replay.zipf(**TRACE)) for harcad in (both, without))
        info = both.info()
        assert info["memory_hits"] + info["file_hits"] + info["misses"] == TRACE["requests"]
        assert info["file_hits"] > 0 and info["file_promoted"] > 0 and info["file_demoted"] > 0
        print(best, found, least)
        return found > least + share * (best - least)

    assert any(is_worth_it() for _ in range(3))


def test_reclaim_keeps_within_max_bytes_and_writes_little_twice(make_harcad):
    """Sampled while it runs, from the files themselves."""
    harcad = make_harcad({"memory.max_bytes": "2M", "file.max_bytes": "8M"})
    sizes = []
    replayed(harcad, replay.zipf(**TRACE), watch=lambda: sizes.append(used(tier_dir(harcad))))
    assert max(sizes) <= 8 * MIB and len(sizes) == TRACE["requests"] // replay.BATCH
    info = harcad.info()
    assert info["file_segments_reclaimed"] > 10
    assert info["file_written_bytes"] / info["file_appended_bytes"] <= 1.3
    assert info["file_carried"] > 0


def drop_page_cache(directory):
    for entry in os.scandir(directory):
        fd = os.open(entry.path, os.O_RDWR)
        os.fsync(fd)
        os.posix_fadvise(fd, 0, 0, os.POSIX_FADV_DONTNEED)
        os.close(fd)


@pytest.mark.parametrize("on_disk", [False, True], ids=["page cache", "disk"])
def test_scan_over_files_moves_nothing_into_memory(make_harcad, on_disk):
    """Each is read once: promotion is for the second time. (By a table that takes one key for another once in 65536 times.)
    What memory had, it still has."""
    harcad = make_harcad({"memory.max_bytes": "4M", "file.max_bytes": "64M"})
    client = harcad.client()
    client.mset({f"cold:{i}": value("cold", i) for i in range(4000)})
    hot = {f"hot:{i}": value("hot", i) for i in range(200)}
    client.mset(hot)
    for _ in range(5):
        client.mget(list(hot))
    before = harcad.info()
    for start in range(0, 4000, 100):
        keys = range(start, start + 100)
        if on_disk:
            drop_page_cache(tier_dir(harcad))
        assert client.mget([f"cold:{i}" for i in keys]) == [value("cold", i) for i in keys]
    after = harcad.info()
    assert after["file_promoted"] <= before["file_promoted"] + 3
    client.mget(list(hot))
    assert harcad.info()["memory_hits"] - after["memory_hits"] > 0.8 * len(hot)
    for _ in range(2):  # twice within a moment, however long ago the first time was
        client.mget([f"cold:{i}" for i in range(100)])
    assert harcad.info()["file_promoted"] > after["file_promoted"] + 50
