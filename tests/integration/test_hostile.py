"""Input that is wrong on purpose. Whatever comes, on however many connections: the daemon lives, other clients are
served, what they stored is intact, and memory stays where it was."""

import random
import select
import socket
import struct

import pytest

from harcad_harness import Harcad, RawConn, SANITIZER_ROOM, wait_until

encode = RawConn.encode
MIB = 1 << 20
PROTOCOL_ERROR = b"-ERR Protocol error: "


@pytest.fixture(scope="module", params=["embedded", "fleet"])
def victim(request):
    """One daemon for all: what one attack breaks, the next sees."""
    from harcad_harness import Redis

    redis = Redis().start() if request.param == "fleet" else None
    harcad = Harcad({"server.workers": "2", "memory.max_bytes": "32M", "client.output_max": "8M"}, upstream=redis)
    try:
        harcad.start()
        if redis:
            harcad.wait_info(upstream_state="up", event_link="up")
        with harcad.raw() as conn:
            assert conn.command("SET", "sentinel", "intact\r\n\x00") == "OK"
        yield harcad
        harcad.check_sanitizers()
        harcad.stop()
    finally:
        harcad.close()
        if redis:
            redis.close()


@pytest.fixture
def unharmed(victim):
    """Looks at the daemon before and after; gives another client, who is connected all the while."""
    with victim.raw() as other:
        assert other.command("PING") == "PONG"
        before = victim.rss()
        yield other
        assert victim.running()
        assert other.command("GET", "sentinel") == b"intact\r\n\x00"
        wait_until(lambda: b"connected_clients:1\r\n" in other.command("INFO", "clients"), message="they are all gone")
        assert victim.rss() - before < 48 * MIB + SANITIZER_ROOM
        victim.check_sanitizers()


# What is no request. The reply is a protocol error, and the end of the connection.
MALFORMED = {
    "array_length_not_a_number": b"*x\r\n",
    "array_length_empty": b"*\r\n+\r\n",
    "array_length_with_sign": b"*+1\r\n$4\r\nPING\r\n",
    "array_length_with_blank": b"* 1\r\n$4\r\nPING\r\n",
    "array_length_huge": b"*1048577\r\n",
    "array_length_beyond_32_bits": b"*4294967297\r\n$4\r\nPING\r\n",
    "array_length_beyond_64_bits": b"*18446744073709551617\r\n$4\r\nPING\r\n",
    "array_length_of_many_digits": b"*" + b"1" * 70000,
    "array_without_bulks": b"*1\r\nPING\r\n",
    "array_of_integers": b"*1\r\n:1\r\n",
    "array_of_simple_strings": b"*1\r\n+PING\r\n",
    "array_in_an_array": b"*1\r\n*1\r\n$4\r\nPING\r\n",
    "arrays_deeply_nested": b"*1\r\n" * 20000,
    "null_bulk": b"*1\r\n$-1\r\n",
    "bulk_length_negative": b"*2\r\n$3\r\nGET\r\n$-2\r\n",
    "bulk_length_least": b"*1\r\n$-9223372036854775808\r\n",
    "bulk_length_most": b"*1\r\n$9223372036854775807\r\n",
    "bulk_length_beyond_64_bits": b"*1\r\n$18446744073709551615\r\nx\r\n",
    "bulk_length_over_value_max": b"*1\r\n$536870913\r\n",
    "bulk_length_not_a_number": b"*1\r\n$abc\r\n",
    "bulk_length_hexadecimal": b"*1\r\n$0x4\r\nPING\r\n",
    "bulk_length_empty": b"*1\r\n$\r\n\r\n",
    "bulk_length_ended_by_cr_alone": b"*1\r\n$4\rPING\r\n",
    "bulk_length_of_many_digits": b"*1\r\n$" + b"0" * 70000,
    "bulk_longer_than_said": b"*1\r\n$4\r\nPINGPING\r\n",
    "bulk_without_crlf": b"*2\r\n$4\r\nECHO\r\n$1\r\nxyz\r\n",
    "resp3_null_inside": b"*1\r\n_\r\n",
    "resp3_map_inside": b"*1\r\n%1\r\n+a\r\n+b\r\n",
    "resp3_blob_error_inside": b"*1\r\n!4\r\nPING\r\n",
    "resp3_streamed_string_inside": b"*1\r\n$?\r\n;4\r\nPING\r\n;0\r\n",
    "inline_quote_not_closed": b"SET k \"abc\r\n",
    "inline_quote_with_something_behind": b"SET k \"abc\"def\r\n",
    "inline_without_end": b"x" * 70000,
    "nuls_without_end": b"\x00" * 70000,
}


