"""P2 and P5: what a daemon sent and has given up, since it was not answered in time, may be on its way still, in the network
or in a server that hangs. It does not overwrite what came after it."""

import time

import pytest

from fleet import PREFIX, STATE, in_step, start_fleet
from harcad_harness import SLOW, wait_until

TIMEOUT_S = 0.3 * SLOW
LEASE_S = SLOW
HASTY = {"upstream.timeout": f"{int(1000 * TIMEOUT_S)}ms", "upstream.backoff_max": "100ms", "fleet.lease": f"{int(1000 * LEASE_S)}ms"}


class Stranding:
    """A daemon whose links go through a proxy, in which requests can be left on their way."""

    def __init__(self, make_harcad, make_link_proxy, redis, workers=1, **settings):
        self.proxy = make_link_proxy(redis.address)
        self.proxy.KINDS = ("worker-0", "worker-1", "control", "events")
        self.node, = start_fleet(make_harcad, self.proxy.url, 1, {**HASTY, "server.workers": str(workers), **settings})
        self.upstream = redis.client()
        self.conns = [self.node.raw() for _ in range(1 if workers == 1 else 8)]
        self.first = self.conns[0]  # of worker 0, once there are two

    def tell_apart(self):
        """Of two workers: `first` is a connection of worker 0, `second` of worker 1."""
        self.proxy.hold("worker-0")
        for i, conn in enumerate(self.conns):
            conn.send(conn.encode("SET", f"probe{i}", "x"))
        wait_until(lambda: len(self.upstream.keys(PREFIX + b"probe*")) > 0)
        time.sleep(0.02 * SLOW)
        self.proxy.let_go()
        self.proxy.hold("worker-0", "up")
        held = []
        for conn in self.conns:
            assert conn.read_reply() == "OK"
            failed = self.node.info()["writes_failed"]
            assert conn.command("SET", "probe", "x") == "OK"
            held.append(self.node.info()["writes_failed"] > failed)
            if held[-1]:
                self.proxy.let_go()
                self.has_caught_up()
                self.proxy.hold("worker-0", "up")
        self.proxy.let_go()
        self.has_caught_up()
        self.first = self.conns[held.index(True)]
        self.second = self.conns[held.index(False)]

    def strand(self, *command, kind="worker-0"):
        """A write that is given up: it is queued."""
        before, queued = self.proxy.stranded_bytes, self.node.info()["writes_while_down"]
        self.proxy.strand(kind)
        assert self.first.command(*command) in ("OK", 0, 1)
        assert self.node.info()["writes_while_down"] > queued
        assert self.proxy.stranded_bytes > before

    def has_caught_up(self):
        in_step(self.node)
        self.node.wait_info(queued_writes=0)

    def arrive(self):
        """What was stranded arrives now, if anybody is there to take it."""
        self.proxy.arrive()
        time.sleep(0.1 * SLOW)

    def all_have(self, key, value):
        assert self.upstream.get(PREFIX + key.encode()) == value
        for conn in self.conns:
            assert conn.command("GET", key) == value

    def close(self):
        for conn in self.conns:
            conn.close()


@pytest.fixture
def make_stranding(make_harcad, make_link_proxy, redis_server):
    made = []

    def make(*args, **settings):
        made.append(Stranding(make_harcad, make_link_proxy, redis_server, *args, **settings))
        return made[-1]

    yield make
    for stranding in made:
        stranding.close()


GIVEN_UP = {
    "SET": ["SET", "k", "given up"],
    "SET of a model": ["SET", "k", "given up", "MODEL", "m"],
    "SET with a TTL": ["SET", "k", "given up", "PX", "100000"],
    "MSET": ["MSET", "k", "given up", "another", "x"],
    "DEL": ["DEL", "k"],
    "CLEAR KEY": ["CLEAR", "KEY", "k"],
    "EXPIRE": ["PEXPIRE", "k", "1"],
    "FLUSHDB": ["FLUSHDB"],
}


@pytest.mark.parametrize("later", [["SET", "k", "later"], ["SET", "k", "later", "MODEL", "m"]], ids=["raw", "framed"])
@pytest.mark.parametrize("command", GIVEN_UP.values(), ids=GIVEN_UP)
def test_p5_what_was_given_up_does_not_undo_what_came_after_it(make_stranding, command, later):
    stranding = make_stranding()
    assert stranding.first.command("SET", "k", "old") == "OK"
    stranding.strand(*command)
    stranding.has_caught_up()
    assert stranding.first.command(*later) == "OK"
    shown = stranding.upstream.get(PREFIX + b"k")
    stranding.arrive()
    assert stranding.upstream.get(PREFIX + b"k") == shown
    assert stranding.first.command("GET", "k") == b"later"


@pytest.mark.parametrize("kind, wait_s", [
    *(pytest.param(kind, 0, id=f"{kind}-at once") for kind in GIVEN_UP),
    *(pytest.param(kind, 2.5 * LEASE_S, id=f"{kind}-later") for kind in ("SET", "DEL", "FLUSHDB"))])
def test_p5_nor_what_came_by_another_worker_meanwhile(make_stranding, kind, wait_s):
    """Also when there was time enough for the queue to be worked off, if it were."""
    command = GIVEN_UP[kind]
    stranding = make_stranding(workers=2)
    stranding.tell_apart()
    assert stranding.first.command("SET", "k", "old") == "OK"
    stranding.proxy.refuse_new("worker-0")
    stranding.strand(*command)
    time.sleep(wait_s)
    assert stranding.second.command("SET", "k", "later") == "OK"
    stranding.arrive()
    stranding.proxy.refuse_new(None)
    stranding.has_caught_up()
    stranding.all_have("k", b"later")


