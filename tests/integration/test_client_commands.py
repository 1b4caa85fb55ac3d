"""CLIENT and COMMAND, beside a real Redis where it has them."""

import re
import select
import threading

import pytest

from fleet import PATIENT
from harcad_harness import RespError, wait_until
from wire import WireConn

NAMES = [["CLIENT", "GETNAME"], ["CLIENT", "SETNAME", "ab-c:1"], ["CLIENT", "GETNAME"], ["CLIENT", "SETNAME", "a b"], ["CLIENT", "SETNAME", "a\nb"],
         ["CLIENT", "SETNAME", b"a\x00b"], ["CLIENT", "SETNAME", "a\x7f"], ["CLIENT", "SETNAME", "a\xe4"], ["CLIENT", "GETNAME"], ["CLIENT", "SETNAME", ""],
         ["CLIENT", "GETNAME"], ["CLIENT", "SETNAME"], ["CLIENT", "SETNAME", "a", "b"], ["CLIENT", "ID", "x"], ["CLIENT", "INFO", "x"]]
LISTS = [["CLIENT", "LIST", "FOO"], ["CLIENT", "LIST", "TYPE"], ["CLIENT", "LIST", "TYPE", "foo"], ["CLIENT", "LIST", "TYPE", "pubsub"],
         ["CLIENT", "LIST", "TYPE", "MASTER"], ["CLIENT", "LIST", "TYPE", "replica"], ["CLIENT", "LIST", "TYPE", "slave"],
         ["CLIENT", "LIST", "TYPE", "normal", "x"], ["CLIENT", "LIST", "ID"], ["CLIENT", "LIST", "ID", "x"], ["CLIENT", "LIST", "ID", "1", "x"],
         ["CLIENT", "LIST", "ID", "99999", "-1", "0"], ["CLIENT", "LIST", "ID", "99999999999999999999"]]
KILLS = [["CLIENT", "KILL"], ["CLIENT", "KILL", "1.1.1.1:1"], ["CLIENT", "KILL", "ID"], ["CLIENT", "KILL", "ID", "0"], ["CLIENT", "KILL", "ID", "-1"],
         ["CLIENT", "KILL", "ID", "x"], ["CLIENT", "KILL", "ID", "99999"], ["CLIENT", "KILL", "ID", "99999999999999999999"], ["CLIENT", "KILL", "FOO", "x"],
         ["CLIENT", "KILL", "ADDR", "1.1.1.1:1"], ["CLIENT", "KILL", "LADDR", "1.1.1.1:1"], ["CLIENT", "KILL", "TYPE", "foo"],
         ["CLIENT", "KILL", "TYPE", "pubsub"], ["CLIENT", "KILL", "TYPE", "master"], ["CLIENT", "KILL", "USER", "nobody"],
         ["CLIENT", "KILL", "SKIPME", "maybe"], ["CLIENT", "KILL", "SKIPME", "yes"], ["CLIENT", "KILL", "TYPE", "normal"], ["CLIENT", "KILL", "USER", "default"],
         ["CLIENT", "KILL", "ID", "1", "TYPE"], ["CLIENT", "KILL", "ID", "99999", "TYPE", "normal", "USER", "default", "SKIPME", "no", "ADDR", "x", "LADDR", "y"]]
OTHERS = [["CLIENT", "NO-EVICT", "ON"], ["CLIENT", "NO-EVICT", "off"], ["CLIENT", "NO-EVICT", "x"], ["CLIENT", "NO-EVICT"], ["CLIENT", "FOO"]]


@pytest.mark.parametrize("resp", [2, 3])
@pytest.mark.parametrize("commands", [NAMES, LISTS, KILLS, OTHERS], ids=["names", "lists", "kills", "others"])
def test_client_replies_as_redis_does(redis_server, harcad_of_each_mode, commands, resp):
    with WireConn(redis_server.address, resp) as theirs, WireConn(harcad_of_each_mode.address, resp) as ours:
        for command in commands:
            expected, _ = theirs.ask(*command)
            assert (command, ours.ask(*command)[0]) == (command, expected)


