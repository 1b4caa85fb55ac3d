"""What a client may cost: connections, request sizes, unread replies, time. Whoever goes over a limit is told which or
closed, and nobody else notices."""

import select
import threading
import time

import pytest

from bystander import Bystander
from harcad_harness import RawConn, RespError, SANITIZER_ROOM, SLOW, TIMEOUT, wait_until

MIB = 1 << 20


def encode(*args):
    return RawConn.encode(*args)


def send_while_taken(sock, data, quiet=0.5, limit=1 << 40):
    """Sends `data` over and over until nothing has been taken for `quiet` seconds, or the other side closed; returns
    how many bytes were taken."""
    sock.setblocking(False)
    sent, at = 0, 0
    view = memoryview(data)
    while sent < limit:
        if not select.select([], [sock], [], quiet * SLOW)[1]:
            return sent
        try:
            n = sock.send(view[at:at + 65536])
        except BlockingIOError:
            continue
        except (ConnectionResetError, BrokenPipeError):
            return sent
        sent += n
        at = (at + n) % len(data)
    return sent


# ---- connections ----


def test_limits_maxclients_refuses_with_redis_text_and_recovers(make_harcad):
    harcad = make_harcad({"server.maxclients": "5"})
    conns = []

    def connect():
        """A place that was taken is free a moment after its holder has left."""
        conn = harcad.raw()
        if conn.command("PING") == "PONG":
            conns.append(conn)
            return True
        conn.close()
        return False

    try:
        for _ in range(5):
            wait_until(connect)
        conns[0].command("CONFIG", "RESETSTAT")
        assert [conn.command("PING") for conn in conns] == ["PONG"] * 5
        for unix in (False, True):
            with harcad.raw(unix=unix) as refused:
                assert refused.recv_until_closed() == b"-ERR max number of clients reached\r\n"
        assert [conn.command("PING") for conn in conns] == ["PONG"] * 5
        assert b"rejected_connections:2\r\n" in conns[0].command("INFO", "stats")
        conns.pop().close()
        wait_until(connect, message="a place became free")
        # More may come as soon as the limit says so.
        assert conns[0].command("CONFIG", "SET", "server.maxclients", "8") == "OK"
        conns += [harcad.raw() for _ in range(3)]
        assert [conn.command("PING") for conn in conns] == ["PONG"] * 8
    finally:
        for conn in conns:
            conn.close()


def test_limits_thousand_connections_opened_and_closed_leave_no_descriptor(make_harcad):
    harcad = make_harcad({"server.workers": "2"})
    with harcad.raw() as conn:
        wait_until(lambda: b"connected_clients:1\r\n" in conn.command("INFO", "clients"))
        before = harcad.open_fds()
        for i in range(1000):
            with harcad.raw(unix=i % 3 == 0) as each:
                if i % 2:
                    each.send(b"PING\r\n" if i % 4 == 1 else b"*2\r\n$4\r\nECHO\r\n$100\r\nhalf")
        # The last of them may not even have been accepted yet.
        wait_until(lambda: b"connected_clients:1\r\n" in conn.command("INFO", "clients") and
                   int(harcad.info()["total_connections_received"]) >= 1001, message="all have come and gone")
        wait_until(lambda: harcad.open_fds() <= before, message="descriptors are closed again")
        assert conn.command("PING") == "PONG"


# ---- the size of requests ----

VALUE_MAX, ARGS_MAX, INLINE_MAX, REQUEST_MAX = 2048, 20, 1024, 4096


@pytest.fixture(scope="module")
def bounded_requests():
    from harcad_harness import Harcad

    with Harcad({"client.value_max": VALUE_MAX, "client.args_max": ARGS_MAX, "client.inline_max": INLINE_MAX,
                 "client.request_max": REQUEST_MAX}) as harcad:
        yield harcad
        harcad.stop()


def set_of_size(size):
    """A request of that many bytes in all, no argument of it longer than VALUE_MAX."""
    def request(last):
        return encode("MSET", "a", "x" * 1500, "b", "y" * 1500, "c", "z" * last)

    right = request(1000 + size - len(request(1000)))
    assert len(right) == size
    return right


