"""Answers that come late, beside changes that came in between: a proxy before one of the daemons holds its links
back one by one, so that each race is run in the order that hurts, every time."""

import os
import random
import socket
import struct
import threading
import time

import pytest

from fleet import PREFIX, STATE, calls, in_step, in_threads, prime, serves, start_fleet
from harcad_harness import SLOW, wait_until


class Pair:
    """`slow` is a daemon whose links can be held, `other` its sibling."""

    def __init__(self, make_harcad, make_link_proxy, redis, settings=None):
        self.proxy = make_link_proxy(redis.address)
        # What is held must not look like a failure.
        patient = {"upstream.timeout": "60s", "fleet.lease": "60s", **(settings or {})}
        self.slow, = start_fleet(make_harcad, self.proxy.url, 1, patient)
        self.other, = start_fleet(make_harcad, redis.url, 1, patient)
        self.upstream = redis.client()
        self.here = self.slow.raw()
        self.here2 = self.slow.raw()
        self.there = self.other.raw()

    def close(self):
        for conn in (self.here, self.here2, self.there):
            conn.close()

    def ask(self, *args, conn=None):
        """Sends a command at the slow daemon; the answer is read later."""
        conn = conn or self.here
        conn.send(conn.encode(*args))

    def events_seen(self, n):
        wait_until(lambda: self.slow.info()["invalidations_in"] >= n, message=f"{n} events at the slow daemon")

    def agree(self, key, value):
        """Both daemons and Redis say so, and go on to."""
        for node in (self.slow, self.other):
            serves(node, key, value)
        for _ in range(3):
            assert self.here.command("GET", key) == value
            assert self.here2.command("GET", key) == value
            assert self.there.command("GET", key) == value


@pytest.fixture
def pair(make_harcad, make_link_proxy, redis_server):
    pair = Pair(make_harcad, make_link_proxy, redis_server)
    yield pair
    pair.close()


CHANGES = {
    "SET": (["SET", "k", "new"], b"new"),
    "SET of a model": (["SET", "k", "new", "MODEL", "n"], b"new"),
    "DEL": (["DEL", "k"], None),
    "MSET": (["MSET", "j", "x", "k", "new"], b"new"),
    "GETDEL": (["GETDEL", "k"], None),
    "EXPIRE in the past": (["EXPIRE", "k", "-1"], None),
    "CLEAR MODEL": (["CLEAR", "MODEL", "m"], None),
    "FLUSHDB": (["FLUSHDB"], None),
}


# ---- a fill in flight ----


@pytest.mark.parametrize("event_first", [True, False], ids=["event first", "answer first"])
@pytest.mark.parametrize("change, value", CHANGES.values(), ids=CHANGES)
def test_p2_a_fill_in_flight_while_a_sibling_changes_the_key_is_not_kept(pair, change, value, event_first):
    assert pair.there.command("SET", "k", "old", "MODEL", "m") == "OK"
    pair.events_seen(1)
    pair.proxy.hold("worker")
    pair.ask("GET", "k")
    pair.proxy.wait_held("worker")  # Redis has answered with the old value
    if not event_first:
        pair.proxy.hold("events")
    pair.there.command(*change)
    if event_first:
        pair.events_seen(2)
    else:
        pair.proxy.wait_held("events")
    pair.proxy.let_go("worker")
    assert pair.here.read_reply() in (b"old", value)
    pair.proxy.let_go()
    pair.agree("k", value)


@pytest.mark.parametrize("change, value", [c for c in CHANGES.values() if c[0][0] != "FLUSHDB"],
                         ids=[c for c in CHANGES if c != "FLUSHDB"])
def test_p1_p2_a_fill_in_flight_while_this_daemon_changes_the_key_is_not_kept(pair, redis_server, change, value):
    """The change overtakes the fill nowhere: both are on one link. But who asks after it must not get the fill's."""
    assert pair.there.command("SET", "k", "old", "MODEL", "m") == "OK"
    pair.events_seen(1)
    pair.proxy.hold("worker")
    pair.ask("GET", "k")
    pair.proxy.wait_held("worker")
    conn = pair.slow.raw()
    carried_out = calls(redis_server, "evalsha", "eval")
    pair.ask(*change, conn=conn)
    pair.ask("GET", "k", conn=conn)
    wait_until(lambda: calls(redis_server, "evalsha", "eval") > carried_out, message="Redis has carried it out")
    pair.proxy.let_go()
    # The change's own event may come first and tell that the old value is none any more.
    assert pair.here.read_reply() in (b"old", value)
    conn.read_reply()
    assert conn.read_reply() == value
    conn.close()
    pair.agree("k", value)


