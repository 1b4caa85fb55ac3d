"""P5: what is written while the shared Redis cannot be told is queued, within bounds, and reaches the fleet afterwards, unless
others have written it since."""

import os
import time

import pytest

from fleet import PREFIX, STATE_SCRIPT, calls, has_heard_all, in_step, prime, serves, start_fleet
from harcad_harness import CUT, SLOW, RespError, wait_until
from outage import BRISK, SLACK_S, back, cut_off, down, is_down, timed


# ---- what is taken, and how much ----


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


# ---- it reaches the fleet ----


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
