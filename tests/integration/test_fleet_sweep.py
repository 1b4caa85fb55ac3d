"""What a CLEAR MODEL leaves in the upstream goes by itself: slowly, by one daemon at a time, and nothing else goes with it."""

import random
import threading
import time

import pytest

from fleet import PREFIX, STATE, frame_parts, in_threads, start_fleet
from harcad_harness import SLOW, wait_until

STATE_OF_SWEEP = b"harcad/harca/sweep"
LEASE = b"harcad/harca/sweeper"
SOON = 20 * SLOW
SLOWLY = {"upstream.sweep_rate": "500"}
OFF = {"upstream.sweep_rate": "0"}
RETRY_S = 1  # a daemon that cannot take it yet asks again
IDLE_STEP_S = 2  # by which a raw value must have been idle for longer than since the clear


def write_all(node, names, *options):
    with node.raw() as conn:
        for at in range(0, len(names), 500):
            part = names[at:at + 500]
            conn.send(b"".join(conn.encode("SET", name, b"v-" + name.encode(), *options) for name in part))
            assert {conn.read_reply() for _ in part} == {"OK"}


def clear(node, model):
    with node.raw() as conn:
        assert conn.command("CLEAR", "MODEL", model) == "OK"


def keys_of(redis):
    with redis.client() as client:
        return {key[len(PREFIX):].decode() for key in client.scan_iter(PREFIX + b"*", count=1000)}


def sweep_of(node, model="m"):
    """What MODEL INFO tells of it. One that has heard nothing of the model yet tells nothing."""
    with node.raw() as conn:
        pairs = conn.command("MODEL", "INFO", model)
    if pairs is None:
        return "unknown", "", {}
    info = {name.decode(): value for name, value in zip(pairs[::2], pairs[1::2])}
    return info["sweep"].decode(), info["sweep_by"].decode(), info


def swept(redis):
    """Whether the last clear has been swept up."""
    with redis.client() as client:
        clears, done = client.hmget(STATE, "clears", "swept")
    return clears == done


def wait_swept(redis, timeout=SOON):
    wait_until(lambda: swept(redis), timeout, message="what was cleared has been swept up")


def sweeper(nodes):
    """The daemon that says it sweeps, once one does."""
    found = []

    def found_one():
        found[:] = [node for node in nodes if node.running() and sweep_of(node)[0] == "running" and
                    sweep_of(node)[1] == node.info()["fleet_instance"]]
        return len(found) == 1

    wait_until(found_one, SOON, message="one daemon sweeps")
    return found[0]


def reaches(node, percent):
    wait_until(lambda: sweep_of(node)[0] == "running" and sweep_of(node)[2]["sweep_percent"] >= percent, SOON)


def test_p4_what_was_cleared_goes_and_nothing_else(redis_server, make_harcad):
    fleet = start_fleet(make_harcad, redis_server)
    for model in ("m", "n/2:large", "kept"):
        write_all(fleet[0], [f"{model}{i}" for i in range(300)], "MODEL", model)
    write_all(fleet[0], [f"raw{i}" for i in range(300)])
    clear(fleet[0], "m")
    clear(fleet[1], "n/2:large")
    write_all(fleet[1], [f"m{i}" for i in range(10)], "MODEL", "m")
    wait_swept(redis_server)
    expected = {f"kept{i}" for i in range(300)} | {f"raw{i}" for i in range(300)} | {f"m{i}" for i in range(10)}
    assert keys_of(redis_server) == expected
    for node in fleet:
        assert node.client().get("m3") == b"v-m3" and node.client().get("kept3") == b"v-kept3"
    assert 590 <= sum(node.info()["swept_keys"] for node in fleet) <= 600, "but those overwritten before"
    wait_until(lambda: all(sweep_of(node)[0] == "idle" for node in fleet), SOON)
    with redis_server.client() as client:
        assert not client.exists(LEASE) and not client.exists(STATE_OF_SWEEP)


def test_what_is_swept_is_nobody_elses_doing(redis_server, make_harcad):
    nodes = start_fleet(make_harcad, redis_server, 2, SLOWLY)
    write_all(nodes[0], [f"k{i}" for i in range(100)], "MODEL", "m")
    before = [node.info()["foreign_changes"] for node in nodes]
    clear(nodes[0], "m")
    wait_swept(redis_server)
    assert keys_of(redis_server) == set()
    redis_server.client().set(PREFIX + b"theirs", "v")
    for node, n in zip(nodes, before):
        wait_until(lambda node=node, n=n: node.info()["foreign_changes"] > n)
        # Keys that share a place in a small table are not told apart.
        assert node.info()["foreign_changes"] <= n + 1 + 3


