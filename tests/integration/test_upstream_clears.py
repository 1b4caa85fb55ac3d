"""P5 with P4: what is set after a CLEAR MODEL, or a FLUSHDB, of the same outage."""

import time

import pytest

from fleet import PREFIX, STATE, in_step, prime, serves, start_fleet
from harcad_harness import SLOW, wait_until
from outage import BRISK, back, cut_off, down


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
