"""The shared Redis fails in every way a server and a network can. Local hits go on, a miss waits for a bounded time,
writes are taken or refused as the settings say, nothing older comes back, and all mends itself."""

import collections
import itertools
import os
import time

import pytest

from fleet import PREFIX, STATE, STATE_SCRIPT, calls, has_copy, has_heard_all, in_step, prime, serves, start_fleet
from harcad_harness import CUT, Redis, RespError, SLOW, free_port, wait_until

TIMEOUT_S = 0.5 * SLOW  # upstream.timeout here
# Failures are to be noticed soon, and a slow machine is not to be taken for one.
BRISK = {
    "upstream.timeout": f"{int(TIMEOUT_S * 1000)}ms",
    "upstream.connect_timeout": f"{int(500 * SLOW)}ms",
    "upstream.backoff_min": "20ms",
    "upstream.backoff_max": "100ms",
    "fleet.lease": f"{int(1000 * SLOW)}ms",
}
SAVE_S = 1  # how often it is written down how far the fleet has been heard
JOURNAL = b"harcad/harca/journal"
# How much longer than a bound something may take on a machine with other things to do.
SLACK_S = 1.0 * SLOW
# What is answered at once, as opposed to after upstream.timeout.
AT_ONCE_S = 0.25 * SLOW


@pytest.fixture
def proxy(make_link_proxy, redis_server):
    return make_link_proxy(redis_server.address)


@pytest.fixture
def node(make_harcad, proxy):
    """One daemon behind a proxy."""
    return start_fleet(make_harcad, proxy.url, 1, BRISK)[0]


@pytest.fixture
def fleet(make_harcad, redis_server):
    return start_fleet(make_harcad, redis_server, 2, BRISK)


def timed(conn, *command):
    started = time.monotonic()
    reply = conn.command(*command)
    return reply, time.monotonic() - started


def is_down(reply):
    return isinstance(reply, RespError) and str(reply).startswith("UPSTREAMDOWN")


def down(*nodes, upstream="down"):
    for node in nodes:
        node.wait_info(upstream_state=upstream)