def test_p1_who_asks_after_a_write_does_not_join_a_fill_from_before(make_harcad, make_link_proxy, redis_server):
    """With the fill of one worker held, the write goes through the other's link."""
    pair = Pair(make_harcad, make_link_proxy, redis_server)
    pair.there.command("SET", "k", "old")
    pair.events_seen(1)
    pair.proxy.hold("worker")
    pair.ask("GET", "k")
    pair.proxy.wait_held("worker")
    pair.there.command("SET", "k", "new")
    pair.events_seen(2)
    pair.ask("GET", "k", conn=pair.here2)
    wait_until(lambda: calls(redis_server, "get") >= 2, message="it is fetched anew")
    pair.proxy.let_go()
    assert pair.here.read_reply() in (b"old", b"new")
    assert pair.here2.read_reply() == b"new"
    pair.agree("k", b"new")
    pair.close()


# ---- writes in flight ----


@pytest.mark.parametrize("event_first", [True, False], ids=["event first", "answer first"])
@pytest.mark.parametrize("change, value", CHANGES.values(), ids=CHANGES)
def test_p2_a_write_in_flight_while_a_sibling_changes_the_key_leaves_no_copy(pair, change, value, event_first):
    pair.proxy.hold("worker")
    pair.ask("SET", "k", "mine", "MODEL", "m")
    pair.proxy.wait_held("worker")  # it is in Redis
    if not event_first:
        pair.proxy.hold("events")
    pair.there.command(*change)
    if event_first:
        pair.events_seen(1)
    else:
        pair.proxy.wait_held("events")
    pair.proxy.let_go("worker")
    assert pair.here.read_reply() == "OK"
    pair.proxy.let_go()
    pair.agree("k", value)


def test_two_writes_of_one_key_in_flight_agree_in_the_end(pair):
    pair.proxy.hold("worker", "up")
    pair.ask("SET", "k", "first")
    pair.ask("SET", "k", "second", conn=pair.here2)
    pair.proxy.wait_held("worker")
    pair.there.command("SET", "k", "other")
    pair.proxy.let_go()
    assert (pair.here.read_reply(), pair.here2.read_reply()) == ("OK", "OK")
    value = pair.upstream.get(PREFIX + b"k")
    assert value in (b"first", b"second")
    pair.agree("k", value)


def test_a_write_older_than_a_siblings_does_not_hide_it(pair):
    """The sibling's event comes first, then the answer to the own write, which Redis carried out before."""
    pair.proxy.hold("worker")
    pair.ask("SET", "k", "older")
    pair.proxy.wait_held("worker")
    pair.there.command("SET", "k", "newer")
    pair.events_seen(1)
    pair.proxy.let_go()
    assert pair.here.read_reply() == "OK"
    assert pair.here.command("GET", "k") == b"newer", "P1: reads do not go back"
    pair.agree("k", b"newer")


def test_p1_a_read_that_overtakes_an_event_is_not_taken_back(pair):
    """A read that was asked for during an own write shows a sibling's later one, of which the event is still on its way:
    the copy that the own write left must not be shown after that."""
    pair.proxy.hold("worker")
    pair.ask("SET", "k", "mine")
    pair.proxy.wait_held("worker")
    pair.proxy.hold("worker", "up")
    pair.ask("GET", "k", conn=pair.here2)
    pair.proxy.wait_held("worker", 2)
    pair.proxy.hold("events")
    pair.proxy.let_go("worker", "down")
    assert pair.here.read_reply() == "OK"
    pair.there.command("SET", "k", "newer")
    pair.proxy.wait_held("events")
    pair.proxy.let_go("worker")
    assert pair.here2.read_reply() == b"newer"
    assert pair.here.command("GET", "k") == b"newer"
    pair.proxy.let_go()
    pair.agree("k", b"newer")


def test_a_read_while_a_write_is_in_flight_gets_the_write_or_waits_behind_it(pair):
    pair.there.command("SET", "k", "old")
    pair.events_seen(1)
    assert pair.here.command("GET", "k") == b"old"
    pair.proxy.hold("worker")
    pair.ask("SET", "k", "new")
    pair.ask("GET", "k")
    pair.ask("GET", "k", conn=pair.here2)
    pair.proxy.wait_held("worker")
    pair.proxy.let_go()
    assert [pair.here.read_reply() for _ in range(2)] == ["OK", b"new"]
    assert pair.here2.read_reply() in (b"old", b"new")
    pair.agree("k", b"new")


