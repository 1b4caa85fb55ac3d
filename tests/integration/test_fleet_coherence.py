"""P3, bounded staleness, and what P2, P6 and P7 ask for when events are missed: the lease, the journal, suspect copies. A
proxy treats one daemon's links one by one; its sibling, which changes things, is before the Redis itself."""

import time

import pytest

from fleet import PREFIX, STATE, STATE_SCRIPT, StateRefused, calls, has_copy, has_heard_all, in_step, prime, serves, start_fleet
from harcad_harness import SLOW, free_port, wait_until

JOURNAL = b"harcad/harca/journal"
LEASE_S = 1.0 * SLOW
LEASE = {"fleet.lease": f"{int(LEASE_S * 1000)}ms"}
LATE_S = 0.25 * SLOW  # what a busy machine takes to run a timer


def explain(node, key):
    pairs = node.client().execute_command("EXPLAIN", key)
    return dict(zip(pairs[::2], pairs[1::2]))


def is_suspect(node, key):
    return explain(node, key).get(b"suspect") == b"yes"


def has_fresh_copy(node, key):
    told = explain(node, key)
    return told[b"tier"] == b"memory" and told[b"suspect"] == b"no"


class Scene:
    """`here` is behind the proxy, `there` is not."""

    def __init__(self, make_harcad, make_link_proxy, redis, settings=None, there=None):
        self.redis = redis
        self.proxy = make_link_proxy(redis.address)
        self.here, = start_fleet(make_harcad, self.proxy.url, 1, {**LEASE, **(settings or {})})
        self.there, = start_fleet(make_harcad, redis.url, 1, {**LEASE, **(there or {})})
        self.upstream = redis.client()

    def set(self, key, value, *more):
        assert self.there.client().execute_command("SET", key, value, *more) in (True, b"OK")

    def prime(self, *keys):
        """Copies that no event to come drops."""
        has_heard_all(self.here, self.upstream)
        prime(self.here, *keys)

    def blackhole(self, *kinds):
        for kind in kinds:
            self.proxy.hold(kind, "up")
            self.proxy.hold(kind, "down")

    def lose_events(self, change):
        """The event link is away while `change` happens, and the journal does not have it any more afterwards."""
        resyncs = self.here.info()["resyncs"]
        self.blackhole("events")
        change()
        self.upstream.xtrim(JOURNAL, maxlen=0, approximate=False)
        self.proxy.cut_links("events")
        self.proxy.let_go()
        wait_until(lambda: self.here.info()["resyncs"] > resyncs)
        in_step(self.here)


@pytest.fixture
def scene(make_harcad, make_link_proxy, redis_server):
    return Scene(make_harcad, make_link_proxy, redis_server)


def last_seen(conn, key, value, for_s):
    """Reads for so long. When the value was answered last, in seconds from now; 0: never."""
    started, last = time.monotonic(), 0.0
    while time.monotonic() - started < for_s:
        asked = time.monotonic()
        if conn.command("GET", key) == value:
            last = asked - started
    return last


# ---- the lease ----


def test_p3_in_a_silent_cut_of_the_event_link_nothing_older_than_the_lease_is_served(scene):
    scene.set("k", "old", "MODEL", "m")
    scene.prime("k")
    scene.blackhole("events")
    scene.set("k", "new", "MODEL", "m")
    with scene.here.raw() as conn:
        stale_s = last_seen(conn, "k", b"old", LEASE_S + 2 * LATE_S)
        assert conn.command("GET", "k") == b"new"
    print(f"served for {stale_s:.3f} s after the change; the lease is {LEASE_S} s")
    assert stale_s <= LEASE_S + LATE_S
    assert scene.here.info()["lease_lapses"] >= 1


def test_p3_while_events_are_away_each_change_is_shown_at_once(scene):
    scene.set("k", "0", "MODEL", "m")
    scene.prime("k")
    scene.blackhole("events")
    wait_until(lambda: is_suspect(scene.here, "k"))
    with scene.here.raw() as conn:
        for i in range(1, 20):
            scene.set("k", i, "MODEL", "m")
            for _ in range(3):
                assert conn.command("GET", "k") == b"%d" % i
            assert is_suspect(scene.here, "k")


def test_p3_data_links_alone_away_changes_are_heard_all_the_same(scene):
    scene.set("k", "old")
    scene.set("j", "old")
    scene.prime("k", "j")
    scene.blackhole("worker")
    scene.set("k", "new")
    wait_until(lambda: scene.here.client().get("k") != b"old", 2 * LATE_S + 1)
    assert scene.here.info()["event_link"] == "up"
    assert scene.here.client().get("j") == b"old"
    assert scene.here.info()["stale_served"] == 0


