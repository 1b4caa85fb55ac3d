"""CLEAR, MODEL, EXPLAIN, FLEET: the daemon's own commands, alone and in a fleet."""

import subprocess

import pytest

from fleet import PATIENT
from harcad_harness import RespError, wait_until
from wire import started


@pytest.fixture(params=["embedded", "fleet"])
def target(request):
    with started(request.param) as target:
        yield target


@pytest.fixture
def conn(target):
    with target.connect() as conn:
        yield conn


def pairs(flat):
    return dict(zip(flat[::2], flat[1::2]))


# ---- CLEAR ----


def test_clear_model_forgets_that_model_and_nothing_else(conn):
    for key, model in (("a", "m"), ("b", "m"), ("c", "n")):
        assert conn.command("SET", key, key, "MODEL", model) == "OK"
    conn.command("SET", "d", "d")
    assert conn.command("CLEAR", "MODEL", "m") == "OK"
    assert conn.command("MGET", "a", "b", "c", "d") == [None, None, b"c", b"d"]
    assert conn.command("SET", "a", "new", "MODEL", "m") == "OK"
    assert conn.command("GET", "a") == b"new"
    info = pairs(conn.command("MODEL", "INFO", "m"))
    assert (info[b"epoch"], info[b"clears"]) == (1, 1)


def test_clear_model_of_an_unknown_or_binary_name_succeeds(conn):
    name = b"a/b:c@d\r\n\x00"
    assert conn.command("CLEAR", "MODEL", "never seen") == "OK"
    conn.command("SET", "k", "v", "MODEL", name)
    assert conn.command("CLEAR", "model", name) == "OK"
    assert conn.command("GET", "k") is None


def test_clear_key_counts_those_that_were_there(conn):
    conn.command("MSET", "a", "1", "b", "2", "c", "3")
    assert conn.command("CLEAR", "KEY", "a", "b", "b", "nope") == 2
    assert conn.command("MGET", "a", "b", "c") == [None, None, b"3"]


def test_clear_all_forgets_everything(conn):
    conn.command("MSET", "a", "1", "b", "2")
    assert conn.command("CLEAR", "ALL") == "OK"
    assert conn.command("MGET", "a", "b") == [None, None]
    assert conn.command("DBSIZE") == 0


@pytest.mark.parametrize("command, error", [
    (["CLEAR"], "ERR wrong number of arguments for 'clear' command"),
    (["CLEAR", "KEY"], "ERR wrong number of arguments for 'clear|key' command"),
    (["CLEAR", "MODEL"], "ERR wrong number of arguments for 'clear|model' command"),
    (["CLEAR", "MODEL", "a", "b"], "ERR wrong number of arguments for 'clear|model' command"),
    (["CLEAR", "ALL", "x"], "ERR wrong number of arguments for 'clear|all' command"),
    (["CLEAR", "FOO"], "ERR unknown subcommand 'FOO'. Try CLEAR HELP."),
    (["MODEL"], "ERR wrong number of arguments for 'model' command"),
    (["MODEL", "FOO"], "ERR unknown subcommand 'FOO'. Try MODEL HELP."),
    (["MODEL", "USE", "a", "b"], "ERR wrong number of arguments for 'model|use' command"),
    (["EXPLAIN"], "ERR wrong number of arguments for 'explain' command"),
    (["FLEET", "x"], "ERR wrong number of arguments for 'fleet' command"),
])
def test_own_commands_refuse_wrong_arguments(harcad, command, error):
    with harcad.raw() as conn:
        assert str(conn.command(*command)) == error


@pytest.mark.parametrize("command", [["CLEAR", "MODEL", ""], ["CLEAR", "MODEL", "m" * 256], ["MODEL", "USE", "m" * 256]])
def test_own_commands_refuse_impossible_names(harcad, command):
    with harcad.raw() as conn:
        assert isinstance(conn.command(*command), RespError)
        assert conn.command("MODEL", "LIST") == [b"default"]


