"""Commands about the own connection: PING ECHO QUIT RESET HELLO AUTH SELECT, TIME and SHUTDOWN. Where Redis has the
command, the bytes of its replies are the measure."""

import time

import pytest
import redis as redis_py

from harcad_harness import RespError
from wire import WireConn

PASSWORD = "correct horse"

# Each line is sent to both, on one connection each: the replies must be the same bytes.
SAME = {
    "ping": [["PING"], ["PING", "a b"], ["PING", b"\x00\r\n"], ["PING", "a", "b"], ["ping", ""]],
    "echo": [["ECHO", "a"], ["ECHO", ""], ["ECHO"], ["ECHO", "a", "b"], ["ECHO", b"\xff" * 70000]],
    "select": [["SELECT", "0"], ["SELECT", "99"], ["SELECT", "-1"], ["SELECT", "a"], ["SELECT", ""], ["SELECT"], ["SELECT", "0", "0"]],
    "auth without a password": [["AUTH", "x"], ["AUTH", "default", "x"], ["AUTH", "other", "x"], ["AUTH", "a", "b", "c"], ["AUTH"]],
    "hello refused": [["HELLO", "4"], ["HELLO", "1"], ["HELLO", "x"], ["HELLO", ""], ["HELLO", "3", "SETNAME"], ["HELLO", "3", "AUTH", "a"],
                      ["HELLO", "3", "SETNAME", "a b"], ["HELLO", "3", "FOO"], ["HELLO", "3", "AUTH", "other", "x"], ["CLIENT", "GETNAME"],
                      ["HELLO", "2", "SETNAME", "kept", "FOO"], ["CLIENT", "GETNAME"], ["PING"]],
    "reset": [["RESET", "x"], ["CLIENT", "SETNAME", "n"], ["MULTI"], ["PING"], ["RESET"], ["CLIENT", "GETNAME"], ["EXEC"], ["RESET"], ["GET", "none"]],
    "unknown": [["FOO"], ["FOO", "bar", "baz"], ["CLIENT"], ["CLIENT", "FOO"], ["CONFIG", "FOO", "x"], ["SHUTDOWN", "FOO"], ["SHUTDOWN", "ABORT"],
                ["SHUTDOWN", "SAVE", "NOSAVE"], ["SHUTDOWN", "ABORT", "NOW"], ["TIME", "x"], ["QUIT", "x"]],
    "in a transaction": [["MULTI"], ["PING"], ["SELECT", "99"], ["ECHO", "e"], ["AUTH", "x"], ["EXEC"], ["MULTI"], ["SHUTDOWN"], ["EXEC"],
                         ["MULTI"], ["CLIENT", "FOO"], ["EXEC"], ["MULTI"], ["QUIT"]],
}


@pytest.mark.parametrize("resp", [2, 3])
@pytest.mark.parametrize("case", SAME)
def test_connection_commands_reply_as_redis_does(redis_server, harcad, case, resp):
    with WireConn(redis_server.address, resp) as theirs, WireConn(harcad.address, resp) as ours:
        for command in SAME[case]:
            expected, _ = theirs.ask(*command)
            assert (command, ours.ask(*command)[0]) == (command, expected)


LOCKED = {
    "before": [["PING"], ["GET", "a"], ["FOO"], ["GET"], ["COMMAND"], ["CLIENT", "LIST"], ["MULTI"], ["HELLO"], ["HELLO", "3"], ["HELLO", "4"],
               ["HELLO", "3", "SETNAME", "a"], ["RESET"], ["QUIT"]],
    "wrong": [["AUTH", "x"], ["AUTH", ""], ["AUTH", PASSWORD + "x"], ["AUTH", PASSWORD[:-1]], ["AUTH", PASSWORD + "\0"], ["AUTH", "x" * 5000],
              ["AUTH", "other", PASSWORD], ["AUTH", "DEFAULT", PASSWORD], ["HELLO", "3", "AUTH", "default", "x"], ["PING"]],
    "right": [["AUTH", PASSWORD], ["PING"], ["AUTH", "x"], ["PING"], ["HELLO", "2", "AUTH", "default", "x"], ["PING"], ["RESET"], ["PING"],
              ["AUTH", "default", PASSWORD], ["PING"]],
}


@pytest.mark.parametrize("case", LOCKED)
def test_connection_with_a_password_replies_as_redis_does(make_redis, make_harcad, case):
    redis = make_redis(requirepass=PASSWORD)
    harcad = make_harcad({"server.password": PASSWORD})
    with WireConn(redis.address) as theirs, WireConn(harcad.address) as ours:
        for command in LOCKED[case]:
            expected, _ = theirs.ask(*command)
            assert (command, ours.ask(*command)[0]) == (command, expected)