@pytest.mark.parametrize("settings, served", [({}, b"old"), ({"upstream.stale_if_down": "no"}, None)], ids=["yes", "no"])
def test_p3_everything_away_suspect_copies_are_served_only_if_they_may_be(make_harcad, make_link_proxy, redis_server, settings, served):
    scene = Scene(make_harcad, make_link_proxy, redis_server, {**settings, "upstream.timeout": "200ms"})
    scene.set("k", "old", "MODEL", "m")
    scene.prime("k")
    scene.blackhole("events", "control", "worker")
    scene.set("k", "new", "MODEL", "m")
    scene.here.wait_info(event_link="down")
    wait_until(lambda: is_suspect(scene.here, "k"))
    scene.here.wait_info(upstream_state="down")
    info = scene.here.info()
    assert scene.here.client().get("k") == served
    after = scene.here.info()
    assert after["suspect_reads"] == info["suspect_reads"] + 1
    assert after["stale_served"] == info["stale_served"] + (served is not None)
    scene.proxy.let_go()
    in_step(scene.here)
    serves(scene.here, "k", b"new")


def test_p3_a_suspect_copy_is_served_for_stale_max_at_most(make_harcad, make_link_proxy, redis_server):
    scene = Scene(make_harcad, make_link_proxy, redis_server, {"upstream.stale_max": f"{int(SLOW * 1000)}ms", "upstream.timeout": "200ms"})
    scene.set("k", "v")
    scene.prime("k")
    scene.blackhole("events", "control", "worker")
    wait_until(lambda: is_suspect(scene.here, "k"))
    scene.here.wait_info(upstream_state="down")
    with scene.here.raw() as conn:
        wait_until(lambda: conn.command("GET", "k") is None)
    scene.proxy.let_go()
    in_step(scene.here)
    assert scene.here.client().get("k") == b"v"


def test_p3_a_read_that_gets_no_answer_is_served_what_is_suspect(make_harcad, make_link_proxy, redis_server):
    scene = Scene(make_harcad, make_link_proxy, redis_server, {"upstream.timeout": "300ms"})
    scene.set("k", "v", "MODEL", "m")
    scene.prime("k")
    scene.lose_events(lambda: scene.set("other", "x"))
    assert is_suspect(scene.here, "k")
    scene.proxy.lose("worker")
    started = time.monotonic()
    assert scene.here.client().get("k") == b"v"
    assert time.monotonic() - started < 2 * SLOW
    assert scene.here.info()["stale_served"] == 1


# ---- replay ----


def test_p3_what_was_missed_is_replayed_and_all_else_is_as_fresh_as_before(scene):
    for i in range(50):
        scene.set(f"k{i}", "old", "MODEL", "m")
    scene.prime(*(f"k{i}" for i in range(50)))
    scene.blackhole("events")
    scene.set("k7", "new", "MODEL", "m")
    scene.there.client().delete("k8")
    wait_until(lambda: is_suspect(scene.here, "k1"))  # the lease is over
    scene.proxy.cut_links("events")
    scene.proxy.let_go()
    in_step(scene.here)
    info = scene.here.info()
    asked = calls(scene.redis, "get", "getrange")
    assert not is_suspect(scene.here, "k1")
    for i in range(50):
        if i not in (7, 8):
            assert scene.here.client().get(f"k{i}") == b"old"
    after = scene.here.info()
    assert (after["suspect_reads"], after["fills"]) == (info["suspect_reads"], info["fills"])
    assert calls(scene.redis, "get", "getrange") == asked
    assert scene.here.client().get("k7") == b"new"
    assert scene.here.client().get("k8") is None
    assert (after["resyncs"], after["replays"]) == (1, 1)  # one at the start, when nothing was known


def test_p2_clears_that_were_missed_are_replayed(scene):
    scene.set("m", "v", "MODEL", "m")
    scene.set("n", "v", "MODEL", "n")
    scene.prime("m", "n")
    scene.blackhole("events")
    assert scene.there.client().execute_command("CLEAR", "MODEL", "m") == b"OK"
    scene.proxy.cut_links("events")
    scene.proxy.let_go()
    in_step(scene.here)
    serves(scene.here, "m", None)
    scene.blackhole("events")
    assert scene.there.client().flushdb()
    scene.proxy.cut_links("events")
    scene.proxy.let_go()
    in_step(scene.here)
    serves(scene.here, "n", None)


