"""SETs with much in them go to Redis as a transaction, their values beside the script. What lies there then, what the fleet
hears and what clients are answered is the same as by the script alone."""

import os
import random
import re

import pytest

from fleet import PREFIX, STATE, StateRefused, calls, cut_when_sent_again, frame_parts, has_copy, in_step, in_threads, prime, serves, start_fleet
from harcad_harness import SLOW, wait_until

JOURNAL = b"harcad/harca/journal"
LARGE = 10000  # bytes: one such value is enough


def value_of(i, size=LARGE):
    return b"%d." % i + bytes((i + j) % 256 for j in range(size))


def transactions(node):
    return node.info()["upstream_transactions"]


def events(upstream):
    """The words of those that the journal has, in order; one to a message."""
    for _, fields in upstream.xrange(JOURNAL):
        words = [word[:-2] for word in re.split(rb"\$\d+\r\n", fields[b"e"])[1:]]
        assert words[0] == b"1"
        yield words


def journal(upstream):
    """[(key, number of its change)], in order."""
    changes = []
    for words in events(upstream):
        changes += [(key, int(words[3]) + i) for i, key in enumerate(words[7:])] if words[1] == b"set" else []
    return changes


def has_heard(conn, model):
    """Waits until the daemon knows of the model's first clear."""
    wait_until(lambda: (conn.command("MODEL", "INFO", model) or [0] * 4)[3] == 1, message=f"a clear of {model} is heard of")


@pytest.fixture
def upstream(redis_server):
    with redis_server.client() as client:
        yield client


@pytest.fixture
def fleet(make_harcad, redis_server):
    return start_fleet(make_harcad, redis_server, 2)


FORMS = {
    "raw": [],
    "framed": ["MODEL", "m"],
    "raw with a TTL": ["PX", "100000"],
    "framed with a TTL": ["MODEL", "m", "PX", "100000"],
}


@pytest.mark.parametrize("model", [b"m", b"a\0b\r\n\"", b"n" * 255], ids=["short", "bytes", "longest"])
def test_models_of_any_name_count_by_themselves(fleet, upstream, model):
    with fleet[0].raw() as conn:
        assert conn.command("CLEAR", "MODEL", model) == "OK"
        before = transactions(fleet[0])
        assert conn.command("SET", b"k\0\xff\r\n", value_of(1), "MODEL", model) == "OK"
        assert transactions(fleet[0]) == before + 1
        name, _, _, epoch, value = frame_parts(upstream.get(PREFIX + b"k\0\xff\r\n"))
        assert (name, epoch, value) == (model, 1, value_of(1))
        assert conn.command("GET", b"k\0\xff\r\n", "MODEL", model) == value_of(1)
    wait_until(lambda: fleet[1].client().get(b"k\0\xff\r\n") == value_of(1))


def test_a_batch_as_large_as_there_can_be(make_harcad, redis_server, upstream):
    node, = start_fleet(make_harcad, redis_server, 1, {"upstream.batch_max": "1024", "upstream.prefix": "p" * 250})
    values = {b"%04d" % i + b"x" * 100: value_of(i, 100) for i in range(1024)}
    words = [word for pair in values.items() for word in pair]
    with node.raw() as conn:
        assert conn.command("MSET", *words) == "OK"
        assert transactions(node) == 1
        upstream.hset(STATE, "m:default", 1)  # such that all are to be framed, one by one, behind the daemon's back
        for _ in range(2):
            assert conn.command("MSET", *words) == "OK"
            last = int(upstream.hget(STATE, "seq"))
            for i, (key, value) in enumerate(values.items()):
                assert frame_parts(upstream.get(b"p" * 250 + key))[1::2] == (last - 1023 + i, 1)
                assert frame_parts(upstream.get(b"p" * 250 + key))[4] == value
            upstream.hincrby(STATE, "seq", 7)  # such that each number is another
        assert transactions(node) == 3