BOUNDS = {
    "value_max": (VALUE_MAX, lambda n: encode("SET", "k", "v" * n), "invalid bulk length"),
    "args_max": (ARGS_MAX, lambda n: encode("DEL", *["k"] * (n - 1)), "invalid multibulk length"),
    "args_max_inline": (ARGS_MAX, lambda n: b"DEL" + b" k" * (n - 1) + b"\n", "invalid multibulk length"),
    "inline_max": (INLINE_MAX, lambda n: b"SET k " + b"v" * (n - 6) + b"\n", "too big inline request"),
    "request_max": (REQUEST_MAX, set_of_size, "request too large"),
}


@pytest.mark.parametrize("name", BOUNDS)
def test_limits_request_at_the_bound_is_served_and_beyond_it_refused(bounded_requests, name):
    harcad = bounded_requests
    bound, request, error = BOUNDS[name]
    with harcad.raw() as other:
        other.command("SET", "sentinel", "intact")
        for n in (bound - 1, bound):
            with harcad.raw() as conn:
                conn.send(request(n) + b"PING\r\n")
                assert not isinstance(conn.read_reply(), RespError)
                assert conn.read_reply() == "PONG"
        with harcad.raw() as conn:
            conn.send(b"PING\r\n" + request(bound + 1) + b"SET sentinel broken\r\n")
            assert conn.recv_until_closed() == f"+PONG\r\n-ERR Protocol error: {error}\r\n".encode()
        assert other.command("GET", "sentinel") == b"intact"


def test_limits_inline_line_without_end_is_refused_before_its_end(bounded_requests):
    with bounded_requests.raw() as conn:
        conn.send(b"x" * (INLINE_MAX + 1))
        assert conn.recv_until_closed() == b"-ERR Protocol error: too big inline request\r\n"


def test_limits_announced_size_costs_nothing_before_its_bytes_come(harcad):
    before = harcad.rss()
    conns = [harcad.raw() for _ in range(50)]
    for conn in conns:
        conn.send(b"PING\r\n*3\r\n$3\r\nSET\r\n$1\r\nk\r\n$500000000\r\nxyz")
    assert [conn.read_reply() for conn in conns] == ["PONG"] * 50
    assert harcad.client().ping()
    assert harcad.rss() - before < 50 * MIB + SANITIZER_ROOM
    for conn in conns:
        conn.close()


def test_limits_change_of_a_limit_reaches_open_connections(harcad):
    with harcad.raw() as conn, harcad.raw() as other:
        assert conn.command("SET", "k", "v" * 2000) == "OK"
        assert other.command("CONFIG", "SET", "client.value_max", "1024") == "OK"

        def refused():
            with harcad.raw() as each:
                return isinstance(each.command("SET", "k", "v" * 2000), RespError)

        wait_until(refused, message="the new limit holds")
        conn.send(encode("SET", "k", "v" * 2000))
        assert conn.recv_until_closed() == b"-ERR Protocol error: invalid bulk length\r\n"


def test_limits_transaction_is_bounded_also_in_number(make_harcad):
    """What is queued costs more than its bytes."""
    harcad = make_harcad({"client.request_max": "1M", "client.value_max": "64K"})
    with harcad.raw() as conn:
        assert conn.command("MULTI") == "OK"
        conn.send(b"PING\r\n" * 50000)
        replies = [conn.read_reply() for _ in range(50000)]
        assert replies[0] == "QUEUED"
        assert replies[-1] == RespError("ERR transaction is larger than client.request_max")
        assert str(conn.command("EXEC")).startswith("EXECABORT")
        assert conn.command("PING") == "PONG"


# ---- clients who have not given the password ----


