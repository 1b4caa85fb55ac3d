"""The harness itself: what tests rely on when they blame the daemon."""

import os
import threading
import time

import pytest
import redis as redis_py

import harcad_harness as harness
from harcad_harness import CUT, DROP, PAUSE, RawConn, RespError, TIMEOUT, free_port, wait_until


def gone(path):
    return not os.path.exists(path)


# ---- waiting and ports ----


def test_wait_until_returns_the_value_or_fails_with_the_reason():
    values = iter([0, None, "yes"])
    assert wait_until(lambda: next(values)) == "yes"
    with pytest.raises(AssertionError, match="pigs fly.*last value: False"):
        wait_until(lambda: False, 0.05, "pigs fly")
    with pytest.raises(AssertionError, match="last error.*boom"):
        wait_until(lambda: (_ for _ in ()).throw(ConnectionError("boom")), 0.05)


def test_free_port_gives_different_ports():
    ports = [free_port() for _ in range(50)]
    assert len(set(ports)) == 50


# ---- Redis ----


def test_redis_start_and_close_leave_nothing_behind(make_redis):
    server = make_redis(unix=True)
    assert server.client().set("a", 1)
    with redis_py.Redis(unix_socket_path=server.unix_path) as client:
        assert client.get("a") == b"1"
    pid, directory = server.pid, server.dir
    server.close()
    assert gone(f"/proc/{pid}") and gone(directory)


def test_redis_options_reach_the_server(make_redis):
    server = make_redis(maxmemory="7mb", requirepass="secret")
    assert server.client().config_get("maxmemory") == {"maxmemory": str(7 * 1024 * 1024)}
    with pytest.raises(redis_py.AuthenticationError):
        server.client(password=None).ping()


def test_redis_restart_keeps_or_loses_data_on_the_same_port(redis_server):
    port = redis_server.port
    redis_server.client().set("a", 1)
    redis_server.restart()
    assert redis_server.port == port
    assert redis_server.client().get("a") == b"1"
    redis_server.restart(keep_data=False)
    assert redis_server.client().get("a") is None
    redis_server.client().set("a", 2)
    redis_server.restart(hard=True, keep_data=False)
    assert redis_server.client().get("a") is None


def test_redis_pause_blocks_and_resume_goes_on(redis_server):
    redis_server.pause()
    with pytest.raises(redis_py.TimeoutError):
        redis_server.client(socket_timeout=0.1).ping()
    redis_server.resume()
    assert redis_server.client().ping()


def test_redis_that_cannot_start_shows_its_log(make_redis):
    with pytest.raises(harness.EarlyExit, match="Bad directive|wrong number"):
        make_redis(no_such_option="1")


# ---- the raw connection ----


def test_raw_reads_each_kind_of_reply(redis_server):
    with RawConn(redis_server.address) as conn:
        assert conn.command("SET", "k", b"\x00\r\n") == "OK"
        assert conn.command("GET", "k") == b"\x00\r\n"
        assert conn.command("GET", "none") is None
        assert conn.command("STRLEN", "k") == 3
        assert conn.command("NOPE") == RespError("ERR unknown command 'NOPE', with args beginning with: ")
        assert conn.command("MGET", "k", "none") == [b"\x00\r\n", None]
        assert conn.command("HELLO", "3")[b"proto"] == 3
        assert conn.command("GET", "none") is None
        assert conn.command("DEBUG", "PROTOCOL", "double") == 3.141
        assert conn.command("DEBUG", "PROTOCOL", "true") is True
        assert conn.command("DEBUG", "PROTOCOL", "set") == [0, 1, 2]
        assert conn.command("DEBUG", "PROTOCOL", "verbatim") == b"This is a verbatim\nstring"
        conn.command("SUBSCRIBE", "channel")
        redis_server.client().publish("channel", "hello")
        assert conn.read_reply() == harness.Push([b"message", b"channel", b"hello"])


def test_raw_sends_bytes_and_sees_the_end(redis_server):
    with RawConn(redis_server.address) as conn:
        conn.send(b"PING\r\nPI")
        assert conn.recv(7) == b"+PONG\r\n"
        conn.send(b"NG\r\n*1\r\n$-5\r\n")
        assert conn.recv_until_closed() == b"+PONG\r\n-ERR Protocol error: invalid bulk length\r\n"


# ---- the proxy ----


@pytest.fixture
def proxy(redis_server, make_proxy):
    return make_proxy(redis_server.address)