@pytest.mark.parametrize("count", [1, 3, 40])
@pytest.mark.parametrize("options", FORMS.values(), ids=FORMS)
def test_what_lies_in_redis_is_what_the_script_would_have_written(fleet, upstream, options, count):
    keys = [f"k{i}" for i in range(count)]
    before = transactions(fleet[0])
    with fleet[0].raw() as conn:
        conn.send(b"".join(conn.encode("SET", key, value_of(i), *options) for i, key in enumerate(keys)))
        assert [conn.read_reply() for _ in keys] == ["OK"] * count
    assert transactions(fleet[0]) > before
    numbers = dict(journal(upstream))
    incarnation = int(upstream.hget(STATE, "inc"))
    for i, key in enumerate(keys):
        stored = upstream.get(PREFIX + key.encode())
        if "MODEL" in options:
            assert frame_parts(stored) == (b"m", numbers[PREFIX + key.encode()], incarnation, 0, value_of(i))
        else:
            assert stored == value_of(i)
        assert (upstream.pttl(PREFIX + key.encode()) > 0) == ("PX" in options)
        serves(fleet[1], key, value_of(i))
        for node in fleet:
            assert (node.client().pttl(key) > 0) == ("PX" in options)
        assert fleet[1].client().execute_command("MODEL", "OF", key) == (b"m" if "MODEL" in options else b"default")
    assert int(upstream.hget(STATE, "seq")) == max(numbers.values())
    assert fleet[0].info()["frames_bad"] == fleet[1].info()["frames_bad"] == 0


def test_each_value_bears_its_own_number_however_many_write(fleet, upstream):
    """The numbers that frames are made with are guesses: where others write too, they are put right."""
    def write(node, seed):
        rng = random.Random(seed)
        with node.raw() as conn:
            for i in range(60):
                many = rng.choice([1, 2, 7])
                conn.send(b"".join(conn.encode("SET", f"k{seed}.{i}.{j}", value_of(1000 * seed + i), "MODEL", "m") for j in range(many)))
                assert [conn.read_reply() for _ in range(many)] == ["OK"] * many

    in_threads(*(lambda node=node, seed=seed: write(node, seed) for seed, node in enumerate(fleet * 2)))
    assert all(transactions(node) > 20 for node in fleet)
    changes = journal(upstream)
    assert [number for _, number in changes] == list(range(1, len(changes) + 1)), "dense, and each once"
    assert len(changes) == len(dict(changes)) > 400
    for key, number in dict(changes).items():
        model, seq, _, _, value = frame_parts(upstream.get(key))
        assert (model, seq) == (b"m", number)
        for node in fleet:
            assert node.client().get(key[len(PREFIX):]) == value


def test_the_daemon_keeps_copies_of_all_values_behind_its_own_event(make_harcad, redis_server):
    """They are of the numbers that it tells of."""
    node, sibling = start_fleet(make_harcad, redis_server, 2, {"upstream.foreign_writes": "no"})
    sibling.client().set("marker", "before")
    prime(node, "marker")
    keys = [f"k{i}" for i in range(8)]
    with node.raw() as conn:
        conn.send(b"".join(conn.encode("SET", key, value_of(1)) for key in keys))
        assert [conn.read_reply() for _ in keys] == ["OK"] * len(keys)
        assert transactions(node) > 0
        sibling.client().set("marker", "behind")
        serves(node, "marker", b"behind")
        assert all(has_copy(conn, key) for key in keys)


def test_a_key_that_is_set_twice_has_the_later_value(fleet, upstream):
    with fleet[0].raw() as conn:
        conn.send(b"".join(conn.encode("SET", "k", value_of(i), "MODEL", "m") for i in range(5)))
        assert [conn.read_reply() for _ in range(5)] == ["OK"] * 5
    assert frame_parts(upstream.get(PREFIX + b"k"))[1::3] == (5, value_of(4))
    for node in fleet:
        serves(node, "k", value_of(4))


@pytest.fixture
def held(request, make_harcad, make_link_proxy, redis_server):
    """A daemon behind a proxy, that, and a sibling before the Redis itself."""
    proxy = make_link_proxy(redis_server.address)
    patience = getattr(request, "param", {"upstream.timeout": "60s", "fleet.lease": "60s"})
    node, = start_fleet(make_harcad, proxy.url, 1, patience)
    sibling, = start_fleet(make_harcad, redis_server, 1, {"upstream.foreign_writes": "no", **patience})
    return node, proxy, sibling