# ---- LIST and INFO ----


def lines(text):
    return [dict(field.split("=", 1) for field in line.split(" ")) for line in text.decode().splitlines()]


def test_client_info_has_the_fields_of_redis_in_its_order(redis_server, harcad):
    with WireConn(redis_server.address) as theirs, harcad.raw() as ours:
        known = list(lines(theirs.command("CLIENT", "INFO"))[0]) + ["lib-name", "lib-ver"]  # those came with 7.2
        found = list(lines(ours.command("CLIENT", "INFO"))[0])
    assert found == known


def test_client_list_shows_every_connection(harcad):
    with harcad.raw() as first, harcad.raw(unix=True) as second:
        first.command("HELLO", "3", "SETNAME", "one")
        second.command("CLIENT", "SETNAME", "two")
        second.command("CLIENT", "SETINFO", "LIB-NAME", "lib(x)")
        second.command("CLIENT", "SETINFO", "lib-ver", "1.2")
        second.command("MULTI")
        second.command("GET", "a")
        shown = {each["name"]: each for each in lines(first.command("CLIENT", "LIST"))}
    one, two = shown["one"], shown["two"]
    assert (one["resp"], two["resp"]) == ("3", "2")
    assert (one["cmd"], two["cmd"]) == ("client|list", "get")
    assert (one["multi"], two["multi"]) == ("-1", "1")
    assert (one["flags"], set(two["flags"])) == ("N", {"x", "U"})
    assert (two["lib-name"], two["lib-ver"]) == ("lib(x)", "1.2")
    assert one["laddr"] == f"127.0.0.1:{harcad.port}"
    assert two["laddr"] == harcad.unix_path + ":0"
    assert int(one["id"]) < int(two["id"])


FLAGS = [["CLIENT", "NO-EVICT", "ON"], ["MULTI"], ["RESET"], ["CLIENT", "NO-EVICT", "OFF"], ["RESET"]]


@pytest.mark.parametrize("unix", [False, True])
def test_client_info_flags_are_redis_s(make_redis, harcad, unix):
    """After each of these; RESET leaves NO-EVICT as it is."""
    seen = []
    for server in (make_redis(unix=unix), harcad):
        with WireConn(server.unix_path if unix else server.address) as conn, WireConn(server.address) as other:
            number = conn.command("CLIENT", "ID")
            flags = []
            for command in FLAGS:
                conn.command(*command)
                flags.append(lines(other.command("CLIENT", "LIST", "ID", number))[0]["flags"])
            seen.append(flags)
    assert seen[1] == seen[0]
    assert "e" in seen[1][0] and "e" not in seen[1][-1]


def test_client_info_within_exec_is_redis_s(redis_server, harcad_of_each_mode):
    seen = []
    for server in (redis_server, harcad_of_each_mode):
        with WireConn(server.address) as conn:
            for command in (["MULTI"], ["CLIENT", "INFO"], ["GET", "a"], ["CLIENT", "INFO"]):
                conn.command(*command)
            first, _, second = conn.command("EXEC")
            after = conn.command("CLIENT", "INFO")
        seen.append([(fields["flags"], fields["multi"]) for text in (first, second, after) for fields in lines(text)])
    assert seen[1] == seen[0] == [("x", "3"), ("x", "3"), ("N", "-1")]


def test_client_list_by_id_shows_those_only(harcad):
    with harcad.raw() as first, harcad.raw() as second, harcad.raw():
        ids = [conn.command("CLIENT", "ID") for conn in (first, second)]
        assert [int(each["id"]) for each in lines(first.command("CLIENT", "LIST", "ID", *ids[::-1], 77777))] == ids
        assert [int(each["id"]) for each in lines(second.command("CLIENT", "INFO"))] == ids[1:]


def test_client_list_forgets_closed_connections(harcad):
    with harcad.raw() as first:
        second = harcad.raw()
        second.command("PING")
        assert len(lines(first.command("CLIENT", "LIST"))) == 2
        second.close()
        wait_until(lambda: len(lines(first.command("CLIENT", "LIST"))) == 1)