def test_p3_more_than_a_page_is_replayed(scene):
    for i in range(10):
        scene.set(f"k{i}", "old")
    scene.prime(*(f"k{i}" for i in range(10)))
    scene.blackhole("events")
    with scene.there.raw() as conn:
        for i in range(3000):
            assert conn.command("SET", f"k{i % 5}", i) == "OK"
    scene.proxy.cut_links("events")
    scene.proxy.let_go()
    for i in range(5):
        serves(scene.here, f"k{i}", b"%d" % (2995 + i))
        assert scene.here.client().get(f"k{i + 5}") == b"old"
    assert scene.here.info()["resyncs"] == 1


def test_p3_events_lost_on_a_link_that_stays_up_are_noticed_and_replayed(make_harcad, make_proxy, redis_server):
    """Nothing but the numbers tells: the next event's, or the fence."""
    proxy = make_proxy(redis_server.address)
    here, = start_fleet(make_harcad, proxy.url, 1, LEASE)
    there, = start_fleet(make_harcad, redis_server.url, 1, LEASE)
    there.client().mset({"k": "old", "j": "old"})
    prime(here, "k", "j")
    replays = here.info()["replays"]
    proxy.on_data = lambda way, data, number: _without_sets(data) if way == "down" and b"harcad/harca/events" in data else None
    there.client().set("k", "lost")
    wait_until(lambda: here.info()["replays"] > replays)
    proxy.on_data = None
    in_step(here)
    serves(here, "k", b"lost")
    assert here.client().get("j") == b"old"
    assert here.info()["resyncs"] == 1


def _without_sets(data):
    """The pieces of Pub/Sub without the messages that tell of a SET."""
    head = b"*3\r\n$7\r\nmessage\r\n"
    parts = data.split(head)
    return parts[0] + b"".join(head + part for part in parts[1:] if b"$3\r\nset\r\n" not in part)


def test_p3_a_journal_trimmed_too_far_makes_all_suspect_and_nothing_is_lost(scene):
    for key in ("k", "j"):
        scene.set(key, "old", "MODEL", "m")
    scene.prime("k", "j")
    scene.lose_events(lambda: scene.set("k", "new", "MODEL", "m"))
    assert has_copy(scene.here.raw(), "j") and is_suspect(scene.here, "j") and is_suspect(scene.here, "k")
    gets = calls(scene.redis, "get")
    assert scene.here.client().get("j") == b"old"
    assert calls(scene.redis, "get") == gets, "the head of the frame is enough"
    assert not is_suspect(scene.here, "j")
    assert scene.here.client().get("k") == b"new"
    assert not is_suspect(scene.here, "k")
    assert scene.here.info()["suspect_renewed"] == 1


def test_without_a_journal_a_reconnect_makes_all_suspect(make_harcad, make_link_proxy, redis_server):
    none = {"fleet.journal_len": "0"}
    scene = Scene(make_harcad, make_link_proxy, redis_server, none, none)
    scene.set("k", "old")
    scene.prime("k")
    scene.blackhole("events")
    scene.set("other", "x")
    scene.proxy.cut_links("events")
    scene.proxy.let_go()
    wait_until(lambda: scene.here.info()["resyncs"] == 2)
    assert is_suspect(scene.here, "k")
    assert redis_server.client().exists(JOURNAL) == 0


def test_the_journal_is_capped(make_harcad, make_link_proxy, redis_server):
    short = {"fleet.journal_len": "100"}
    scene = Scene(make_harcad, make_link_proxy, redis_server, short, short)
    with scene.there.raw() as conn:
        for i in range(1000):
            conn.command("SET", "k", i)
    assert 100 <= redis_server.client().xlen(JOURNAL) < 400
    (last, _), = redis_server.client().xrevrange(JOURNAL, count=1)
    assert last == b"%s-0" % redis_server.client().hget(STATE, "seq")


# ---- suspect copies ----


def test_suspect_raw_copies_are_fetched_anew(scene):
    scene.set("k", "v")
    scene.prime("k")
    scene.lose_events(lambda: scene.set("other", "x"))
    ranges, gets = calls(scene.redis, "getrange"), calls(scene.redis, "get")
    assert scene.here.client().get("k") == b"v"
    assert (calls(scene.redis, "getrange") - ranges, calls(scene.redis, "get") - gets) == (0, 1)
    assert not is_suspect(scene.here, "k")