def test_clear_in_a_transaction_clears(conn):
    conn.command("SET", "a", "1", "MODEL", "m")
    conn.command("SET", "b", "1")
    conn.command("MULTI")
    for command in (["CLEAR", "MODEL", "m"], ["GET", "a"], ["CLEAR", "KEY", "b"], ["GET", "b"], ["MODEL", "OF", "a"]):
        assert conn.command(*command) == "QUEUED"
    assert conn.command("EXEC") == ["OK", None, 1, None, None]


# ---- MODEL ----


def test_model_list_gives_names(conn):
    conn.command("SET", "a", "1", "MODEL", "m:1")
    assert set(conn.command("MODEL", "LIST")) >= {b"default", b"m:1"}


def test_model_info_tells_what_it_holds(conn):
    for i in range(5):
        conn.command("SET", f"k{i}", "v" * 1000, "MODEL", "m")
    info = pairs(conn.command("MODEL", "INFO", "m"))
    assert (info[b"name"], info[b"epoch"], info[b"entries"]) == (b"m", 0, 5)
    assert info[b"bytes"] > 5000
    assert conn.command("MODEL", "INFO", "unknown") is None


def test_model_of_gives_the_model_of_the_entry(conn):
    conn.command("SET", "a", "1", "MODEL", "m")
    conn.command("SET", "b", "1")
    assert [conn.command("MODEL", "OF", key) for key in "abc"] == [b"m", b"default", None]


def test_model_use_is_the_connections_own(target, conn):
    with target.connect() as other:
        assert conn.command("MODEL", "USE", "mine") == "OK"
        conn.command("SET", "a", "1")
        other.command("SET", "b", "1")
        conn.command("SET", "c", "1", "MODEL", "given")
        assert [conn.command("MODEL", "OF", key) for key in "abc"] == [b"mine", b"default", b"given"]
        for back in (["MODEL", "USE"], ["MODEL", "USE", ""]):
            conn.command("MODEL", "USE", "mine")
            assert conn.command(*back) == "OK"
            conn.command("SET", "a", "2")
            assert conn.command("MODEL", "OF", "a") == b"default"


def test_model_use_holds_for_what_follows_in_a_pipeline(conn):
    replies = conn.ask_all([["SET", "a", "1"], ["MODEL", "USE", "x"], ["SET", "b", "1"], ["MODEL", "USE"], ["SET", "c", "1"],
                            ["MODEL", "OF", "a"], ["MODEL", "OF", "b"], ["MODEL", "OF", "c"]])
    assert [meaning for _, meaning in replies][5:] == [b"default", b"x", b"default"]


# ---- EXPLAIN ----


def test_explain_of_an_entry_in_memory(conn):
    conn.command("SET", "a", "v" * 100, "PX", "60000", "MODEL", "m")
    conn.command("GET", "a")
    found = pairs(conn.command("EXPLAIN", "a"))
    assert (found[b"key"], found[b"tier"], found[b"model"], found[b"epoch"]) == (b"a", b"memory", b"m", 0)
    assert found[b"bytes_raw"] == 100
    assert found[b"bytes_stored"] > 100
    assert 50_000 < found[b"ttl_ms"] <= 60_000
    assert found[b"hits"] == 1
    assert found[b"age_s"] <= 60
    assert found[b"queued"] == b"no"
    conn.command("PERSIST", "a")
    assert pairs(conn.command("EXPLAIN", "a"))[b"ttl_ms"] == -1


def test_explain_does_not_count_as_use(target, conn):
    conn.command("SET", "a", "1")
    before = target.server.info("stats")
    first = pairs(conn.command("EXPLAIN", "a"))
    for _ in range(10):
        conn.command("EXPLAIN", "a")
    last = pairs(conn.command("EXPLAIN", "a"))
    assert (first[b"hits"], first[b"hot"]) == (last[b"hits"], last[b"hot"])
    conn.command("EXPLAIN", "absent")
    after = target.server.info("stats")
    assert (before["memory_hits"], before["misses"]) == (after["memory_hits"], after["misses"])