soon_made_up_for = pytest.mark.parametrize("held", [{"fleet.lease": f"{int(2 * SLOW)}s"}], indirect=True, ids=[""])


def set_large(node, conn, key, value, *options):
    """Whether it went as a transaction, at first."""
    before = transactions(node)
    assert conn.command("SET", key, value, *options) == "OK"
    return transactions(node) - before == 1


def sent_by_script(upstream):
    """How often the write script was called by its SHA."""
    return upstream.info("commandstats").get("cmdstat_evalsha", {}).get("calls", 0)


@pytest.mark.parametrize("options", FORMS.values(), ids=FORMS)
def test_p5_copies_are_those_of_an_epoch_that_the_daemon_had_not_heard_of(held, upstream, options):
    """Raw values of a model that has been cleared meanwhile need a frame, framed ones another epoch."""
    node, proxy, sibling = held
    model = "m" if "MODEL" in options else "default"
    node.client().set("k", "old", px=100000)
    proxy.hold("events")
    sibling.client().execute_command("CLEAR", "MODEL", model)
    with node.raw() as conn:
        for i in 1, 2:
            assert set_large(node, conn, "k", value_of(i), *options)
            name, seq, _, epoch, stored = frame_parts(upstream.get(PREFIX + b"k"))
            assert (name or b"default", epoch, stored) == (model.encode(), 1, value_of(i))
            assert seq == int(upstream.hget(STATE, "seq"))
            assert has_copy(conn, "k") and conn.command("GET", "k") == value_of(i)
            assert (conn.command("PTTL", "k") > 0) == (upstream.pttl(PREFIX + b"k") > 0) == ("PX" in options)
            serves(sibling, "k", value_of(i))
        proxy.let_go()
        in_step(node)
        assert conn.command("GET", "k") == value_of(2)
    assert node.info()["late_sets"] == 0


def test_p4_a_clear_that_is_not_heard_of_costs_one_batch_and_no_more(held, upstream):
    """Even if events, and the state when it is asked for, do not come: the script, which looks by itself, tells the epoch."""
    node, proxy, sibling = held
    with node.raw() as conn, StateRefused(proxy):
        assert set_large(node, conn, "k", value_of(0), "MODEL", "m")
        proxy.hold("events")
        sibling.client().execute_command("CLEAR", "MODEL", "m")
        carried_out = sent_by_script(upstream)
        for i in range(1, 4):
            assert set_large(node, conn, "k", value_of(i), "MODEL", "m")
            assert frame_parts(upstream.get(PREFIX + b"k"))[3:] == (1, value_of(i))
        assert sent_by_script(upstream) == carried_out + 1
        proxy.let_go()


def test_p4_two_models_cleared_unheard_of_cost_one_batch_each(held, upstream):
    node, proxy, sibling = held
    with node.raw() as conn, StateRefused(proxy):
        proxy.hold("events")
        for model in "mn":
            sibling.client().execute_command("CLEAR", "MODEL", model)
        carried_out = sent_by_script(upstream)
        for i in range(10):
            for model in "mn":
                assert set_large(node, conn, model, value_of(i), "MODEL", model)
        for model in b"m", b"n":
            assert frame_parts(upstream.get(PREFIX + model))[3:] == (1, value_of(9))
        assert sent_by_script(upstream) == carried_out + 2
        proxy.let_go()


def test_an_epoch_that_the_upstream_has_lost_costs_one_batch_until_it_is_told(held, upstream):
    """The daemon is ahead, and the script's answers say so."""
    node, proxy, _ = held
    with node.raw() as conn, StateRefused(proxy):
        assert conn.command("CLEAR", "MODEL", "m") == "OK"
        assert set_large(node, conn, "k", value_of(0), "MODEL", "m")
        upstream.hset(STATE, "m:m", 0)
        assert set_large(node, conn, "k", value_of(1), "MODEL", "m"), "refuted"
        for i in 2, 3:
            assert not set_large(node, conn, "k", value_of(i), "MODEL", "m")
            assert frame_parts(upstream.get(PREFIX + b"k"))[3:] == (0, value_of(i))
        upstream.hset(STATE, "m:m", 1)
        assert not set_large(node, conn, "k", value_of(4), "MODEL", "m")
        assert set_large(node, conn, "k", value_of(5), "MODEL", "m")
        assert frame_parts(upstream.get(PREFIX + b"k"))[3:] == (1, value_of(5))