def test_client_setinfo_replies_as_redis_7_2(harcad):
    with harcad.raw() as conn:
        assert conn.command("CLIENT", "SETINFO", "lib-name", "redis-py") == "OK"
        assert str(conn.command("CLIENT", "SETINFO", "lib-foo", "x")) == "ERR Unrecognized option 'lib-foo'"
        assert str(conn.command("CLIENT", "SETINFO", "lib-ver", "a b")) == "ERR lib-ver cannot contain spaces, newlines or special characters."
        assert conn.command("CLIENT", "SETINFO", "lib-name", "") == "OK"
        assert lines(conn.command("CLIENT", "INFO"))[0]["lib-name"] == ""


# ---- KILL ----


def is_closed(conn):
    try:
        conn.command("PING")
    except (ConnectionError, OSError):
        return True
    return False


@pytest.mark.parametrize("workers", [1, 3])
def test_client_kill_closes_whom_the_filters_fit(make_harcad, workers):
    harcad = make_harcad({"server.workers": workers})
    with harcad.raw() as me:
        others = [harcad.raw() for _ in range(6)] + [harcad.raw(unix=True)]
        ids = [conn.command("CLIENT", "ID") for conn in others]
        addr = {int(each["id"]): each["addr"] for each in lines(me.command("CLIENT", "LIST"))}
        assert me.command("CLIENT", "KILL", addr[ids[0]]) == "OK"
        wait_until(lambda: is_closed(others[0]))
        assert me.command("CLIENT", "KILL", "ID", ids[1]) == 1
        assert me.command("CLIENT", "KILL", "ID", ids[2], "ADDR", addr[ids[3]]) == 0
        assert me.command("CLIENT", "KILL", "ID", ids[2], "ADDR", addr[ids[2]], "TYPE", "normal") == 1
        assert me.command("CLIENT", "KILL", "LADDR", harcad.unix_path + ":0") == 1
        for i in (1, 2, 6):
            wait_until(lambda i=i: is_closed(others[i]))
        assert [others[i].command("PING") for i in (3, 4, 5)] == ["PONG"] * 3
        wait_until(lambda: len(lines(me.command("CLIENT", "LIST"))) == 4)
        assert me.command("CLIENT", "KILL", "USER", "default") == 3
        assert me.command("PING") == "PONG"
        wait_until(lambda: len(lines(me.command("CLIENT", "LIST"))) == 1)
        for conn in others:
            conn.close()


def test_client_kill_of_oneself_replies_first(redis_server, harcad):
    for server in (redis_server, harcad):
        with WireConn(server.address) as conn:
            own = conn.command("CLIENT", "ID")
            assert conn.command("CLIENT", "KILL", "ID", own) == 0
            conn.send(conn.encode("CLIENT", "KILL", "ID", own, "SKIPME", "no") + conn.encode("PING"))
            assert conn.recv_until_closed() == b":1\r\n"
        with WireConn(server.address) as conn:
            addr = lines(conn.command("CLIENT", "INFO"))[0]["addr"]
            conn.send(conn.encode("CLIENT", "KILL", addr))
            assert conn.recv_until_closed() == b"+OK\r\n"


def test_redis_py_reads_client_list_and_kills(harcad):
    with harcad.client(single_connection_client=True) as client, harcad.raw() as other:
        other.command("CLIENT", "SETNAME", "victim")
        victim = next(each for each in client.client_list() if each["name"] == "victim")
        assert victim["user"] == "default"
        assert client.client_info()["id"] == client.client_id()
        assert client.client_kill_filter(_id=victim["id"]) == 1
        wait_until(lambda: is_closed(other))


@pytest.mark.parametrize("workers", [1, 2])
def test_a_killed_connection_is_closed_before_the_answer(make_harcad, workers):
    daemon = make_harcad({"server.workers": workers})
    with daemon.raw() as killer:
        for _ in range(50):
            with daemon.raw() as victim:
                number = victim.command("CLIENT", "ID")
                assert killer.command("CLIENT", "KILL", "ID", number) == 1
                assert select.select([victim.sock], [], [], 0)[0] and victim.sock.recv(1) == b""


