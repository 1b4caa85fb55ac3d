"""What is read at one daemon and written at another is fetched before it is asked for again; once for a read, at most."""

import time

import pytest

from fleet import calls, in_threads, prime, start_fleet
from harcad_harness import wait_until

# Of Redis's own pushes no key becomes suspect here, which would be asked about, too.
EVENTS_ALONE = {"upstream.foreign_writes": "no", "upstream.sweep_rate": "0"}


def fleet_of_two(make_harcad, redis_server, **settings):
    return start_fleet(make_harcad, redis_server, n=2, settings={**EVENTS_ALONE, **settings})


@pytest.fixture
def fleet(make_harcad, redis_server):
    return fleet_of_two(make_harcad, redis_server)


def read(node, *keys):
    """Until there are copies, and these have been read since they were kept."""
    prime(node, *keys)
    hits = node.info()["memory_hits"]
    with node.raw() as conn:
        for key in keys:
            conn.command("GET", key)
    assert node.info()["memory_hits"] == hits + len(keys)


def written(writer, reader, *command):
    """Carried out there, and the event of it has been heard of here."""
    heard = reader.info()["invalidations_in"]
    writer.client().execute_command(*command)
    wait_until(lambda: reader.info()["invalidations_in"] > heard)


def refetched(node, n):
    wait_until(lambda: node.info()["refetches"] >= n, message=lambda: f"{node.info()['refetches']} of {n} refetches")
    assert node.info()["refetches"] == n


def answers_from_memory(node, key, value):
    """As soon as the fetch that was begun is over."""
    fills = node.info()["fills"]
    with node.raw() as conn:
        wait_until(lambda: conn.command("GET", key) == value)
        hits = node.info()["memory_hits"]
        assert conn.command("GET", key) == value
    assert node.info()["memory_hits"] == hits + 1
    assert node.info()["fills"] == fills, "it was not fetched for that"


WRITES = {
    "SET": (["SET", "k", "new"], b"new"),
    "SET of a model": (["SET", "k", "new", "MODEL", "m"], b"new"),
    "SET with a TTL": (["SET", "k", "new", "PX", "100000"], b"new"),
    "MSET": (["MSET", "k", "new", "another", "x"], b"new"),
    "APPEND": (["APPEND", "k", "+"], b"old+"),
    "EXPIRE": (["EXPIRE", "k", "1000"], b"old"),
}


@pytest.mark.parametrize("command, value", WRITES.values(), ids=WRITES)
def test_what_was_read_is_fetched_when_a_sibling_writes_it(fleet, command, value):
    written(fleet[0], fleet[1], "SET", "k", "old")
    read(fleet[1], "k")
    written(fleet[0], fleet[1], *command)
    refetched(fleet[1], 1)
    answers_from_memory(fleet[1], "k", value)


def test_what_was_not_read_since_it_was_kept_is_not_fetched(fleet):
    written(fleet[0], fleet[1], "SET", "k", 0)
    assert fleet[1].client().get("k") == b"0"  # its copy was kept for this read, and has not been read itself
    fills = fleet[1].info()["fills"]
    for i in range(10):
        written(fleet[0], fleet[1], "SET", "k", i)
    written(fleet[0], fleet[1], "SET", "never read", "x")
    info = fleet[1].info()
    assert (info["refetches"], info["fills"]) == (0, fills)


def test_many_writes_without_a_read_cost_one_fetch(fleet):
    written(fleet[0], fleet[1], "SET", "k", "old")
    read(fleet[1], "k")
    for i in range(200):
        written(fleet[0], fleet[1], "SET", "k", i)
    refetched(fleet[1], 1)
    read(fleet[1], "k")
    written(fleet[0], fleet[1], "SET", "k", "last")
    refetched(fleet[1], 2)
    answers_from_memory(fleet[1], "k", b"last")


@pytest.mark.parametrize("command", [["DEL", "k"], ["CLEAR", "KEY", "k"], ["CLEAR", "MODEL", "default"], ["FLUSHDB"]], ids=" ".join)
def test_what_is_gone_is_not_asked_for(fleet, redis_server, command):
    written(fleet[0], fleet[1], "SET", "k", "old")
    read(fleet[1], "k")
    asked = calls(redis_server, "get")
    written(fleet[0], fleet[1], *command)
    time.sleep(0.05)
    assert fleet[1].info()["refetches"] == 0
    assert calls(redis_server, "get") == asked


def test_own_writes_are_not_fetched(fleet):
    client = fleet[0].client()
    for i in range(20):
        client.set("k", i)
        assert client.get("k") == b"%d" % i
    written(fleet[0], fleet[1], "SET", "another", "x")
    assert fleet[0].info()["refetches"] == 0


def test_it_can_be_switched_off_and_on(make_harcad, redis_server):
    fleet = fleet_of_two(make_harcad, redis_server, **{"fleet.refetch": "no"})
    written(fleet[0], fleet[1], "SET", "k", "old")
    read(fleet[1], "k")
    written(fleet[0], fleet[1], "SET", "k", "new")
    assert fleet[1].info()["refetches"] == 0
    fleet[1].client().config_set("fleet.refetch", "yes")
    read(fleet[1], "k")
    written(fleet[0], fleet[1], "SET", "k", "newer")
    refetched(fleet[1], 1)


@pytest.mark.parametrize("workers", ["1", "3"])
def test_a_flood_of_them_is_bounded_and_nothing_old_is_left(make_harcad, redis_server, workers):
    fleet = fleet_of_two(make_harcad, redis_server, **{"server.workers": workers})
    keys = [f"k{i}" for i in range(3000)]
    for value in ("old", "newer", "newest"):
        fleet[0].client().mset({key: value for key in keys})
        with fleet[1].raw() as conn:
            wait_until(lambda: conn.command("MGET", *keys) == [value.encode()] * len(keys))
            conn.command("MGET", *keys)
    wait_until(lambda: fleet[1].info()["refetches"] > 0)
    assert fleet[1].info()["refetches"] <= 2 * len(keys)


def test_a_daemon_that_ends_meanwhile_ends_in_order(make_harcad, redis_server):
    fleet = fleet_of_two(make_harcad, redis_server, **{"server.workers": "2"})
    keys = [f"k{i}" for i in range(500)]
    values = {key: "v" for key in keys}
    written(fleet[0], fleet[1], "MSET", *(word for pair in values.items() for word in pair))
    read(fleet[1], *keys)
    in_threads(lambda: [fleet[0].client().mset(values) for _ in range(20)], fleet[1].stop)