def test_siblings_drop_what_they_have_of_keys_whose_values_were_deleted(held, upstream):
    """At once: they may have to be sent again in vain."""
    node, proxy, sibling = held
    keys = [f"k{i}" for i in range(3)]
    for key in keys:
        sibling.client().execute_command("SET", key, "older", "MODEL", "other")
    prime(sibling, *keys)
    in_step(node)
    proxy.hold("events")
    proxy.hold("worker")
    sibling.client().execute_command("CLEAR", "MODEL", "m")
    with node.raw() as conn:
        conn.send(b"".join(conn.encode("SET", key, value_of(1), "MODEL", "m") for key in keys))
        for key in keys:
            serves(sibling, key, None)
            assert not upstream.exists(PREFIX + key.encode())
        proxy.let_go()
        assert [conn.read_reply() for _ in keys] == ["OK"] * 3
    for key in keys:
        serves(sibling, key, value_of(1))


def test_the_journal_tells_of_values_that_were_deleted(make_harcad, make_link_proxy, held, redis_server, upstream):
    """A third daemon, which misses the event, drops its copy as it replays."""
    node, proxy, sibling = held
    deaf = make_link_proxy(redis_server.address)
    third, = start_fleet(make_harcad, deaf.url, 1, {"upstream.foreign_writes": "no"})
    sibling.client().execute_command("SET", "k", "older", "MODEL", "other")
    prime(third, "k")
    before = third.info()
    deaf.refuse_new("events")
    deaf.cut_links("events")
    proxy.hold("events")
    proxy.hold("worker")
    sibling.client().execute_command("CLEAR", "MODEL", "m")
    with node.raw() as conn:
        conn.send(conn.encode("SET", "k", value_of(1), "MODEL", "m"))
        wait_until(lambda: journal(upstream)[-1] == (PREFIX + b"k", int(upstream.hget(STATE, "seq"))))
        deaf.refuse_new(None)
        wait_until(lambda: third.info()["replays"] > before["replays"])
        in_step(third)
        assert third.client().get("k") is None
        assert third.info()["resyncs"] == before["resyncs"], "nothing has been missed"
        proxy.let_go()
        assert conn.read_reply() == "OK"
    serves(third, "k", value_of(1))


@pytest.fixture
def refuting(held, redis_server):
    """Sends a large value whose transaction is refuted, which the daemon is not told yet; and whatever comes behind it."""
    node, proxy, sibling = held
    conn = node.raw()

    def send(key, *behind, model="m"):
        proxy.hold("events")
        sibling.client().execute_command("CLEAR", "MODEL", model)
        proxy.hold("worker")
        before = calls(redis_server, "exec")
        conn.send(conn.encode("SET", key, value_of(1), "MODEL", model))
        wait_until(lambda: calls(redis_server, "exec") > before, message="Redis has had it")
        for command in behind:
            before = calls(redis_server, "evalsha", "exec", "get")
            conn.send(conn.encode(*command))
            wait_until(lambda before=before: calls(redis_server, "evalsha", "exec", "get") > before,
                       message="Redis has had this, too")
        return conn

    yield send
    conn.close()


LATER = {
    "little": [b"little"],
    "large": [value_of(2)],
    "large of that model": [value_of(2), "MODEL", "m"],
    "large of another": [value_of(2), "MODEL", "n"],
    "with a TTL": [value_of(2), "PX", "100000"],
}


@pytest.mark.parametrize("later", LATER.values(), ids=LATER)
def test_p1_what_is_sent_again_does_not_come_after_a_later_write(held, refuting, upstream, later):
    node, proxy, sibling = held
    conn = refuting("k", ["SET", "k", *later])
    proxy.let_go("worker")
    assert (conn.read_reply(), conn.read_reply()) == ("OK", "OK")
    stored = upstream.get(PREFIX + b"k")
    assert (frame_parts(stored) or [stored])[-1] == later[0]
    assert conn.command("GET", "k") == later[0]
    serves(sibling, "k", later[0])
    proxy.let_go()
    in_step(node)
    assert conn.command("GET", "k") == later[0]
    assert node.info()["late_sets"] == 0