def test_a_delete_while_a_fill_is_in_flight_wins(pair):
    pair.there.command("SET", "k", "old")
    pair.events_seen(1)
    pair.proxy.hold("worker")
    pair.ask("GET", "k")
    pair.ask("DEL", "k", conn=pair.here2)
    pair.ask("GET", "k", conn=pair.here2)
    pair.proxy.wait_held("worker")
    pair.proxy.let_go()
    assert pair.here.read_reply() in (b"old", None)
    assert [pair.here2.read_reply() for _ in range(2)] == [1, None]
    pair.agree("k", None)


# ---- clears in flight ----


def test_p4_clear_model_while_many_fills_are_in_flight(pair):
    keys = [f"k{i}" for i in range(100)]
    for key in keys:
        pair.there.command("SET", key, "old", "MODEL", "m")
    pair.events_seen(len(keys))
    pair.proxy.hold("worker")
    for key in keys:
        pair.ask("GET", key)
    pair.proxy.wait_held("worker")
    assert pair.there.command("CLEAR", "MODEL", "m") == "OK"
    pair.events_seen(len(keys) + 1)
    pair.ask("GET", keys[0], conn=pair.here2)
    pair.proxy.let_go()
    for _ in keys:
        assert pair.here.read_reply() in (b"old", None)
    assert pair.here2.read_reply() is None, "the event was here before it was asked for"
    assert pair.here.command("MGET", *keys) == [None] * len(keys)
    assert pair.there.command("MGET", *keys) == [None] * len(keys)


def test_p4_an_own_clear_model_while_a_fill_is_in_flight(pair):
    pair.there.command("SET", "k", "old", "MODEL", "m")
    pair.events_seen(1)
    pair.proxy.hold("worker")
    pair.ask("GET", "k")
    pair.ask("CLEAR", "MODEL", "m", conn=pair.here2)
    pair.ask("GET", "k", conn=pair.here2)
    pair.proxy.wait_held("worker")
    pair.proxy.let_go()
    pair.here.read_reply()
    assert [pair.here2.read_reply() for _ in range(2)] == ["OK", None]
    pair.agree("k", None)


# ---- coalescing ----


@pytest.mark.parametrize("stored", [b"v", None], ids=["hit", "miss"])
def test_a_hundred_misses_of_one_key_are_one_fetch(pair, redis_server, stored):
    if stored:
        pair.upstream.set(PREFIX + b"k", stored)
        pair.slow.wait_info(foreign_changes=1)
    conns = [pair.slow.raw() for _ in range(100)]
    pair.proxy.hold("worker")
    before = calls(redis_server, "get")
    info = pair.slow.info()
    for conn in conns:
        pair.ask("GET", "k", conn=conn)
    wait_until(lambda: pair.slow.info()["fills_coalesced"] == info["fills_coalesced"] + 99, message="99 wait with the first")
    pair.proxy.let_go()
    for conn in conns:
        assert conn.read_reply() == stored
        conn.close()
    assert calls(redis_server, "get") == before + 1


def test_coalesced_readers_may_leave_and_the_others_are_answered(pair):
    pair.upstream.set(PREFIX + b"k", "v")
    pair.slow.wait_info(foreign_changes=1)
    conns = [pair.slow.raw() for _ in range(20)]
    pair.proxy.hold("worker")
    info = pair.slow.info()
    for conn in conns:
        pair.ask("GET", "k", conn=conn)
    wait_until(lambda: pair.slow.info()["fills_coalesced"] == info["fills_coalesced"] + 19)
    for conn in conns[::2]:
        conn.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))  # RST, not FIN
        conn.close()
    assert pair.here.command("PING") == "PONG"
    pair.proxy.let_go()
    for conn in conns[1::2]:
        assert conn.read_reply() == b"v"
        conn.close()


# ---- links that come back ----