def test_limits_unauthenticated_client_is_refused_and_small(make_harcad):
    harcad = make_harcad({"server.password": "secret"})
    noauth = RespError("NOAUTH Authentication required.")
    with harcad.raw() as conn:
        for command in (["GET", "k"], ["PING"], ["INFO"], ["CONFIG", "GET", "*"], ["FLUSHALL"], ["MULTI"], ["CLIENT", "LIST"],
                        ["SHUTDOWN"], ["COMMAND"], ["SET", "k", "v" * 16384]):
            assert conn.command(*command) == noauth, command
        # No more memory for them than AUTH and HELLO need, as in Redis.
        conn.send(encode("SET", "k", "v" * 16385))
        assert conn.recv_until_closed().startswith(b"-ERR Protocol error: ")
    with harcad.raw() as conn:
        conn.send(encode("MGET", *["k"] * 10))
        assert conn.recv_until_closed().startswith(b"-ERR Protocol error: ")
    with harcad.raw() as conn:
        assert str(conn.command("AUTH", "wrong")).startswith("WRONGPASS")
        assert conn.command("GET", "k") == noauth
        # The limits go with the password, in the middle of a pipeline too.
        conn.send(encode("AUTH", "secret") + encode("SET", "k", "v" * 20000) + encode("MGET", *["k"] * 20) + encode("RESET")
                  + encode("GET", "k"))
        assert [conn.read_reply() for _ in range(2)] == ["OK", "OK"]
        assert len(conn.read_reply()) == 20
        assert [conn.read_reply() for _ in range(2)] == ["RESET", noauth]


def test_limits_memory_of_large_values_comes_back_when_they_are_gone(make_harcad):
    harcad = make_harcad({"memory.max_bytes": "1G"})
    client = harcad.client()
    client.set("small", b"v")
    before = harcad.rss()
    for number in range(40):
        assert client.set(f"large:{number % 4}", bytes([number]) * (MIB + number * 10_000))
        assert client.get(f"large:{number % 4}") == bytes([number]) * (MIB + number * 10_000)
    assert client.delete(*(f"large:{number}" for number in range(4))) == 4
    wait_until(lambda: harcad.rss() - before < 2 * MIB + SANITIZER_ROOM, message="it is given back")


# ---- replies that are not read ----


def test_limits_client_that_never_reads_is_bounded_then_closed_for_stalling(make_harcad):
    harcad = make_harcad({"client.stall_timeout": f"{int(3 * SLOW)}s"})
    with harcad.raw() as setup:
        assert setup.command("SET", "big", b"v" * MIB) == "OK"
    with Bystander(harcad) as bystander, harcad.raw() as conn:
        before = harcad.rss()
        pipeline = encode("GET", "big") * 1000
        sent = send_while_taken(conn.sock, pipeline, limit=1000 * len(pipeline))
        assert sent < 1000 * len(pipeline), "a million commands were taken from who reads nothing"
        assert harcad.rss() - before < 64 * MIB + SANITIZER_ROOM
        wait_until(lambda: "why=client.stall_timeout" in harcad.log(), message="it is closed")
        wait_until(lambda: harcad.info()["connected_clients"] == 2)
        assert harcad.rss() - before < 64 * MIB + SANITIZER_ROOM
        bystander.check(harcad)


def test_limits_client_that_never_reads_is_stalled_whatever_it_sends(make_harcad):
    """It may go on sending, since what waits for it is less than client.output_pause."""
    harcad = make_harcad({"client.stall_timeout": f"{int(1000 * SLOW)}ms"})
    admin = harcad.client()
    admin.set("k", b"v" * 100_000)
    with harcad.raw(unix=True) as conn:
        conn.command("CLIENT", "SETNAME", "stalled")

        def is_full():
            """What the sockets' buffers do not hold waits in the daemon."""
            return all(int(one["omem"]) > 0 for one in admin.client_list() if one["name"] == "stalled")

        while not is_full():
            conn.send(encode("GET", "k"))
        until = time.monotonic() + 10 * SLOW
        with pytest.raises(ConnectionError):
            while time.monotonic() < until:
                conn.sock.sendall(b"\r\n" * 16384)
        assert "why=client.stall_timeout" in harcad.log()


def test_limits_slow_reader_gets_everything(make_harcad):
    """Pausing is not losing: who reads late gets every reply, and what it sent meanwhile is served."""
    harcad = make_harcad({"client.output_pause": "64K"})
    with harcad.raw(unix=True) as conn:
        assert conn.command("SET", "k", b"v" * 5000) == "OK"
        n = 4000
        sender = threading.Thread(target=conn.send, args=(b"".join(encode("GET", "k") + encode("ECHO", i) for i in range(n)),))
        sender.start()
        for i in range(n):
            assert len(conn.read_reply()) == 5000
            assert conn.read_reply() == str(i).encode()
        sender.join(TIMEOUT)
        assert conn.command("PING") == "PONG"