@pytest.mark.parametrize("name", MALFORMED)
def test_hostile_malformed_request_ends_its_connection_only(victim, unharmed, name):
    with victim.raw() as conn:
        conn.send(b"PING\r\n" + MALFORMED[name] + b"SET sentinel broken\r\n")
        replies = conn.recv_until_closed()
    assert replies.startswith(b"+PONG\r\n" + PROTOCOL_ERROR)
    assert replies.count(b"\r\n") == 2 and replies.endswith(b"\r\n")


# What is a request, though nobody means it so: an error reply or nothing, and the connection goes on.
ODD = {
    "empty_lines": (b"\r\n\n\r\n\n", b""),
    "empty_array": (b"*0\r\n", b""),
    "null_array": (b"*-1\r\n", b""),
    "array_length_least": (b"*-9223372036854775808\r\n", b""),
    "empty_command_name": (b"*1\r\n$0\r\n\r\n", b"-ERR unknown command"),
    "command_name_of_nuls": (b"*1\r\n$3\r\n\x00\x00\x00\r\n", b"-ERR unknown command"),
    "command_name_with_line_breaks": (b"*1\r\n$6\r\na\r\n+OK\r\n", b"-ERR unknown command"),
    "command_name_of_a_megabyte": (b"*1\r\n$1000000\r\n" + b"x" * 1000000 + b"\r\n", b"-ERR unknown command"),
    "unknown_with_many_arguments": (b"*50000\r\n" + b"$1\r\n%\r\n" * 50000, b"-ERR unknown command"),
    "resp3_map_as_request": (b"%1\r\n", b"-ERR unknown command"),
    "resp3_push_as_request": (b">1\r\n", b"-ERR unknown command"),
    "resp3_attribute_as_request": (b"|1\r\n", b"-ERR unknown command"),
    "simple_string_as_request": (b"+OK\r\n", b"-ERR unknown command"),
    "http": (b"GET / HTTP/1.1\r\n", b"-ERR"),
    "format_directives": (b"%s%n%s%n%d\r\n", b"-ERR unknown command"),
    "terminal_escapes": (b"\x1b[2J\x1b]0;x\x07\r\n", b"-ERR unknown command"),
    "key_of_nuls": (encode("SET", b"\x00" * 100, b"\x00"), b"+OK"),
    "empty_key": (encode("SET", "", ""), b"+OK"),
    "subcommand_with_line_breaks": (encode("CLIENT", "a\r\n+OK\r\n"), b"-ERR unknown subcommand"),
    "integer_beyond_64_bits": (encode("EXPIRE", "k", "9223372036854775808"), b"-ERR value is not an integer"),
    "expiry_that_overflows": (encode("SET", "k", "v", "EX", "9223372036854775807"), b"-ERR invalid expire time"),
    "name_with_line_breaks": (encode("CLIENT", "SETNAME", "a\r\nid=1"), b"-ERR Client names cannot contain"),
    "pattern_of_many_stars": (encode("SCAN", "0", "MATCH", "*a" * 500 + "b", "COUNT", "100"), b"*2"),
}


@pytest.mark.parametrize("name", ODD)
def test_hostile_odd_request_gets_one_reply_line_and_the_connection_goes_on(victim, unharmed, name):
    request, begin = ODD[name]
    with victim.raw() as conn:
        conn.send(request)
        if begin:
            reply = conn.recv_line()
            assert reply.startswith(begin) and len(reply) < 1100
            if begin == b"*2":
                conn.recv_line(), conn.recv_line()
                for _ in range(int(conn.recv_line()[1:])):
                    conn.read_reply()
        assert conn.command("ECHO", "goes on") == b"goes on"


@pytest.mark.tsan
@pytest.mark.parametrize("seed", range(4))
def test_hostile_random_bytes(victim, unharmed, seed):
    """Noise, and requests with some bytes changed. There is no telling the reply; it must come to an end."""
    rng = random.Random(seed)
    whole = encode("SET", "noise", "v" * 50) + encode("MGET", "a", "b", "c") + b"ECHO 'x y'\r\n" + encode("CLIENT", "LIST")
    for i in range(60):
        if i % 3 == 0:
            data = rng.randbytes(rng.randrange(1, 3000))
        else:
            data = bytearray(whole * rng.randrange(1, 4))
            for _ in range(rng.randrange(1, 6)):
                data[rng.randrange(len(data))] = rng.choice(b"\r\n*$-019:\x00\xff ") if rng.random() < 0.7 else rng.randrange(256)
        # No noise may happen to be a command that ends the daemon or empties it.
        if any(word in bytes(data).upper() for word in (b"FLUSH", b"SHUTDOWN", b"SENTINEL")):
            continue
        with victim.raw() as conn:
            try:
                for at in range(0, len(data), 700):
                    conn.send(data[at:at + 700])
                conn.shutdown_write()
                conn.recv_until_closed()
            except (ConnectionResetError, BrokenPipeError, OSError) as error:
                assert not isinstance(error, TimeoutError), bytes(data)