@pytest.fixture
def conn(proxy):
    with RawConn(proxy.address) as connection:
        assert connection.command("PING") == "PONG"
        yield connection


def silent(connection, seconds=0.2):
    """True when nothing comes, not even an end."""
    connection.sock.settimeout(seconds)
    try:
        connection.recv(1)
    except TimeoutError:
        return True
    finally:
        connection.sock.settimeout(TIMEOUT)
    return False


def test_proxy_passes_large_values_unchanged(conn, proxy):
    value = os.urandom(3_000_000)
    assert conn.command("SET", "k", value) == "OK"
    assert conn.command("GET", "k") == value
    assert proxy.bytes["up"] > 3_000_000 and proxy.bytes["down"] > 3_000_000


def test_proxy_delay_postpones_replies_but_keeps_pipelining(conn, proxy):
    proxy.delay = 0.1
    started = time.monotonic()
    for _ in range(5):
        conn.send(b"PING\r\n")
        time.sleep(0.01)
    for _ in range(5):
        assert conn.read_reply() == "PONG"
    took = time.monotonic() - started
    assert 0.1 <= took < 5 * 0.1, "not one after the other"


@pytest.mark.parametrize("direction", ["up", "down", None])
def test_proxy_pause_is_silent_and_resume_delivers(conn, proxy, redis_server, direction):
    proxy.pause(direction)
    conn.send(RawConn.encode("INCR", "n"))
    assert silent(conn)
    assert redis_server.client().get("n") == (b"1" if direction == "down" else None)
    proxy.resume(direction)
    assert conn.read_reply() == 1


def test_proxy_drop_loses_what_was_sent(conn, proxy):
    proxy.drop("down")
    conn.send(RawConn.encode("INCR", "n"))
    assert silent(conn)
    proxy.normal()
    assert conn.command("INCR", "n") == 2


@pytest.mark.parametrize("fin", [True, False])
def test_proxy_cut_ends_connections_but_takes_new_ones(conn, proxy, fin):
    proxy.cut(fin=fin)
    if fin:
        assert conn.recv_until_closed() == b""
    else:
        with pytest.raises(ConnectionResetError):
            conn.recv(1)
    with RawConn(proxy.address) as other:
        assert other.command("PING") == "PONG"
    assert proxy.accepted == 2


def test_proxy_refuse_until_accept(conn, proxy):
    proxy.refuse()
    with pytest.raises(ConnectionRefusedError):
        RawConn(proxy.address)
    proxy.accept()
    with RawConn(proxy.address) as other:
        assert other.command("PING") == "PONG"


def test_proxy_on_data_decides_by_the_bytes(conn, proxy, redis_server):
    seen = []

    def decide(direction, data, number):
        seen.append((direction, number))
        if direction == "up" and b"LOSE" in data:
            return DROP
        if direction == "down" and data == b"+PONG\r\n":
            return b"+GNOP\r\n"
        if b"STOP" in data:
            return PAUSE
        return CUT if b"CUT" in data else None

    proxy.on_data = decide
    assert conn.command("PING") == "GNOP"
    assert seen == [("up", 1), ("down", 1)]
    conn.send(RawConn.encode("SET", "LOSE", "1"))
    assert silent(conn)
    conn.send(RawConn.encode("SET", "STOP", "1"))
    assert silent(conn)
    proxy.resume()
    assert conn.read_reply() == "OK"
    conn.send(RawConn.encode("SET", "CUT", "1"))
    with pytest.raises(ConnectionResetError):
        conn.recv(1)
    assert redis_server.client().keys() == [b"STOP"]


def test_proxy_end_of_either_side_reaches_the_other(conn, proxy, redis_server):
    conn.shutdown_write()
    assert conn.recv_until_closed() == b""
    with RawConn(proxy.address) as other:
        assert other.command("PING") == "PONG"
        redis_server.kill()
        assert other.recv_until_closed() == b""
    wait_until(lambda: proxy.connections == 0, message="no connection is left")


def test_proxy_target_gone_ends_new_connections(proxy, redis_server):
    redis_server.kill()
    with RawConn(proxy.address) as connection:
        assert connection.recv_until_closed() == b""


def test_proxy_close_ends_its_thread(redis_server, make_proxy):
    before = threading.active_count()
    proxy = make_proxy(redis_server.address)
    with RawConn(proxy.address) as connection:
        connection.command("PING")
        proxy.pause()
        proxy.close()
    assert threading.active_count() == before