def test_many_readers_of_a_suspect_key_ask_once(scene):
    scene.set("k", "v", "MODEL", "m")
    scene.prime("k")
    scene.lose_events(lambda: scene.set("other", "x"))
    before = calls(scene.redis, "get", "getrange")
    scene.proxy.hold("worker")
    conns = [scene.here.raw() for _ in range(20)]
    for conn in conns:
        conn.send(conn.encode("GET", "k"))
    scene.proxy.wait_held("worker")
    wait_until(lambda: scene.here.info()["fills_coalesced"] >= 19)
    scene.proxy.let_go()
    assert [conn.read_reply() for conn in conns] == [b"v"] * 20
    assert calls(scene.redis, "get", "getrange") - before == 1


def test_a_renewed_copy_has_the_expiry_of_its_key(scene):
    scene.set("k", "v", "MODEL", "m")
    scene.prime("k")
    scene.lose_events(lambda: scene.there.client().pexpire("k", 60000))
    assert scene.here.client().get("k") == b"v"
    assert 0 < scene.here.client().pttl("k") <= 60000


def test_a_suspect_copy_of_a_key_that_is_gone_is_gone(scene):
    for key, model in (("k", "m"), ("r", "default")):
        scene.set(key, "v", "MODEL", model)
    scene.prime("k", "r")
    scene.lose_events(lambda: scene.there.client().delete("k", "r"))
    assert scene.here.client().get("k") is None
    assert scene.here.client().get("r") is None
    assert not has_copy(scene.here.raw(), "k")


def test_p2_numbers_given_twice_do_not_renew_a_copy(scene):
    """A server that lost the end of its sequence gives the same numbers again: value and length are compared too."""
    scene.set("k", "old", "MODEL", "m")
    scene.prime("k")
    stored = scene.upstream.get(PREFIX + b"k")
    scene.set("k", "new", "MODEL", "m")
    scene.prime("k")
    other = scene.upstream.get(PREFIX + b"k")
    again = other[:8] + stored[8:16] + other[16:]  # the new value under the old one's number
    scene.upstream.set(PREFIX + b"k", stored)
    scene.lose_events(lambda: scene.set("other", "x"))
    assert scene.here.client().get("k") == b"old"
    prime(scene.here, "k")
    scene.upstream.set(PREFIX + b"k", again)
    scene.lose_events(lambda: scene.set("other", "y"))
    assert scene.here.client().get("k") == b"new"


BEHIND = [["DEL", "k"], ["SET", "k", "x"], ["SET", "k", "x", "MODEL", "n"], ["SET", "k", "x" * 5000], ["MSET", "j", "1", "k", "2"],
          ["APPEND", "k", "!"], ["SETRANGE", "k", "0", "x"], ["INCR", "k"], ["GETDEL", "k"], ["GETEX", "k", "PXAT", "1"],
          ["EXPIRE", "k", "-1"], ["RENAME", "k", "j"], ["COPY", "j", "k", "REPLACE"], ["SETBIT", "k", "1", "1"], ["CLEAR", "KEY", "k"],
          ["CLEAR", "MODEL", "m"], ["FLUSHDB"]]
READS = [(["GET", "k"], b"77"), (["MGET", "absent", "k"], [None, b"77"]), (["STRLEN", "k"], 2), (["TTL", "k"], -1)]


@pytest.mark.parametrize("model", [["MODEL", "m"], []], ids=["framed", "raw"])
@pytest.mark.parametrize("write", BEHIND, ids=[" ".join(command)[:20] for command in BEHIND])
def test_p1_a_suspect_copy_is_asked_about_before_the_write_that_follows_on_the_connection(scene, write, model):
    """It is not what the upstream has: that is fetched, and must not be what was written since."""
    scene.set("j", "9")
    for read, found in READS if write[0] in ("DEL", "SET") else READS[:1]:
        scene.set("k", "5", *model)
        scene.prime("k")
        scene.lose_events(lambda: scene.set("k", "77", *model))
        with scene.here.raw() as conn:
            conn.send(conn.encode(*read) + conn.encode(*write))
            assert conn.read_reply() == found
            conn.read_reply()


# ---- the server itself ----


def test_p3_a_server_that_was_paused_leaves_copies_as_fresh_as_before(scene):
    scene.set("k", "v", "MODEL", "m")
    scene.prime("k")
    scene.redis.pause()
    wait_until(lambda: is_suspect(scene.here, "k"))
    scene.redis.resume()
    wait_until(lambda: not is_suspect(scene.here, "k"))
    assert scene.here.info()["resyncs"] == 1


