"""CONFIG: our settings, Redis's names for some of them, and setting several at once."""

import configparser
import os
import signal

import pytest
import redis as redis_py

from harcad_harness import ROOT, wait_until
from wire import WireConn

SAME = [["CONFIG", "GET"], ["CONFIG", "GET", "nope"], ["CONFIG", "GET", "nope*", "also"], ["CONFIG", "GET", "save"], ["CONFIG", "GET", "appendonly"],
        ["CONFIG", "GET", "APPENDonly"], ["CONFIG", "GET", "requirepass"], ["CONFIG", "GET", "appendonly", "appendonly"], ["CONFIG", "GET", "timeout"],
        ["CONFIG", "GET", "maxclients"], ["CONFIG", "GET", "MAXcl*"], ["CONFIG", "GET", "tcp-backlog"],
        ["CONFIG", "SET"], ["CONFIG", "SET", "a"], ["CONFIG", "SET", "a", "b"], ["CONFIG", "SET", "a", "b", "c"], ["CONFIG", "SET", "", ""],
        ["CONFIG", "SET", "nope", "1", "nope", "2"], ["CONFIG", "RESETSTAT"], ["CONFIG", "RESETSTAT", "x"], ["CONFIG", "REWRITE"], ["CONFIG", "REWRITE", "x"], ["CONFIG", "FOO"], ["CONFIG"]]


@pytest.mark.parametrize("resp", [2, 3])
def test_config_replies_as_redis_does(redis_server, harcad_of_each_mode, resp):
    with WireConn(redis_server.address, resp) as theirs, WireConn(harcad_of_each_mode.address, resp) as ours:
        for command in SAME:
            expected, _ = theirs.ask(*command)
            assert (command, ours.ask(*command)[0]) == (command, expected)


def get(conn, *patterns):
    reply = conn.command("CONFIG", "GET", *patterns)
    return {name.decode(): value.decode() for name, value in zip(reply[::2], reply[1::2])}


def test_config_get_gives_every_setting_of_the_ini(harcad):
    ini = configparser.RawConfigParser(comment_prefixes=("#", ";"))
    with open(os.path.join(ROOT, "conf", "harcad.ini"), encoding="utf-8") as lines:
        ini.read_string("".join(lines))
    with harcad.raw() as conn:
        found = get(conn, "*.*")
    named = {f"{section}.{key}" for section in ini.sections() for key in ini[section]}
    assert named <= set(found)
    assert found["memory.max_bytes"] == "256M"
    assert found["upstream.timeout"] == "200ms"


def test_config_get_takes_several_patterns_and_gives_each_name_once(harcad):
    with harcad.raw() as conn:
        found = conn.command("CONFIG", "GET", "memory.*", "memory.max*", "MEMORY.ENABLED", "maxmemory")
        assert found.count(b"memory.max_bytes") == 1
        assert set(found[::2]) == {b"memory.enabled", b"memory.max_bytes", b"memory.policy_weight", b"maxmemory"}
        assert get(conn, "server.[mw]*")["server.workers"] == "1"


def test_config_get_knows_redis_names(make_harcad):
    harcad = make_harcad({"memory.max_bytes": "10M", "client.idle_timeout": "5m", "server.maxclients": "77", "server.password": "",
                          "client.value_max": "2M"})
    with harcad.raw() as conn:
        found = get(conn, "*")
    expected = {"maxmemory": str(10 << 20), "timeout": "300", "maxclients": "77", "requirepass": "", "save": "", "appendonly": "no", "databases": "1",
                "port": str(harcad.port), "bind": "127.0.0.1", "unixsocket": harcad.unix_path, "maxmemory-policy": "allkeys-lru",
                "proto-max-bulk-len": str(2 << 20)}
    assert {name: found.get(name) for name in expected} == expected


def test_config_get_shows_the_password_but_not_that_of_the_upstream(make_redis, make_harcad):
    redis = make_redis(requirepass="up")
    harcad = make_harcad({"server.password": "own"}, upstream=f"redis://:up@127.0.0.1:{redis.port}/0")
    with harcad.raw() as conn:
        assert conn.command("AUTH", "own") == "OK"
        found = get(conn, "*")
    assert (found["server.password"], found["requirepass"]) == ("own", "own")
    assert found["upstream.url"] == f"redis://***@127.0.0.1:{redis.port}/0"