def hits_do_not_wait(conn, key, value, seconds=0.5):
    """Reads a copy again and again; returns the slowest, in seconds. The median shows that none waits for anything, the
    slowest that not even one waits for the timeout."""
    took = []
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        reply, t = timed(conn, "GET", key)
        assert reply == value
        took.append(t)
    took.sort()
    print(f"{len(took)} hits, median {took[len(took) // 2] * 1e3:.3f} ms, slowest {took[-1] * 1e3:.2f} ms")
    assert took[len(took) // 2] < 0.05 * SLOW
    assert took[-1] < TIMEOUT_S
    return took[-1]


def quick_miss(conn, key="never"):
    """With the breaker open a miss is answered at once. The best of a few: the machine may be busy."""
    took = min(timed(conn, "GET", key)[1] for _ in range(5))
    assert took < AT_ONCE_S < TIMEOUT_S


# ---- the ways to fail ----


def fault_kill(redis, proxy):
    redis.kill()


def fault_stop(redis, proxy):
    redis.pause()


def fault_blackhole(redis, proxy):
    proxy.pause()


def fault_vanish(redis, proxy):
    proxy.drop()


def fault_refuse(redis, proxy):
    proxy.refuse()


def mend_kill(redis, proxy):
    redis.start()


def mend_stop(redis, proxy):
    redis.resume()


def mend_proxy(redis, proxy):
    proxy.normal()


FAULTS = {
    "killed": (fault_kill, mend_kill),
    "stopped": (fault_stop, mend_stop),
    "blackholed": (fault_blackhole, mend_proxy),
    "answers vanish": (fault_vanish, mend_proxy),
    "refused": (fault_refuse, mend_proxy),
}


@pytest.mark.parametrize("fault, mend", FAULTS.values(), ids=FAULTS)
def test_p9_hits_go_on_misses_are_bounded_writes_are_queued_and_all_mends(redis_server, proxy, node, make_harcad, fault, mend):
    sibling, = start_fleet(make_harcad, redis_server, 1, BRISK)
    with node.raw() as conn, node.raw() as second:
        assert conn.command("MSET", "hot", "v", "k", "old", "gone", "old") == "OK"
        assert conn.command("SET", "m", "old", "MODEL", "m") == "OK"
        prime(node, "hot")
        fault(redis_server, proxy)

        second.send(second.encode("GET", "never"))  # this one may have to wait
        started = time.monotonic()
        slowest = hits_do_not_wait(conn, "hot", b"v")
        assert second.read_reply() is None
        assert time.monotonic() - started < TIMEOUT_S + 0.5 + SLACK_S
        assert slowest < TIMEOUT_S

        down(node)
        quick_miss(conn)
        assert conn.command("SET", "k", "mine") == "OK"
        assert conn.command("GET", "k") == b"mine"
        assert second.command("DEL", "gone") in (0, 1)
        assert conn.command("GET", "gone") is None
        assert second.command("CLEAR", "MODEL", "m") == "OK"
        assert conn.command("GET", "m") is None
        info = node.info()
        assert info["queued_writes"] == 3
        assert info["reads_while_down"] > 0 and info["writes_while_down"] == 3
        assert conn.command("GET", "hot") == b"v"

    mend(redis_server, proxy)
    for each in (node, sibling):
        each.wait_info(timeout=30 * SLOW, upstream_state="up", event_link="up", queued_writes=0)
    # The upstream's older values come back nowhere, and what was written meanwhile is there.
    for each in (node, sibling):
        with each.raw() as conn:
            wait_until(lambda conn=conn: conn.command("MGET", "k", "gone", "m") == [b"mine", None, None])
    assert redis_server.client().get(PREFIX + b"k") == b"mine"
    assert redis_server.client().get(PREFIX + b"gone") is None
    with node.raw() as conn:
        assert conn.command("SET", "k", "after") == "OK"
    serves(sibling, "k", b"after")


def test_p9_a_miss_waits_at_most_upstream_timeout(redis_server, proxy, node):
    with node.raw() as conn:
        proxy.pause()
        reply, took = timed(conn, "GET", "never")
        assert reply is None
        assert TIMEOUT_S * 0.5 < took < TIMEOUT_S + SLACK_S  # a PING of the link's may have waited for longer
        down(node)
        quick_miss(conn)
        assert node.info()["upstream_timeouts"] >= 1


def test_p9_the_breaker_opens_and_probes_while_requests_do_not_wait(proxy, make_harcad):
    """Connections are taken and nothing is answered: each attempt lasts until connect_timeout, half-open."""
    node, = start_fleet(make_harcad, proxy.url, 1, {**BRISK, "upstream.backoff_min": "300ms", "upstream.backoff_max": "300ms"})
    with node.raw() as conn:
        assert node.info()["upstream_breaker"] == "closed"
        proxy.pause()
        assert conn.command("GET", "never") is None
        seen = collections.defaultdict(list)
        until = time.monotonic() + 30 * SLOW
        while min(len(seen["open"]), len(seen["half-open"])) < 20 and time.monotonic() < until:
            breaker = node.info()["upstream_breaker"]
            reply, took = timed(conn, "GET", "never")
            assert reply is None and breaker != "closed"
            seen[breaker].append(took)
        assert min(len(took) for took in seen.values()) >= 20 and len(seen) == 2, seen
        for breaker, took in seen.items():
            assert sorted(took)[len(took) // 2] < AT_ONCE_S, breaker
        proxy.normal()
        node.wait_info(upstream_breaker="closed", upstream_state="up")


def test_started_without_an_upstream_it_serves_and_joins_later(make_harcad, make_redis):
    port = free_port()
    node = make_harcad(BRISK, upstream=f"redis://127.0.0.1:{port}/0")
    with node.raw() as conn:
        assert node.info()["upstream_state"] == "down"
        quick_miss(conn)
        assert conn.command("SET", "k", "v") == "OK"
        assert conn.command("GET", "k") == b"v"
    redis = Redis()
    redis.port = port
    try:
        redis.start()
        in_step(node)
        node.wait_info(queued_writes=0)
        with node.raw() as conn:
            assert conn.command("SET", "k", "w") == "OK"
        assert redis.client().get(PREFIX + b"k") == b"w"
    finally:
        node.stop()
        redis.close()


@pytest.mark.parametrize("keep_data", [True, False], ids=["with data", "without data"])
def test_an_upstream_that_restarts_is_believed_and_not_what_was_before(make_harcad, redis_server, keep_data):
    nodes = start_fleet(make_harcad, redis_server, 3, BRISK)
    with nodes[0].raw() as conn:
        conn.command("SET", "k", "v")
        conn.command("SET", "m", "v", "MODEL", "m")
        conn.command("CLEAR", "MODEL", "n")
        conn.command("SET", "n", "v", "MODEL", "n")
    for node in nodes:
        prime(node, "k", "m", "n")
    resyncs = [node.info()["resyncs"] for node in nodes]
    redis_server.restart(keep_data=keep_data)
    for node, before in zip(nodes, resyncs):
        wait_until(lambda node=node, before=before: node.info()["resyncs"] > before)
    in_step(*nodes)
    shown = b"v" if keep_data else None
    for node in nodes:
        assert node.client().mget("k", "m", "n") == [shown] * 3
    # A later life counts its epochs and numbers anew: it must work all the same.
    with nodes[0].raw() as conn:
        assert conn.command("SET", "n", "new", "MODEL", "n") == "OK"
        assert conn.command("SET", "m", "new", "MODEL", "m") == "OK"
        for node in nodes:
            serves(node, "n", b"new")
            serves(node, "m", b"new")
        assert conn.command("CLEAR", "MODEL", "m") == "OK"
    for node in nodes:
        serves(node, "m", None)
        serves(node, "n", b"new")


def test_cut_event_link_alone(redis_server, fleet):
    fleet[0].client().mset({"k": "old", "j": "old"})
    prime(fleet[1], "k", "j")
    before = fleet[1].info()
    values = itertools.count()

    def missed_one():
        """Unless its link is up again already, on a machine with much else to do."""
        assert redis_server.client().client_kill_filter(_type="pubsub") >= 1
        fleet[0].client().set("k", next(values))
        in_step(*fleet)
        for node in fleet:
            serves(node, "k", fleet[0].client().get("k"))
            serves(node, "j", b"old")
        return fleet[1].info()["replays"] > before["replays"]

    wait_until(missed_one)
    assert fleet[1].info()["queued_writes"] == 0


def test_cut_data_links_alone(redis_server, proxy, make_harcad):
    node, = start_fleet(make_harcad, proxy.url, 1, BRISK)
    with node.raw() as conn:
        conn.command("SET", "k", "v")
        for i in range(20):
            proxy.cut_links("worker")
            if i % 5 == 0:
                proxy.cut_links("control")
            assert conn.command("SET", "k", i) == "OK"
            assert conn.command("GET", "k") in (b"%d" % i, None)  # lost with the link, it is made up for
        node.wait_info(upstream_state="up", event_link="up", queued_writes=0)
        assert conn.command("SET", "k", "last") == "OK"
        assert conn.command("GET", "k") == b"last"
    assert redis_server.client().get(PREFIX + b"k") == b"last"


def test_a_write_whose_answer_is_lost_is_ok_and_made_up_for(redis_server, proxy, node, make_harcad):
    """Nobody knows whether Redis has carried it out."""
    sibling, = start_fleet(make_harcad, redis_server, 1, BRISK)
    sibling.client().set("k", "old")
    node.wait_info(fleet_seq=1)
    with node.raw() as conn:
        proxy.hold("worker")
        conn.send(conn.encode("SET", "k", "mine"))
        proxy.wait_held("worker")
        proxy.cut_links("worker")
        proxy.let_go()
        assert conn.read_reply() == "OK"
        assert conn.command("GET", "k") in (b"mine", None)
        node.wait_info(upstream_state="up", queued_writes=0)
        assert redis_server.client().get(PREFIX + b"k") == b"mine"
        serves(sibling, "k", b"mine")
        serves(node, "k", b"mine")


def test_script_flush_goes_unnoticed(redis_server, fleet):
    with fleet[0].raw() as conn:
        for i in range(20):
            redis_server.client().script_flush()
            assert conn.command("SET", "k", i) == "OK"
            assert conn.command("GET", "k") == b"%d" % i
            redis_server.client().script_flush()
            assert conn.command("CLEAR", "MODEL", "m") == "OK"
    serves(fleet[1], "k", b"19")
    assert fleet[0].info()["writes_failed"] == 0


def test_a_wrong_password_is_told_and_a_right_one_heals(make_harcad, make_redis):
    redis = make_redis(requirepass="right")
    node = make_harcad(BRISK, upstream=f"redis://:wrong@127.0.0.1:{redis.port}/0")
    with node.raw() as conn:
        quick_miss(conn)
        assert conn.command("SET", "k", "v") == "OK"
        assert node.info()["upstream_state"] == "down"
        wait_until(lambda: "WRONGPASS" in node.log() or "password" in node.log().lower(), message="the log says why")
        redis.client().config_set("requirepass", "wrong")
        in_step(node)
        assert conn.command("SET", "k", "w") == "OK"
        node.wait_info(queued_writes=0)  # it comes after what is just being made up for
    assert "right" not in node.log() and ":wrong" not in node.log()
    redis.options["requirepass"] = "wrong"
    assert redis.client().get(PREFIX + b"k") == b"w"


# ---- errors from an upstream that is up ----


def test_out_of_memory_upstream_is_told_and_deletes_still_work(make_harcad, make_redis):
    redis = make_redis(maxmemory_policy="noeviction")
    nodes = start_fleet(make_harcad, redis, 2, BRISK)
    nodes[0].client().mset({"k": "v", "j": "v"})
    with nodes[0].raw() as conn:
        conn.command("SET", "m", "v", "MODEL", "m")
    for node in nodes:
        prime(node, "k", "j", "m")
    redis.client().config_set("maxmemory", "1mb")
    with nodes[0].raw() as conn:
        reply = conn.command("SET", "k", "x" * 1000)
        assert isinstance(reply, RespError) and "OOM" in str(reply), reply
        assert conn.command("GET", "k") == b"v", "it is as it was"
        for _ in range(3):
            assert conn.command("DEL", "k") in (0, 1)
        assert conn.command("GET", "k") is None
    serves(nodes[1], "k", None)
    with nodes[1].raw() as conn:
        assert conn.command("GET", "j") == b"v"
    with nodes[0].raw() as conn:
        assert conn.command("CLEAR", "MODEL", "m") == "OK"
        assert conn.command("GET", "m") is None
        serves(nodes[1], "m", None)
        assert conn.command("FLUSHDB") == "OK"
    serves(nodes[1], "j", None)
    redis.client().config_set("maxmemory", "0")
    with nodes[0].raw() as conn:
        assert conn.command("SET", "k", "again") == "OK"
        assert conn.command("SET", "j", "again") == "OK"
    serves(nodes[1], "k", b"again")
    serves(nodes[1], "j", b"again")


def test_a_read_only_upstream_is_read_and_writes_are_told(make_harcad, make_redis):
    redis = make_redis()
    nodes = start_fleet(make_harcad, redis, 2, BRISK)
    nodes[0].client().set("k", "v")
    redis.client().replicaof("127.0.0.1", str(free_port()))
    with nodes[1].raw() as conn:
        wait_until(lambda: conn.command("GET", "k") == b"v")
        reply = conn.command("SET", "k", "w")
        assert isinstance(reply, RespError) and "READONLY" in str(reply), reply
        assert conn.command("GET", "k") == b"v"
    redis.client().replicaof("NO", "ONE")
    with nodes[1].raw() as conn:
        wait_until(lambda: conn.command("SET", "k", "w") == "OK")
    in_step(*nodes)
    serves(nodes[0], "k", b"w")


def test_an_upstream_that_is_loading_is_down_until_it_has(make_harcad, make_redis):
    redis = make_redis()
    node, = start_fleet(make_harcad, redis, 1, BRISK)
    upstream = redis.client()
    upstream.mset({PREFIX + b"k%d" % i: b"x" * 2000 for i in range(600)})
    prime(node, "k1")
    with node.raw() as conn:
        upstream.save()
        redis.kill()
        # start() would wait until it has loaded.
        redis._spawn(["redis-server", "--port", str(redis.port), "--bind", "127.0.0.1", "--dir", redis.dir, "--save", "",
                      "--key-load-delay", "5000", "--loading-process-events-interval-bytes", "1024"], None)
        wait_until(lambda: loading(redis), message="it is loading", interval=0.002)
        assert conn.command("GET", "k1") == b"x" * 2000, "the copy is still served"
        down(node)
        quick_miss(conn, "k2")
        in_step(node)
        wait_until(lambda: conn.command("GET", "k2") == b"x" * 2000)


def loading(redis):
    with redis.client() as client:
        return client.info("persistence")["loading"] == 1


@pytest.mark.parametrize("how", ["FLUSHALL", "DEL"])
def test_a_fleet_whose_state_somebody_took_away_starts_over(redis_server, fleet, how):
    with fleet[0].raw() as conn:
        conn.command("SET", "raw", "v")
        conn.command("SET", "framed", "v", "MODEL", "m")
        conn.command("CLEAR", "MODEL", "n")
    for node in fleet:
        prime(node, "raw", "framed")
    incarnation = fleet[0].info()["fleet_incarnation"]
    if how == "FLUSHALL":
        redis_server.client().flushall()
    else:
        redis_server.client().delete(STATE)
    for node in fleet:
        wait_until(lambda node=node: node.info()["fleet_incarnation"] != incarnation, message="it is noticed")
    in_step(*fleet)
    assert fleet[0].info()["fleet_incarnation"] == fleet[1].info()["fleet_incarnation"]
    for node in fleet:
        assert node.client().mget("raw", "framed") == [None if how == "FLUSHALL" else b"v", None]
    with fleet[0].raw() as conn:
        for model in "mn":
            assert conn.command("SET", "k" + model, "new", "MODEL", model) == "OK"
            serves(fleet[1], "k" + model, b"new")
        assert conn.command("CLEAR", "MODEL", "m") == "OK"
    serves(fleet[1], "km", None)
    serves(fleet[1], "kn", b"new")


def test_a_write_right_after_the_state_was_taken_away_is_seen(redis_server, fleet):
    """Before anybody has looked: the write itself begins the new life."""
    with fleet[0].raw() as one, fleet[1].raw() as two:
        for i in range(5):
            one.command("SET", "k", i, "MODEL", "m")
            redis_server.client().delete(STATE)
            assert one.command("SET", "k", f"new{i}", "MODEL", "m") == "OK"
            for node in fleet:
                serves(node, "k", b"new%d" % i)
            assert two.command("SET", "j", i) == "OK"
            serves(fleet[0], "j", b"%d" % i)
            in_step(*fleet)


# ---- writes while it is down ----


def test_writes_when_down_refuse(make_harcad, redis_server):
    node, = start_fleet(make_harcad, redis_server, 1, {**BRISK, "upstream.writes_when_down": "refuse"})
    with node.raw() as conn:
        conn.command("SET", "k", "v")
        redis_server.kill()
        down(node)
        for command in (["SET", "k", "x"], ["DEL", "k"], ["EXPIRE", "k", "10"], ["MSET", "k", "x", "j", "y"],
                        ["CLEAR", "MODEL", "m"], ["FLUSHDB"], ["SETNX", "k", "x"]):
            reply = conn.command(*command)
            assert is_down(reply), f"{command}: {reply}"
        assert conn.command("GET", "k") == b"v", "nothing has changed"
        assert node.info()["queued_writes"] == 0
        assert node.info()["writes_refused"] >= 7
    redis_server.start()
    in_step(node)
    assert node.client().set("k", "x")


def test_what_only_redis_can_decide_is_refused_while_it_is_down(redis_server, node, proxy):
    with node.raw() as conn:
        conn.command("SET", "k", "v", "EX", "1000")
        proxy.refuse()
        down(node)
        for command in (["SETNX", "k", "x"], ["SET", "k", "x", "NX"], ["SET", "k", "x", "XX"], ["SET", "k", "x", "GET"],
                        ["SET", "k", "x", "KEEPTTL"], ["GETSET", "k", "x"], ["GETDEL", "k"], ["EXPIRE", "k", "5", "NX"],
                        ["EXPIRE", "k", "5", "GT"]):
            reply = conn.command(*command)
            assert is_down(reply), f"{command}: {reply}"
        assert conn.command("GET", "k") == b"v"
        assert node.info()["queued_writes"] == 0
        for command in (["SCAN", "0"], ["DBSIZE"]):
            reply, took = timed(conn, *command)
            assert is_down(reply), f"{command}: {reply}"


def test_explain_tells_which_keys_redis_is_yet_to_be_told_of(redis_server, node, proxy):
    with node.raw() as conn:
        def queued(key):
            pairs = conn.command("EXPLAIN", key)
            found = dict(zip(pairs[::2], pairs[1::2]))
            return found[b"tier"], found[b"queued"]

        assert conn.command("MSET", "k", "old", "gone", "old", "other", "v") == "OK"
        redis_server.client().rpush(PREFIX + b"list", "1")
        assert [queued(key)[1] for key in ("k", "gone", "other", "list", "never")] == [b"no"] * 5
        proxy.refuse()
        down(node)
        assert conn.command("SET", "k", "mine") == "OK"
        assert conn.command("DEL", "gone") in (0, 1)
        assert queued("k") == (b"memory", b"yes")
        assert queued("gone") == (b"none", b"yes"), "it went here, and is there upstream"
        assert queued("other") == (b"memory", b"no")
        assert queued("never") == (b"none", b"no")
        proxy.accept()
        node.wait_info(timeout=30 * SLOW, upstream_state="up", event_link="up", queued_writes=0)
        assert [queued(key)[1] for key in ("k", "gone", "other", "never")] == [b"no"] * 4


def test_queue_max_bounds_what_is_queued(make_harcad, redis_server):
    node, = start_fleet(make_harcad, redis_server, 1, {**BRISK, "upstream.queue_max": "10"})
    redis_server.kill()
    down(node)
    with node.raw() as conn:
        replies = [conn.command("SET", f"k{i}", "v") for i in range(20)]
        assert replies[:10] == ["OK"] * 10
        assert all(isinstance(reply, RespError) for reply in replies[10:]), replies
        assert "queue_max" in str(replies[10]), "an error names the limit"
        assert conn.command("SET", "k3", "again") == "OK", "a key counts once"
        assert conn.command("GET", "k3") == b"again"
        assert conn.command("GET", "k15") is None
        assert node.info()["queued_writes"] == 10
        assert all(conn.command("DEL", f"k{i}") in (0, 1) for i in range(5, 20)), "deletes take less, and matter more"
        assert is_down(conn.command("DEL", "k20"))
        assert conn.command("CLEAR", "MODEL", "m") == "OK", "a clear is never dropped"
        assert node.info()["queued_writes"] == 21
    redis_server.start()
    in_step(node)
    node.wait_info(queued_writes=0)
    assert sorted(redis_server.client().keys(PREFIX + b"*")) == [PREFIX + b"k%d" % i for i in range(5)]


def test_queue_bytes_bounds_what_is_queued(make_harcad, redis_server):
    node, = start_fleet(make_harcad, redis_server, 1, {**BRISK, "upstream.queue_bytes": "64K"})
    redis_server.kill()
    down(node)
    with node.raw() as conn:
        replies = [conn.command("SET", f"k{i}", "v" * 10000) for i in range(10)]
        taken = replies.count("OK")
        assert 5 <= taken <= 6 and "queue_bytes" in str(replies[-1])
        assert 50000 < node.info()["queued_bytes"] <= 65536
        assert conn.command("SET", "k2", "w" * 10000) == "OK", "in the place of another"
        assert conn.command("DEL", "k0", "k1") in range(3)
        assert conn.command("SET", "k9", "v" * 10000) == "OK", "there is room again"
        assert conn.command("MGET", "k0", f"k{taken}") == [None, None]
    redis_server.start()
    in_step(node)
    node.wait_info(queued_writes=0, queued_bytes=0, queued_oldest_ms=-1)


@pytest.mark.parametrize("many", [1, 1000], ids=["one", "many pages"])
def test_p2_what_was_written_while_it_was_down_never_turns_old_again(redis_server, proxy, node, make_harcad, many):
    sibling, = start_fleet(make_harcad, redis_server, 1, BRISK)
    keys = [f"k{i}" for i in range(many)]
    sibling.client().mset({key: "old" for key in keys})
    over = []
    with node.raw() as conn:
        assert conn.command("MGET", *keys) == [b"old"] * many
        proxy.refuse()
        down(node)
        assert conn.command("MSET", *[word for key in keys for word in (key, "mine")]) == "OK"
        assert node.info()["queued_writes"] == many
        proxy.accept()
        until = time.monotonic() + 30 * SLOW
        while not over and time.monotonic() < until:
            values = set(conn.command("MGET", *keys))
            assert values <= {b"mine", None}, "from OK on, never the old one here"
            over = node.info()["queued_writes"] == 0 and node.info()["upstream_state"] == "up"
        assert over
        assert conn.command("MGET", *keys) == [b"mine"] * many
    wait_until(lambda: sibling.client().mget(keys) == [b"mine"] * many, message="at a sibling too, once it was told")


# ---- P5: what was queued reaches the fleet ----


def cut_off(proxy, node):
    proxy.refuse()
    node.wait_info(upstream_state="down", event_link="down")


def back(proxy, node):
    proxy.accept()
    in_step(node)
    node.wait_info(queued_writes=0, timeout=30 * SLOW)


def test_p5_what_is_set_while_it_is_down_is_in_the_fleet_afterwards(redis_server, proxy, node, make_harcad):
    sibling, = start_fleet(make_harcad, redis_server, 1, BRISK)
    upstream = redis_server.client()
    with node.raw() as conn:
        assert conn.command("MSET", "known", "old", "unknown", "old", "twice", "old") == "OK"
        prime(node, "known")
        cut_off(proxy, node)
        for command in (["SET", "known", "new"], ["SET", "unknown", "new"], ["SET", "fresh", "new"], ["SET", "empty", ""],
                        ["SET", "lives", "new", "PX", 500000], ["SET", "of model", "new", "MODEL", "m"],
                        ["SET", "twice", "first"], ["SET", "twice", "second"], ["SET", "deleted", "x"],
                        ["SET", "large", "x" * 3000000], ["SET", "dies", "x", "PX", 150],
                        ["SET", "dated", "new", "EXAT", int(time.time()) + 1000], ["CLEAR", "MODEL", "n"],
                        ["SET", "cleared", "new", "MODEL", "n"]):
            assert conn.command(*command) == "OK"
        assert conn.command("SET", "too early", "x", "MODEL", "o") == conn.command("CLEAR", "MODEL", "o") == "OK"
        assert conn.command("DEL", "deleted") in (0, 1)
        assert conn.command("EXPIRE", "fresh", 100) == 1
        wait_until(lambda: conn.command("GET", "dies") is None)
        info = node.info()
        assert info["queued_writes"] == 15 and info["queued_bytes"] > 3000000 and info["queued_oldest_ms"] >= 150
        fleet = dict(zip(*[iter(conn.command("FLEET")[1])] * 2))
        assert fleet[b"queued_writes"] == 15 and fleet[b"queued_oldest_ms"] >= 150
        back(proxy, node)
    new = ["known", "unknown", "fresh", "lives", "of model", "dated", "cleared"]
    assert upstream.mget([PREFIX + key.encode() for key in ("known", "fresh", "empty", "twice", "dies", "deleted")]) == \
        [b"new", b"new", b"", b"second", None, None]
    assert upstream.strlen(PREFIX + b"large") == 3000000
    assert 400000 < upstream.pttl(PREFIX + b"lives") <= 500000
    assert 90000 < upstream.pttl(PREFIX + b"fresh") <= 100000
    assert 900000 < upstream.pttl(PREFIX + b"dated") <= 1000000
    assert upstream.pttl(PREFIX + b"known") == -1
    for each in (node, sibling):
        assert each.client().mget(new) == [b"new"] * len(new)
        assert each.client().mget("twice", "dies", "deleted", "too early") == [b"second", None, None, None]
        with each.raw() as conn:
            assert conn.command("GET", "of model", "MODEL", "m") == b"new"
    assert node.info()["queued_written"] == 10
    wait_until(lambda: node.log().count("info upstream_caught_up heard=") == 1)


@pytest.mark.parametrize("known", [True, False], ids=["known", "unknown"])
def test_p5_what_a_sibling_wrote_since_stays(redis_server, proxy, node, make_harcad, known):
    sibling, = start_fleet(make_harcad, redis_server, 1, BRISK)
    with node.raw() as conn:
        assert conn.command("MSET", "k", "old", "gone", "old") == "OK"
        if not known:
            node.restart()
    with node.raw() as conn:
        if known:
            prime(node, "k", "gone")
        cut_off(proxy, node)
        assert conn.command("MSET", "k", "mine", "gone", "mine", "free", "mine") == "OK"
        assert sibling.client().set("k", "theirs") and sibling.client().delete("gone")
        assert conn.command("MGET", "k", "gone", "free") == [b"mine"] * 3
        back(proxy, node)
        for each in (node, sibling):
            serves(each, "k", b"theirs")
            serves(each, "gone", None)
            serves(each, "free", b"mine")
    assert node.info()["queued_written"] == 1


@pytest.mark.parametrize("heard", [True, False], ids=["heard of", "heard of afterwards"])
def test_p5_what_others_wrote_since_stays_where_it_is_known_what_was_before(redis_server, proxy, node, heard):
    """Whether the events of the daemon's own writes before have come or not."""
    upstream = redis_server.client()
    with node.raw() as conn:
        if not heard:
            proxy.hold("events")
        conn.command("MSET", "k", "old", "j", "old")
        prime(node, "k", "j")
        if heard:
            node.wait_info(fleet_seq=2)
        cut_off(proxy, node)
        proxy.let_go()
        assert conn.command("MSET", "k", "mine", "j", "mine") == "OK"
        upstream.set(PREFIX + b"k", "theirs")
        back(proxy, node)
        serves(node, "k", b"theirs")
        serves(node, "j", b"mine")
    assert node.info()["queued_overtaken"] == 1


def test_p5_what_a_sibling_wrote_after_it_had_cleared_the_model_stays(redis_server, proxy, node, make_harcad):
    """Of what was queued nothing is left but a deletion, which that overtakes; once all is heard of, it goes."""
    sibling, = start_fleet(make_harcad, redis_server, 1, BRISK)
    with node.raw() as conn, sibling.raw() as theirs:
        cut_off(proxy, node)
        assert conn.command("SET", "k", "mine", "MODEL", "m") == "OK"
        for command in (["SET", "k", "theirs", "MODEL", "m"], ["CLEAR", "MODEL", "m"], ["SET", "k", "theirs again"]):
            assert theirs.command(*command) == "OK"
        back(proxy, node)
    for each in (node, sibling):
        serves(each, "k", b"theirs again")


def test_p5_what_a_sibling_writes_just_before_the_replay_arrives_stays(redis_server, proxy, node, make_harcad):
    """Its event is not heard of yet: only the script can tell."""
    sibling, = start_fleet(make_harcad, redis_server, 1, BRISK)
    written = []

    def get_in_between(direction, data, _):
        if direction == "up" and b"harca:k\r\n" in data and not written:
            written.append(sibling.client().set("k", "theirs"))

    with node.raw() as conn:
        cut_off(proxy, node)
        assert conn.command("SET", "k", "mine") == "OK"
        proxy.on_data = get_in_between
        back(proxy, node)
        assert written
    for each in (node, sibling):
        serves(each, "k", b"theirs")
    assert redis_server.client().get(PREFIX + b"k") == b"theirs"


def test_p5_an_expiry_of_what_it_is_to_replace_does_not_overtake_a_queued_value(redis_server, proxy, node, make_harcad):
    """What the key held before is not known here, so that a change of it by another would be believed to be newer."""
    sibling, = start_fleet(make_harcad, redis_server, 1, BRISK)
    sibling.client().set("k", "old")
    node.wait_info(fleet_seq=1)
    with node.raw() as conn:
        cut_off(proxy, node)
        assert conn.command("SET", "k", "mine") == "OK"
        assert sibling.client().expire("k", 1000) == 1
        back(proxy, node)
    for each in (node, sibling):
        serves(each, "k", b"mine")
    assert redis_server.client().ttl(PREFIX + b"k") == -1
    assert node.info()["queued_overtaken"] == 0


@pytest.mark.parametrize("heard", [True, False], ids=["heard of", "heard of afterwards"])
def test_p1_an_expiry_of_what_it_is_to_replace_does_not_bring_that_back(redis_server, proxy, node, make_harcad, heard):
    """Its event comes while the queued value has yet to be told. Whether that of what was there before has come or not."""
    sibling, = start_fleet(make_harcad, redis_server, 1, BRISK)
    expired, seen = [], set()

    def expire_in_between(direction, data, _):
        if direction == "up" and b"harca:k\r\n" in data and not expired:
            expired.append(sibling.client().expire("k", 1000))

    with node.raw() as conn:
        if not heard:
            proxy.hold("events")
        conn.command("SET", "k", "old")
        prime(node, "k")
        if heard:
            node.wait_info(fleet_seq=1)
        cut_off(proxy, node)
        proxy.let_go()
        assert conn.command("SET", "k", "mine") == "OK"
        proxy.on_data = expire_in_between
        proxy.accept()
        while not expired or node.info()["queued_writes"] > 0:
            seen.add(conn.command("GET", "k"))
        serves(sibling, "k", b"mine")
    assert expired == [1] and seen == {b"mine"}


def test_p5_an_expiry_of_what_was_replayed_does_not_overtake_what_was_queued_meanwhile(redis_server, proxy, node, make_harcad):
    """A value is on its way, and there is another; what a sibling gives a time to live then is the first."""
    sibling, = start_fleet(make_harcad, redis_server, 1, BRISK)
    pages, seen = [], set()

    def in_between(direction, data, _):
        if direction == "up" and b"harca:k\r\n" in data:
            pages.append(data)
            if len(pages) == 1:
                assert node.client().set("k", "second")
            elif len(pages) == 2:
                assert sibling.client().expire("k", 1000) == 1

    with node.raw() as conn:
        cut_off(proxy, node)
        assert conn.command("SET", "k", "first") == "OK"
        proxy.on_data = in_between
        proxy.accept()
        wait_until(lambda: pages, message="the first is told")
        while len(pages) < 2 or node.info()["queued_writes"] > 0:
            seen.add(conn.command("GET", "k"))
        proxy.on_data = None
    for each in (node, sibling):
        serves(each, "k", b"second")
    assert seen <= {b"first", b"second"} and node.info()["queued_overtaken"] == 0


@pytest.fixture
def newcomer(make_harcad, proxy):
    """One daemon that has heard nothing of the fleet yet: whatever it queues, nobody knows whether others have changed that."""
    proxy.refuse()
    node = make_harcad(BRISK, upstream=proxy.url)
    down(node)
    return node


def told_with(proxy, node, change):
    """The upstream is back; `change` is made while the first page that tells of k is under way. Until all has been told."""
    pages = []

    def in_between(direction, data, _):
        if direction == "up" and b"harca:k\r\n" in data:
            pages.append(data)
            if len(pages) == 1:
                change(node.client())

    proxy.on_data = in_between
    proxy.accept()
    wait_until(lambda: pages, message="it is told")
    node.wait_info(queued_writes=0)
    proxy.on_data = None


@pytest.mark.parametrize("there", [None, "before"], ids=["nothing", "a value"])
def test_p5_what_is_set_while_values_of_which_nobody_knows_are_told_reaches_the_fleet(redis_server, proxy, newcomer, there):
    """The first gives way to what is there; the second is younger than that."""
    if there:
        redis_server.client().set(PREFIX + b"k", there)
    with newcomer.raw() as conn:
        assert conn.command("SET", "k", "first") == "OK"
        told_with(proxy, newcomer, lambda client: client.set("k", "second"))
        assert redis_server.client().get(PREFIX + b"k") == b"second"
        serves(newcomer, "k", b"second")


def test_p5_an_expiry_while_values_of_which_nobody_knows_are_told_reaches_the_fleet(redis_server, proxy, newcomer):
    with newcomer.raw() as conn:
        assert conn.command("SET", "k", "v") == "OK"
        told_with(proxy, newcomer, lambda client: client.expire("k", 1000))
    assert redis_server.client().get(PREFIX + b"k") == b"v"
    assert 0 < redis_server.client().ttl(PREFIX + b"k") <= 1000


def test_p5_a_value_of_which_nobody_knows_whether_it_has_been_told_stays(redis_server, proxy, newcomer):
    """The answer is lost, but its event says that it is there."""
    pages = []

    def cut(direction, data, number):
        if direction == "up" and b"harca:k\r\n" in data and not pages:
            pages.append(number)
        return CUT if direction == "down" and pages and number == pages[0] else None

    with newcomer.raw() as conn:
        assert conn.command("SET", "k", "v") == "OK"
        proxy.on_data = cut
        proxy.accept()
        wait_until(lambda: pages, message="it is told")
        newcomer.wait_info(queued_writes=0)
        proxy.on_data = None
    assert redis_server.client().get(PREFIX + b"k") == b"v"


def lose_journal(redis, sibling):
    """Of what was changed before nobody can hear any more, but that something was."""
    sibling.client().set("other", "x")
    assert redis.client().delete(JOURNAL) == 1


def knows_of_a_loss(node):
    wait_until(lambda: "journal" in node.log().rpartition("fleet_copies_suspect")[2], message="it knows that it cannot know")


def set_after_a_loss(proxy, redis, node, sibling, conn):
    """One value of k comes onto the queue before, another after the daemon knows that there are changes which it has missed."""
    cut_off(proxy, node)
    assert conn.command("SET", "k", "one") == "OK"
    lose_journal(redis, sibling)
    proxy.refuse_new("worker")
    proxy.on_data = lambda direction, data, _: CUT if direction == "up" and b"replication\r\n" in data else None
    proxy.accept()
    knows_of_a_loss(node)
    assert conn.command("SET", "k", "two") == "OK"
    assert node.info()["queued_writes"] == 1


def all_is_told(proxy, node):
    proxy.on_data = None
    proxy.refuse_new()
    in_step(node)
    node.wait_info(queued_writes=0)


@pytest.mark.parametrize("killed", [False, True], ids=["lives on", "is killed"])
def test_p2_what_may_have_been_overtaken_does_not_overtake_after_a_kill(redis_server, proxy, node, make_harcad, killed):
    """The queue's file knows what the daemon knew: that there are changes of which nothing was heard."""
    sibling, = start_fleet(make_harcad, redis_server, 1, BRISK)
    cut_off(proxy, node)
    with node.raw() as conn:
        assert conn.command("SET", "k", "mine") == "OK"
    sibling.client().set("k", "theirs")
    lose_journal(redis_server, sibling)
    proxy.on_data = lambda direction, data, _: CUT if direction == "up" and b"harca:k\r\n" in data else None
    proxy.accept()
    knows_of_a_loss(node)
    time.sleep(2 * SAVE_S)
    assert node.info()["queued_writes"] == 1
    if killed:
        node.kill()
    proxy.on_data = None
    if killed:
        node.start()
    in_step(node)
    node.wait_info(queued_writes=0)
    assert redis_server.client().get(PREFIX + b"k") != b"mine"


@pytest.mark.parametrize("command", [["LPUSH", "k", "x"], ["SET", "k", "base"]], ids=["nothing is changed", "the same is set"])
def test_p5_what_is_set_after_a_loss_replaces_what_was_there_before_and_not_what_is_set_then(
        redis_server, proxy, node, make_harcad, command):
    """Whichever it is, the upstream has the same bytes. (What is passed on is told to the fleet whatever comes of it.)"""
    sibling, = start_fleet(make_harcad, redis_server, 1, BRISK)
    sibling.client().set("k", "base")
    has_heard_all(node, redis_server.client())
    prime(node, "k")
    with node.raw() as conn, sibling.raw() as theirs:
        set_after_a_loss(proxy, redis_server, node, sibling, conn)
        is_set = theirs.command(*command) == "OK"
        assert redis_server.client().get(PREFIX + b"k") == b"base"
        all_is_told(proxy, node)
    assert redis_server.client().get(PREFIX + b"k") == (b"base" if is_set else b"two")


def test_p2_a_value_that_may_have_been_told_does_not_come_back_over_what_was_there_before(redis_server, proxy, node, make_harcad):
    """It was told, and a sibling, which saw it, set what had been there before; of neither of which anything is heard."""
    sibling, = start_fleet(make_harcad, redis_server, 1, BRISK)
    sibling.client().set("k", "base")
    has_heard_all(node, redis_server.client())
    prime(node, "k")
    cut_off(proxy, node)
    pages = []

    def cut(direction, data, number):
        if direction == "up" and b"harca:k\r\n" in data and not pages:
            pages.append(number)
        return CUT if direction == "down" and pages else None

    with node.raw() as conn:
        assert conn.command("SET", "k", "mine") == "OK"
        lose_journal(redis_server, sibling)
        proxy.on_data = cut
        proxy.accept()
        wait_until(lambda: pages, message="it is told")
        proxy.refuse()
        serves(sibling, "k", b"mine")
        sibling.client().set("k", "base")
        lose_journal(redis_server, sibling)
        proxy.on_data = None
        back(proxy, node)
        assert redis_server.client().get(PREFIX + b"k") != b"mine"


def test_p5_an_expiry_in_the_past_overtakes_a_queued_value(redis_server, proxy, node, make_harcad):
    """It is a delete."""
    sibling, = start_fleet(make_harcad, redis_server, 1, BRISK)
    with node.raw() as conn:
        conn.command("SET", "k", "old")
        prime(node, "k")
        cut_off(proxy, node)
        assert conn.command("SET", "k", "mine") == "OK"
        assert sibling.client().expire("k", -1) == 1
        back(proxy, node)
    for each in (node, sibling):
        serves(each, "k", None)


def test_p1_an_event_of_what_was_shown_already_does_not_bring_it_back(redis_server, proxy, node, make_harcad):
    """The value was fetched before its event came; what was SET then is younger."""
    sibling, = start_fleet(make_harcad, redis_server, 1, BRISK)
    with node.raw() as conn:
        proxy.hold("events")
        sibling.client().set("k", "shown")
        serves(node, "k", b"shown", SLOW + SLACK_S)
        cut_off(proxy, node)
        assert conn.command("SET", "k", "mine") == "OK"
        proxy.let_go()
        back(proxy, node)
        serves(sibling, "k", b"mine")
        assert conn.command("GET", "k") == b"mine"


def test_p5_what_is_heard_of_while_the_state_is_asked_for_is_no_loss(redis_server, proxy, node, make_harcad):
    """The answer is from before what the event link has brought meanwhile: the numbers go on, and prove what they did."""
    sibling, = start_fleet(make_harcad, redis_server, 1, BRISK)
    asked = []

    def hold_the_answer(direction, data, number):
        if direction == "up" and STATE_SCRIPT in data and not asked:
            proxy.hold("control")
            asked.append(number)

    with node.raw() as conn:
        sibling.client().set("k", "old")  # not known here
        proxy.lose("worker")
        assert conn.command("SET", "k", "mine") == "OK"
        resyncs = node.info()["resyncs"]
        scripts = calls(redis_server, "eval")
        proxy.on_data = hold_the_answer
        proxy.cut_links("control")
        wait_until(lambda: calls(redis_server, "eval") > scripts, message="the state has been read")
        heard = node.info()["invalidations_in"]
        sibling.client().set("j", "theirs")
        node.wait_info(invalidations_in=heard + 1)
        proxy.let_go()
        in_step(node)
        node.wait_info(queued_writes=0)
        assert asked and node.info()["resyncs"] == resyncs
        for each in (node, sibling):
            serves(each, "k", b"mine")


def test_p1_what_is_queued_is_not_read_behind_a_newer_write(proxy, node):
    """The worker's link is back and the one that works the queue off is not."""
    with node.raw() as conn:
        cut_off(proxy, node)
        assert conn.command("SET", "k", "queued") == "OK"
        proxy.hold("control")
        proxy.accept()
        node.wait_info(upstream_state="up")
        assert conn.command("GET", "k") == b"queued"
        conn.send(conn.encode("SET", "k", "newer") + conn.encode("GET", "k"))
        assert conn.read_reply() == "OK"
        assert conn.read_reply() in (b"newer", None)
        assert conn.command("GET", "k") == b"newer"
        proxy.let_go()
        in_step(node)
        node.wait_info(queued_writes=0)
        assert conn.command("GET", "k") == b"newer"


@pytest.mark.parametrize("how", ["stopped", "killed"])
def test_p5_the_queue_outlives_the_daemon(redis_server, proxy, node, make_harcad, how):
    sibling, = start_fleet(make_harcad, redis_server, 1, BRISK)
    upstream = redis_server.client()
    values = {f"k{i}": b"%d" % i * 1000 for i in range(300)}

    def end_and_start():
        node.kill() if how == "killed" else node.stop()
        node.start()

    with node.raw() as conn:
        sibling.client().mset({"gone": "old", "theirs": "old", "dies": "old", **{key: "old" for key in values}})
        with sibling.raw() as other:
            assert other.command("SET", "m", "old", "MODEL", "m") == "OK"
        has_heard_all(node, upstream)
        assert conn.command("MGET", "gone", "m", "theirs") == [b"old"] * 3
        cut_off(proxy, node)
        for key, value in values.items():
            conn.send(conn.encode("SET", key, value))
        assert [conn.read_reply() for _ in values] == ["OK"] * len(values)
        assert conn.command("DEL", "gone") in (0, 1)
        assert conn.command("SET", "dies", "x", "PX", 100) == conn.command("SET", "theirs", "mine") == "OK"
        assert conn.command("CLEAR", "MODEL", "m") == conn.command("SET", "n", "new", "MODEL", "m") == "OK"
    queued = node.info()["queued_writes"]
    for _ in range(2):
        end_and_start()
        assert node.info()["queued_writes"] == queued and node.info()["queued_oldest_ms"] > 0
        with node.raw() as conn:
            assert conn.command("MGET", *values) == list(values.values())
            wait_until(lambda conn=conn: conn.command("MGET", "gone", "m", "n", "dies") == [None, None, b"new", None])
            values["k7"] += b"later"
            assert conn.command("SET", "k7", values["k7"]) == "OK"
    sibling.client().set("theirs", "theirs")
    back(proxy, node)
    assert upstream.mget([PREFIX + key.encode() for key in values]) == list(values.values())
    for each in (node, sibling):
        with each.raw() as conn:
            wait_until(lambda conn=conn: conn.command("MGET", "gone", "m", "n", "dies", "theirs") ==
                       [None, None, b"new", None, b"theirs"])
    end_and_start()
    in_step(node)
    assert node.info()["queued_writes"] == 0


def test_p5_redis_that_was_restarted_meanwhile_is_made_up_for(redis_server, make_harcad):
    """Its numbers prove nothing any more: what it has is compared with what was there, or there must be nothing."""
    nodes = start_fleet(make_harcad, redis_server, 2, {**BRISK, "file.enabled": "no"})
    with nodes[0].raw() as conn:
        conn.command("MSET", "known", "old", "unknown", "old")
    nodes[0].restart()
    in_step(*nodes)
    prime(nodes[0], "known")
    redis_server.client().config_set("appendonly", "yes")
    wait_until(lambda: redis_server.client().info("persistence")["aof_rewrite_in_progress"] == 0)
    redis_server.kill()
    down(*nodes)
    with nodes[0].raw() as conn:
        assert conn.command("MSET", "known", "new", "unknown", "new", "fresh", "new") == "OK"
        redis_server.options["appendonly"] = "yes"
        redis_server.start()
        in_step(*nodes)
        nodes[0].wait_info(queued_writes=0)
        assert conn.command("MGET", "known", "unknown", "fresh") == [b"new", None, b"new"]
    wait_until(lambda: nodes[1].client().mget("known", "unknown", "fresh") == [b"new", None, b"new"])


def test_p5_what_is_queued_is_served_when_memory_has_dropped_it(redis_server, proxy, make_harcad):
    node, = start_fleet(make_harcad, proxy.url, 1, {**BRISK, "memory.max_bytes": "1M", "file.enabled": "no"})
    values = {f"k{i}": b"%d" % i * 2000 for i in range(1000)}
    with node.raw() as conn:
        cut_off(proxy, node)
        for key, value in values.items():
            assert conn.command("SET", key, value) == "OK"
        assert node.info()["memory_entries"] < 900
        assert conn.command("MGET", *values) == list(values.values())
        back(proxy, node)
    assert redis_server.client().mget([PREFIX + key.encode() for key in values]) == list(values.values())


def test_p5_what_redis_has_no_memory_for_stays_queued(redis_server, proxy, node):
    upstream = redis_server.client()
    full = []

    def fill_just_before(direction, data, _):
        if direction == "up" and b"harca:k\r\n" in data and not full:
            full.append(upstream.config_set("maxmemory", "1mb"))

    with node.raw() as conn:
        assert conn.command("SET", "gone", "old") == "OK"
        cut_off(proxy, node)
        assert conn.command("SET", "k", "v" * 1000) == "OK"
        assert conn.command("DEL", "gone") in (0, 1)
        proxy.on_data = fill_just_before
        proxy.accept()
        in_step(node)
        wait_until(lambda: full)
        node.wait_info(queued_writes=1)
        assert conn.command("GET", "k") == b"v" * 1000
        upstream.config_set("maxmemory", "0")
        node.wait_info(queued_writes=0)
        assert conn.command("GET", "k") == b"v" * 1000
    assert upstream.get(PREFIX + b"k") == b"v" * 1000
    assert upstream.get(PREFIX + b"gone") is None


def test_p5_without_its_file_the_queue_is_in_memory_and_the_log_says_so(redis_server, proxy, node):
    node.stop()
    path = os.path.join(node.dir, ".cache/harcad/outage.log")
    os.unlink(path)
    os.mkdir(path)
    node.start()
    in_step(node)
    assert "outage_log_failed" in node.log()
    with node.raw() as conn:
        cut_off(proxy, node)
        assert conn.command("SET", "k", "v") == "OK"
        back(proxy, node)
    assert redis_server.client().get(PREFIX + b"k") == b"v"


def test_p5_a_file_of_the_queue_that_a_kill_has_cut_is_used_up_to_there(redis_server, proxy, node):
    with node.raw() as conn:
        cut_off(proxy, node)
        for i in range(10):
            assert conn.command("SET", f"k{i}", "v" * 100) == "OK"
    node.kill()
    path = os.path.join(node.dir, ".cache/harcad/outage.log")
    os.truncate(path, os.path.getsize(path) - 50)
    node.start()
    assert node.info()["queued_writes"] == 9
    back(proxy, node)
    assert len(redis_server.client().keys(PREFIX + b"*")) == 9
    wait_until(lambda: os.path.getsize(path) == 0, message="an empty list needs no file")


def test_p2_a_replay_that_is_cut_off_is_tried_again(redis_server, proxy, node):
    cuts = []

    def cut_replays(direction, data, _):
        if direction == "up" and b"harca:gone" in data and len(cuts) < 3:
            cuts.append(data)
            return CUT
        return None

    with node.raw() as conn:
        conn.command("SET", "gone", "old")
        proxy.refuse()
        down(node)
        assert conn.command("DEL", "gone") in (0, 1)
        proxy.on_data = cut_replays
        proxy.accept()
        wait_until(lambda: conn.command("GET", "gone") is None and len(cuts) == 3, message="it is tried again and again")
        in_step(node)
        node.wait_info(queued_writes=0)
        assert conn.command("GET", "gone") is None
    assert redis_server.client().get(PREFIX + b"gone") is None


def test_a_model_cleared_twice_while_it_was_down_works_afterwards(redis_server, proxy, node, make_harcad):
    """The daemon's generation is ahead of the upstream's by then."""
    sibling, = start_fleet(make_harcad, redis_server, 1, BRISK)
    with node.raw() as conn, sibling.raw() as other:
        conn.command("SET", "old", "v", "MODEL", "m")
        proxy.refuse()
        down(node)
        for i in range(3):
            assert conn.command("SET", "k", i, "MODEL", "m") == "OK"
            assert conn.command("CLEAR", "MODEL", "m") == "OK"
            assert conn.command("MGET", "k", "old") == [None, None]
        proxy.accept()
        in_step(node)
        node.wait_info(queued_writes=0)
        assert conn.command("MGET", "k", "old") == [None, None]
        wait_until(lambda: other.command("GET", "old") is None)
        assert other.command("SET", "k", "new", "MODEL", "m") == "OK"
        serves(node, "k", b"new")
        assert conn.command("SET", "j", "new", "MODEL", "m") == "OK"
        prime(node, "j", "k")
        serves(sibling, "j", b"new")


def test_a_model_cleared_twice_while_only_the_data_link_was_away_works_afterwards(redis_server, proxy, node, make_harcad):
    sibling, = start_fleet(make_harcad, redis_server, 1, BRISK)
    with node.raw() as conn:
        conn.command("SET", "k", "old", "MODEL", "m")
        proxy.lose("worker")
        for _ in range(3):
            assert conn.command("CLEAR", "MODEL", "m") == "OK"
        assert node.info()["event_link"] == "up"
        proxy.let_go()
        node.wait_info(upstream_state="up", queued_writes=0)
        assert conn.command("GET", "k") is None
        assert conn.command("SET", "k", "new", "MODEL", "m") == "OK"
        prime(node, "k")
        serves(sibling, "k", b"new")
        assert conn.command("GET", "k") == b"new"


def test_a_model_both_sides_cleared_is_not_fetched_before_that_is_made_up_for(redis_server, proxy, node, make_harcad):
    """The frame is of the epoch that this daemon counted to by itself: only its list tells that a clear is still to come."""
    sibling, = start_fleet(make_harcad, redis_server, 1, BRISK)
    proxy.refuse()
    node.wait_info(upstream_state="down", event_link="down")
    with node.raw() as here, sibling.raw() as there:
        assert here.command("CLEAR", "MODEL", "m") == "OK"
        assert there.command("CLEAR", "MODEL", "m") == "OK"
        assert there.command("SET", "k", "new", "MODEL", "m") == "OK"
        proxy.hold("control")
        proxy.accept()
        node.wait_info(upstream_state="up")
        assert [here.command("GET", "k") for _ in range(3)] == [None] * 3
        proxy.let_go()
        in_step(node)


@pytest.mark.parametrize("command", [["GETDEL", "k"], ["SET", "k", "x", "GET"], ["SET", "k", "x", "NX"], ["APPEND", "k", "x"],
                                     ["COPY", "k", "other"], ["EXPIRE", "k", "100", "GT"]], ids=" ".join)
@pytest.mark.parametrize("written", [["SET", "k", "new"], ["CLEAR", "MODEL", "m"], ["FLUSHDB"]], ids=" ".join)
def test_p2_what_depends_on_an_outdated_key_is_refused_until_it_has_been_made_up_for(proxy, node, command, written):
    """The worker's link is back, the one that makes up is not: what Redis has is older than what was acknowledged here."""
    with node.raw() as conn:
        assert conn.command("SET", "k", "old", "MODEL", "m") == "OK"
        proxy.refuse()
        node.wait_info(upstream_state="down", event_link="down")
        assert conn.command(*written) == "OK"
        proxy.hold("control")
        proxy.accept()
        node.wait_info(upstream_state="up")
        assert is_down(conn.command(*command))
        assert conn.command("SET", "free", "x") == "OK"
        proxy.let_go()
        in_step(node)
        wait_until(lambda: node.info()["queued_writes"] == 0)
        assert conn.command("GETDEL", "k") == (b"new" if written[0] == "SET" else None)


def test_p2_an_expiry_does_not_take_a_key_off_what_is_to_be_made_up_for(proxy, node):
    with node.raw() as conn:
        assert conn.command("SET", "k", "old") == "OK"
        proxy.refuse()
        node.wait_info(upstream_state="down", event_link="down")
        assert conn.command("SET", "k", "new") == "OK"
        proxy.hold("control")
        proxy.accept()
        node.wait_info(upstream_state="up")
        assert conn.command("EXPIRE", "k", "100") == 1
        assert conn.command("PERSIST", "k") == 1
        assert conn.command("GET", "k") == b"new"
        proxy.let_go()
        in_step(node)
        wait_until(lambda: node.info()["queued_writes"] == 0)
        assert conn.command("GET", "k") == b"new"
        assert conn.command("TTL", "k") == -1


def test_flushdb_while_it_is_down_is_made_up_for(redis_server, proxy, node, make_harcad):
    sibling, = start_fleet(make_harcad, redis_server, 1, BRISK)
    sibling.client().mset({f"k{i}": "old" for i in range(50)})
    has_heard_all(node, redis_server.client())
    with node.raw() as conn:
        conn.command("GET", "k1")
        proxy.refuse()
        down(node)
        assert conn.command("FLUSHDB") == "OK"
        assert conn.command("MGET", "k1", "k2") == [None, None]
        assert conn.command("SET", "k1", "mine") == "OK"
        assert conn.command("GET", "k1") == b"mine"
        proxy.accept()
        in_step(node)
        node.wait_info(queued_writes=0)
        assert conn.command("GET", "k2") is None
        assert conn.command("GET", "k1") == b"mine"
    serves(sibling, "k2", None)
    serves(sibling, "k1", b"mine")
    assert sibling.client().dbsize() == 1


def test_a_key_only_this_daemon_kept_from_the_outage_is_not_kept_for_ever(redis_server, proxy, node, make_harcad):
    """The event link stays; only the worker's is away for long enough that what it missed is made up for meanwhile. The
    copy here, which Redis knows nothing of, would outlive a sibling's DEL: of a key that is not there none is told."""
    sibling, = start_fleet(make_harcad, redis_server, 1, BRISK)
    with node.raw() as conn:
        conn.command("SET", "k", "old")
        proxy.lose("worker")
        assert conn.command("SET", "k", "mine") == "OK"  # after upstream.timeout
        assert conn.command("GET", "k") in (b"mine", None)
        node.wait_info(queued_writes=0, timeout=30 * SLOW)
        sibling.client().delete("k")
        proxy.let_go()
        node.wait_info(upstream_state="up")
        serves(node, "k", None)
        serves(sibling, "k", None)


# ---- what is told ----


def test_states_are_in_info_and_each_change_is_one_line(redis_server, proxy, node):
    links = ("worker-0", "control", "events")

    def lines(event, link):
        return [line for line in node.log().splitlines() if f" {event} " in line and f"link=harcad-{link} " in line]

    info = node.info()
    assert (info["upstream_state"], info["event_link"]) == ("up", "up")
    for round_ in range(1, 4):
        proxy.refuse()
        node.wait_info(upstream_state="down", event_link="down")
        attempts = node.info()["upstream_failures"] + 5
        wait_until(lambda attempts=attempts: node.info()["upstream_failures"] >= attempts, message="it has tried in vain")
        assert [len(lines("upstream_down", link)) for link in links] == [round_] * 3, node.log()
        proxy.accept()
        node.wait_info(upstream_state="up", event_link="up")
        wait_until(lambda round_=round_: len(lines("upstream_up", links[1])) == round_ + 1)
        assert [len(lines("upstream_up", link)) for link in links] == [round_ + 1] * 3, node.log()
    assert node.info()["upstream_connects"] == 4
    wait_until(lambda: node.info()["upstream_state_seconds"] >= 1 and node.info()["event_link_seconds"] >= 1)


def test_what_others_changed_during_an_outage_is_not_served_after_it(redis_server, proxy, node, make_harcad):
    sibling, = start_fleet(make_harcad, redis_server, 1, BRISK)
    keys = [f"k{i}" for i in range(50)]
    sibling.client().mset({key: "old" for key in keys})
    with sibling.raw() as conn:
        conn.command("SET", "m", "old", "MODEL", "m")
    prime(node, "m", *keys)
    proxy.pause()
    node.wait_info(event_link="down")
    sibling.client().mset({key: "new" for key in keys[::2]})
    sibling.client().delete(*keys[1::2])
    with sibling.raw() as conn:
        conn.command("CLEAR", "MODEL", "m")
    proxy.normal()
    in_step(node)
    with node.raw() as conn:
        assert conn.command("MGET", "m", *keys) == [None] + [b"new", None] * 25


def test_p3_an_event_link_that_falls_silent_bounds_how_old_a_copy_gets(redis_server, proxy, node, make_harcad):
    """No FIN, no RST: only that nothing comes any more. One lease: to ask, to wait, to look whether the upstream is there."""
    sibling, = start_fleet(make_harcad, redis_server, 1, BRISK)
    sibling.client().mset({"k": "old", "same": "same"})
    prime(node, "k", "same")
    proxy.hold("events")
    sibling.client().set("k", "new")
    took = serves(node, "k", b"new", SLOW + SLACK_S)
    print(f"shown after {took:.2f} s, with a lease of {SLOW:g} s")
    node.wait_info(event_link="down", upstream_state="up")
    # While there is no event link nothing new is kept: each read is as new as Redis is.
    for i in range(20):
        sibling.client().set("k", i)
        assert node.client().get("k") == b"%d" % i
    proxy.let_go()
    in_step(node)
    prime(node, "k", "same")


@pytest.mark.parametrize("kept", [True, False], ids=["copy", "miss"])
def test_p3_p4_a_clear_is_heard_of_while_the_event_link_is_silent(redis_server, proxy, node, make_harcad, kept):
    """What is in Redis is as it was, frame and all: only the model's epoch is another."""
    sibling, = start_fleet(make_harcad, redis_server, 1, BRISK)
    for each in (node, sibling):  # nor does it go from there
        assert each.client().execute_command("CONFIG", "SET", "upstream.sweep_rate", "0")
    with sibling.raw() as there:
        assert there.command("SET", "k", "old", "MODEL", "m") == "OK"
        if kept:
            prime(node, "k")
        proxy.hold("events")
        assert there.command("CLEAR", "MODEL", "m") == "OK"
        serves(node, "k", None, SLOW + SLACK_S)
        node.wait_info(event_link="down")
        assert there.command("SET", "k", "older", "MODEL", "n") == there.command("CLEAR", "MODEL", "n") == "OK"
        serves(node, "k", None, SLOW + SLACK_S)


# ---- Redis is there, and takes no writes ----


def full(redis):
    """Takes nothing that needs memory; returns what undoes that."""
    redis.client().config_set("maxmemory", "1mb")
    return lambda: redis.client().config_set("maxmemory", "0")


def without_replicas(redis):
    redis.client().config_set("min-replicas-to-write", "1")
    return lambda: redis.client().config_set("min-replicas-to-write", "0")


@pytest.mark.parametrize("refuse,error", [(full, "OOM "), (without_replicas, "NOREPLICAS ")])
def test_who_comes_to_a_redis_that_takes_no_writes_is_in_step_and_reads(redis_server, proxy, node, make_harcad, refuse, error):
    sibling, = start_fleet(make_harcad, redis_server, 1, BRISK)
    with sibling.raw() as conn:
        assert conn.command("CLEAR", "MODEL", "m") == conn.command("SET", "k", "v", "MODEL", "m") == "OK"
    cut_off(proxy, node)
    accept_again = refuse(redis_server)
    proxy.accept()
    late = make_harcad({**BRISK}, upstream=redis_server)
    in_step(node, late)
    for each in (node, late):
        with each.raw() as conn:
            assert conn.command("GET", "k") == b"v"
            assert has_copy(conn, "k"), "it is kept as fresh"
            before = each.info()["writes_failed"]
            assert str(conn.command("SET", "k", "w")).startswith(error)
            assert each.info()["writes_failed"] == before + 1
            assert conn.command("GET", "k") == b"v"
        assert f"upstream_refused_write error=\"{error}" in each.log()
    accept_again()
    assert late.client().set("k", "w")
    serves(node, "k", b"w")


@pytest.mark.parametrize("refuse", [full, without_replicas])
def test_an_epoch_that_redis_cannot_be_told_keeps_nobody_out_of_step(redis_server, make_harcad, refuse):
    """It has lost its state, but for the incarnation: epochs known here are to be told."""
    node, = start_fleet(make_harcad, redis_server, 1, BRISK)
    with node.raw() as conn:
        assert conn.command("CLEAR", "MODEL", "m") == conn.command("SET", "k", "v") == "OK"
        redis_server.client().hdel(STATE, "m:m")
        accept_again = refuse(redis_server)
    node.restart()
    in_step(node)
    assert node.client().get("k") == b"v"
    accept_again()
    wait_until(lambda: redis_server.client().hget(STATE, "m:m") == b"1", message="it is told when it can be")


def test_a_redis_that_is_empty_and_full_gets_a_state_all_the_same(make_redis, make_harcad):
    upstream = make_redis(maxmemory="1mb")
    node = make_harcad({**BRISK}, upstream=upstream)
    in_step(node)
    assert "fleet_state_refused" not in node.log()
    assert node.client().get("k") is None


# ---- P5 with P4: what is set after a CLEAR MODEL of the same outage ----


@pytest.fixture
def lasting_redis(make_redis):
    """One that comes back with its data: with fsync each second it puts off writing, too, while one is under way."""
    return make_redis(appendonly="yes", appendfsync="no")


def clear_between(conn, clears=1):
    """Sets a value of a model, clears that, and sets another."""
    assert conn.command("SET", "before", "old", "MODEL", "m") == "OK"
    assert [conn.command("CLEAR", "MODEL", "m") for _ in range(clears)] == ["OK"] * clears
    assert conn.command("SET", "after", "new", "MODEL", "m") == "OK"
    assert conn.command("MGET", "before", "after") == [None, b"new"]


def only_the_later_is_left(*nodes):
    for node in nodes:
        with node.raw() as conn:
            wait_until(lambda conn=conn: conn.command("MGET", "before", "after") == [None, b"new"],
                       message=lambda conn=conn, node=node: f"{conn.command('MGET', 'before', 'after')}\n{node.log()}")


def gone_everywhere(key, *nodes):
    for node in nodes:
        node.wait_info(queued_writes=0)
        serves(node, key, None)


@pytest.mark.parametrize("clears", [1, 3])
@pytest.mark.parametrize("epoch", [0, 2])
def test_p5_what_is_set_after_a_clear_is_kept_over_a_restart_of_redis(lasting_redis, make_harcad, clears, epoch):
    nodes = start_fleet(make_harcad, lasting_redis, 2, BRISK)
    with nodes[0].raw() as conn:
        assert [conn.command("CLEAR", "MODEL", "m") for _ in range(epoch)] == ["OK"] * epoch
        lasting_redis.kill()
        down(*nodes)
        clear_between(conn, clears)
        lasting_redis.start()
        in_step(*nodes)
        nodes[0].wait_info(queued_writes=0)
    only_the_later_is_left(*nodes)


def test_p5_it_is_also_if_the_event_of_the_clear_comes_before_the_answer(lasting_redis, make_link_proxy, make_harcad):
    proxy = make_link_proxy(lasting_redis.address)
    node, = start_fleet(make_harcad, proxy.url, 1, BRISK)
    sibling, = start_fleet(make_harcad, lasting_redis, 1, BRISK)
    told = []

    def hold_the_answer(direction, data, _):
        if direction == "up" and b"\r\nC\r\n" in data:
            proxy.hold("control")
        elif direction == "down" and b"clear-model" in data and not told:
            told.append(node.info()["events_received"])

    with node.raw() as conn:
        cut_off(proxy, node)
        clear_between(conn)
        lasting_redis.restart(hard=True)
        in_step(sibling)
        proxy.on_data = hold_the_answer
        proxy.accept()
        wait_until(lambda: told and node.info()["events_received"] > told[0], message="the event is there")
        proxy.on_data = None
        proxy.let_go()
        in_step(node)
        node.wait_info(queued_writes=0)
    assert lasting_redis.client().hget(STATE, "m:m") == b"1", "it has not been told once more"
    only_the_later_is_left(node, sibling)


def test_p2_a_flushdb_that_is_about_to_be_does_not_bring_back_what_it_will_take(lasting_redis, make_link_proxy, make_harcad):
    """A sibling has told of it, and not yet removed the keys."""
    proxy, other = make_link_proxy(lasting_redis.address), make_link_proxy(lasting_redis.address)
    node, = start_fleet(make_harcad, proxy.url, 1, BRISK)
    sibling, = start_fleet(make_harcad, other.url, 1, BRISK)

    def hold_the_removal(direction, data, _):
        if direction == "up" and b"SCAN" in data:
            other.hold("control")

    with node.raw() as conn:
        conn.command("SET", "k", "old")
        prime(node, "k")
        lasting_redis.kill()
        down(node, sibling)
        assert conn.command("SET", "k", "mine") == "OK"
        assert sibling.client().flushdb()
        proxy.hold("control")
        other.refuse()
        lasting_redis.start()
        wait_until(lambda: lasting_redis.client().pubsub_channels(), message="the event link is up")
        before = node.info()["events_received"]
        other.on_data = hold_the_removal
        other.accept()
        wait_until(lambda: node.info()["events_received"] > before, message="the event is there")
        node.wait_info(upstream_state="up")
        assert conn.command("GET", "k") in (None, b"mine")
        assert lasting_redis.client().get(PREFIX + b"k") == b"old"
        other.on_data = None
        other.let_go()
        proxy.let_go()
        in_step(node, sibling)
    gone_everywhere("k", node, sibling)


@pytest.mark.parametrize("own", [False, True], ids=["", "and by this daemon"])
def test_p4_a_clear_that_a_new_life_of_redis_numbers_low_is_after_what_is_queued(redis_server, proxy, node, make_link_proxy, make_harcad, own):
    """Its event comes before this daemon has been told that Redis has lost its data, and numbers begin anew."""
    other = make_link_proxy(redis_server.address)
    sibling, = start_fleet(make_harcad, other.url, 1, BRISK)
    with node.raw() as conn:
        for number in range(20):
            conn.command("SET", f"j{number}", "v")
        node.wait_info(fleet_seq=20)
        other.refuse()
        redis_server.kill()
        down(node, sibling)
        assert conn.command("SET", "k", "old", "MODEL", "m") == "OK"
        assert sibling.client().execute_command("CLEAR", "MODEL", "m")
        if own:
            assert conn.command("CLEAR", "MODEL", "m") == "OK"
        proxy.hold("control")
        redis_server.start()
        wait_until(lambda: redis_server.client().pubsub_channels(), message="the event link is up")
        before = node.info()["events_received"]
        other.accept()
        in_step(sibling)
        wait_until(lambda: node.info()["events_received"] > before, message="the event is there")
        if own:
            assert conn.command("GET", "k") is None
        proxy.let_go()
        in_step(node)
    gone_everywhere("k", node, sibling)


@pytest.mark.parametrize("redis_too", [False, True], ids=["daemon", "daemon and redis"])
def test_p5_what_is_set_after_a_clear_is_kept_over_a_restart_of_the_daemon(lasting_redis, make_link_proxy, make_harcad, redis_too):
    proxy = make_link_proxy(lasting_redis.address)
    node, = start_fleet(make_harcad, proxy.url, 1, BRISK)
    sibling, = start_fleet(make_harcad, lasting_redis, 1, BRISK)
    with node.raw() as conn:
        assert conn.command("CLEAR", "MODEL", "m") == "OK"
        cut_off(proxy, node)
        clear_between(conn, 2)
    node.restart(hard=True)
    with node.raw() as conn:
        assert conn.command("MGET", "before", "after") == [None, b"new"]
    if redis_too:
        lasting_redis.restart(hard=True)
    back(proxy, node)
    only_the_later_is_left(node, sibling)


def test_p5_what_is_set_after_a_clear_is_kept_whichever_link_tells_of_it_first(proxy, node, redis_server, make_harcad):
    """The event of the own clear comes before the answer, with an epoch that the daemon has not counted to by itself."""
    sibling, = start_fleet(make_harcad, redis_server, 1, BRISK)
    with node.raw() as conn:
        proxy.lose("worker")
        assert conn.command("CLEAR", "MODEL", "m") == "OK"
        heard = node.info()["invalidations_in"]
        assert sibling.client().execute_command("CLEAR", "MODEL", "m") == b"OK"
        assert sibling.client().execute_command("CLEAR", "MODEL", "m") == b"OK"
        node.wait_info(invalidations_in=heard + 2)  # else they may have come after what is set now
        clear_between(conn)
        proxy.let_go()
        node.wait_info(upstream_state="up", queued_writes=0)
    only_the_later_is_left(node, sibling)


def test_p5_what_is_set_after_a_later_clear_by_a_sibling_is_kept(redis_server, proxy, node, make_harcad):
    """The event of that comes before the answer to our clear."""
    sibling, = start_fleet(make_harcad, redis_server, 1, BRISK)

    def hold_the_answer(direction, data, _):
        if direction == "up" and b"\r\nC\r\n" in data:
            proxy.hold("control")

    with node.raw() as conn:
        cut_off(proxy, node)
        clear_between(conn)
        proxy.on_data = hold_the_answer
        proxy.accept()
        wait_until(lambda: redis_server.client().hget(STATE, "m:m") == b"1")
        heard = node.info()["invalidations_in"]
        assert sibling.client().execute_command("CLEAR", "MODEL", "m") == b"OK"
        node.wait_info(invalidations_in=heard + 1)
        assert conn.command("SET", "later", "new", "MODEL", "m") == "OK"
        proxy.on_data = None
        proxy.let_go()
        in_step(node)
    gone_everywhere("after", node, sibling)
    for each in (node, sibling):
        serves(each, "later", b"new")


@pytest.mark.parametrize("redis_too", [False, True], ids=["cut off", "redis restarted"])
def test_p4_what_is_set_after_a_clear_does_not_outlive_a_later_one_by_a_sibling(lasting_redis, make_link_proxy, make_harcad,
                                                                              redis_too):
    proxy = make_link_proxy(lasting_redis.address)
    node, = start_fleet(make_harcad, proxy.url, 1, BRISK)
    sibling, = start_fleet(make_harcad, lasting_redis, 1, BRISK)
    with node.raw() as conn:
        cut_off(proxy, node)
        clear_between(conn, 2)
        assert sibling.client().execute_command("CLEAR", "MODEL", "m") == b"OK"
        if redis_too:
            lasting_redis.restart(hard=True)
            in_step(sibling)
        back(proxy, node)
    gone_everywhere("after", node, sibling)
    gone_everywhere("before", node, sibling)


def test_p4_a_clear_of_a_sibling_that_comes_just_before_ours_is_heard_of_first(redis_server, proxy, node, make_harcad):
    """The answer to our clear is here and the event of theirs is not."""
    sibling, = start_fleet(make_harcad, redis_server, 1, BRISK)
    cleared = []

    def get_in_between(direction, data, _):
        if direction == "up" and b"\r\nC\r\n" in data and not cleared:
            proxy.hold("events")
            cleared.append(sibling.client().execute_command("CLEAR", "MODEL", "m"))

    with node.raw() as conn:
        cut_off(proxy, node)
        clear_between(conn)
        proxy.on_data = get_in_between
        proxy.accept()
        wait_until(lambda: cleared)
        proxy.wait_held("events")
        wait_until(lambda: redis_server.client().hget(STATE, "m:m") == b"2")
        until = time.monotonic() + 0.2 * SLOW  # by when the value would be there, if that were not waited for
        while time.monotonic() < until:
            assert redis_server.client().get(PREFIX + b"after") is None
        proxy.let_go()
        in_step(node)
    gone_everywhere("after", node, sibling)


def test_p5_a_clear_is_made_up_for_although_a_flushdb_came_after_it(redis_server, proxy, make_harcad):
    """Or Redis would count fewer clears than the daemon, to whom all values of the model, its own too, would look older
    than the last of them. The links that would tell of that when they come back are not away."""
    node, = start_fleet(make_harcad, proxy.url, 1)
    sibling, = start_fleet(make_harcad, redis_server, 1)
    with node.raw() as conn, sibling.raw() as other:
        proxy.hold("control")  # until the worker's straggler is known to have ended, nothing is made up for
        proxy.hold("worker", "up")
        conn.send(conn.encode("SET", "before", "old", "MODEL", "m"))
        proxy.wait_held("worker")
        proxy.cut_links("worker")
        assert conn.read_reply() == "OK"
        assert conn.command("CLEAR", "MODEL", "m") == "OK"
        assert conn.command("FLUSHDB") == "OK"
        assert conn.command("SET", "after", "new", "MODEL", "m") == "OK"
        assert node.info()["queued_writes"] == 4, "one of them stands for all keys"
        proxy.let_go()
        node.wait_info(upstream_state="up", queued_writes=0)
        only_the_later_is_left(node, sibling)
        assert other.command("SET", "k", "theirs", "MODEL", "m") == "OK"
        serves(node, "k", b"theirs")
        assert conn.command("SET", "k", "mine", "MODEL", "m") == "OK"
        assert conn.command("GET", "k") == b"mine"
        serves(sibling, "k", b"mine")
        assert node.info()["event_link"] == "up"


@pytest.mark.parametrize("model_too", [True, False], ids=["of the model", "of another"])
def test_p5_what_is_set_while_a_clear_is_to_be_made_up_for_is_behind_it(proxy, node, redis_server, make_harcad, model_too):
    """The worker's link is back, the one that makes up is not: what is written now must not be cleared by what is older."""
    sibling, = start_fleet(make_harcad, redis_server, 1, BRISK)
    model = "m" if model_too else "n"
    with node.raw() as conn:
        cut_off(proxy, node)
        assert conn.command("CLEAR", "MODEL", "m") == "OK"
        proxy.hold("control")
        proxy.accept()
        node.wait_info(upstream_state="up")
        assert conn.command("SET", "k", "new", "MODEL", model) == "OK"
        assert conn.command("GET", "k") == b"new"
        assert (redis_server.client().get(PREFIX + b"k") is None) == model_too, "what others do not wait for is there"
        proxy.let_go()
        in_step(node)
        node.wait_info(queued_writes=0)
        for each in (node, sibling):
            serves(each, "k", b"new")


def test_p4_a_clear_that_redis_has_carried_out_takes_what_is_queued_too(proxy, redis_server, make_harcad):
    """One of two workers cannot reach it; the daemon has counted as far by itself as Redis then does."""
    proxy.KINDS = ("worker", "worker-1", "control", "events")
    node, = start_fleet(make_harcad, proxy.url, 1, {**BRISK, "server.workers": "2"})
    conns = [node.raw() for _ in range(8)]
    try:
        proxy.lose("worker-1")
        upstream = redis_server.client()
        cut = next(conn for i, conn in enumerate(conns) if conn.command("SET", f"probe{i}", "x") == "OK" and
                   upstream.get(PREFIX + b"probe%d" % i) is None)
        node.wait_info(queued_writes=0)
        for direction in "up", "down":
            proxy.hold("control", direction)  # nothing is made up for yet
        reaching = next(conn for i, conn in enumerate(conns) if conn.command("SET", f"again{i}", "x") == "OK" and
                        upstream.get(PREFIX + b"again%d" % i) is not None)
        clear_between(cut)
        assert reaching.command("CLEAR", "MODEL", "m") == "OK"
        assert upstream.hget(STATE, "m:m") == b"1"
        assert cut.command("GET", "after") is None
        proxy.let_go()
        in_step(node)
        gone_everywhere("after", node)
    finally:
        for conn in conns:
            conn.close()


def test_p2_a_late_answer_takes_nothing_off_the_queue_that_came_onto_it_since(proxy, redis_server, make_harcad):
    """One worker waits for the answer to a SET; the other, cut off, queues a newer value meanwhile."""
    proxy.KINDS = ("worker", "worker-1", "control", "events")
    node, = start_fleet(make_harcad, proxy.url, 1, {**BRISK, "server.workers": "2", "upstream.timeout": f"{int(3000 * SLOW)}ms"})
    conns = [node.raw() for _ in range(8)]
    try:
        proxy.lose("worker-1")
        upstream = redis_server.client()

        def set_by(conn, key):
            """Whether it went upstream; at once, when that is known to be cut off."""
            began = time.monotonic()
            assert conn.command("SET", key, "x") == "OK"
            return upstream.get(PREFIX + key.encode()) is not None, time.monotonic() - began

        first = [set_by(conn, f"probe{i}") for i, conn in enumerate(conns)]
        cut = next(conn for conn, (reached, _) in zip(conns, first) if not reached)
        reaching = next(conn for conn, (reached, _) in zip(conns, first) if reached)
        wait_until(lambda: set_by(cut, "again")[1] < 0.2 * SLOW, message="it is known to be cut off")
        proxy.hold("control")  # nothing is made up for yet
        proxy.hold("worker")
        reaching.send(reaching.encode("SET", "k", "old"))
        wait_until(lambda: upstream.get(PREFIX + b"k") == b"old", message="Redis has it")
        assert cut.command("SET", "k", "new") == "OK"
        proxy.let_go("worker")
        assert reaching.read_reply() == "OK"
        assert cut.command("GET", "k") == reaching.command("GET", "k") == b"new"
        proxy.let_go()
        node.wait_info(queued_writes=0)
        in_step(node)
        wait_until(lambda: upstream.get(PREFIX + b"k") == b"new", message="Redis has the newer one")
        assert cut.command("GET", "k") == reaching.command("GET", "k") == b"new"
    finally:
        for conn in conns:
            conn.close()


def test_flush_while_queued_writes_are_made_up_leaves_none_of_them(make_redis, make_harcad):
    """The upstream is back, but has not been told of all yet."""
    redis = make_redis()
    harcad = make_harcad({"upstream.timeout": f"{int(300 * SLOW)}ms"}, upstream=redis)
    harcad.wait_info(upstream_state="up", event_link="up")
    with harcad.raw() as conn:
        for _ in range(4):
            redis.pause()
            for i in range(300):
                assert conn.command("SET", f"k{i}", "before") == "OK"
            redis.resume()
            harcad.wait_info(upstream_state="up")
            assert conn.command("FLUSHALL") == "OK"
            assert conn.command("MGET", *[f"k{i}" for i in range(300)]) == [None] * 300
            assert conn.command("SET", "after", "1") == "OK"
            harcad.wait_info(queued_writes=0)
            assert conn.command("MGET", *[f"k{i}" for i in range(300)]) == [None] * 300
            serves(harcad, "after", b"1")
            assert redis.client().keys("harca:k*") == []