@pytest.mark.parametrize("hard", [False, True], ids=["with its data", "killed"])
def test_p3_a_server_that_was_restarted_makes_all_suspect(scene, hard):
    scene.set("k", "v", "MODEL", "m")
    scene.prime("k")
    if hard:
        scene.upstream.save()
        scene.set("k", "lost", "MODEL", "m")
        serves(scene.here, "k", b"lost")
        scene.prime("k")
    scene.redis.restart(hard=hard)
    wait_until(lambda: scene.here.info()["resyncs"] == 2)
    in_step(scene.here)
    assert is_suspect(scene.here, "k")
    serves(scene.here, "k", b"v")
    serves(scene.there, "k", b"v")


def test_p3_a_server_that_was_restarted_without_data_has_nothing(scene):
    scene.set("k", "v")
    scene.prime("k")
    scene.redis.restart(keep_data=False)
    wait_until(lambda: scene.here.info()["resyncs"] == 2)
    in_step(scene.here, scene.there)
    serves(scene.here, "k", None)
    scene.set("k", "new")
    serves(scene.here, "k", b"new")


@pytest.mark.skipif(SLOW > 1, reason="a daemon that looks too late takes it for another, as it should")
def test_a_first_replica_makes_the_upstream_no_other(make_harcad, make_redis):
    """It gives its data another name then, and the daemons go on from where they were."""

    def goes_on():
        """Unless a daemon was kept from looking often enough."""
        redis = make_redis()
        nodes = start_fleet(make_harcad, redis, 2, LEASE)
        nodes[0].client().set("k", "v")
        for node in nodes:
            prime(node, "k")
        before = [node.info()["resyncs"] for node in nodes]
        make_redis(replicaof=f"127.0.0.1 {redis.port}")
        for node in nodes:
            wait_until(lambda: "upstream_lineage_begun" in node.log() or node.info()["resyncs"] > before[nodes.index(node)],
                       message="it noticed")
        fresh = [has_fresh_copy(node, "k") for node in nodes]
        for writer in nodes:
            writer.client().set("k", writer.port)
            for node in nodes:
                serves(node, "k", str(writer.port).encode())
        fences = calls(redis, "hmget")
        wait_until(lambda: calls(redis, "hmget") >= fences + 5 * len(nodes), message="it is looked at again and again")
        for node in nodes:
            wait_until(lambda: node.client().get("k") and has_fresh_copy(node, "k"), message="its worker knows the name")
        logs = "".join(node.log() for node in nodes)
        return all(fresh) and [node.info()["resyncs"] for node in nodes] == before and "another server" not in logs

    assert any(goes_on() for _ in range(4))


def replicated(replica, *keys):
    """Until it has them: just after a full synchronisation, WAIT says yes too early."""
    wait_until(lambda: all(replica.client().get(PREFIX + key) for key in keys), message="the replica has all of it")


def test_p3_a_server_that_took_over_the_data_of_another_is_another(make_harcad, make_redis):
    """The same process, the same state, the same numbers; all connections stay."""
    first = make_redis()
    second = make_redis(replicaof=f"127.0.0.1 {first.port}")
    node, = start_fleet(make_harcad, first, 1, LEASE)
    node.client().set("k", "old")
    replicated(second, b"k")
    second.client().replicaof("NO", "ONE")
    other, = start_fleet(make_harcad, second, 1, LEASE)
    other.client().set("k", "new")
    prime(node, "k")
    node.client().set("x", "as many changes")
    first.client().replicaof("127.0.0.1", str(second.port))
    wait_until(lambda: first.client().info("replication").get("master_link_status") == "up")
    first.client().replicaof("NO", "ONE")
    serves(node, "k", b"new")


def test_p2_failover_to_a_replica_that_lost_the_tail(make_harcad, make_redis, make_link_proxy):
    first = make_redis()
    second = make_redis(replicaof=f"127.0.0.1 {first.port}")
    wait_until(lambda: second.client().info("replication")["master_link_status"] == "up")
    proxy = make_link_proxy(first.address)
    nodes = start_fleet(make_harcad, proxy.url, 2, LEASE)
    nodes[0].client().execute_command("SET", "k", "kept", "MODEL", "m")
    nodes[0].client().execute_command("SET", "j", "kept", "MODEL", "m")
    replicated(second, b"k", b"j")
    second.client().replicaof("NO", "ONE")
    nodes[0].client().execute_command("SET", "k", "lost", "MODEL", "m")
    for node in nodes:
        prime(node, "k", "j")
        assert node.client().get("k") == b"lost"
    proxy.target = second.address
    proxy.cut()
    in_step(*nodes)
    for node in nodes:
        serves(node, "k", b"kept")
        serves(node, "j", b"kept")
    nodes[1].client().execute_command("SET", "k", "new", "MODEL", "m")
    for node in nodes:
        serves(node, "k", b"new")