# ---- HELP ----


@pytest.mark.parametrize("container", ["CLIENT", "CONFIG", "COMMAND", "MODEL", "CLEAR"])
def test_help_lists_every_subcommand(harcad, container):
    with harcad.raw() as conn:
        text = conn.command(container, "HELP")
        subcommands = conn.command("COMMAND", "LIST", "FILTERBY", "PATTERN", f"{container}|*")
    assert text[0] == f"{container} <subcommand> [<arg> [value] [opt] ...]. Subcommands are:"
    heads = [line.split(" ")[0] for line in text[1::2]]
    assert heads == [each.decode().split("|")[1].upper() for each in subcommands]
    assert all(line.startswith("    ") for line in text[2::2])


# ---- COMMAND ----


def shape(reply, depth=0):
    """Types only, and of a list the first element's: what a client relies on."""
    if isinstance(reply, list):
        return [shape(reply[0], depth + 1)] if reply else []
    if isinstance(reply, dict):
        return {key: shape(value, depth + 1) for key, value in reply.items()}
    return type(reply)


@pytest.mark.parametrize("resp", [2, 3])
def test_command_info_has_redis_shape_and_facts(redis_server, harcad, resp):
    names = ["get", "mget", "mset", "del", "set", "ping", "select", "setex", "time"]
    with WireConn(redis_server.address, resp) as theirs, WireConn(harcad.address, resp) as ours:
        for name in names:
            (expected,), (found,) = theirs.command("COMMAND", "INFO", name), ours.command("COMMAND", "INFO", name)
            if name == "get":
                expected[1] = -2  # it takes MODEL
            assert len(found) == 10
            assert [found[i] for i in (0, 1, 3, 4, 5)] == [expected[i] for i in (0, 1, 3, 4, 5)], name
            assert set(found[2]) <= {"write", "readonly", "fast", "admin", "no_auth", "no_multi"}
            assert {"write", "readonly"} & set(found[2]) == {"write", "readonly"} & set(expected[2]), name
            assert shape(found[8]) == shape(expected[8]) or name in ("set",), name
        expected, found = (conn.ask("COMMAND", "INFO", "get")[0] for conn in (theirs, ours))
        assert found == expected.replace(b"\r\n:2\r\n", b"\r\n:-2\r\n", 1)


@pytest.mark.parametrize("resp", [2, 3])
def test_command_replies_as_redis_does(redis_server, harcad, resp):
    with WireConn(redis_server.address, resp) as theirs, WireConn(harcad.address, resp) as ours:
        for command in (["COMMAND", "INFO", "nope"], ["COMMAND", "INFO", "nope", "client|nope", "nope|x", "|", ""], ["COMMAND", "LIST", "FOO"],
                        ["COMMAND", "LIST", "FILTERBY", "FOO", "x"], ["COMMAND", "LIST", "FILTERBY", "MODULE", "x"],
                        ["COMMAND", "LIST", "FILTERBY", "ACLCAT", "nope"], ["COMMAND", "LIST", "FILTERBY", "PATTERN"],
                        ["COMMAND", "LIST", "FILTERBY", "PATTERN", "GET"], ["COMMAND", "DOCS", "nope"], ["COMMAND", "COUNT", "x"], ["COMMAND", "FOO"],
                        ["COMMAND", "GETKEYS", "get", "a"], ["COMMAND", "GETKEYS", "mset", "a", "b", "c", "d"], ["COMMAND", "GETKEYS", "del", "a", "b"],
                        ["COMMAND", "GETKEYS", "setex", "a"],
                        ["COMMAND", "GETKEYS", "foo", "a"], ["COMMAND", "GETKEYS", "ping", "a"], ["COMMAND", "GETKEYS", "client", "list"],
                        ["COMMAND", "GETKEYS", "client", "foo"], ["COMMAND", "GETKEYS", "client|list", "a"], ["COMMAND", "GETKEYS", "get"],
                        ["COMMAND", "GETKEYS"]):
            expected, _ = theirs.ask(*command)
            assert (command, ours.ask(*command)[0]) == (command, expected)