def test_p1_only_the_keys_that_a_later_write_has_are_not_sent_again(held, upstream):
    node, proxy, sibling = held
    keys = [b"k%d" % i for i in range(6)]
    pairs = lambda n, some: [word for key in some for word in (key, value_of(n))]
    proxy.hold("events")
    sibling.client().execute_command("CLEAR", "MODEL", "default")
    proxy.hold("worker")
    with node.raw() as first, node.raw() as second:
        first.send(first.encode("MSET", *pairs(1, keys)))
        wait_until(lambda: transactions(node) == 1)
        second.send(second.encode("MSET", *pairs(2, keys[3:1:-1])) + second.encode("SET", "k0", "little"))
        wait_until(lambda: int(upstream.hget(STATE, "seq")) >= len(keys) + 4, message="Redis has had all of it")
        proxy.let_go("worker")
        assert first.read_reply() == second.read_reply() == second.read_reply() == "OK"
        values = [b"little", *map(value_of, [1, 2, 2, 1, 1])]
        for key, value in zip(keys, values):
            assert frame_parts(upstream.get(PREFIX + key))[3:] == (1, value)
            assert first.command("GET", key) == value
            serves(sibling, key, value)
    proxy.let_go()


BUILDING = {
    "APPEND": (["APPEND", "k", "!"], len(value_of(1)) + 1, value_of(1) + b"!"),
    "EXPIRE": (["EXPIRE", "k", "100"], 1, value_of(1)),
    "SET NX": (["SET", "k", "other", "NX"], None, value_of(1)),
    "DEL": (["DEL", "k"], 1, None),
    "RENAME": (["RENAME", "k", "j"], "OK", None),
}


@pytest.mark.parametrize("command,answer,left", BUILDING.values(), ids=BUILDING)
def test_p1_what_builds_on_a_value_finds_it_although_it_has_to_be_sent_again(held, refuting, upstream, command, answer, left):
    node, proxy, sibling = held
    conn = refuting("k")
    conn.send(conn.encode(*command) + conn.encode("GET", "k") + conn.encode("SET", "after", "it"))
    with node.raw() as other:
        assert other.command("PING") == "PONG"  # by now it has had the others, too
    proxy.let_go("worker")
    assert [conn.read_reply() for _ in range(4)] == ["OK", answer, left, "OK"]
    stored = upstream.get(PREFIX + b"k")
    assert (stored and frame_parts(stored)[4]) == left
    serves(sibling, "k", left)
    serves(sibling, "after", b"it")
    proxy.let_go()


@pytest.mark.parametrize("held_back", [True, False], ids=["one by one", "at once"])
def test_p1_what_is_read_behind_a_value_that_has_to_be_sent_again_is_it(held, refuting, held_back):
    node, proxy, sibling = held
    if held_back:
        conn = refuting("k", ["GET", "k"])
        proxy.let_go("worker")
        assert (conn.read_reply(), conn.read_reply()) == ("OK", value_of(1))
        proxy.let_go()
        return
    proxy.hold("events")
    for i in range(20):
        sibling.client().execute_command("CLEAR", "MODEL", "m")
        with node.raw() as conn:
            conn.send(conn.encode("SET", "k", value_of(i), "MODEL", "m") + conn.encode("GET", "k") + conn.encode("MGET", "k", "no"))
            assert [conn.read_reply() for _ in range(3)] == ["OK", value_of(i), [value_of(i), None]]
    proxy.let_go()


@soon_made_up_for
@pytest.mark.parametrize("arrives", [False, True], ids=["before it arrives", "before its answer"])
def test_p5_a_link_that_ends_before_it_is_sent_again_leaves_it_to_the_queue(held, upstream, arrives):
    node, proxy, sibling = held
    node.client().set("k", "old")
    upstream.hset(STATE, "m:m", 1)  # for this one alone
    proxy.hold("control")  # nothing is made up for yet
    again = cut_when_sent_again(proxy, value_of(1), arrives)
    with node.raw() as conn:
        assert set_large(node, conn, "k", value_of(1), "MODEL", "m")
        assert len(again) == 1 and node.info()["queued_writes"] == 1
        assert conn.command("GET", "k") == value_of(1)
        upstream.hdel(STATE, "m:m")
        proxy.on_data = None
        proxy.let_go()
        node.wait_info(queued_writes=0)
        in_step(node)
        assert frame_parts(upstream.get(PREFIX + b"k"))[3:] == (0, value_of(1))
        serves(node, "k", value_of(1))
        serves(sibling, "k", value_of(1))