@pytest.mark.parametrize("moved", [["control"], ["events"], ["control", "events"], ["worker"]], ids=" and ".join)
def test_p3_links_to_two_servers_do_not_count_as_in_step(make_harcad, make_redis, make_link_proxy, moved):
    """As in a failover: some links still hang on the old server, where nothing happens any more."""
    first = make_redis()
    second = make_redis(replicaof=f"127.0.0.1 {first.port}")
    wait_until(lambda: second.client().info("replication")["master_link_status"] == "up")
    proxy = make_link_proxy(first.address)
    node, = start_fleet(make_harcad, proxy.url, 1, LEASE)
    node.client().set("k", "old")
    replicated(second, b"k")
    second.client().replicaof("NO", "ONE")
    proxy.target = second.address
    for kind in moved:
        proxy.cut_links(kind)
    if moved == ["worker"]:  # what it brings is not kept as fresh: nobody would tell when it has changed
        wait_until(lambda: node.client().set("k", "there") and is_suspect(node, "k"), 30 * SLOW, interval=0.1)
        return
    wait_until(lambda: node.info()["resyncs"] > 1, message="it noticed")
    in_step(node)
    assert "another server" in node.log() or moved == ["control", "events"]
    # What is written goes where it is read, before long.
    wait_until(lambda: node.client().set("k", "new") and second.client().get(PREFIX + b"k") == b"new")
    serves(node, "k", b"new")


@pytest.mark.parametrize("files", [{}, {"file.enabled": "no"}], ids=["files", "no files"])
@pytest.mark.parametrize("frame", ["auto", "always"])
def test_p4_who_has_just_started_asks_for_epochs_before_it_believes_values(
        make_harcad, make_link_proxy, redis_server, frame, files):
    """A clear leaves values where they are: before the daemon is in step it cannot tell that they are from before."""
    proxy = make_link_proxy(redis_server.address)
    node, = start_fleet(make_harcad, proxy.url, 1, {**LEASE, **files, "upstream.frame": frame})
    sibling, = start_fleet(make_harcad, redis_server, 1, {"upstream.frame": frame, "upstream.sweep_rate": "0"})
    for key in ("k", "j"):
        sibling.client().set(key, "old")
    prime(node, "k")
    node.kill()
    sibling.client().execute_command("CLEAR", "MODEL", "default")
    sibling.client().set("new", "v")
    assert b"old" in redis_server.client().get(PREFIX + b"k")
    with StateRefused(proxy) as refused:
        node.start()
        wait_until(lambda: refused.times > 0)
        node.wait_info(upstream_state="up")
        with node.raw() as conn:
            assert [conn.command("GET", key) for key in ("k", "j", "new")] == [None, None, b"v"]
        assert node.info()["event_link"] == "down"
    in_step(node)
    assert node.client().mget("k", "j", "new") == [None, None, b"v"]


def test_p4_a_clear_that_the_upstream_has_counted_otherwise_does_not_leave_the_daemon_behind_or_ahead(
        make_harcad, make_link_proxy, redis_server):
    """Its answer comes while the daemon asks for the state, which somebody took away: it counts on from its own number,
    and has told Redis of another just before."""
    proxy = make_link_proxy(redis_server.address)
    node, = start_fleet(make_harcad, proxy.url, 1, LEASE)
    sibling, = start_fleet(make_harcad, redis_server, 1, LEASE)
    upstream = redis_server.client()
    with node.raw() as conn:
        for _ in range(2):
            assert conn.command("CLEAR", "MODEL", "m") == "OK"
        proxy.hold("worker")
        proxy.on_data = lambda way, data, _: proxy.hold("control") if way == "up" and STATE_SCRIPT in data else None
        upstream.flushall()
        conn.send(conn.encode("CLEAR", "MODEL", "m"))
        proxy.wait_held("worker")
        proxy.wait_held("control")
        proxy.on_data = None
        proxy.let_go("worker")
        assert conn.read_reply() == "OK"
        proxy.let_go()
    in_step(node, sibling)
    wait_until(lambda: int(upstream.hget(STATE, "m:m")) == epoch_of(node, "m"), message="both count alike")
    sibling.client().execute_command("SET", "k", "v", "MODEL", "m")
    with node.raw() as conn:
        assert conn.command("GET", "k", "MODEL", "m") == b"v"