def test_command_lists_agree_with_each_other(harcad):
    with harcad.raw() as conn:
        table = conn.command("COMMAND")
        assert conn.command("COMMAND", "COUNT") == len(table)
        assert conn.command("COMMAND", "INFO") == table
        names = {row[0] for row in table}
        subcommands = {sub[0] for row in table for sub in row[9]}
        assert set(conn.command("COMMAND", "LIST")) == names | subcommands
        docs = conn.command("COMMAND", "DOCS")
        assert set(docs[::2]) == names
        assert {b"get", b"client", b"explain", b"fleet", b"model", b"clear", b"shutdown"} <= names
        assert {b"client|list", b"model|use", b"clear|key"} <= subcommands
        assert set(conn.command("COMMAND", "LIST", "FILTERBY", "ACLCAT", "Connection")) >= {b"ping", b"client|list"}
        assert conn.command("COMMAND", "LIST", "FILTERBY", "PATTERN", "m?del") == [b"model"]
        [row] = conn.command("COMMAND", "INFO", "Client|List")
        assert row[0] == b"client|list"


def test_command_docs_describe_each_command(harcad):
    with harcad.raw() as conn:
        conn.command("HELLO", "3")
        docs = conn.command("COMMAND", "DOCS")
        for name, row in docs.items():
            assert row[b"summary"].endswith(b"."), name
            assert re.fullmatch(rb"\d+\.\d+", row[b"since"]), name
            for sub in row.get(b"subcommands", {}).values():
                assert sub[b"summary"].endswith(b"."), name
        assert list(conn.command("COMMAND", "DOCS", "get", "nope", "client|list")) == [b"get", b"client|list"]
        assert docs[b"get"][b"syntax"].startswith(b"key")
        assert docs[b"get"][b"group"] == b"string"


def rendered(argument):
    """One argument of COMMAND DOCS as redis-cli shows it."""
    joint = {b"oneof": b"|", b"block": b" "}.get(argument[b"type"])
    flags = argument.get(b"flags", [])
    if joint:
        body = joint.join(rendered(each) for each in argument[b"arguments"])
    else:
        body = b"" if argument[b"type"] == b"pure-token" else argument[b"name"]
    text = b" ".join(part for part in (argument.get(b"token"), body) if part)
    text += b" [%b ...]" % body if "multiple" in flags else b""
    return b"[%b]" % text if "optional" in flags else text


def test_command_docs_arguments_say_what_the_syntax_says(harcad):
    with harcad.raw() as conn:
        conn.command("HELLO", "3")
        docs = conn.command("COMMAND", "DOCS")
    rows = [row for command in docs.values() for row in (command, *command.get(b"subcommands", {}).values())]
    assert len(rows) > 100
    for row in rows:
        shown = b" ".join(rendered(argument) for argument in row.get(b"arguments", []))
        assert shown == row.get(b"syntax", b"").replace(b" | ", b"|")


def test_command_docs_arguments_have_redis_s_form(redis_server, harcad):
    """Where the options are the same, so are their types, tokens and nesting; names of choices are one's own."""
    def shape(argument):
        kept = {name: argument.get(name) for name in (b"type", b"token", b"flags", b"key_spec_index")}
        return kept, [shape(each) for each in argument.get(b"arguments", [])]

    same = "getset getdel setex psetex mget mset msetnx append strlen del unlink exists type ttl persist incr setrange getrange select echo"
    with WireConn(redis_server.address, 3) as theirs, WireConn(harcad.address, 3) as ours:
        for name in same.split():
            docs = [conn.command("COMMAND", "DOCS", name)[name.encode()] for conn in (theirs, ours)]
            expected, found = ([shape(each) for each in row[b"arguments"]] for row in docs)
            assert found == expected, name


