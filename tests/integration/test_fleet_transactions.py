"""SETs with much in them go to Redis as a transaction, their values beside the script. What lies there then, what the fleet
hears and what clients are answered is the same as by the script alone."""

import os
import random
import re

import pytest

from fleet import PREFIX, STATE, calls, frame_parts, in_step, in_threads, prime, serves, start_fleet
from harcad_harness import SLOW, wait_until

JOURNAL = b"harcad/harca/journal"
LARGE = 10000  # bytes: one such value is enough


def value_of(i, size=LARGE):
    return b"%d." % i + bytes((i + j) % 256 for j in range(size))


def transactions(node):
    return node.info()["upstream_transactions"]


def journal(upstream):
    """[(key, number of its change)], in order."""
    changes = []
    for _, fields in upstream.xrange(JOURNAL):
        words = [word for word in re.split(rb"\$\d+\r\n", fields[b"e"])[1:]]
        words = [word[:-2] for word in words]
        assert words[0] == b"1"
        changes += [(key, int(words[3]) + i) for i, key in enumerate(words[7:])] if words[1] == b"set" else []
    return changes


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
    with node.raw() as conn:
        assert conn.command("MSET", *(word for pair in values.items() for word in pair)) == "OK"
        assert transactions(node) == 1
        upstream.hset(STATE, "m:default", 1)  # such that all are to be framed, one by one, behind the daemon's back
        assert conn.command("MSET", *(word for pair in values.items() for word in pair)) == "OK"
    for key, value in values.items():
        assert frame_parts(upstream.get(b"p" * 250 + key))[3:] == (1, value)


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
        assert (fleet[1].client().pttl(key) > 0) == ("PX" in options)
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


def test_a_key_that_is_set_twice_has_the_later_value(fleet, upstream):
    with fleet[0].raw() as conn:
        conn.send(b"".join(conn.encode("SET", "k", value_of(i), "MODEL", "m") for i in range(5)))
        assert [conn.read_reply() for _ in range(5)] == ["OK"] * 5
    assert frame_parts(upstream.get(PREFIX + b"k"))[1::3] == (5, value_of(4))
    for node in fleet:
        serves(node, "k", value_of(4))


def test_copies_are_those_of_an_epoch_that_the_daemon_had_not_heard_of(make_harcad, make_link_proxy, redis_server, upstream):
    """Raw values of a model that has been cleared meanwhile need a frame, framed ones another epoch."""
    proxy = make_link_proxy(redis_server.address)
    node, = start_fleet(make_harcad, proxy.url, 1, {"upstream.timeout": "60s", "fleet.lease": "60s"})
    sibling, = start_fleet(make_harcad, redis_server, 1)
    node.client().mset({"raw": "old", "framed": "old"})
    proxy.hold("events")
    for model in ("default", "m"):
        sibling.client().execute_command("CLEAR", "MODEL", model)
    before = transactions(node)
    with node.raw() as conn:
        assert conn.command("SET", "raw", value_of(1)) == "OK"
        assert conn.command("SET", "framed", value_of(2), "MODEL", "m") == "OK"
        assert transactions(node) == before + 2
        proxy.let_go()
        for key, value, model in ((b"raw", value_of(1), b""), (b"framed", value_of(2), b"m")):
            name, _, _, epoch, stored = frame_parts(upstream.get(PREFIX + key))
            assert (name, epoch, stored) == (model, 1, value)
            assert conn.command("GET", key) == value
            serves(sibling, key.decode(), value)


@pytest.mark.parametrize("options", FORMS.values(), ids=FORMS)
def test_p4_a_late_value_is_gone(make_harcad, make_link_proxy, redis_server, upstream, options):
    """Computed for a miss before a clear that the daemon had not heard of when it sent the value."""
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


def test_the_first_of_all_in_a_redis_that_has_no_state_yet(fleet, upstream):
    upstream.delete(STATE, JOURNAL)
    assert fleet[0].client().set("k", value_of(1)) and fleet[0].client().execute_command("SET", "j", value_of(2), "MODEL", "m")
    incarnation = int(upstream.hget(STATE, "inc"))
    assert incarnation > 0 and upstream.hget(STATE, "seq") == b"2"
    assert frame_parts(upstream.get(PREFIX + b"j")) == (b"m", 2, incarnation, 0, value_of(2))
    in_step(*fleet)
    for node in fleet:
        serves(node, "k", value_of(1))
        serves(node, "j", value_of(2))


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


def test_a_state_that_is_none_is_an_error_and_leaves_no_value_nobody_is_told_of(fleet, upstream):
    fleet[0].client().execute_command("SET", "k", value_of(0), "MODEL", "m")
    upstream.delete(STATE)
    upstream.set(STATE, "somebody else's")
    with fleet[0].raw() as conn:
        assert "WRONGTYPE" in str(conn.command("SET", "k", value_of(1), "MODEL", "m"))
    assert upstream.get(PREFIX + b"k") is None


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