@soon_made_up_for
def test_p5_a_link_that_ends_keeps_the_order_of_what_was_held(held, refuting, upstream):
    """The DEL waits for what is to become of the value; both are lost then, one behind the other."""
    node, proxy, sibling = held
    conn = refuting("k")
    conn.send(conn.encode("DEL", "k"))
    with node.raw() as other:
        assert other.command("PING") == "PONG"  # by now it has had that, too
    proxy.cut_links("worker")
    assert conn.read_reply() == "OK" and conn.read_reply() in (0, 1)
    assert conn.command("GET", "k") is None
    proxy.let_go()
    node.wait_info(queued_writes=0)
    assert not upstream.exists(PREFIX + b"k")
    serves(sibling, "k", None)


@pytest.mark.parametrize("options", FORMS.values(), ids=FORMS)
def test_p5_nothing_of_what_is_on_its_way_is_lost_with_the_state(fleet, upstream, options):
    for node in fleet:
        assert node.client().set("before", "x")
    upstream.delete(STATE, JOURNAL)
    values = {b"k%d" % i: value_of(i) for i in range(200)}
    before = transactions(fleet[0])
    with fleet[0].raw() as first, fleet[0].raw() as second:
        for i, (key, value) in enumerate(values.items()):
            conn = (first, second)[i % 2]
            conn.send(conn.encode("SET", key, value, *options))
        for conn in first, second:
            assert [conn.read_reply() for _ in range(100)] == ["OK"] * 100
    assert transactions(fleet[0]) > before
    incarnation = int(upstream.hget(STATE, "inc"))
    for key, value in values.items():
        stored = upstream.get(PREFIX + key)
        assert stored == value if "MODEL" not in options else frame_parts(stored)[2::2] == (incarnation, value)
        for node in fleet:
            serves(node, key, value)
    assert fleet[0].info()["late_sets"] == 0


@pytest.mark.parametrize("options", FORMS.values(), ids=FORMS)
def test_p4_a_value_that_is_known_to_be_late_is_gone(fleet, upstream, options):
    """Its miss came before a clear that has been heard of."""
    model = "m" if "MODEL" in options else "default"
    with fleet[0].raw() as conn:
        conn.command("GET", "k")
        assert fleet[1].client().execute_command("CLEAR", "MODEL", model)
        has_heard(conn, model)
        assert not set_large(fleet[0], conn, "k", value_of(1), *options)
        assert not upstream.exists(PREFIX + b"k")
        assert conn.command("GET", "k") is None
        assert set_large(fleet[0], conn, "k", value_of(2), *options)
        assert conn.command("GET", "k") == value_of(2)
    model_told, epoch = list(events(upstream))[-1][4:6]
    assert (model_told or b"default", epoch) == (model.encode(), b"1"), "the fleet is told of the epoch"


@pytest.mark.parametrize("options", FORMS.values(), ids=FORMS)
def test_p4_a_late_value_is_gone(make_harcad, make_link_proxy, redis_server, upstream, options):
    """Computed for a miss before a clear that the daemon had not heard of when it sent the value, which is sent again."""
    proxy = make_link_proxy(redis_server.address)
    node, = start_fleet(make_harcad, proxy.url, 1, {"upstream.timeout": "60s", "fleet.lease": "60s"})
    sibling, = start_fleet(make_harcad, redis_server, 1)
    model = "m" if "MODEL" in options else "default"
    with node.raw() as conn:
        assert conn.command("GET", "k") is None
        proxy.hold("events")
        sibling.client().execute_command("CLEAR", "MODEL", model)
        before = transactions(node)
        assert conn.command("SET", "k", value_of(1), *options) == "OK"
        assert transactions(node) == before + 1
        assert upstream.get(PREFIX + b"k") is None
        proxy.let_go()
        assert conn.command("GET", "k") is None
    assert node.info()["late_sets"] == 1