def test_redis_py_reads_command(harcad):
    with harcad.client() as client:
        table = client.command()
        assert table["get"]["first_key_pos"] == 1
        assert client.command_count() == len(table)
        assert client.command_getkeys("MSET", "a", 1, "b", 2) in ([b"a", b"b"], ["a", "b"])


@pytest.mark.parametrize("call", [
    "object encoding k", "object freq k", "object idletime k", "object refcount k", "object help", "object nosuch k", "object encoding",
    "OBJECT ENCODING k", "memory usage k", "memory usage k samples 5", "memory usage", "memory doctor", "client list", "client setname k",
    "config get x", "get", "getset a", "ping", "ping a", "nosuch a", "mset a 1 b", "mset a 1 b 2", "msetnx a 1 b 2", "del a b c",
    "set k v get", "getex k", "copy a b", "copy a b replace", "rename a b", "exists a a", "exec now", "object|encoding k", "object",
    "command getkeys get a", "watch a b", "incrby k 1", "setrange k 1 v", "append k v", "scan 0", "expire k 1"])
def test_command_getkeys_is_redis_s(redis_server, harcad, call):
    with WireConn(redis_server.address) as theirs, WireConn(harcad.address) as ours:
        answers = []
        for conn in (theirs, ours):
            answer = conn.command("COMMAND", "GETKEYS", *call.split())
            answers.append(str(answer) if isinstance(answer, RespError) else answer)
        assert answers[1] == answers[0]


def test_command_getkeys_of_own_subcommands(harcad):
    with harcad.raw() as conn:
        assert conn.command("COMMAND", "GETKEYS", "CLEAR", "KEY", "a", "b") == [b"a", b"b"]
        assert conn.command("COMMAND", "GETKEYS", "MODEL", "OF", "a") == [b"a"]


def test_subcommands_tell_where_their_keys_are_as_redis_does(redis_server, harcad):
    with WireConn(redis_server.address) as theirs, WireConn(harcad.address) as ours:
        for name in ("object|encoding", "object|freq", "object|idletime", "object|refcount", "memory|usage"):
            rows = [conn.command("COMMAND", "INFO", name)[0] for conn in (theirs, ours)]
            assert rows[1][3:6] == rows[0][3:6], name


def test_errors_are_values_not_closed_connections(harcad):
    with harcad.raw() as conn:
        for command in (["CLIENT", "KILL", "ID", "x"], ["CLIENT", "LIST", "ID", "x"], ["COMMAND", "GETKEYS", "foo", "a"]):
            assert isinstance(conn.command(*command), RespError)
        assert conn.command("PING") == "PONG"