def test_its_progress_is_told(redis_server, make_harcad):
    fleet = start_fleet(make_harcad, redis_server, 2, SLOWLY)
    write_all(fleet[0], [f"k{i}" for i in range(1500)], "MODEL", "m")
    assert sweep_of(fleet[0])[0] == "idle" and sweep_of(fleet[0])[2]["sweep_percent"] == 100
    started = time.monotonic()
    clear(fleet[0], "m")
    one = sweeper(fleet)
    other = fleet[1 - fleet.index(one)]
    wait_until(lambda: sweep_of(other)[:2] == ("running", one.info()["fleet_instance"]), SOON, message="the other knows")
    wait_until(lambda: 10 <= sweep_of(one)[2]["sweep_percent"] < 100, SOON)
    info = sweep_of(one)[2]
    assert 0 < info["sweep_deleted"] <= info["sweep_scanned"] <= 1600
    wait_swept(redis_server)
    took = time.monotonic() - started
    assert keys_of(redis_server) == set()
    assert took > 0.8 * 1500 / 500, "no faster than it may be"
    assert one.info()["swept_keys"] == 1500 and other.info()["swept_keys"] == 0
    assert "upstream_swept scanned=" in one.log()
    wait_until(lambda: {sweep_of(node)[0] for node in fleet} == {"idle"}, SOON)


def test_another_goes_on_where_one_ended(redis_server, make_harcad):
    fleet = start_fleet(make_harcad, redis_server, 3, SLOWLY)
    write_all(fleet[0], [f"k{i}" for i in range(2000)], "MODEL", "m")
    write_all(fleet[0], [f"kept{i}" for i in range(100)], "MODEL", "kept")
    clear(fleet[0], "m")
    one = sweeper(fleet)
    wait_until(lambda: sweep_of(one)[2]["sweep_deleted"] > 300, SOON)
    one.kill()
    rest = [node for node in fleet if node is not one]
    two = sweeper(rest)
    assert "upstream_sweeping from=cursor" in two.log()
    wait_swept(redis_server)
    assert keys_of(redis_server) == {f"kept{i}" for i in range(100)}
    assert two.info()["swept_keys"] < 1750, "what was done needs not be done again"


def test_a_clear_during_a_pass_makes_another(redis_server, make_harcad):
    node, = start_fleet(make_harcad, redis_server, 1, SLOWLY)
    write_all(node, [f"k{i}" for i in range(600)], "MODEL", "m")
    write_all(node, [f"j{i}" for i in range(600)], "MODEL", "n")
    clear(node, "m")
    reaches(node, 40)
    clear(node, "n")
    wait_swept(redis_server)
    assert keys_of(redis_server) == set()
    assert "again=yes" in node.log()


def test_a_restarted_upstream_is_begun_anew(redis_server, make_harcad):
    """A cursor means nothing to another process."""
    node, = start_fleet(make_harcad, redis_server, 1, SLOWLY)
    write_all(node, [f"k{i}" for i in range(1000)], "MODEL", "m")
    clear(node, "m")
    reaches(node, 30)
    redis_server.restart()
    wait_swept(redis_server)
    assert keys_of(redis_server) == set()
    assert node.log().count("upstream_sweeping from=start") == 2


def test_it_is_begun_anew_also_when_it_is_not_known_yet_that_it_was_restarted(redis_server, make_harcad, make_link_proxy):
    """The link that sweeps is up again, and the one that tells which life of the upstream it is has not come yet."""
    proxy = make_link_proxy(redis_server.address)
    node, = start_fleet(make_harcad, proxy.url, 1, SLOWLY)
    write_all(node, [f"k{i}" for i in range(1000)], "MODEL", "m")
    clear(node, "m")
    reaches(node, 30)
    proxy.refuse_new("events")
    redis_server.restart()
    wait_until(lambda: node.log().count("upstream_up link=harcad-control") == 2)
    with pytest.raises(AssertionError, match="not within"):
        wait_until(lambda: sweep_of(node)[0] == "running", 2 * RETRY_S)
    proxy.refuse_new()
    wait_swept(redis_server)
    assert keys_of(redis_server) == set()
    assert "from=cursor" not in node.log()