def test_config_set_changes_what_takes_effect_at_once(harcad):
    with harcad.raw() as conn:
        assert conn.command("CONFIG", "SET", "memory.max_bytes", "32M", "SERVER.maxclients", "5") == "OK"
        assert get(conn, "memory.max_bytes", "server.maxclients", "maxmemory") == {
            "memory.max_bytes": "32M", "server.maxclients": "5", "maxmemory": str(32 << 20)}
        assert harcad.wait_info(maxmemory=32 << 20, maxclients=5)


@pytest.mark.parametrize("pairs, error", [
    (["server.maxclients", "x"], "(possibly related to argument 'server.maxclients') - "),
    (["server.maxclients", "0"], "(possibly related to argument 'server.maxclients') - "),
    (["log.level", "debug", "server.maxclients", "-1"], "(possibly related to argument 'server.maxclients') - "),
    (["log.level", "debug", "upstream.timeout", "5 parsecs"], "(possibly related to argument 'upstream.timeout') - "),
    (["log.level", "debug", "LOG.level", "info"], "(possibly related to argument 'LOG.level') - duplicate parameter"),
    (["log.level", "debug", "server.workers", "2"], "(possibly related to argument 'server.workers') - can't set immutable config"),
    (["log.level", "debug", "maxmemory", "1000000"], "(possibly related to argument 'maxmemory') - can't set immutable config: its name here is memory.max_bytes"),
    (["log.level", "debug", "save", ""], "(possibly related to argument 'save') - can't set immutable config"),
    (["log.level", "debug", "client.output_pause", "1G"], "(possibly related to argument 'client.output_pause') - must not be larger than"),
])
def test_config_set_is_all_or_nothing(harcad, pairs, error):
    with harcad.raw() as conn:
        before = get(conn, "*")
        assert str(conn.command("CONFIG", "SET", *pairs)).startswith("ERR CONFIG SET failed " + error)
        assert get(conn, "*") == before


def test_config_set_names_the_unknown_setting(harcad):
    with harcad.raw() as conn:
        reply = conn.command("CONFIG", "SET", "log.level", "debug", "no.such", "x")
        assert str(reply) == "ERR Unknown option or number of arguments for CONFIG SET - 'no.such'"
        assert get(conn, "log.level") == {"log.level": "info"}


def test_config_set_of_more_pairs_than_there_are_settings_is_refused(harcad):
    with harcad.raw() as conn:
        reply = conn.command("CONFIG", "SET", *["log.level", "info"] * 5000)
        assert "duplicate parameter" in str(reply)
        assert conn.command("PING") == "PONG"


def test_config_resetstat_starts_counting_anew(harcad):
    with harcad.raw() as conn:
        for _ in range(5):
            conn.command("GET", "absent")
        assert harcad.info()["misses"] == 5
        assert conn.command("CONFIG", "RESETSTAT") == "OK"
        assert harcad.info()["misses"] == 0
        conn.command("GET", "absent")
        assert harcad.info()["misses"] == 1


def test_redis_py_gets_and_sets(harcad):
    with harcad.client(decode_responses=True) as client:
        assert client.config_get("maxmemory*")["maxmemory"] == str(256 << 20)
        assert client.config_set("memory.max_bytes", "64M") is True
        assert client.config_get("memory.max_bytes") == {"memory.max_bytes": "64M"}
        with pytest.raises(redis_py.ResponseError):
            client.config_set("databases", 2)
        assert client.config_resetstat() is True


# ---- REWRITE ----


INI = """# The head of the file.
[server]
maxclients = 500   ; so many
; password = old
  password=

[memory]
# how much
max_bytes = 64M
[upstream]
[log.production]
level = debug
"""


def rewritten(make_harcad, ini, *pairs, env=None):
    harcad = make_harcad(ini=ini, env=env)
    with harcad.raw() as conn:
        if pairs:
            assert conn.command("CONFIG", "SET", *pairs) == "OK"
        assert conn.command("CONFIG", "REWRITE") == "OK"
    with open(harcad.ini_path, encoding="utf-8") as lines:
        return harcad, lines.read()


def test_config_rewrite_of_nothing_changed_leaves_the_file_as_it_is(make_harcad):
    assert rewritten(make_harcad, INI)[1] == INI


def test_config_rewrite_changes_values_only_and_keeps_comments_and_order(make_harcad):
    _, text = rewritten(make_harcad, INI, "server.maxclients", "77", "memory.max_bytes", "32M", "server.password", "")
    assert text == INI.replace("= 500   ; so many", "= 77   ; so many").replace("64M", "32M")


