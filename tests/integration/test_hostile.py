"""Input that is wrong on purpose. Whatever comes, on however many connections: the daemon lives, other clients are
served meanwhile, what they stored is intact, and memory stays where it was. What is sent one request at a time stands in
support/hostile.py."""

import contextlib
import http.client
import random
import re
import select
import socket
import ssl
import struct
import threading
import time

import pytest

from bystander import admitted, Bystander
from harcad_harness import Harcad, RawConn, Redis, RespError, SANITIZER_ROOM, SLOW, TIMEOUT, wait_until
from hostile import MALFORMED, ODD, VALID

encode = RawConn.encode
MIB = 1 << 20
PROTOCOL_ERROR = b"-ERR Protocol error: "

# What an attack may leave behind, and what it may take while it lasts. One request of a million arguments takes most.
LEFT_MAX = 48 * MIB + SANITIZER_ROOM
TAKEN_MAX = 400 * MIB + 2 * SANITIZER_ROOM


@pytest.fixture(scope="module", params=["embedded", "fleet"])
def victim(request):
    """One daemon for all: what one attack breaks, the next sees. With one worker, everybody shares a thread with the
    attacker."""
    redis = Redis().start() if request.param == "fleet" else None
    settings = {"memory.max_bytes": "32M", "client.output_max": "8M", "client.request_max": "40M", "upstream.timeout": "5s"}
    harcad = Harcad(settings, upstream=redis)
    try:
        harcad.start()
        if redis:
            harcad.wait_info(upstream_state="up", event_link="up")
        yield harcad
        harcad.check_sanitizers()
        harcad.stop()
    finally:
        harcad.close()
        if redis:
            redis.close()


class Watch:
    """Looks at a daemon before, during and after what is done to it."""

    def __init__(self, harcad, slowest=2.0):
        self.harcad = harcad
        self.slowest = slowest

    def __enter__(self):
        with open(f"/proc/{self.harcad.pid}/clear_refs", "w", encoding="ascii") as peak:
            peak.write("5")
        if self.harcad.upstream:
            self.harcad.wait_info(upstream_state="up", event_link="up")
        self.before = self.harcad.rss()
        self.bystander = Bystander(self.harcad).__enter__()
        self.other = admitted(self.harcad)
        assert self.other.command("PING") == "PONG"
        return self

    def __exit__(self, kind, *exc):
        try:
            if kind is None:
                self._check()
        finally:
            self.other.close()
            self.bystander.__exit__()

    def _check(self):
        harcad, other = self.harcad, self.other
        assert harcad.running()
        self.bystander.check(harcad, self.slowest)
        self.bystander.conn.close()
        wait_until(lambda: b"connected_clients:1\r\n" in other.command("INFO", "clients"), message="they are all gone")
        assert harcad.rss_peak() - self.before < TAKEN_MAX
        wait_until(lambda: harcad.rss() - self.before < LEFT_MAX, message="what was taken has been given back")
        harcad.check_sanitizers()


@pytest.fixture
def unharmed(victim):
    """Gives another client, who is connected all the while."""
    with Watch(victim) as watch:
        yield watch.other


# ---- one request at a time ----


@pytest.mark.parametrize("name", MALFORMED)
def test_hostile_malformed_request_ends_its_connection_only(victim, unharmed, name):
    with victim.raw() as conn:
        conn.send(b"PING\r\n" + encode("GET", "absent") + MALFORMED[name] + b"SET sentinel broken\r\n")
        replies = conn.recv_until_closed()
    assert replies.startswith(b"+PONG\r\n$-1\r\n" + PROTOCOL_ERROR)
    assert replies.count(b"\r\n") == 3 and replies.endswith(b"\r\n")


@pytest.mark.parametrize("name", ODD)
def test_hostile_odd_request_gets_its_replies_and_the_connection_goes_on(victim, unharmed, name):
    request, *beginnings = ODD[name]
    with victim.raw() as conn:
        conn.send(request)
        for begin in beginnings:
            reply = conn.recv_line()
            assert reply.startswith(begin) and len(reply) < 1100
            if reply[:1] in b"*$" and reply[1:] not in (b"0", b"-1"):
                conn.buf[:0] = reply + b"\r\n"
                conn.read_reply()
            elif reply == b"$0":
                assert conn.recv_line() == b""
        assert conn.command("ECHO", "goes on") == b"goes on"