def test_hello_auth_opens_the_door_and_names_the_connection(make_harcad):
    harcad = make_harcad({"server.password": PASSWORD})
    with harcad.raw() as conn:
        reply = conn.command("HELLO", "3", "AUTH", "default", PASSWORD, "SETNAME", "bob")
        assert reply[b"proto"] == 3
        assert conn.command("CLIENT", "GETNAME") == b"bob"


def test_password_set_at_run_time_is_asked_of_new_connections_and_after_reset(harcad):
    with harcad.raw() as before:
        assert before.command("CONFIG", "SET", "server.password", PASSWORD) == "OK"
        assert before.command("PING") == "PONG"
        with harcad.raw() as after:
            assert str(after.command("PING")) == "NOAUTH Authentication required."
            assert after.command("AUTH", PASSWORD) == "OK"
        assert before.command("RESET") == "RESET"
        assert str(before.command("PING")).startswith("NOAUTH")
        assert before.command("AUTH", PASSWORD) == "OK"
        assert before.command("CONFIG", "SET", "server.password", "") == "OK"


@pytest.mark.parametrize("resp", [2, 3])
def test_hello_tells_what_redis_tells(redis_server, harcad, resp):
    with WireConn(redis_server.address) as theirs, WireConn(harcad.address) as ours:
        expected, found = theirs.command("HELLO", resp), ours.command("HELLO", resp)
        if resp == 2:
            expected, found = (dict(zip(each[::2], each[1::2])) for each in (expected, found))
        assert list(found) == list(expected)
        assert found[b"server"] == b"harcad"
        for field in (b"version", b"proto", b"mode", b"role", b"modules"):
            assert found[field] == expected[field]
        assert found[b"id"] == ours.command("CLIENT", "ID")


def test_hello_without_version_keeps_the_protocol(harcad):
    with harcad.raw() as conn:
        assert isinstance(conn.command("HELLO"), list)
        assert isinstance(conn.command("HELLO", "3"), dict)
        assert isinstance(conn.command("HELLO"), dict)
        assert conn.command("RESET") == "RESET"
        assert isinstance(conn.command("HELLO"), list)


def test_quit_answers_what_came_before_and_closes(harcad):
    with harcad.raw() as conn:
        conn.send(conn.encode("SET", "a", "1") + conn.encode("GET", "a") + conn.encode("QUIT") + conn.encode("PING"))
        assert conn.recv_until_closed() == b"+OK\r\n$1\r\n1\r\n+OK\r\n"


def test_time_is_now(harcad):
    with harcad.raw() as conn:
        seconds, micros = (int(each) for each in conn.command("TIME"))
    assert abs(seconds - time.time()) < 60
    assert 0 <= micros < 1_000_000


@pytest.mark.parametrize("words", [[], ["NOSAVE"], ["SAVE"], ["NOW"], ["NOSAVE", "NOW", "FORCE"]])
def test_shutdown_closes_without_reply_and_ends_the_daemon(harcad, words):
    with harcad.raw() as conn:
        conn.send(conn.encode("SHUTDOWN", *words))
        assert conn.recv_until_closed() == b""
    assert harcad.wait() == 0


def test_shutdown_through_redis_py_succeeds(harcad):
    with harcad.client() as client:
        client.shutdown(nosave=True)
    assert harcad.wait() == 0


def test_redis_py_connects_with_name_and_password(make_harcad):
    harcad = make_harcad({"server.password": PASSWORD})
    with harcad.client(password=PASSWORD, client_name="app", db=0) as client:
        assert client.ping()
        assert client.echo("x") == b"x"
        assert client.client_getname() in ("app", b"app")
        assert abs(client.time()[0] - time.time()) < 60
    with harcad.client(password="no") as client, pytest.raises(redis_py.ResponseError, match="WRONGPASS"):
        client.ping()


def test_reset_goes_back_to_the_model_of_keys(harcad):
    with harcad.raw() as conn:
        assert conn.command("MODEL", "USE", "m") == "OK"
        assert conn.command("RESET") == "RESET"
        conn.command("SET", "k", "v")
        assert conn.command("MODEL", "OF", "k") == b"default"


def test_bad_input_in_errors_cannot_break_the_line(harcad):
    with harcad.raw() as conn:
        for command in (["HELLO", "3", "a\r\n+OK"], ["CLIENT", "SETINFO", "a\r\n+OK", "x"], ["CONFIG", "SET", "a\r\n+OK", "x"],
                        ["CLIENT", "LIST", "TYPE", "a\r\n+OK"], ["CLIENT", "KILL", "USER", "a\r\n+OK"], ["COMMAND", "a\r\n+OK"]):
            assert isinstance(conn.command(*command), RespError)
            assert conn.command("PING") == "PONG"
