"""P4's last sentence: CLEAR MODEL beats a value computed before it but SET after it. A miss remembers which clears there
had been; the next SET of the key brings what was computed for that miss."""

import pytest

from fleet import PREFIX, StateRefused, in_step, start_fleet
from harcad_harness import wait_until


@pytest.fixture(params=["embedded", "fleet"])
def node(request, make_harcad, redis_server):
    if request.param == "embedded":
        return make_harcad()
    return start_fleet(make_harcad, redis_server, 1)[0]


@pytest.fixture
def conn(node):
    with node.raw() as conn:
        yield conn


def late_sets(node):
    return node.info()["late_sets"]


SETS = {
    "SET": ["SET", "k", "stale", "MODEL", "m"],
    "SET with a TTL": ["SET", "k", "stale", "EX", "100", "MODEL", "m"],
    "SETEX": ["SETEX", "k", "100", "stale"],
    "MSET": ["MSET", "other", "x", "k", "stale"],
}


@pytest.mark.parametrize("command", SETS.values(), ids=SETS)
@pytest.mark.parametrize("read", [["GET", "k"], ["GET", "k", "MODEL", "m"], ["MGET", "no", "k"], ["GETEX", "k"]], ids=" ".join)
def test_P4_a_value_computed_before_the_clear_and_set_after_it_is_not_kept(node, conn, read, command):
    conn.command("MODEL", "USE", "m")
    assert conn.command(*read) in (None, [None, None])
    assert conn.command("CLEAR", "MODEL", "m") == "OK"
    assert conn.command(*command) == "OK"
    assert conn.command("GET", "k") is None
    assert late_sets(node) == 1
    if command[0] == "MSET":
        assert conn.command("GET", "other") == b"x"
    # That GET was after the clear: what is computed for it is kept.
    assert conn.command(*command) == "OK"
    assert conn.command("GET", "k") == b"stale"
    assert late_sets(node) == 1


def test_P4_all_who_missed_before_the_clear_are_late(node, conn):
    others = [node.raw() for _ in range(5)]
    for other in others:
        assert other.command("GET", "k") is None
    assert others[0].command("SET", "k", "in time", "MODEL", "m") == "OK"
    assert conn.command("GET", "k") == b"in time"
    assert conn.command("CLEAR", "MODEL", "m") == "OK"
    for other in others[1:]:
        assert other.command("SET", "k", "stale", "MODEL", "m") == "OK"
        other.close()
    assert conn.command("GET", "k") is None
    assert late_sets(node) == 4


@pytest.mark.parametrize("many", [False, True], ids=["SET", "MSET"])
def test_P1_P4_what_was_there_before_is_not_shown_instead(node, conn, many):
    """A late SET counts as written and then cleared: to its client, an older value would have come back."""
    assert conn.command("GET", "k") is None and conn.command("GET", "k") is None
    assert conn.command("CLEAR", "MODEL", "m") == "OK"
    assert conn.command("SET", "k", "first", "MODEL", "n") == "OK"
    assert conn.command("GET", "k") == b"first"
    conn.command("MODEL", "USE", "m")
    assert conn.command(*(["MSET", "j", "x", "k", "second"] if many else ["SET", "k", "second"])) == "OK"
    assert conn.command("GET", "k") is None
    assert late_sets(node) == 1


def test_only_the_models_own_clear_counts_and_only_after_a_miss(node, conn):
    assert conn.command("GET", "k") is None
    for other in range(5):
        assert conn.command("CLEAR", "MODEL", f"other{other}") == "OK"
    assert conn.command("SET", "k", "v", "MODEL", "m") == "OK"
    assert conn.command("GET", "k") == b"v"
    # Nobody has missed it since: it is a value of its own, not an answer to a miss.
    assert conn.command("CLEAR", "MODEL", "m") == "OK"
    assert conn.command("SET", "k", "w", "MODEL", "m") == "OK"
    assert conn.command("GET", "k") == b"w"
    assert late_sets(node) == 0


def test_a_set_that_asks_something_is_carried_out(node, conn):
    for command, reply in (["SET", "a", "1", "NX"], "OK"), (["SET", "b", "1", "GET"], None), (["SETNX", "c", "1"], 1):
        key = command[1]
        assert conn.command("GET", key) is None
        assert conn.command("CLEAR", "MODEL", "default") == "OK"
        assert conn.command(*command) == reply
        assert conn.command("GET", key) == b"1"
    assert late_sets(node) == 0