def test_hostile_valid_requests_cut_anywhere_are_never_carried_out_in_part(victim, unharmed):
    """Each command, ended by each of its bytes: by closing the one half, and by going away."""
    for request in VALID:
        conns = []
        for length in range(1, len(request), 1 if len(request) < 40 else 3):
            conn = victim.raw()
            conns.append(conn)
            conn.send(request[:length])
            if length % 2:
                conn.shutdown_write()
        for i, conn in enumerate(conns):
            if (1 + i * (1 if len(request) < 40 else 3)) % 2:
                assert conn.recv_until_closed() == b"", request
            conn.close()
    assert unharmed.command("EXISTS", "h:a", "h:b", "h:n") == 0


def test_hostile_valid_requests_split_anywhere_are_answered_as_in_one_piece(victim, unharmed):
    requests = (encode("SET", "h:split", "v" * 12) + encode("GET", "h:split") + b"ECHO 'a b'\r\n" + b"\r\n*0\r\n" +
                encode("MGET", "h:split", "absent") + encode("NOSUCH") + encode("DEL", "h:split"))
    with victim.raw() as conn:
        conn.send(requests + encode("QUIT"))
        expected = conn.recv_until_closed()
    conns = [victim.raw() for _ in range(len(requests) + 1)]
    for split, conn in enumerate(conns):
        conn.send(requests[:split] or b"\r\n")
        # Replies that came before tell that the first piece has been read; the rest of them have a moment.
        if split % 10 == 0:
            unharmed.command("PING")
        conn.send(requests[split:] + encode("QUIT"))
        assert conn.recv_until_closed() == expected, split
        conn.close()


@pytest.mark.tsan
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


# ---- noise ----


def harmless(data):
    """No noise may happen to be a command that ends the daemon, empties it, or takes the others' connections."""
    words = (b"FLUSH", b"SHUTDOWN", b"SENTINEL", b"KILL", b"CONFIG", b"CLEAR", b"ALL", b"RENAME")
    return not any(word in bytes(data).upper() for word in words)


def send_noise(victim, data, step):
    with victim.raw() as conn:
        try:
            for at in range(0, len(data), step):
                conn.send(data[at:at + step])
            conn.shutdown_write()
            conn.recv_until_closed()
        except OSError as error:
            assert not isinstance(error, TimeoutError), bytes(data)


@pytest.mark.tsan
@pytest.mark.parametrize("seed", [*range(4), "new"])
def test_hostile_random_bytes(victim, unharmed, seed):
    """There is no telling the replies; they must come to an end. The seed of the last one is another each time."""
    seed = random.SystemRandom().randrange(1 << 32) if seed == "new" else seed
    print(f"seed {seed}")
    rng = random.Random(seed)
    for _ in range(30):
        data = rng.randbytes(rng.randrange(1, 3000)) if rng.random() < 0.5 else \
            bytes(rng.choices(b"*$-0123456789\r\n\r\n\x00 \"'\\xabGETPINGSE", k=rng.randrange(1, 3000)))
        if harmless(data):
            send_noise(victim, data, 700)


@pytest.mark.tsan
@pytest.mark.parametrize("seed", [*range(4), "new"])
def test_hostile_valid_requests_with_bytes_changed(victim, unharmed, seed):
    seed = random.SystemRandom().randrange(1 << 32) if seed == "new" else seed
    print(f"seed {seed}")
    rng = random.Random(seed)
    for _ in range(60):
        data = bytearray(b"".join(rng.choices(VALID, k=rng.randrange(1, 12))))
        for _ in range(rng.randrange(1, 6)):
            at, what = rng.randrange(len(data)), rng.random()
            if what < 0.5:
                data[at] = rng.choice(b"\r\n*$-019:\x00\xff ")
            elif what < 0.7:
                data[at] = rng.randrange(256)
            elif what < 0.85:
                del data[at:at + rng.randrange(1, 4)]
            else:
                data[at:at] = data[rng.randrange(len(data)):][:rng.randrange(1, 9)]
        if data and harmless(data):
            send_noise(victim, data, rng.choice((1, 7, 700)) if len(data) < 400 else 700)