def test_p5_the_first_of_all_in_a_redis_that_has_no_state_yet(fleet, upstream):
    """It was made for another state, and is sent again."""
    for node in fleet:
        assert node.client().set("k", "old")
    # It does not find out by itself before it writes.
    wait_until(lambda: 0 <= fleet[0].info()["fence_age_ms"] < 500 * SLOW)
    upstream.delete(STATE, JOURNAL)
    before = transactions(fleet[0])
    assert fleet[0].client().set("k", value_of(1)) and fleet[0].client().execute_command("SET", "j", value_of(2), "MODEL", "m")
    assert transactions(fleet[0]) > before
    assert upstream.get(PREFIX + b"k") == value_of(1)
    incarnation = int(upstream.hget(STATE, "inc"))
    assert incarnation > 0 and upstream.hget(STATE, "seq") == b"3"
    assert [number for _, number in journal(upstream)] == [1, 2, 3]
    assert frame_parts(upstream.get(PREFIX + b"j")) == (b"m", 3, incarnation, 0, value_of(2))
    in_step(*fleet)
    for node in fleet:
        serves(node, "k", value_of(1))
        serves(node, "j", value_of(2))
    before = transactions(fleet[0])
    assert fleet[0].client().set("k", value_of(3))
    assert transactions(fleet[0]) == before + 1
    for node in fleet:
        serves(node, "k", value_of(3))


def test_who_does_not_know_the_state_yet_supposes_nothing(make_harcad, make_link_proxy, redis_server, upstream):
    start_fleet(make_harcad, redis_server, 1)
    proxy = make_link_proxy(redis_server.address)
    proxy.refuse_new("control")
    node = make_harcad(upstream=proxy.url)
    with node.raw() as conn:
        wait_until(lambda: conn.command("SET", "j", "small") == "OK" and node.info()["upstream_writes"] > 0,
                   message="its link for data is up")
        assert not set_large(node, conn, "k", value_of(1), "MODEL", "m")
        assert frame_parts(upstream.get(PREFIX + b"k"))[4] == value_of(1)


@pytest.mark.parametrize("rule", ["-multi", "-exec"])
def test_without_the_right_to_transactions_it_goes_by_the_script_alone(make_harcad, redis_server, upstream, rule):
    upstream.execute_command("ACL", "SETUSER", "default", rule)
    node, = start_fleet(make_harcad, redis_server, 1)
    wait_until(lambda: "upstream_without_transactions" in node.log())
    in_step(node)
    with node.raw() as conn:
        assert conn.command("SET", "k", value_of(1), "MODEL", "m") == "OK"
    assert frame_parts(upstream.get(PREFIX + b"k"))[4] == value_of(1)
    assert transactions(node) == 0
    assert node.info()["writes_failed"] == 0


def test_a_redis_that_is_full_says_so_and_keeps_what_it_had(fleet, upstream):
    fleet[0].client().execute_command("SET", "k", value_of(0), "MODEL", "m")
    prime(fleet[1], "k")
    upstream.config_set("maxmemory", "1")
    before = transactions(fleet[0])
    with fleet[0].raw() as conn:
        assert str(conn.command("SET", "k", value_of(1), "MODEL", "m")).startswith("OOM")
        assert str(conn.command("SET", "new", value_of(1))).startswith("OOM")
        assert transactions(fleet[0]) == before + 2
        upstream.config_set("maxmemory", "0")
        assert conn.command("GET", "k") == value_of(0)
        assert conn.command("SET", "k", value_of(2), "MODEL", "m") == "OK"
    serves(fleet[1], "k", value_of(2))