def test_what_changed_while_only_the_event_link_was_away_is_not_served(make_harcad, make_link_proxy, redis_server):
    pair = Pair(make_harcad, make_link_proxy, redis_server)
    pair.there.command("MSET", "k", "old", "j", "old")
    pair.events_seen(2)
    assert pair.here.command("MGET", "k", "j") == [b"old", b"old"]
    replays = pair.slow.info()["replays"]
    pair.proxy.hold("events")
    pair.there.command("SET", "k", "new")
    pair.proxy.wait_held("events")
    pair.proxy.cut_links("events")  # the event is lost with it
    pair.proxy.let_go()
    wait_until(lambda: pair.slow.info()["replays"] > replays)
    in_step(pair.slow)
    pair.agree("k", b"new")
    pair.close()


def test_a_fill_from_before_the_event_link_was_cut_is_not_kept(pair):
    pair.there.command("SET", "k", "old")
    pair.events_seen(1)
    replays = pair.slow.info()["replays"]
    pair.proxy.hold("worker")
    pair.ask("GET", "k")
    pair.proxy.wait_held("worker")
    pair.proxy.hold("events")
    pair.there.command("SET", "k", "new")
    pair.proxy.wait_held("events")
    pair.proxy.cut_links("events")
    pair.proxy.let_go("events")
    wait_until(lambda: pair.slow.info()["replays"] > replays)
    pair.proxy.let_go()
    assert pair.here.read_reply() in (b"old", b"new")
    pair.agree("k", b"new")


# ---- random histories ----


class History:
    """One writer for each key writes 0, 1, 2 …, or deletes; readers check that what they see was written and
    never goes back, daemon by daemon."""

    def __init__(self, nodes, upstream, seed, keys=6):
        self.nodes, self.upstream, self.seed, self.keys = nodes, upstream, seed, keys
        self.sent = [-1] * keys  # the greatest number a write of which has been sent
        self.over = threading.Event()
        self.reads = 0

    def run(self, seconds):
        timer = threading.Timer(seconds, self.over.set)
        timer.start()
        try:
            in_threads(*[lambda key=key: self.stopping(self.write, key) for key in range(self.keys)],
                       *[lambda i=i: self.stopping(self.read, i) for i in range(len(self.nodes))],
                       lambda: self.stopping(self.disturb))
        finally:
            timer.cancel()
        self.check_agreement()

    def stopping(self, function, *args):
        try:
            function(*args)
        finally:
            self.over.set()

    def write(self, key):
        rng = random.Random(f"{self.seed} writer {key}")
        conns = [node.raw() for node in self.nodes]
        number = 0
        while not self.over.is_set():
            conn = rng.choice(conns)
            self.sent[key] = number
            command = rng.choice([["SET"], ["SET"], ["SET", "MODEL", rng.choice("mn")], ["MSET"], ["PX"], ["GETSET"], ["pipe"]])
            if command[0] == "pipe":  # two writes and a read behind them
                self.sent[key] = number + 1
                conn.send(conn.encode("SET", f"k{key}", number) + conn.encode("SET", f"k{key}", number + 1, "MODEL", "m") +
                          conn.encode("GET", f"k{key}"))
                assert [conn.read_reply() for _ in range(2)] == ["OK", "OK"]
                seen = conn.read_reply()
                assert seen in (None, b"%d" % (number + 1)), f"k{key}: {number + 1} was written, then {seen} read"
                number += 1
            elif command[0] == "MSET":
                conn.command("MSET", f"x{key}", number, f"k{key}", number)
            elif command[0] == "PX":
                conn.command("SET", f"k{key}", number, "PX", "600000")
            elif command[0] == "GETSET":
                conn.command("GETSET", f"k{key}", number)
            else:
                assert conn.command("SET", f"k{key}", number, *command[1:]) == "OK"
            seen = conn.command("GET", f"k{key}")  # P1: only a DEL or CLEAR of somebody else may be in between
            assert seen in (None, b"%d" % number), f"k{key}: {number} was written, then {seen} read"
            number += 1
        for conn in conns:
            conn.close()

    def read(self, i):
        rng = random.Random(f"{self.seed} reader {i}")
        conns = [self.nodes[i].raw() for _ in range(3)]
        last = [-1] * self.keys
        while not self.over.is_set():
            keys = rng.sample(range(self.keys), rng.randrange(1, 4))
            for key, seen in zip(keys, rng.choice(conns).command("MGET", *[f"k{key}" for key in keys])):
                self.reads += 1
                if seen is None:
                    continue
                assert int(seen) <= self.sent[key], f"k{key}: {seen} was never written"
                assert int(seen) >= last[key], f"daemon {i}, k{key}: {last[key]} was seen before {seen}"
                last[key] = int(seen)
        for conn in conns:
            conn.close()

    def disturb(self):
        rng = random.Random(f"{self.seed} disturber")
        conns = [node.raw() for node in self.nodes]
        while not self.over.wait(0.01):
            conn = rng.choice(conns)
            key = f"k{rng.randrange(self.keys)}"
            conn.command(*rng.choice([["DEL", key], ["DEL", key, "k0"], ["CLEAR", "MODEL", rng.choice("mn")], ["GETDEL", key],
                                      ["EXPIRE", key, "1000"], ["PERSIST", key], ["CLEAR", "KEY", key]]))
        for conn in conns:
            conn.close()

    def check_agreement(self):
        """Nothing is under way any more: a key is to all what it is to a daemon that has just been started."""
        for key in range(self.keys):
            with self.nodes[0].raw() as conn:
                truth = conn.command("SET", f"k{key}", "unused", "NX", "GET")
                if truth is None:
                    truth = b"unused"
            for node in self.nodes:
                serves(node, f"k{key}", truth)