def epoch_of(node, model):
    pairs = node.client().execute_command("MODEL", "INFO", model)
    return dict(zip(pairs[::2], pairs[1::2]))[b"epoch"]


@pytest.mark.parametrize("known", ["base known", "base unknown"])
def test_p5_what_is_queued_in_a_failover_is_not_weighed_by_the_old_servers_numbers(
        make_harcad, make_redis, make_link_proxy, known):
    """The event link still hangs on the old server, which has numbered changes that the new one has not heard of and
    numbers again; the lease lasts; the control link leads to the new one already."""
    first = make_redis()
    second = make_redis(replicaof=f"127.0.0.1 {first.port}")
    wait_until(lambda: second.client().info("replication")["master_link_status"] == "up")
    proxy = make_link_proxy(first.address)
    node, = start_fleet(make_harcad, proxy.url, 1, {**LEASE, "fleet.lease": f"{int(8 * SLOW)}s"})
    assert first.client().wait(1, 5000) == 1
    second.client().replicaof("NO", "ONE")
    with node.raw() as conn:
        for i in range(10):  # the tenth is of the very number that the sibling's gets
            assert conn.command("SET", "k" if known == "base known" else f"other{i}", f"lost{i}", "MODEL", "m") == "OK"
        if known == "base known":
            prime(node, "k")
        sibling, = start_fleet(make_harcad, second, 1)
        for i in range(12):
            sibling.client().execute_command("SET", "k" if i == 9 else f"its{i}", "theirs", "MODEL", "m")
        proxy.target = ("127.0.0.1", free_port())  # nobody is there
        for kind in ("worker", "control"):
            proxy.cut_links(kind)
        wait_until(lambda: conn.command("SET", "k", "mine", "MODEL", "m") == "OK" and node.info()["queued_writes"] == 1)
        assert node.info()["event_link"] == "up"
        with StateRefused(proxy) as refused:
            proxy.target = second.address
            wait_until(lambda: refused.times >= 3, 30 * SLOW, message="ticks went by")
        in_step(node)
        node.wait_info(queued_writes=0, timeout=30 * SLOW)
    # Deleted, perhaps: what the new one has may as well be from before what was lost. But never the older of the two.
    assert b"mine" not in (second.client().get(PREFIX + b"k") or b"")
    for each in (sibling, node):
        assert each.client().get("k") in (b"theirs", None)


@pytest.mark.parametrize("how", ["flushall", "script_flush"])
def test_p3_flushes_at_the_server(scene, how):
    scene.set("k", "v")
    scene.prime("k")
    getattr(scene.upstream, how)()
    if how == "flushall":
        serves(scene.here, "k", None, LEASE_S + 1 + 2 * LATE_S)
        in_step(scene.here, scene.there)
    scene.set("k", "new")
    serves(scene.here, "k", b"new")
    assert scene.here.client().get("k") == b"new"


# ---- files ----

FILES = {"file.write": "through"}


@pytest.mark.parametrize("hard", [False, True], ids=["stopped", "killed"])
def test_p6_after_a_restart_what_was_missed_is_replayed_and_the_rest_is_served_from_files(
        make_harcad, redis_server, hard):
    node, = start_fleet(make_harcad, redis_server.url, 1, {**LEASE, **FILES, "warmup.enabled": "no"})
    other, = start_fleet(make_harcad, redis_server.url, 1, LEASE)
    for i in range(30):
        node.client().execute_command("SET", f"k{i}", "old", "MODEL", "m" if i < 25 else "n")
    time.sleep(2.5 * SLOW if hard else 0)  # how far it is, is written down each second
    node.kill() if hard else node.stop()
    other.client().execute_command("SET", "k3", "new", "MODEL", "m")
    other.client().delete("k4")
    other.client().execute_command("CLEAR", "MODEL", "n")
    node.start()
    in_step(node)
    assert node.info()["resyncs"] == 0, node.log()
    for i in range(30):
        expected = {3: b"new", 4: None}.get(i, b"old" if i < 25 else None)
        assert node.client().get(f"k{i}") == expected, i
    info = node.info()
    assert (info["suspect_reads"], info["fills"]) == (0, 7)  # k3, k4 and model n
    assert info["file_hits"] + info["memory_hits"] >= 23