def test_hostile_byte_by_byte_on_many_connections(victim, unharmed):
    """Each has one request unfinished at any time."""
    request = encode("SET", "slow", "v" * 30)
    conns = [victim.raw() for _ in range(100)]
    for byte in request:
        for conn in conns:
            conn.send(bytes([byte]))
    assert [conn.read_reply() for conn in conns] == ["OK"] * len(conns)
    for conn in conns:
        conn.close()


def test_hostile_unfinished_requests_of_all_lengths_then_gone(victim, unharmed):
    request = encode("MSET", "a", "1", "b", "2" * 200, "c", "3")
    for length in range(len(request)):
        with victim.raw() as conn:
            conn.send(request[:length])
    assert unharmed.command("MGET", "a", "b", "c") == [None, None, None]


def test_hostile_reset_while_replies_are_under_way(victim, unharmed):
    """The other end vanishes with an RST: writing to it fails."""
    for _ in range(50):
        conn = victim.raw()
        conn.send(encode("ECHO", "x" * 10000) * 100 + encode("GET", "absent") * 10)
        conn.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        conn.close()


def test_hostile_flood_of_requests_never_read(victim, unharmed):
    """As much as it takes of each kind; replies large, small, and errors."""
    for request in (encode("ECHO", "x" * 60000), b"PING\r\n" * 1000, b"NOSUCH x\r\n" * 1000, encode("COMMAND", "DOCS"),
                    encode("GET", "absent") * 500 + encode("ECHO", "y" * 500) * 500, encode("MGET", *["sentinel"] * 20000)):
        with victim.raw(unix=True) as conn:
            conn.sock.setblocking(False)
            taken, at = 0, 0
            while taken < 64 * MIB and select.select([], [conn.sock], [], 0.3)[1]:
                try:
                    n = conn.sock.send(request[at:at + 65536])
                except BlockingIOError:
                    continue
                except (BrokenPipeError, ConnectionResetError):
                    break
                taken, at = taken + n, (at + n) % len(request)
            assert taken < 64 * MIB
            assert unharmed.command("PING") == "PONG"


def test_hostile_flood_of_connections(victim, unharmed):
    for _ in range(5):
        conns = [victim.raw(unix=i % 2 == 0) for i in range(200)]
        for i, conn in enumerate(conns):
            conn.send((b"PING\r\n", b"*1\r\n", b"*9\r\n$100\r\n", b"MULTI\r\nSET a b\r\n")[i % 4])
        assert unharmed.command("PING") == "PONG"
        for conn in conns:
            conn.close()


def test_hostile_transactions_left_open(victim, unharmed):
    for _ in range(50):
        with victim.raw() as conn:
            conn.send(b"MULTI\r\n" + encode("SET", "sentinel", "x" * 5000) * 100)
            assert conn.read_reply() == "OK"


def test_hostile_output_ordered_many_times_over(victim, unharmed):
    """One request whose reply would take gigabytes."""
    assert unharmed.command("SET", "page", b"p" * 9000) == "OK"
    for command in (encode("MGET", *["page"] * 300000), b"MULTI\r\n" + encode("MGET", *["page"] * 1000) * 200 + b"EXEC\r\n"):
        with victim.raw() as conn:
            conn.send(command)
            data = b""
            while chunk := conn.sock.recv(1 << 20):
                data = chunk[-100:]
            assert not data.endswith(b"+PONG\r\n")
    assert unharmed.command("DEL", "page") == 1


def test_hostile_many_names(victim, unharmed):
    """Texts that the daemon keeps for a connection or shows to others."""
    with victim.raw() as conn:
        for i in range(300):
            assert conn.command("CLIENT", "SETNAME", f"n{i}" * 200) == "OK"
            conn.command("CLIENT", "SETINFO", "LIB-NAME", f"l{i}" * 200)
        assert len(unharmed.command("CLIENT", "LIST")) < 10000
        for bad in ("", "a" * 70000, "\x00", "m\r\nx"):
            conn.command("MODEL", "USE", bad)
            conn.command("CLEAR", "MODEL", bad)
        assert conn.command("PING") == "PONG"