def run_history(make_harcad, make_link_proxy, redis, seconds, settings=None):
    seed = int(os.environ.get("HC_SEED", random.randrange(1 << 32)))
    print(f"HC_SEED={seed}")
    proxy = make_link_proxy(redis.address)
    proxy.delay = 0.002  # one of them is behind the others
    nodes = start_fleet(make_harcad, redis.url, 2, settings) + start_fleet(make_harcad, proxy.url, 1, settings)
    history = History(nodes, redis.client(), seed)
    history.run(seconds)
    print(f"{history.reads} reads, {sum(history.sent)} writes")
    assert history.reads > 100 and sum(history.sent) > 50


def test_random_histories_are_coherent(make_harcad, make_link_proxy, redis_server):
    run_history(make_harcad, make_link_proxy, redis_server, 4)


@pytest.mark.tsan
def test_random_histories_are_coherent_with_two_workers(make_harcad, make_link_proxy, redis_server):
    run_history(make_harcad, make_link_proxy, redis_server, 4, {"server.workers": "2"})


def test_one_fetch_serves_a_burst_and_a_later_change_is_seen(pair):
    """What waits together is answered together; who comes after the change is not among them."""
    pair.upstream.set(PREFIX + b"k", "old")
    started = time.monotonic()
    pair.proxy.hold("worker")
    pair.ask("GET", "k")
    pair.proxy.wait_held("worker")
    pair.there.command("SET", "k", "new")
    pair.events_seen(1)
    pair.ask("GET", "k", conn=pair.here2)
    pair.proxy.let_go()
    assert pair.here.read_reply() == b"old"
    assert pair.here2.read_reply() == b"new"
    assert time.monotonic() - started < 30 * SLOW


def event(*parts):
    parts = [part if isinstance(part, bytes) else str(part).encode() for part in parts]
    return b"*%d\r\n" % len(parts) + b"".join(b"$%d\r\n%s\r\n" % (len(part), part) for part in parts)


def test_p2_a_lost_write_that_was_carried_out_late_takes_the_older_copy_along(redis_server, make_harcad):
    """Its answer never came, and its key was fetched anew before Redis got round to it: only its event tells."""
    node, = start_fleet(make_harcad, redis_server, 1)
    upstream = redis_server.client()
    upstream.set(PREFIX + b"k", b"old")
    prime(node, "k")
    upstream.set(PREFIX + b"k", b"new")
    seq = int(upstream.hget(STATE, "seq") or 0) + 1
    upstream.publish("harcad/harca/events", event(1, "set", node.info()["fleet_instance"], seq, "", 0, 0, PREFIX + b"k"))
    serves(node, "k", b"new")


def test_own_events_that_come_back_leave_the_own_copies_alone(redis_server, make_harcad):
    node, = start_fleet(make_harcad, redis_server, 1)
    client = node.client()
    for i in range(50):
        client.set(f"k{i}", i)
    prime(node, *(f"k{i}" for i in range(50)))
    before = node.info()
    received = int(before["events_received"])
    client.set("last", 1)
    prime(node, "last")
    wait_until(lambda: int(node.info()["events_received"]) > received, message="the own event comes back")
    fills = int(node.info()["fills"])
    assert client.mget([f"k{i}" for i in range(50)] + ["last"]) == [b"%d" % i for i in range(50)] + [b"1"]
    assert int(node.info()["fills"]) == fills