# ---- other protocols ----


def test_hostile_tls_gets_no_answer_that_looks_like_tls(victim, unharmed):
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    for _ in range(10):
        with socket.create_connection(("127.0.0.1", victim.port), timeout=0.2) as sock, pytest.raises(OSError):
            context.wrap_socket(sock)


ATTACK = b"SET sentinel stolen\r\nSET attacker was-here\r\n" + encode("SET", "attacker", "was-here")


@pytest.mark.parametrize("request_line", ["GET", "POST", "PUT", "HEAD", "DELETE", "OPTIONS", "PATCH"])
def test_hostile_http_with_commands_in_its_body_carries_out_none(victim, unharmed, request_line):
    """What a web page, or a server that fetches what it is told to, can send to this port."""
    client = http.client.HTTPConnection("127.0.0.1", victim.port, timeout=TIMEOUT)
    try:
        client.request(request_line, "/x", body=b"\r\n" + ATTACK, headers={"Content-Type": "text/plain"})
        answer = client.sock.recv(65536)
    finally:
        client.close()
    assert answer == PROTOCOL_ERROR + b"HTTP is not spoken here\r\n"
    assert unharmed.command("EXISTS", "attacker") == 0
    wait_until(lambda: "protocol_error" in victim.log(), message="the operator is told")


def test_hostile_http_cut_anywhere_carries_out_none(victim, unharmed):
    request = b"POST /x HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 100\r\n\r\n" + ATTACK
    for at in range(1, 70, 3):
        with victim.raw() as conn:
            try:
                conn.send(request[:at])
                unharmed.command("PING")
                conn.send(request[at:])
                conn.shutdown_write()
            except OSError:
                pass
            assert conn.recv_until_closed().count(b"+OK") == 0
    assert unharmed.command("EXISTS", "attacker") == 0


# ---- ends of connections ----


def test_hostile_half_closed_connection_gets_all_its_replies(victim, unharmed):
    with victim.raw() as conn:
        conn.send(encode("SET", "h:half", "v" * 1000) + encode("GET", "h:half") * 2000 + encode("DEL", "h:half"))
        conn.shutdown_write()
        replies = conn.recv_until_closed()
    assert len(replies) == len(b"+OK\r\n:1\r\n") + 2000 * (len(b"$1000\r\n\r\n") + 1000)


def test_hostile_connections_that_are_reset_at_any_point(victim, unharmed):
    """Connect and vanish, with an RST, at once or with requests and replies under way."""
    payloads = (b"", b"*", encode("GET", "absent"), encode("ECHO", "x" * 10000) * 100 + encode("GET", "absent") * 10,
                b"*2\r\n$4\r\nECHO\r\n$1000000\r\nx", b"MULTI\r\nSET h:x 1\r\n", encode("KEYS", "*"))
    for i in range(140):
        conn = victim.raw()
        conn.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        conn.send(payloads[i % len(payloads)])
        conn.close()


def test_hostile_client_that_kills_itself_and_others(victim, unharmed):
    for command in (("CLIENT", "KILL", "TYPE", "normal", "SKIPME", "no", "ADDR"), ("CLIENT", "KILL")):
        with victim.raw() as conn:
            address = "%s:%d" % conn.sock.getsockname()
            conn.send(encode(*command, address) + b"SET sentinel broken\r\n")
            assert conn.read_reply() in ("OK", 1)
            assert conn.recv_until_closed() == b""
    killed = [victim.raw() for _ in range(50)]
    ids = [conn.command("CLIENT", "ID") for conn in killed]
    for i, conn in enumerate(killed):
        conn.send(encode("ECHO", "x" * 50000) * 20 if i % 2 else b"*1\r\n$4\r\nPI")
    with victim.raw() as conn:
        for each in ids:
            assert conn.command("CLIENT", "KILL", "ID", each) in (0, 1)
    for conn in killed:
        with pytest.raises(OSError):
            conn.recv(1 << 30)
        conn.close()