def test_limits_fast_reader_of_large_replies_is_never_left_waiting(make_harcad):
    """The replies exceed client.output_pause again and again, and the socket takes them: nothing may get stuck."""
    harcad = make_harcad({"client.output_pause": "4K"})
    with harcad.raw() as conn:
        assert conn.command("SET", "k", b"v" * 6000) == "OK"
        for n in list(range(1, 40)) * 5:
            conn.send(encode("GET", "k") * n)
            assert [len(conn.read_reply()) for _ in range(n)] == [6000] * n
        conn.send(encode("GET", "k") * 300)
        conn.shutdown_write()
        assert [len(conn.read_reply()) for _ in range(300)] == [6000] * 300
        assert conn.recv_until_closed() == b""


def test_limits_client_over_output_max_is_closed(make_harcad):
    harcad = make_harcad({"client.output_max": "256K", "client.output_pause": "64K"})
    with Bystander(harcad) as bystander:
        with harcad.raw() as conn:
            assert conn.command("SET", "big", b"v" * MIB) == "OK"
            assert conn.command("SET", "fits", b"v" * 200000) == "OK"
            assert len(conn.command("GET", "fits")) == 200000
            conn.send(encode("GET", "big") + b"PING\r\n")
            assert len(conn.recv_until_closed()) < MIB
        assert "why=client.output_max" in harcad.log()
        bystander.check(harcad)


def test_limits_one_reply_cannot_take_more_memory_than_output_max(make_harcad):
    harcad = make_harcad({"client.output_max": "8M"})
    with Bystander(harcad) as bystander:
        with harcad.raw() as conn:
            assert conn.command("SET", "k", b"v" * 8000) == "OK"
            before = harcad.rss()
            conn.send(encode("MGET", *["k"] * 50000))  # 400 MB
            assert len(conn.recv_until_closed()) <= 8 * MIB
            assert harcad.rss_peak() - before < 64 * MIB + SANITIZER_ROOM
            assert "why=client.output_max" in harcad.log()
        bystander.check(harcad)


def test_limits_replies_that_waited_take_no_more_memory_than_they_are_long(redis_server, make_harcad):
    harcad = make_harcad({"client.output_pause": "8M", "upstream.timeout": "30s"}, upstream=redis_server)
    harcad.wait_info(upstream_state="up")
    with harcad.raw(unix=True) as conn:
        before = harcad.rss()
        # Each ECHO is answered at once, but behind a GET that has to ask the upstream.
        pipeline = b"".join(encode("GET", f"absent:{i}") + encode("ECHO", "x" * 400) for i in range(500))
        send_while_taken(conn.sock, pipeline, quiet=2)
        assert harcad.rss_peak() - before < 64 * MIB + SANITIZER_ROOM


# ---- time ----


def test_limits_idle_is_who_has_sent_nothing_since_it_was_answered(redis_server, make_harcad):
    """The answer takes longer to come than a client may be idle."""
    harcad = make_harcad({"client.idle_timeout": f"{int(3 * SLOW)}s", "upstream.timeout": "60s", "fleet.lease": "60s"}, upstream=redis_server)
    harcad.wait_info(upstream_state="up")
    redis_server.client().execute_command("CLIENT", "PAUSE", int(4000 * SLOW), "ALL")
    with harcad.raw() as conn:
        assert conn.command("GET", "absent") is None
        assert not select.select([conn.sock], [], [], 1.5 * SLOW)[0], "it is not closed"
        assert conn.command("PING") == "PONG"


def test_limits_idle_timeout_closes_only_the_idle(make_harcad):
    harcad = make_harcad({"client.idle_timeout": f"{int(2 * SLOW)}s"})
    with harcad.raw() as idle, harcad.raw() as half, harcad.raw() as busy:
        half.send(b"*2\r\n$4\r\nECHO\r\n$10\r\n12345")
        deadline = time.monotonic() + TIMEOUT
        open_still = {idle.sock, half.sock}
        while open_still and time.monotonic() < deadline:
            assert busy.command("PING") == "PONG"
            for sock in select.select(list(open_still), [], [], 0.1)[0]:
                assert sock.recv(100) == b""
                open_still.discard(sock)
        assert not open_still
        assert busy.command("PING") == "PONG"