def test_p6_what_cannot_be_replayed_is_suspect_in_files_and_not_lost(make_harcad, redis_server):
    node, = start_fleet(make_harcad, redis_server.url, 1, {**LEASE, **FILES, "warmup.enabled": "no"})
    other, = start_fleet(make_harcad, redis_server.url, 1, LEASE)
    for key in ("k", "j"):
        node.client().execute_command("SET", key, "old", "MODEL", "m")
    node.stop()
    other.client().execute_command("SET", "k", "new", "MODEL", "m")
    redis_server.client().xtrim(JOURNAL, maxlen=0, approximate=False)
    node.start()
    in_step(node)
    gets = calls(redis_server, "get")
    assert node.client().get("j") == b"old"
    assert calls(redis_server, "get") == gets
    assert node.client().get("k") == b"new"
    info = node.info()
    assert (info["resyncs"], info["suspect_renewed"]) == (1, 1)
    # Renewed, it is fresh: another read asks nobody.
    asked = calls(redis_server, "get", "getrange")
    assert node.client().get("j") == b"old"
    assert calls(redis_server, "get", "getrange") == asked


def test_p6_what_files_got_while_there_was_no_fleet_is_suspect_in_one(make_harcad, redis_server):
    """Redis has never heard of it: no replay can tell."""
    node, = start_fleet(make_harcad, redis_server.url, 1, {**LEASE, **FILES, "warmup.enabled": "no"})
    node.client().execute_command("SET", "k", "fleet", "MODEL", "m")
    node.stop()
    fleet, node.upstream = node.upstream, None
    node.start()
    node.client().execute_command("SET", "k", "alone", "MODEL", "m")
    node.stop()
    node.upstream = fleet
    node.start()
    in_step(node)
    assert node.client().get("k") == b"fleet"


def test_p6_files_of_another_prefix_are_suspect(make_harcad, redis_server):
    node, = start_fleet(make_harcad, redis_server.url, 1, {**LEASE, **FILES, "warmup.enabled": "no"})
    node.client().set("k", "one's")
    redis_server.client().set("other:k", "other's")
    node.stop()
    node.settings["upstream.prefix"] = "other:"
    node.start()
    in_step(node)
    assert node.client().get("k") == b"other's"


@pytest.mark.parametrize("may", ["yes", "no"])
def test_p6_a_start_without_the_upstream_serves_files_as_stale(make_harcad, redis_server, may):
    node, = start_fleet(make_harcad, redis_server.url, 1, {
        **LEASE, **FILES, "upstream.stale_if_down": may, "warmup.enabled": "no"})
    node.client().execute_command("SET", "k", "v", "MODEL", "m")
    node.stop()
    redis_server.stop()
    node.start()
    wait_until(lambda: node.info()["file_state"] == "on")
    assert node.client().get("k") == (b"v" if may == "yes" else None)
    assert node.info()["stale_served"] == (may == "yes")
    found = explain(node, "k")
    assert (found[b"tier"], found.get(b"suspect")) == ((b"file", b"yes") if may == "yes" else (b"none", None))


def test_p2_a_clear_that_an_answer_told_of_first_is_noted_in_the_files(make_harcad, make_link_proxy, redis_server):
    """When its event comes it says nothing new."""
    proxy = make_link_proxy(redis_server.address)
    node, = start_fleet(make_harcad, proxy.url, 1, {"file.write": "demote", "fleet.lease": "60s", "warmup.enabled": "no"})
    there, = start_fleet(make_harcad, redis_server, 1)
    node.client().execute_command("SET", "k", "cleared", "MODEL", "m")
    node.stop()  # which writes it to the files
    node.start()
    in_step(node)
    proxy.hold("events")
    there.client().execute_command("CLEAR", "MODEL", "m")
    node.client().execute_command("SET", "j", "new", "MODEL", "m")
    assert explain(node, "j")[b"epoch"] == 1, "the answer has told"
    written = node.info()["file_writes"]
    proxy.let_go()
    wait_until(lambda: node.info()["invalidations_in"] > 0)
    assert node.client().execute_command("CLEAR", "MODEL", "another")
    wait_until(lambda: node.info()["file_writes"] > written, message="all has been written that is to be")
    node.kill()
    redis_server.stop()
    node.start()
    wait_until(lambda: node.info()["file_state"] == "on")
    assert node.client().get("k") is None