def test_inside_a_transaction_too(node, conn):
    assert conn.command("GET", "k") is None
    assert conn.command("CLEAR", "MODEL", "m") == "OK"
    assert conn.command("MULTI") == "OK"
    assert conn.command("SET", "k", "stale", "MODEL", "m") == "QUEUED"
    assert conn.command("EXEC") == ["OK"]
    assert conn.command("EXISTS", "k") == 0 and late_sets(node) == 1


def test_P4_a_clear_at_a_sibling_counts(make_harcad, redis_server):
    here, there = start_fleet(make_harcad, redis_server, 2)
    with here.raw() as conn, there.raw() as other:
        assert conn.command("GET", "k") is None
        assert other.command("CLEAR", "MODEL", "m") == "OK"
        wait_until(lambda: dict(zip(*[iter(conn.command("MODEL", "INFO", "m") or [])] * 2)).get(b"epoch") == 1)
        assert conn.command("SET", "k", "stale", "MODEL", "m") == "OK"
        assert conn.command("GET", "k") is None and other.command("GET", "k") is None
        assert late_sets(here) == 1


def test_P4_a_clear_at_a_sibling_counts_before_its_event_has_come(make_harcad, make_link_proxy, redis_server):
    proxy = make_link_proxy(redis_server.address)
    patient = {"upstream.timeout": "60s", "fleet.lease": "60s"}
    here, = start_fleet(make_harcad, proxy.url, 1, patient)
    there, = start_fleet(make_harcad, redis_server, 1, patient)
    with here.raw() as conn, there.raw() as other:
        assert conn.command("GET", "k") is None
        proxy.hold("events")
        assert other.command("CLEAR", "MODEL", "m") == "OK"
        assert conn.command("SET", "k", "stale", "MODEL", "m") == "OK"
        assert conn.command("GET", "k") is None and other.command("GET", "k") is None
        assert late_sets(here) == 1
        proxy.let_go()


def test_P4_while_the_upstream_is_down(make_harcad, redis_server):
    node, = start_fleet(make_harcad, redis_server, 1)
    with node.raw() as conn:
        assert conn.command("GET", "k") is None
        redis_server.kill()
        node.wait_info(upstream_state="down")
        assert conn.command("CLEAR", "MODEL", "m") == "OK"
        assert conn.command("SET", "k", "stale", "MODEL", "m") == "OK"
        assert conn.command("GET", "k") is None
        assert late_sets(node) == 1

def test_P4_late_while_the_upstream_is_down_it_is_no_value_to_make_up_for(make_harcad, make_redis):
    redis = make_redis()
    node, = start_fleet(make_harcad, redis, 1)
    with node.raw() as conn:
        assert conn.command("GET", "k") is None
        assert conn.command("CLEAR", "MODEL", "m") == "OK"
        redis.stop()
        node.wait_info(upstream_state="down")
        assert conn.command("SET", "k", "stale", "MODEL", "m") == "OK"
        assert conn.command("GET", "k") is None
        redis.start()
        node.wait_info(upstream_state="up", event_link="up", queued_writes=0)
        assert conn.command("GET", "k") is None
        with redis.client() as client:
            assert not client.exists(PREFIX + b"k")
    assert late_sets(node) == 1


def test_P4_late_before_the_upstream_has_been_told_of_the_clear(make_harcad, make_link_proxy, redis_server):
    """Writes reach it again, but what was cleared while they did not is told to it only when the daemon is in step."""
    proxy = make_link_proxy(redis_server.address)
    node, = start_fleet(make_harcad, proxy.url, 1, {"upstream.frame": "always"})
    with node.raw() as conn:
        conn.command("MODEL", "USE", "m")
        assert conn.command("GET", "k") is None and conn.command("GET", "j") is None
        proxy.refuse()
        node.wait_info(upstream_state="down", event_link="down")
        assert conn.command("CLEAR", "MODEL", "m") == "OK"
        with StateRefused(proxy):
            proxy.accept()
            node.wait_info(upstream_state="up")
            assert conn.command("SET", "k", "stale") == conn.command("SET", "j", "stale", "EX", 100) == "OK"
            assert redis_server.client().exists(PREFIX + b"k", PREFIX + b"j") == 0
            assert late_sets(node) == 2
        in_step(node)
        assert conn.command("MGET", "k", "j") == [None, None]