def test_config_rewrite_adds_lines_where_they_belong(make_harcad):
    _, text = rewritten(make_harcad, INI, "server.slowlog_max_len", "5", "upstream.timeout", "300ms", "ttl.default", "1h", "log.level", "warn")
    assert text == INI.replace("password=\n", "password=\nslowlog_max_len = 5\n").replace(
        "[upstream]\n", "[upstream]\ntimeout = 300ms\n") + "\n[ttl]\ndefault = 1h\n\n[log]\nlevel = warn\n"


def test_config_rewrite_puts_a_line_behind_the_commented_one(make_harcad):
    with open(os.path.join(ROOT, "conf", "harcad.ini"), encoding="utf-8") as lines:
        ini = lines.read()
    _, text = rewritten(make_harcad, ini, "server.maxclients", "77")
    assert text == ini.replace("#maxclients = 10000\n", "#maxclients = 10000\nmaxclients = 77\n")


def test_config_rewrite_of_a_profile_in_force_changes_its_line(make_harcad):
    _, text = rewritten(make_harcad, INI, "log.level", "warn", env={"HARCA_ENV": "production"})
    assert text == INI.replace("level = debug", "level = warn")


def test_config_rewrite_is_what_the_next_start_reads(make_harcad):
    harcad, _ = rewritten(make_harcad, INI.rstrip("\n"), "server.password", "a#b=c;d", "memory.max_bytes", "20M")
    mode = os.stat(harcad.ini_path).st_mode
    harcad.restart()
    assert os.stat(harcad.ini_path).st_mode == mode
    with harcad.raw() as conn:
        assert conn.command("AUTH", "a#b=c;d") == "OK"
        assert get(conn, "memory.max_bytes", "server.maxclients") == {"memory.max_bytes": "20M", "server.maxclients": "500"}


def test_config_rewrite_keeps_a_link_and_leaves_nothing_behind(make_harcad, tmp_path):
    real = tmp_path / "real.ini"
    real.write_text(INI)
    real.chmod(0o640)
    link = tmp_path / "link.ini"
    link.symlink_to(real)
    harcad = make_harcad(args=["-c", str(link)])
    with harcad.raw() as conn:
        conn.command("CONFIG", "SET", "memory.max_bytes", "20M")
        assert conn.command("CONFIG", "REWRITE") == "OK"
        assert conn.command("CONFIG", "REWRITE") == "OK"
    assert link.is_symlink() and real.read_text() == INI.replace("64M", "20M")
    assert real.stat().st_mode & 0o777 == 0o640
    assert sorted(each.name for each in tmp_path.iterdir()) == ["link.ini", "real.ini"]


@pytest.mark.parametrize("password", ["with ; comment", " leading", "trailing "])
def test_config_rewrite_refuses_what_a_line_cannot_hold(make_harcad, tmp_path, password):
    path = tmp_path / "harcad.ini"
    path.write_text(INI)
    harcad = make_harcad(args=["-c", str(path)])
    with harcad.raw() as conn:
        assert conn.command("CONFIG", "SET", "server.password", password) == "OK"
        assert str(conn.command("CONFIG", "REWRITE")) == "ERR Rewriting config file: server.password: its value cannot stand in the file"
    assert path.read_text() == INI
    assert [each.name for each in tmp_path.iterdir()] == ["harcad.ini"]


def test_config_rewrite_of_a_file_that_is_gone_is_an_error(make_harcad):
    harcad = make_harcad(ini=INI)
    os.unlink(harcad.ini_path)
    with harcad.raw() as conn:
        assert str(conn.command("CONFIG", "REWRITE")) == (
            f"ERR Rewriting config file: {harcad.ini_path}: cannot be opened: No such file or directory")


def test_config_rewrite_forgets_what_a_reload_has_undone(make_harcad):
    harcad = make_harcad(ini=INI)
    with harcad.raw() as conn:
        conn.command("CONFIG", "SET", "memory.max_bytes", "20M")
        os.kill(harcad.pid, signal.SIGHUP)
        wait_until(lambda: get(conn, "memory.max_bytes") == {"memory.max_bytes": "64M"})
        assert conn.command("CONFIG", "REWRITE") == "OK"
    with open(harcad.ini_path, encoding="utf-8") as lines:
        assert lines.read() == INI