# ---- more than is fair ----


def push(conn, request, limit):
    """Sends it over and over without reading, until nothing is taken any more; returns how many bytes were."""
    conn.sock.setblocking(False)
    taken, at = 0, 0
    while taken < limit and select.select([], [conn.sock], [], 0.3 * SLOW)[1]:
        try:
            n = conn.sock.send(request[at:at + 65536])
        except BlockingIOError:
            continue
        except (BrokenPipeError, ConnectionResetError):
            break
        taken, at = taken + n, (at + n) % len(request)
    return taken


UNREAD = {
    "large": encode("ECHO", "x" * 60000),
    "small": b"PING\r\n" * 1000,
    "errors": b"NOSUCH x\r\n" * 1000,
    "texts": encode("COMMAND", "DOCS"),
    "mixed": encode("GET", "absent") * 500 + encode("ECHO", "y" * 500) * 500,
    "many_at_once": encode("MGET", *["sentinel"] * 16000),
    "lists": encode("CLIENT", "LIST") * 100 + encode("INFO") * 10,
}


@pytest.mark.parametrize("name", UNREAD)
def test_hostile_flood_of_requests_whose_replies_are_never_read(victim, unharmed, name):
    with victim.raw(unix=True) as conn:
        assert push(conn, UNREAD[name], 64 * MIB) < 64 * MIB
        assert unharmed.command("PING") == "PONG"


def test_hostile_million_commands_in_one_go(victim, unharmed):
    """Read by the one who sent them, but late."""
    with victim.raw() as conn:
        replies = bytearray()

        def read_late():
            time.sleep(0.2)
            while chunk := conn.sock.recv(1 << 20):
                replies.extend(chunk)

        reader = threading.Thread(target=read_late)
        reader.start()
        conn.send(b"PING\r\n" * 1000000 + b"QUIT\r\n")
        reader.join(TIMEOUT * 3)
    assert replies == b"+PONG\r\n" * 1000000 + b"+OK\r\n"


def test_hostile_output_ordered_many_times_over(victim, unharmed):
    """One request whose reply would take gigabytes."""
    assert unharmed.command("SET", "page", b"p" * 9000) == "OK"
    for command in (encode("MGET", *["page"] * 16384), b"MULTI\r\n" + encode("MGET", *["page"] * 1000) * 200 + b"EXEC\r\n"):
        with victim.raw() as conn:
            conn.send(command)
            data = b""
            while chunk := conn.sock.recv(1 << 20):
                data = chunk[-100:]
            assert not data.endswith(b"+PONG\r\n")
    assert unharmed.command("DEL", "page") == 1