UNKNOWN = {
    "SET with GET": ["SET", "k", "given up", "GET"],
    "SET XX": ["SET", "k", "given up", "XX"],
    "APPEND": ["APPEND", "k", "given up"],
    "GETDEL": ["GETDEL", "k"],
    "passed on": ["SETBIT", "k", "1", "1"],
}


@pytest.mark.parametrize("command", UNKNOWN.values(), ids=UNKNOWN)
def test_p2_nor_does_what_was_answered_with_an_error(make_stranding, command):
    """Nobody knows what became of it; but it does not come after what was written when that was known."""
    stranding = make_stranding(workers=2)
    stranding.tell_apart()
    assert stranding.first.command("SET", "k", "old") == "OK"
    stranding.proxy.refuse_new("worker-0")
    stranding.proxy.hold("control", "up")  # it cannot end it yet either
    stranding.proxy.strand("worker-0")
    stranding.first.command(*command)
    assert stranding.proxy.stranded_bytes > 0
    assert stranding.second.command("SET", "k", "later") == "OK"
    stranding.arrive()
    stranding.proxy.refuse_new(None)
    stranding.proxy.let_go()
    stranding.has_caught_up()
    stranding.all_have("k", b"later")


@pytest.mark.parametrize("command", [["DEL", "k"], ["FLUSHDB"], ["SET", "k", "queued"]], ids=" ".join)
def test_p5_what_the_queue_is_just_telling_does_not_undo_what_came_after_it(make_stranding, command):
    stranding = make_stranding(**{"upstream.timeout": f"{int(20 * SLOW)}s", "fleet.lease": f"{int(6 * SLOW)}s"})
    assert stranding.first.command("SET", "k", "old") == "OK"
    stranding.proxy.refuse_new("worker-0")
    stranding.proxy.cut_links("worker-0")
    wait_until(lambda: stranding.node.info()["upstream_state"] == "down")
    assert stranding.first.command(*command) in ("OK", 0, 1)
    stranding.proxy.refuse_new(None)
    stranding.proxy.hold("control", "up")
    stranding.proxy.wait_held("control")
    wait_until(lambda: stranding.node.info()["upstream_state"] == "up")
    time.sleep(2 * SLOW)  # until the queue's page, a quarter of the lease later, is among what is held
    assert stranding.first.command("SET", "k", "later") == "OK"
    stranding.proxy.let_go()
    stranding.has_caught_up()
    stranding.all_have("k", b"later")


@pytest.mark.parametrize("clear", [["CLEAR", "MODEL", "m"], ["CLEAR", "ALL"], ["FLUSHDB"]], ids=" ".join)
def test_p4_a_value_that_was_given_up_does_not_come_back_after_a_clear(make_stranding, make_harcad, redis_server, clear):
    stranding = make_stranding(workers=2)
    sibling, = start_fleet(make_harcad, redis_server.url, 1, HASTY)
    stranding.tell_apart()
    stranding.proxy.refuse_new("worker-0")
    stranding.strand("SET", "k", "given up", "MODEL", "m")
    assert stranding.second.command(*clear) == "OK"
    readers = [*stranding.conns, sibling.raw()]
    is_told = stranding.upstream.hexists(STATE, "m:m")  # else the sibling may see it until it is
    stranding.arrive()
    for conn in readers if is_told else stranding.conns:
        assert conn.command("GET", "k") is None
    stranding.proxy.refuse_new(None)
    stranding.has_caught_up()
    for conn in readers:
        wait_until(lambda conn=conn: conn.command("GET", "k") is None)
    readers[-1].close()


@pytest.mark.parametrize("command", [["DEL", "k"], ["SET", "k", "queued"], ["FLUSHDB"]], ids=" ".join)
def test_p5_what_the_queue_gave_up_does_not_undo_what_came_after_it(make_stranding, command):
    stranding = make_stranding()
    assert stranding.first.command("SET", "k", "old") == "OK"
    stranding.proxy.strand("control")
    stranding.proxy.refuse_new("control", "worker-0")
    stranding.proxy.cut_links("worker-0")
    wait_until(lambda: stranding.node.info()["upstream_state"] == "down")
    assert stranding.first.command(*command) in ("OK", 0, 1)
    stranding.proxy.refuse_new("control")
    wait_until(lambda: stranding.node.info()["upstream_state"] == "up")
    wait_until(lambda: "harcad-control" in stranding.node.log() and "not answered in time" in stranding.node.log())
    assert stranding.first.command("SET", "k", "later") == "OK"
    stranding.arrive()
    stranding.proxy.refuse_new(None)
    stranding.has_caught_up()
    stranding.all_have("k", b"later")


def test_without_the_right_to_it_a_warning_says_what_may_happen(make_harcad, make_link_proxy, redis_server):
    redis_server.client().execute_command("ACL", "SETUSER", "default", "-client|kill")
    proxy = make_link_proxy(redis_server.address)
    node, = start_fleet(make_harcad, proxy.url, 1, HASTY)
    proxy.strand("worker")
    assert node.client().set("k", "given up")
    in_step(node)
    node.wait_info(queued_writes=0)
    assert "upstream_stragglers_left" in node.log()
    proxy.arrive()
