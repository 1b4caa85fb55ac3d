"""The shared Redis fails in every way a server and a network can. Local hits go on, a miss waits for a bounded time,
writes are taken or refused as the settings say, nothing older comes back, and all mends itself."""

import collections
import itertools
import time

import pytest

from fleet import PREFIX, STATE, has_copy, in_step, prime, serves, start_fleet
from harcad_harness import SLOW, Redis, RespError, free_port, wait_until
from outage import AT_ONCE_S, BRISK, SLACK_S, TIMEOUT_S, cut_off, down, hits_do_not_wait, quick_miss, timed


@pytest.fixture
def fleet(make_harcad, redis_server):
    return start_fleet(make_harcad, redis_server, 2, BRISK)


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