@pytest.mark.tsan
def test_client_list_while_names_change_and_connections_come_and_go(make_harcad):
    harcad = make_harcad({"server.workers": 3})
    stop = threading.Event()
    errors = []

    def churn(number):
        try:
            while not stop.is_set():
                with harcad.raw() as conn:
                    for i in range(20):
                        assert conn.command("CLIENT", "SETNAME", f"n{number}-{i}," * (1 + i % 5)) == "OK"
                        assert conn.command("CLIENT", "SETINFO", "LIB-VER", i) == "OK"
        except (AssertionError, OSError) as error:
            errors.append(error)

    threads = [threading.Thread(target=churn, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    try:
        with harcad.raw() as me:
            for i in range(100):
                for line in lines(me.command("CLIENT", "LIST")):
                    assert re.fullmatch(r"((n\d-\d+,)\2*)?", line["name"]), line
                assert me.command("CONFIG", "SET", "log.level", "info" if i % 2 else "warn") == "OK"
                assert me.command("INFO")
    finally:
        stop.set()
        for thread in threads:
            thread.join()
    assert errors == []


# ---- REPLY, NO-TOUCH ----


REPLIES = [[["CLIENT", "REPLY", "OFF"], ["SET", "a", "1"], ["NOPE"], ["GET", "a"], ["CLIENT", "REPLY", "ON"], ["GET", "a"]],
           [["CLIENT", "REPLY", "SKIP"], ["GET", "a"], ["GET", "a"], ["CLIENT", "REPLY", "SKIP"], ["NOPE"], ["PING"]],
           [["CLIENT", "REPLY", "SKIP"], ["CLIENT", "REPLY", "SKIP"], ["GET", "a"], ["PING"]],
           [["CLIENT", "REPLY", "SKIP"], ["CLIENT", "REPLY", "ON"], ["PING"]],
           [["CLIENT", "REPLY", "OFF"], ["CLIENT", "REPLY", "SKIP"], ["PING"], ["PING"], ["CLIENT", "REPLY", "ON"], ["PING", "x"]],
           [["CLIENT", "REPLY", "OFF"], ["CLIENT", "REPLY", "foo"], ["CLIENT", "REPLY"], ["CLIENT", "REPLY", "ON"]],
           [["CLIENT", "REPLY", "OFF"], ["MULTI"], ["SET", "a", "2"], ["INCR", "a"], ["EXEC"], ["CLIENT", "REPLY", "ON"], ["GET", "a"]],
           [["CLIENT", "REPLY", "SKIP"], ["MULTI"], ["INCR", "a"], ["EXEC"]],
           [["CLIENT", "REPLY", "OFF"], ["PING"], ["RESET"], ["PING"]],
           [["CLIENT", "REPLY", "OFF"], ["MGET", "a", "b"], ["DEL", "a"], ["KEYS", "*"], ["CLIENT", "REPLY", "ON"], ["EXISTS", "a"]]]


@pytest.mark.parametrize("resp", [2, 3])
@pytest.mark.parametrize("mode", ["embedded", "fleet"])
def test_client_reply_silences_what_redis_silences(redis_server, make_redis, make_harcad, resp, mode):
    """ECHO of a word ends each sequence: all that comes until then is compared."""
    harcad = make_harcad(PATIENT, upstream=make_redis() if mode == "fleet" else None)
    if mode == "fleet":
        harcad.wait_info(upstream_state="up", event_link="up")
    for sequence in REPLIES:
        seen = []
        for server in (redis_server, harcad):
            with WireConn(server.address, resp) as conn:
                conn.send(b"".join(conn.encode(*command) for command in [*sequence, ["ECHO", "the-end"]]))
                wires = [conn.read_wire()[0]]
                while b"the-end" not in wires[-1]:
                    wires.append(conn.read_wire()[0])
            seen.append(wires)
        assert (sequence, seen[1]) == (sequence, seen[0])


def test_client_reply_inside_exec_takes_effect_behind_it(harcad):
    with harcad.raw() as conn:
        for command in (["MULTI"], ["PING"], ["CLIENT", "REPLY", "OFF"], ["PING"]):
            conn.command(*command)
        assert conn.command("EXEC") == ["PONG", "OK", "PONG"]
        conn.send(conn.encode("PING") + conn.encode("CLIENT", "REPLY", "ON"))
        assert conn.read_reply() == "OK"


def test_client_reply_off_and_quit_closes(harcad):
    with harcad.raw() as conn:
        conn.send(conn.encode("CLIENT", "REPLY", "OFF") + conn.encode("PING") + conn.encode("QUIT"))
        with pytest.raises(ConnectionError, match="with b'' unread"):
            conn.recv(1)


def test_client_no_touch_leaves_no_trace_but_by_touch(harcad):
    with harcad.raw() as conn:
        conn.command("SET", "a", "1")
        assert conn.command("CLIENT", "NO-TOUCH", "ON") == "OK"
        for _ in range(3):
            assert conn.command("GET", "a") == b"1"
        assert conn.command("OBJECT", "FREQ", "a") == 0
        assert conn.command("TOUCH", "a") == 1
        assert conn.command("OBJECT", "FREQ", "a") == 1
        assert conn.command("CLIENT", "NO-TOUCH", "off") == "OK"
        conn.command("GET", "a")
        assert conn.command("OBJECT", "FREQ", "a") == 2
        assert str(conn.command("CLIENT", "NO-TOUCH", "x")) == "ERR syntax error"