def test_explain_of_nothing_tells_the_model_a_write_would_get(conn):
    conn.command("MODEL", "USE", "mine")
    found = pairs(conn.command("EXPLAIN", "absent"))
    assert (found[b"tier"], found[b"model_if_set"]) == (b"none", b"mine")


def test_explain_finds_what_the_upstream_has():
    with started("fleet") as target, target.connect(3) as conn:
        target.behind("SET", "@raw", "from elsewhere", "EX", "100")
        target.behind("RPUSH", "@list", "1")
        found = conn.command("EXPLAIN", "raw")
        assert (found[b"tier"], found[b"model"], found[b"bytes_raw"]) == (b"upstream", b"default", 14)
        assert 90_000 < found[b"ttl_ms"] <= 100_000
        found = conn.command("EXPLAIN", "list")
        assert (found[b"tier"], found[b"type"], found[b"ttl_ms"]) == (b"upstream", b"not a string", -1)
        assert isinstance(conn.command("MODEL", "OF", "list"), RespError)
        assert conn.command("EXPLAIN", "absent")[b"upstream_state"] == b"up"


def test_explain_reads_well_in_redis_cli(harcad):
    with harcad.raw() as conn:
        conn.command("SET", "a", "1", "MODEL", "m")
    run = subprocess.run(["redis-cli", "-p", str(harcad.port), "EXPLAIN", "a"], stdout=subprocess.PIPE, check=True)
    lines = run.stdout.decode().split("\n")
    assert lines[:6] == ["key", "a", "tier", "memory", "model", "m"]


# ---- FLEET ----


def test_fleet_of_one_daemon_alone(harcad):
    with harcad.raw() as conn:
        conn.command("HELLO", "3")
        fleet = conn.command("FLEET")
    assert fleet[b"siblings"] == []
    assert (fleet[b"self"][b"upstream_state"], fleet[b"self"][b"pid"]) == (b"off", harcad.pid)


def test_fleet_shows_siblings(make_redis, make_harcad):
    redis = make_redis()
    one = make_harcad({**PATIENT, "fleet.instance": "one"}, upstream=redis)
    two = make_harcad({**PATIENT, "fleet.instance": "two"}, upstream=redis)
    for harcad in (one, two):
        harcad.wait_info(upstream_state="up", event_link="up", fleet_siblings=1)
    with one.raw() as conn:
        conn.command("HELLO", "3")
        fleet = conn.command("FLEET")
        own = fleet[b"self"]
        assert (own[b"instance"], own[b"fleet"], own[b"upstream_state"], own[b"event_link"]) == (b"one", b"harca", b"up", b"up")
        [sibling] = fleet[b"siblings"]
        assert (sibling[b"instance"], sibling[b"pid"], sibling[b"alive"]) == (b"two", two.pid, True)
        two.stop()
        wait_until(lambda: conn.command("FLEET")[b"siblings"][0][b"alive"] is False)


def test_clear_reaches_siblings(make_redis, make_harcad):
    redis = make_redis()
    one, two = make_harcad(PATIENT, upstream=redis), make_harcad(PATIENT, upstream=redis)
    for harcad in (one, two):
        harcad.wait_info(upstream_state="up", event_link="up")
    with one.raw() as here, two.raw() as there:
        here.command("SET", "a", "1", "MODEL", "m")
        here.command("SET", "b", "1")
        assert [there.command("GET", key) for key in "ab"] == [b"1", b"1"]
        assert here.command("CLEAR", "MODEL", "m") == "OK"
        wait_until(lambda: there.command("GET", "a") is None)
        assert there.command("GET", "b") == b"1"
        assert here.command("CLEAR", "KEY", "b") == 1
        wait_until(lambda: there.command("GET", "b") is None)