@pytest.mark.parametrize("options", FORMS.values(), ids=FORMS)
@pytest.mark.parametrize("broken", ["no hash", "no number"])
def test_a_state_that_is_none_is_an_error_and_leaves_no_value_nobody_is_told_of(fleet, upstream, broken, options):
    fleet[0].client().execute_command("SET", "k", value_of(0), *options)
    told = journal(upstream)
    if broken == "no hash":
        upstream.delete(STATE)
        upstream.set(STATE, "somebody else's")
    else:
        upstream.hset(STATE, "seq", "somebody else's")
    with fleet[0].raw() as conn:
        error = str(conn.command("SET", "k", value_of(1), *options))
        assert ("WRONGTYPE" if broken == "no hash" else "not an integer") in error
        assert conn.command("GET", "k") is None
    assert upstream.get(PREFIX + b"k") is None
    assert journal(upstream) == told


def test_frames_that_have_expired_already_are_not_put_right(fleet, upstream):
    """Which would make keys of them that never expire."""
    with fleet[0].raw() as conn, upstream.monitor():  # which takes the server some time for each
        for _ in range(5):
            upstream.hincrby(STATE, "seq", 3)  # such that the numbers are others
            conn.send(b"".join(conn.encode("SET", f"k{j}", value_of(j), "MODEL", "m", "PX", "1") for j in range(60)))
            assert [conn.read_reply() for _ in range(60)] == ["OK"] * 60
    assert transactions(fleet[0]) >= 5
    wait_until(lambda: not upstream.keys(PREFIX + b"k*"), message="all have expired")


def test_a_journal_that_is_none_begins_anew(fleet, upstream):
    fleet[0].client().set("k", value_of(0))
    upstream.delete(JOURNAL)
    upstream.set(JOURNAL, "somebody else's")
    fleet[0].client().set("k", value_of(1))
    assert [key for key, _ in journal(upstream)] == [PREFIX + b"k"]
    serves(fleet[1], "k", value_of(1))


def test_what_the_scripts_forget_does_not_change_the_order(fleet, upstream):
    """Small values go by the script's SHA, which may have to be sent again; large ones do not overtake them."""
    rng = random.Random(7)
    with fleet[0].raw() as conn:
        for _ in range(60):
            upstream.script_flush()
            values = [value_of(i, rng.choice([0, 10, LARGE])) for i in range(rng.randrange(1, 12))]
            for value in values:  # as many turns of the loop as it likes
                conn.send(conn.encode("SET", "k", value))
            assert [conn.read_reply() for _ in values] == ["OK"] * len(values)
            assert upstream.get(PREFIX + b"k") == values[-1]
            assert conn.command("GET", "k") == values[-1]


def test_what_goes_by_sha_and_must_be_sent_again_is_not_overtaken(make_harcad, make_link_proxy, redis_server, upstream):
    proxy = make_link_proxy(redis_server.address)
    node, = start_fleet(make_harcad, proxy.url, 1, {"upstream.timeout": "60s", "fleet.lease": "60s"})
    with node.raw() as first, node.raw() as second:
        assert first.command("SET", "j", "x") == "OK"  # the link's own first questions are answered
        proxy.hold("worker")
        upstream.script_flush()
        carried_out = calls(redis_server, "evalsha", "exec")
        first.send(first.encode("SET", "k", "small"))
        proxy.wait_held("worker")  # that it is not known
        second.send(second.encode("SET", "k", value_of(1)))
        wait_until(lambda: calls(redis_server, "evalsha", "exec") >= carried_out + 2, message="Redis has had both")
        proxy.let_go()
        assert (first.read_reply(), second.read_reply()) == ("OK", "OK")
        assert upstream.get(PREFIX + b"k") == value_of(1)
        assert first.command("GET", "k") == value_of(1)


def test_a_sibling_sees_large_values_within_one_event(fleet):
    with fleet[0].raw() as writer:
        for i in range(30):
            value = os.urandom(LARGE)
            assert writer.command("SET", "k", value, "MODEL", "m") == "OK"
            prime(fleet[1], "k")
            serves(fleet[1], "k", value, 5 * SLOW)


def test_journal_off(make_harcad, redis_server, upstream):
    nodes = start_fleet(make_harcad, redis_server, 2, {"fleet.journal_len": "0"})
    nodes[0].client().set("k", value_of(1))
    assert transactions(nodes[0]) == 1 and not upstream.exists(JOURNAL)
    wait_until(lambda: nodes[1].info()["invalidations_in"] == 1)
    serves(nodes[1], "k", value_of(1))