MILLION = 1000000
MANY_ARGUMENTS = {
    "of_a_read": (("EXISTS", *["absent"] * MILLION), 0),
    "of_a_removal": (("DEL", *["absent"] * MILLION), 0),
    "of_pairs": (("MSET", *["h:same", "v"] * (MILLION // 4)), "OK"),
    "of_an_unknown_command": (("NOSUCH", *["x"] * MILLION), RespError),
    "of_options": (("SET", "h:same", "v", *["KEEPTTL"] * MILLION), "OK"),
    "of_filters": (("CLIENT", "LIST", "ID", *["1000000000"] * MILLION), b""),
    "of_settings": (("CONFIG", "GET", *["server.*"] * MILLION), RespError),
    "of_settings_to_set": (("CONFIG", "SET", *["log.level", "info"] * (MILLION // 2)), RespError),
}


@pytest.mark.parametrize("name", MANY_ARGUMENTS)
def test_hostile_million_arguments(victim, unharmed, name):
    command, expected = MANY_ARGUMENTS[name]
    with victim.raw(timeout=3 * TIMEOUT) as conn:
        reply = conn.command(*command)
        if victim.upstream and command[0] in ("EXISTS", "DEL", "MSET"):
            assert "upstream.keys_max" in str(reply)
        else:
            assert isinstance(reply, RespError) if expected is RespError else reply == expected
        assert conn.command("PING") == "PONG"
    unharmed.command("DEL", "h:same")


def test_hostile_patterns_that_fit_nearly_everywhere(victim, unharmed):
    """Matching must neither try all ways to spread stars, nor all places for one star, for as long as that takes."""
    unharmed.command("CLEAR", "ALL")
    assert unharmed.command("SET", "sentinel", "intact") == "OK"
    size = 10000 if victim.upstream else 1000000
    for i in range(8):
        assert unharmed.command("SET", "a" * size + str(i), "") == "OK"
    try:
        for pattern in ("*a" * 500 + "b", "a*" * 20000 + "b", "*" + "a" * 500 + "b", "*" + "a" * 900000 + "b", "*" + "?" * 100000 + "b",
                        "*" + "[a-z]" * 10000 + "b", "*" * MIB + "b", "*[" + "b" * 1000000, "*\\a" * 1000 + "b", "[^b]*" * 10000 + "b"):
            for command in (("KEYS", pattern), ("SCAN", "0", "COUNT", "1000000", "MATCH", pattern)):
                with victim.raw() as conn:
                    conn.send(encode(*command))
                    cpu = victim.cpu_seconds()
                    reply = conn.read_reply()
                    assert victim.cpu_seconds() - cpu < 0.5 * SLOW, pattern[:50]
                    assert reply in ([], [b"0", []]) or "takes too long" in str(reply), reply
    finally:
        for i in range(8):
            unharmed.command("DEL", "a" * size + str(i))


def test_hostile_values_that_grow_stop_at_a_limit(victim, unharmed):
    with victim.raw() as conn:
        replies = [conn.command("APPEND", "h:grown", "x" * 900000) for _ in range(60)]
        assert isinstance(replies[-1], RespError) and isinstance(replies[0], int)
        conn.command("DEL", "h:grown")
        for _ in range(60):
            assert conn.command("SETRANGE", "h:wide", 3000000, "x") == 3000001
            assert conn.command("DEL", "h:wide") == 1


# ---- many of them ----


def test_hostile_flood_of_connections(victim, unharmed):
    for _ in range(5):
        conns = [victim.raw(unix=i % 2 == 0) for i in range(200)]
        for i, conn in enumerate(conns):
            conn.send((b"PING\r\n", b"*1\r\n", b"*9\r\n$100\r\n", b"MULTI\r\nSET a b\r\n")[i % 4])
        assert unharmed.command("PING") == "PONG"
        for conn in conns:
            conn.close()


def test_hostile_slow_senders(victim, unharmed):
    """Each sends a byte now and then, and never comes to an end."""
    conns = [victim.raw(unix=i % 2 == 0) for i in range(300)]
    request = b"*3\r\n$3\r\nSET\r\n$1\r\nk\r\n$33000000\r\n"
    for at in range(len(request) + 20):
        for conn in conns:
            conn.send(request[at:at + 1] or b"x")
    assert unharmed.command("PING") == "PONG"
    for conn in conns:
        conn.close()


def test_hostile_sizes_announced_and_not_sent(victim, unharmed):
    conns = [victim.raw() for _ in range(200)]
    before = victim.rss()
    for conn in conns:
        conn.send(b"*1000000\r\n$3\r\nSET\r\n$33554432\r\n" + b"x" * 1000)
    unharmed.command("PING")
    assert victim.rss() - before < 16 * MIB + SANITIZER_ROOM
    for conn in conns:
        conn.close()


def test_hostile_transactions_left_open(victim, unharmed):
    for _ in range(50):
        with victim.raw() as conn:
            conn.send(b"MULTI\r\n" + encode("SET", "sentinel", "x" * 5000) * 100)
            assert conn.read_reply() == "OK"


def test_hostile_transaction_of_more_than_a_request_may_have(victim, unharmed):
    """By their number, and by their size."""
    for request, n in ((encode("SET", "sentinel", "x" * 100), 300000), (encode("SET", "sentinel", "x" * 400000), 120)):
        with victim.raw(timeout=3 * TIMEOUT) as conn:
            queued = refused = 0
            sender = threading.Thread(target=conn.send, args=(b"MULTI\r\n" + request * n + b"EXEC\r\n",))
            sender.start()
            assert conn.read_reply() == "OK"
            for _ in range(n):
                reply = conn.read_reply()
                queued += reply == "QUEUED"
                refused += "client.request_max" in str(reply)
            assert queued + refused == n and refused
            assert "EXECABORT" in str(conn.read_reply())
            sender.join(TIMEOUT)


def test_hostile_names_in_great_number(victim, unharmed):
    """Texts that the daemon keeps for a connection or shows to others."""
    with victim.raw() as conn:
        for i in range(300):
            assert conn.command("CLIENT", "SETNAME", f"n{i}" * 200) == "OK"
            conn.command("CLIENT", "SETINFO", "LIB-NAME", f"l{i}" * 200)
            conn.command("SET", "h:named", "v", "MODEL", f"model-{i}-" + "m" * 240)
        assert len(unharmed.command("CLIENT", "LIST")) < 10000
        for bad in ("", "a" * 70000, "\x00", "m\r\nx"):
            conn.command("MODEL", "USE", bad)
            conn.command("CLEAR", "MODEL", bad)
        assert conn.command("DEL", "h:named") == 1
        assert conn.command("PING") == "PONG"


def test_hostile_passwords_guessed_by_the_thousand(make_harcad):
    """Before the password is known: nothing but errors, no memory, and no end of the daemon."""
    harcad = make_harcad({"server.password": "secret"})
    wrong = b"-WRONGPASS"
    with Watch(harcad) as watch:
        for _ in range(20):
            with harcad.raw() as conn, contextlib.suppress(BrokenPipeError, ConnectionResetError):
                conn.send(encode("AUTH", "x" * MIB))  # it may be closed before all of that has been sent
                assert conn.recv_until_closed().startswith(PROTOCOL_ERROR)
        with harcad.raw() as conn:
            conn.send(encode("AUTH", "x" * 16384) * 200 + encode("AUTH", "secre") * 5000 + encode("AUTH", "secret\x00") + encode("QUIT"))
            replies = conn.recv_until_closed().split(b"\r\n")
            assert len(replies) == 5203 and all(reply.startswith(wrong) for reply in replies[:-2])
        for request in (encode("GET", "k"), b"GET k\r\n", b"MULTI\r\n", b"CLIENT KILL TYPE normal\r\n", b"RESET\r\nGET k\r\n",
                        b"HELLO 3 SETNAME x\r\n", b"SHUTDOWN\r\n", b"NOSUCH\r\n", b"*11\r\n$3\r\nDEL\r\n", b"\x00\r\n"):
            with harcad.raw() as conn:
                conn.send(request + encode("QUIT"))
                assert conn.recv_until_closed().count(b"+OK") <= 1
        assert watch.other.command("PING") == "PONG"


@pytest.mark.tsan
def test_hostile_flood_beyond_maxclients(make_harcad):
    """Whoever comes too late is told so; whoever was there is served; and when some leave, others may come."""
    harcad = make_harcad({"server.maxclients": "50", "server.workers": "2"})
    conns = []
    try:
        with Watch(harcad) as watch:
            wait_until(lambda: b"connected_clients:2\r\n" in watch.other.command("INFO", "clients"))
            for i in range(1000):
                conns.append(harcad.raw(unix=i % 2 == 0))
            told = 0
            for conn in conns:
                try:
                    conn.send(b"PING\r\n")
                    reply = conn.read_reply()
                except OSError:
                    told += 1  # the refusal was overtaken by the reset that sending to a closed socket brings
                    continue
                assert reply == "PONG" or "max number of clients" in str(reply)
                told += reply != "PONG"
            assert told >= 950
            for conn in conns:
                conn.close()
    finally:
        for conn in conns:
            conn.close()


NEVER_READ = 100


@pytest.mark.tsan
@pytest.mark.parametrize("workers", [1, 2])
def test_hostile_hundred_connections_that_never_read_are_bounded_together(make_harcad, workers):
    """Each stays below its own limits; the sum does not, so those that hold most go, and who reads stays."""
    bound = 16 * MIB
    harcad = make_harcad({"memory.max_bytes": "32M", "client.memory_max": "16M", "client.stall_timeout": "0", "server.workers": workers})
    with Watch(harcad) as watch, contextlib.ExitStack() as stack:
        other = watch.other
        other.command("SET", "large", b"v" * 100_000)
        # Not over TCP, where the system may take many megabytes off the daemon's hands.
        hostile = [stack.enter_context(RawConn(harcad.unix_path)) for _ in range(NEVER_READ)]
        for conn in hostile:
            with contextlib.suppress(OSError):
                conn.send(encode("GET", "large") * 120)
            assert other.command("PING") == "PONG"
        wait_until(lambda: int(harcad.info()["evicted_clients"]) > 0, message="some are evicted")
        wait_until(lambda: int(harcad.info()["mem_clients_normal"]) <= bound, message="the rest fits")
        info = harcad.info()
        assert int(info["evicted_clients"]) < NEVER_READ, "no more of them than must"
        assert int(info["connected_clients"]) >= NEVER_READ - int(info["evicted_clients"])
        assert other.command("PING") == "PONG"
        assert harcad.rss() < 200 * MIB + SANITIZER_ROOM
    assert "why=client.memory_max" in harcad.log()
    wait_until(lambda: int(harcad.info()["mem_clients_normal"]) < MIB, message="nothing is left of them")


@pytest.mark.tsan
@pytest.mark.parametrize("workers", [1, 2])
def test_hostile_memory_of_a_client_with_no_evict_is_spared(make_harcad, workers):
    """It holds the most, and another goes instead; once it has given that up, it goes."""
    harcad = make_harcad({"client.memory_max": "16M", "client.output_pause": "32M", "server.workers": workers})
    ids = {}

    def holds(name, n, *commands):
        """A client with so many MiB of replies that it does not read."""
        conn = stack.enter_context(harcad.raw(unix=True))
        ids[name] = conn.command("CLIENT", "ID")
        for command in commands:
            assert conn.command(*command) == "OK"
        conn.send(encode("GET", "large") * n)
        return conn

    def there():
        """Which of them are, and with which flags."""
        shown = watch.other.command("CLIENT", "LIST", "ID", *ids.values()).decode()
        return {name: re.search(rf"^id={id} .* flags=(\w+) ", shown, re.M) for name, id in ids.items() if f"id={id} " in shown}

    with Watch(harcad) as watch, contextlib.ExitStack() as stack:
        assert watch.other.command("SET", "large", b"v" * MIB) == "OK"
        spared = holds("spared", 11, ["CLIENT", "NO-EVICT", "ON"])
        holds("small", 2)
        wait_until(lambda: int(harcad.info()["mem_clients_normal"]) > 11 * MIB, message="they do")
        holds("large", 6)
        wait_until(lambda: set(there()) == {"spared", "small"}, message="another goes")
        assert {name: match[1] for name, match in there().items()} == {"spared": "Ue", "small": "U"}
        spared.send(encode("CLIENT", "NO-EVICT", "OFF"))
        wait_until(lambda: there()["spared"][1] == "U", message="it may be evicted again")
        holds("another", 6)
        wait_until(lambda: set(there()) == {"small", "another"}, message="the largest goes")
        assert harcad.info()["evicted_clients"] == 2


def test_hostile_memory_of_clients_lowered_at_run_time(make_harcad):
    """Unfinished requests count, and a bound set later holds at once; 0 is none."""
    harcad = make_harcad({"client.memory_max": "0"})
    with Watch(harcad) as watch, contextlib.ExitStack() as stack:
        other = watch.other
        for _ in range(8):
            conn = stack.enter_context(harcad.raw())
            conn.send(b"*3\r\n$3\r\nSET\r\n$1\r\nk\r\n$2000000\r\n" + b"v" * 1_900_000)
        wait_until(lambda: int(harcad.info()["mem_clients_normal"]) > 8 * 1_900_000, message="all of it has come")
        assert harcad.info()["evicted_clients"] in ("0", 0)
        assert other.command("CONFIG", "SET", "client.memory_max", "8M") == "OK"
        wait_until(lambda: int(harcad.info()["mem_clients_normal"]) <= 8 * MIB, message="the bound holds")
        assert 4 <= int(harcad.info()["evicted_clients"]) <= 7
        assert other.command("PING") == "PONG"