def test_at_rate_0_it_never_sweeps_and_a_reload_starts_it(redis_server, make_harcad):
    idle, = start_fleet(make_harcad, redis_server, 1, OFF)
    write_all(idle, [f"k{i}" for i in range(50)], "MODEL", "m")
    clear(idle, "m")
    wait_until(lambda: sweep_of(idle)[0] == "off", SOON)
    assert len(keys_of(redis_server)) == 50
    with idle.raw() as conn:
        assert conn.command("CONFIG", "SET", "upstream.sweep_rate", "20000") == "OK"
    wait_swept(redis_server)
    assert keys_of(redis_server) == set()


def test_a_daemon_that_comes_later_sweeps_what_nobody_did(redis_server, make_harcad):
    idle, = start_fleet(make_harcad, redis_server, 1, OFF)
    write_all(idle, [f"k{i}" for i in range(50)], "MODEL", "m")
    clear(idle, "m")
    start_fleet(make_harcad, redis_server, 1)
    wait_swept(redis_server)
    assert keys_of(redis_server) == set()


def test_an_upstream_that_is_full_gets_its_memory_back(redis_server, make_harcad):
    node, = start_fleet(make_harcad, redis_server, 1, OFF)
    write_all(node, [f"k{i}" for i in range(200)], "MODEL", "m")
    with redis_server.client() as client:
        client.config_set("maxmemory", client.info("memory")["used_memory"] // 2)
        with pytest.raises(Exception, match="OOM"):
            client.set("x", "y")
    clear(node, "m")
    with node.raw() as conn:
        assert conn.command("CONFIG", "SET", "upstream.sweep_rate", "20000") == "OK"
    wait_until(lambda: keys_of(redis_server) == set(), SOON)


def idle_for(redis, key, seconds):
    """Waits until nobody has used that key for so long."""
    with redis.client() as client:
        wait_until(lambda: client.object("idletime", key) >= seconds, SOON, message=f"{key} is idle")


@pytest.mark.parametrize("templates", [False, True], ids=["default", "template"])
def test_raw_values_go_only_if_nobody_has_used_them_since_the_clear(redis_server, make_harcad, templates):
    """A raw value does not tell when it was written: the server's idle times do."""
    model, start = ("m", "emb:m:") if templates else ("default", "")
    settings = {**OFF, **({"model.templates": "emb:{model}:{id}"} if templates else {})}
    node, = start_fleet(make_harcad, redis_server, 1, settings)
    before, after = [f"{start}old{i}" for i in range(30)], [f"{start}new{i}" for i in range(30)]
    with redis_server.client() as client:
        for key in before:
            client.set(PREFIX + key.encode(), "v")
        client.hset(PREFIX + f"{start}hash".encode(), "f", "v")
        client.set(PREFIX + b"emb:other:1", "v")
        client.set(b"somebody else's", "v")
        idle_for(redis_server, PREFIX + before[-1].encode(), IDLE_STEP_S + 1)
        clear(node, model)
        for key in after:
            client.set(PREFIX + key.encode(), len(key) if key.endswith("5") else "v")  # Redis has small numbers once for all
        client.get(PREFIX + before[0].encode())  # used since: nobody can tell any more
        with node.raw() as conn:
            assert conn.command("CONFIG", "SET", "upstream.sweep_rate", "20000") == "OK"
        wait_swept(redis_server)
        others = {f"{start}hash"} | ({"emb:other:1"} if templates else set())
        assert keys_of(redis_server) - {"emb:other:1"} == {*after, before[0], *others} - {"emb:other:1"}
        assert ("emb:other:1" in keys_of(redis_server)) == templates
        assert client.get(b"somebody else's") == b"v"


def test_a_raw_value_of_a_model_that_was_cleared_is_a_miss_even_when_written_later(redis_server, make_harcad):
    """It carries no epoch. What a daemon writes does."""
    nodes = start_fleet(make_harcad, redis_server, 2, {"model.templates": "emb:{model}:{id}"})
    with redis_server.client() as client, nodes[1].raw() as conn:
        client.set(PREFIX + b"emb:n:1", "raw")
        assert conn.command("GET", "emb:n:1") == b"raw"
        clear(nodes[0], "m")
        wait_swept(redis_server)
        client.set(PREFIX + b"k", "raw")
        client.set(PREFIX + b"emb:m:1", "raw")
        assert conn.command("MGET", "emb:m:1", "k") == [None, b"raw"]
        assert nodes[0].client().set("emb:m:1", "v")
        wait_until(lambda: conn.command("GET", "emb:m:1") == b"v")
        client.set(PREFIX + b"emb:m:1", "raw")
        wait_until(lambda: conn.command("GET", "emb:m:1") is None)
        assert client.get(PREFIX + b"emb:m:1") == b"raw"


def test_without_a_prefix_raw_values_that_no_template_tells_of_stay(redis_server, make_harcad):
    node, = start_fleet(make_harcad, redis_server, 1, {**OFF, "upstream.prefix": ""})
    with redis_server.client() as client:
        client.set("anybody's", "v")
        idle_for(redis_server, "anybody's", IDLE_STEP_S + 1)
        write_all(node, ["framed"], "MODEL", "m")
        clear(node, "default")
        clear(node, "m")
        with node.raw() as conn:
            assert conn.command("CONFIG", "SET", "upstream.sweep_rate", "20000") == "OK"
        wait_swept(redis_server)
        assert client.get("anybody's") == b"v" and not client.exists("framed") and client.exists(STATE)


def test_what_another_fleet_or_another_life_framed_stays(redis_server, make_harcad):
    node, = start_fleet(make_harcad, redis_server, 1)
    write_all(node, ["k", "j"], "MODEL", "m")
    with redis_server.client() as client:
        stored = client.get(PREFIX + b"k")
        client.set(PREFIX + b"k", stored[:16] + b"\1\2\3\4" + stored[20:])
        clear(node, "m")
        wait_swept(redis_server)
    assert keys_of(redis_server) == {"k"}


class Writer:
    """Writes and clears models of its own, through any daemon, so that what must be there in the end is known exactly."""

    def __init__(self, name, nodes, seed):
        self.name, self.nodes, self.rng = name, nodes, random.Random(f"{seed} {name}")
        self.models = [f"{name}-a", f"{name}-b", f"{name}/c"]
        self.there = {}  # key -> (model, value)
        self.written = self.cleared = 0

    def run(self, over):
        conns = [node.raw() for node in self.nodes]
        while not over.is_set() or self.cleared <= 2:
            conn, model = self.rng.choice(conns), self.rng.choice(self.models)
            if self.rng.random() < 0.02:
                assert conn.command("CLEAR", "MODEL", model) == "OK"
                self.there = {key: (of, value) for key, (of, value) in self.there.items() if of != model}
                self.cleared += 1
                continue
            key, self.written = f"{self.name}{self.rng.randrange(400)}", self.written + 1
            assert conn.command("SET", key, self.written, "MODEL", model) == "OK"
            self.there[key] = (model, b"%d" % self.written)
        for conn in conns:
            conn.close()


@pytest.mark.tsan
def test_random_writes_and_clears_while_it_sweeps_leave_what_is_fresh(redis_server, make_harcad):
    """At the end the upstream holds exactly what was written and not cleared since."""
    seed = random.randrange(1 << 32)
    print(f"seed {seed}")
    fleet = start_fleet(make_harcad, redis_server, 3, {"upstream.sweep_rate": "100000"})
    writers, over = [Writer(name, fleet, seed) for name in "pqrs"], threading.Event()
    threading.Timer(3, over.set).start()
    in_threads(*[lambda writer=writer: writer.run(over) for writer in writers])
    wait_swept(redis_server)
    assert sum(node.info()["swept_keys"] for node in fleet) > 100
    expected = {key: there for writer in writers for key, there in writer.there.items()}
    with redis_server.client() as client:
        for key in keys_of(redis_server):
            model, _, _, _, value = frame_parts(client.get(PREFIX + key.encode()))
            assert (model.decode(), value) == expected.get(key), key
    assert keys_of(redis_server) == set(expected)
    for node in fleet:
        with node.client() as client:
            names = list(expected)
            wait_until(lambda client=client, names=names: client.mget(names) == [expected[name][1] for name in names], SOON)


def test_the_fence_holds_while_it_sweeps(redis_server, make_harcad):
    fleet = start_fleet(make_harcad, redis_server, 2, {"upstream.sweep_rate": "100000", "fleet.lease": f"{int(2 * SLOW)}s"})
    write_all(fleet[0], [f"k{i}" for i in range(20000)], "MODEL", "m")
    clear(fleet[0], "m")
    wait_swept(redis_server)
    assert [node.info()["lease_lapses"] for node in fleet] == [0, 0]
