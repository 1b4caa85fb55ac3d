"""Many commands at once: whatever arrives in whatever pieces, replies come complete and in order, also when some of
them have to wait for the upstream."""

import contextlib
import random
import signal
import threading
import time

import pytest

from harcad_harness import RawConn, RespError, TIMEOUT, wait_until

encode = RawConn.encode


@pytest.fixture
def slow_fleet(redis_server, make_proxy, make_harcad):
    """A daemon whose upstream answers late: (redis, proxy, harcad)."""
    proxy = make_proxy(redis_server.address)
    harcad = make_harcad({"upstream.timeout": "30s"}, upstream=proxy)
    harcad.wait_info(upstream_state="up", event_link="up")
    proxy.delay = 0.1
    return redis_server, proxy, harcad


# ---- pieces ----


@pytest.mark.tsan
def test_pipelines_one_byte_at_a_time(harcad):
    with harcad.raw() as conn:
        for byte in encode("SET", "k", b"a\r\nb") + b"get 'k'\r\n" + encode("MGET", "k", "absent") + b"\r\n*0\r\nPING\r\n":
            conn.send(bytes([byte]))
        assert [conn.read_reply() for _ in range(4)] == ["OK", b"a\r\nb", [b"a\r\nb", None], "PONG"]


@pytest.mark.tsan
def test_pipelines_hundred_thousand_commands_in_one_write(harcad):
    n = 50000
    with harcad.raw() as conn:
        data = b"".join(encode("SET", f"k:{i % 1000}", i) + encode("GET", f"k:{i % 1000}") for i in range(n))
        sender = threading.Thread(target=conn.send, args=(data,))
        sender.start()
        expected = b"".join(b"+OK\r\n$%d\r\n%d\r\n" % (len(str(i)), i) for i in range(n))
        assert conn.recv(len(expected)) == expected
        sender.join(TIMEOUT)
        assert conn.command("PING") == "PONG"


@pytest.mark.parametrize("slowlog_len", [0, 128])
@pytest.mark.parametrize("append", ["APPEND", "SETRANGE"])
def test_pipelines_of_what_takes_long_leave_others_their_turn(make_harcad, append, slowlog_len):
    """A command that copies a large value takes a tenth of a millisecond; each of hundreds that come in one read."""
    harcad = make_harcad({"server.workers": 1, "server.slowlog_max_len": slowlog_len, "file.enabled": "no"})
    size, n = 1 << 20, 300
    with harcad.raw() as busy, harcad.raw() as other:
        words = ["large", "y"] if append == "APPEND" else ["large", size - 1, "y"]

        def served_between():
            """Unless the other had no processor just then."""
            assert busy.command("SET", "large", b"x" * size) == "OK" and other.command("DEL", "n") in (0, 1)
            busy.send((encode(append, *words) + encode("INCR", "n")) * n)
            seen = 0
            while seen == 0:
                seen = int(other.command("GET", "n") or 0)
            for i in range(1, n + 1):
                assert [busy.read_reply() for _ in range(2)] == [size + i if append == "APPEND" else size, i]
            return seen < n // 2

        wait_until(served_between)


def test_pipelines_have_the_turn_that_the_setting_says(make_harcad):
    """Others are let in between or not, as it is changed; if they have a processor just then."""
    harcad = make_harcad({"server.workers": 1, "file.enabled": "no", "client.turn_us": 10000000})
    size, n = 1 << 20, 300
    with harcad.raw() as busy, harcad.raw() as other:
        def seen_first():
            busy.send(encode("DEL", "n") + (encode("APPEND", "large", "y") + encode("INCR", "n")) * n)
            seen = 0
            while seen == 0:
                seen = int(other.command("GET", "n") or 0)
            for _ in range(2 * n + 1):
                busy.read_reply()
            assert other.command("DEL", "n") == 1
            return seen

        assert busy.command("SET", "large", b"x" * size) == "OK"
        assert [seen_first() for _ in range(3)] == [n] * 3
        assert other.command("CONFIG", "SET", "client.turn_us", 10) == "OK"
        wait_until(lambda: seen_first() < n)


LARGE = 8 << 20


def long_commands(harcad, seconds):
    """A command that takes long, and of how many a client has that much to do."""
    first, command = 50, encode("SETRANGE", "large", LARGE - 1, "y")
    with harcad.raw() as conn:
        assert conn.command("SET", "large", b"x" * LARGE) == "OK"
        began = time.monotonic()
        conn.send(command * first)
        assert [conn.read_reply() for _ in range(first)] == [LARGE] * first
    return command, int(seconds / (time.monotonic() - began) * first)


def test_pipelines_whose_turn_is_long_in_coming_are_neither_idle_nor_stalled(make_harcad):
    """Eight clients, each of which has three turns to come, and waits for more than the limits from one to the next. What they
    send are a few commands that take long, so that all of it is under way at once."""
    harcad = make_harcad({"server.workers": 1, "file.enabled": "no", "client.turn_us": 300000,
                          "client.idle_timeout": "1s", "client.stall_timeout": "1s"})
    command, n = long_commands(harcad, 0.8)
    with contextlib.ExitStack() as stack:
        clients = []
        for _ in range(8):
            clients.append(stack.enter_context(harcad.raw()))
            clients[-1].send(command * n)
        for client in clients:
            assert [client.read_reply() for _ in range(n)] == [LARGE] * n


def test_pipelines_of_others_make_nobody_idle_who_sends_nor_stalled_who_reads(make_harcad):
    """Each round of six clients' turns takes longer than the limits, and only after it the daemon sees what has come during it."""
    harcad = make_harcad({"server.workers": 1, "file.enabled": "no", "client.turn_us": 230000,
                          "client.idle_timeout": "1s", "client.stall_timeout": "1s"})
    command, n = long_commands(harcad, 1.2)
    sent, stood_still, read = 0, False, []
    with contextlib.ExitStack() as stack:
        other, reader, *clients = [stack.enter_context(harcad.raw()) for _ in range(8)]
        for client in clients:
            client.send(command * n)
        reader.send(encode("GET", "large") * 40)
        reading = threading.Thread(target=lambda: read.extend(len(reader.read_reply()) for _ in range(40)))
        reading.start()
        began = last = time.monotonic()
        while time.monotonic() - began < 6 and not stood_still:
            other.send(encode("PING"))
            sent += 1
            time.sleep(0.1)
            stood_still = time.monotonic() - last > 0.8  # which nobody could tell from a client that is silent
            last = time.monotonic()
        reading.join()
        assert stood_still or [other.read_reply() for _ in range(sent)] == ["PONG"] * sent and read == [LARGE] * 40


def test_pipelines_of_what_nobody_times_leave_others_their_turn(make_harcad):
    """Thousands of refused commands that come in one read, between two that are seen; a few milliseconds, in which the other
    client may have no processor: so some times."""
    harcad = make_harcad({"server.workers": 1})
    seen_between = 0
    with harcad.raw(unix=True) as busy, harcad.raw() as other:
        busy.send(encode("CLIENT", "REPLY", "OFF"))
        for i in range(8):
            busy.send(encode("SET", i, 1) + b"X\r\n" * 15000 + encode("SET", i, 2))
            seen = set()
            while b"2" not in seen:
                seen.add(other.command("GET", i))
            seen_between += b"1" in seen
    assert seen_between >= 2


@pytest.mark.parametrize("sync", ["everysec", "always"])
def test_pipelines_of_what_takes_long_are_answered_while_the_daemon_ends(make_harcad, sync):
    """What is left of a turn neither waits for the log nor is forgotten."""
    harcad = make_harcad({"server.workers": 1, "file.sync": sync, "file.max_bytes": "1G"})
    size, n = 1 << 17, 200
    with harcad.raw() as busy, harcad.raw() as other:
        assert busy.command("SET", "large", b"x" * size) == "OK"
        busy.send((encode("SETRANGE", "large", size - 1, "y") + encode("INCR", "n")) * n)
        seen = 0
        while seen == 0:
            seen = int(other.command("GET", "n") or 0)
        harcad.signal(signal.SIGTERM)
        for i in range(1, n + 1):
            assert [busy.read_reply() for _ in range(2)] == [size, i]
        assert busy.recv_until_closed() == b""
    assert harcad.wait() == 0


def test_pipelines_requests_straddle_reads_at_every_offset(harcad):
    """Between the two writes the daemon answers somebody else's PING, so that it has read the first."""
    pipeline = encode("SET", "k", "some value") + b"GET k\r\n" + encode("ECHO", "") + encode("STRLEN", "k") + encode("ECHO", "x" * 40)
    replies = ["OK", b"some value", b"", 10, b"x" * 40]
    with harcad.raw() as conn, harcad.raw() as other:
        for offset in range(1, len(pipeline)):
            conn.send(pipeline[:offset])
            assert other.command("PING") == "PONG"
            conn.send(pipeline[offset:])
            assert [conn.read_reply() for _ in replies] == replies, offset


def test_pipelines_requests_straddle_the_read_buffer_at_every_offset(harcad):
    """The daemon reads 64 KiB at a time: a request of many arguments across that border, wherever it falls in it."""
    request = encode("MSET", "a", "1", "b", "22", "c", "") + encode("MGET", "a", "b", "c")
    with harcad.raw() as conn:
        for border in range(0, len(request) + 1, 3):
            pad = 65536 - border
            conn.send(encode("ECHO", "p" * (pad - len(encode("ECHO", "p" * pad)) + pad)) + request)
            assert set(conn.read_reply()) == {ord("p")}
            assert [conn.read_reply(), conn.read_reply()] == ["OK", [b"1", b"22", b""]]


@pytest.mark.parametrize("mode", ["embedded", "fleet"])
def test_pipelines_ten_thousand_arguments(mode, make_redis, make_harcad):
    harcad = make_harcad({"upstream.timeout": "30s"}, upstream=make_redis() if mode == "fleet" else None)
    if mode == "fleet":
        harcad.wait_info(upstream_state="up")
    keys = [f"key:{i}" for i in range(10000)]
    with harcad.raw() as conn, harcad.raw() as other:
        assert conn.command("MSET", *[each for key in keys for each in (key, "v" + key)]) == "OK"
        assert other.command("PING") == "PONG"
        assert conn.command("MGET", *keys, "absent") == [f"v{key}".encode() for key in keys] + [None]
        assert conn.command("EXISTS", *keys, "absent") == len(keys)
        # A request with many arguments that comes in pieces, while other clients have theirs.
        request = encode("DEL", *keys)
        for i in range(0, len(request), 20000):
            conn.send(request[i:i + 20000])
            assert other.command("MGET", "key:1", "absent")[1] is None
        assert conn.read_reply() == len(keys)
        assert conn.command("MGET", *keys) == [None] * len(keys)


# ---- seen ahead, and the short way ----


def random_commands(rng, n):
    """On few keys, so that most of them matter to those after them; in between what changes the session."""
    def one():
        key, other = rng.choice(["a", "b", "c"]), rng.choice(["a", "b", "c"])
        value = rng.randbytes(rng.choice([0, 1, 9, 10, 64, 99, 100, 999, 1000, 1023, 1024, 1025, 5000, 16384, 20000]))
        return rng.choice([["GET", key], ["get", key], ["GET", key, "MODEL", "m"], ["GET", key, "x", "y"], ["GET"], ["SET", key, value],
                           ["SET", key, "v", "PX", 3600000], ["SET", key, "v", "MODEL", "m"], ["DEL", key], ["MGET", key, other, key],
                           ["INCR", key], ["APPEND", key, "12"], ["MULTI"], ["EXEC"], ["DISCARD"], ["CLIENT", "REPLY", "SKIP"],
                           ["CLIENT", "NO-TOUCH", "ON"], ["CLIENT", "NO-TOUCH", "OFF"], ["RESET"],
                           ["CLEAR", "MODEL", "m"], ["MSET", key, "1", other, value], ["NONESUCH", key]])
    return [one() if rng.random() < 0.6 else ["GET", rng.choice(["a", "b", "c"])] for _ in range(n)] + [["DISCARD"]]


@pytest.mark.tsan
@pytest.mark.parametrize("seed", range(6))
def test_pipelines_commands_at_once_do_as_one_by_one(make_harcad, seed):
    """Some of them are looked at before those in front of them have been run."""
    commands = [encode(*command) for command in random_commands(random.Random(seed), 300)]
    end = encode("ECHO", "the end")
    streams, counters = [], []
    for batch in (len(commands), 7, 1):
        harcad = make_harcad()
        with harcad.raw() as conn, harcad.raw() as other:
            for at in range(0, len(commands), batch):
                conn.send(b"".join(commands[at:at + batch]))
                assert other.command("PING") == "PONG"  # so it has been read
            conn.send(end)
            conn.shutdown_write()
            streams.append(conn.recv_until_closed())
        info = harcad.info()
        counters.append({name: info[name] for name in ("memory_hits", "misses", "model_mismatches")})
    assert streams[0].endswith(b"the end\r\n")
    assert streams[0] == streams[1] == streams[2]
    assert counters[0] == counters[1] == counters[2] and counters[0]["memory_hits"] > 50


@pytest.mark.parametrize("workers", [1, 2])
def test_pipelines_hits_reply_and_count_the_same_whatever_the_session(make_harcad, workers):
    """GET and MGET of what memory has are answered by a shorter way unless something is unusual."""
    harcad = make_harcad({"server.workers": workers})
    keys = [f"k:{length}" for length in (0, 1, 9, 10, 99, 100, 999, 1000, 1023, 1024, 1025, 4096, 16383, 16384, 100000)] + ["absent"]
    reads = b"".join(encode("GET", key) for key in keys)
    with harcad.raw() as conn:
        for key in keys[:-1]:
            assert conn.command("SET", key, "v" * int(key[2:])) == "OK"
        expected = [b"v" * int(key[2:]) for key in keys[:-1]] + [None]

        def counted(read):
            before = harcad.info()
            assert read() == expected
            after = harcad.info()
            return [after[name] - before[name] for name in ("memory_hits", "misses")]

        def read_all():
            conn.send(reads)
            return [conn.read_reply() for _ in keys]

        def read_in_multi():
            conn.send(encode("MULTI") + reads + encode("EXEC"))
            assert [conn.read_reply() for _ in range(1 + len(keys))] == ["OK"] + ["QUEUED"] * len(keys)
            return conn.read_reply()

        def read_one_by_one():
            return [conn.command("GET", key) for key in keys]

        def read_together():
            return conn.command("MGET", *keys)

        def read_together_in_multi():
            conn.send(encode("MULTI") + encode("MGET", *keys) + encode("EXEC"))
            assert [conn.read_reply() for _ in range(2)] == ["OK", "QUEUED"]
            return conn.read_reply()[0]

        plain = [len(keys) - 1, 1]
        assert counted(read_all) == plain
        assert counted(read_together) == plain
        assert counted(read_together_in_multi) == plain
        assert counted(read_one_by_one) == plain
        assert counted(read_in_multi) == plain
        assert conn.command("CLIENT", "NO-TOUCH", "ON") == "OK"
        assert counted(read_all) == plain
        assert counted(read_together) == plain


# ---- half-closed ----


@pytest.mark.parametrize("unix", [False, True])
def test_pipelines_half_closed_client_gets_its_answers(harcad, unix):
    with harcad.raw(unix=unix) as conn:
        conn.send(b"PING\r\nECHO last\r\n*1\r\n$4\r\nPI")
        conn.shutdown_write()
        assert conn.recv_until_closed() == b"+PONG\r\n$4\r\nlast\r\n"
    with harcad.raw(unix=unix) as conn:
        conn.shutdown_write()
        assert conn.recv_until_closed() == b""


def test_pipelines_half_closed_client_gets_answers_from_a_slow_upstream(slow_fleet):
    redis, _, harcad = slow_fleet
    redis.client().set("harca:far", "away")
    with harcad.raw() as conn:
        # The second GET is sent, the FLUSHDB and what follows are held until it has come.
        conn.send(b"GET far\r\nSET near 1\r\nGET absent\r\nDBSIZE\r\nINFO nosuchsection\r\nGET near\r\nGET far\r\nPING\r\n")
        conn.shutdown_write()
        assert [conn.read_reply() for _ in range(3)] == [b"away", "OK", None]
        assert isinstance(conn.read_reply(), int)
        assert isinstance(conn.read_reply(), bytes)
        assert [conn.read_reply() for _ in range(3)] == [b"1", b"away", "PONG"]
        assert conn.recv_until_closed() == b""


# ---- commands that wait ----


def test_pipelines_held_commands_keep_their_arguments(slow_fleet):
    """Behind a GET that waits, a command that may not overtake it is put aside, and what follows stays unread."""
    _, _, harcad = slow_fleet
    with harcad.raw() as conn:
        conn.send(b"GET absent\r\n"
                  b"CLIENT SETNAME \"a\\x62c\"\r\n"
                  b"SET 'quoted key' \"\\x00\\r\\n\\\"\"\r\n"
                  b"CLIENT GETNAME\r\n"
                  b"GET 'quoted key'\r\n" + encode("CLIENT", "SETNAME", "d" * 1000) + b"CLIENT GETNAME\r\nECHO 'it\\'s'\r\n")
        assert [conn.read_reply() for _ in range(5)] == [None, "OK", "OK", b"abc", b"\x00\r\n\""]
        assert [conn.read_reply() for _ in range(3)] == ["OK", b"d" * 1000, b"it's"]


def test_pipelines_held_command_goes_on_when_its_replies_have_room(redis_server, make_proxy, make_harcad):
    """More replies come at once than are written at a time: the command held behind them waits for room only, and
    nothing but the room's coming can wake it."""
    proxy = make_proxy(redis_server.address)
    harcad = make_harcad({"upstream.timeout": "30s", "client.pending_max": "5000", "client.output_pause": "4K"}, upstream=proxy)
    harcad.wait_info(upstream_state="up", event_link="up")
    proxy.delay = 0.1
    with harcad.raw() as conn:
        for n in (1030, 1100, 2000):
            sent = encode("GET", "absent") + encode("ECHO", "e" * 1500) * n + encode("CLIENT", "GETNAME") + encode("ECHO", "last")
            sender = threading.Thread(target=conn.send, args=(sent,))
            sender.start()
            assert conn.read_reply() is None
            for _ in range(n):
                assert len(conn.read_reply()) == 1500
            assert [conn.read_reply(), conn.read_reply()] == [None, b"last"]
            sender.join(TIMEOUT)


@pytest.mark.parametrize("garbage, error", [
    (b"*1\r\n:5\r\n", "expected '$', got ':'"),
    (b"*1\r\n$-5\r\n", "invalid bulk length"),
    (b"SET \"unbalanced\r\n", "unbalanced quotes in request"),
])
def test_pipelines_protocol_error_waits_its_turn(slow_fleet, garbage, error):
    """Replies in order, the error last, then the end, however long those before it take; nothing behind it is run."""
    redis, _, harcad = slow_fleet
    redis.client().set("harca:far", "away")
    with harcad.raw() as conn, harcad.raw() as other:
        conn.send(b"GET far\r\nSET k 1\r\nPING\r\nCLIENT ID\r\nGET absent\r\n" + garbage + b"SET k broken\r\n")
        assert [conn.read_reply() for _ in range(3)] == [b"away", "OK", "PONG"]
        assert isinstance(conn.read_reply(), int)
        assert conn.read_reply() is None
        assert conn.read_reply() == RespError(f"ERR Protocol error: {error}")
        assert conn.recv_until_closed() == b""
        assert other.command("GET", "k") == b"1"


def test_pipelines_exec_holds_up_what_follows(slow_fleet):
    """Its commands go to the upstream one after the other; what comes behind it must see all of them."""
    _, _, harcad = slow_fleet
    with harcad.raw() as conn:
        conn.send(b"SET a 0\r\nMULTI\r\nSET a 1\r\nGET a\r\nSET a 2\r\nEXEC\r\nGET a\r\nSET a 3\r\nGET a\r\n")
        assert [conn.read_reply() for _ in range(5)] == ["OK", "OK", "QUEUED", "QUEUED", "QUEUED"]
        assert [conn.read_reply() for _ in range(4)] == [["OK", b"1", "OK"], b"2", "OK", b"3"]


def test_pipelines_quit_waits_its_turn(slow_fleet):
    _, _, harcad = slow_fleet
    with harcad.raw() as conn:
        conn.send(b"GET absent\r\nQUIT\r\nSET k broken\r\n")
        assert conn.recv_until_closed() == b"$-1\r\n+OK\r\n"
    assert harcad.client().get("k") is None


def test_pipelines_client_gone_while_its_commands_wait(slow_fleet):
    """Nobody is there to be answered: the answers come, and are thrown away."""
    _, _, harcad = slow_fleet
    for i in range(30):
        with harcad.raw(unix=i % 2 == 0) as conn:
            conn.send(b"GET absent:%d\r\nMGET a b c\r\nSET gone:%d 1\r\nMULTI\r\nGET x\r\nSET y 1\r\nEXEC\r\nPING\r\n" % (i, i))
    with harcad.raw() as conn:
        wait_until(lambda: b"connected_clients:1\r\n" in conn.command("INFO", "clients"))
        assert conn.command("GET", "gone:29") in (b"1", None)


class Model:
    """What one client, alone with its keys, must be told."""

    def __init__(self, rng):
        self.rng = rng
        self.data = {}

    def step(self):
        """A command and its reply."""
        key = f"k:{self.rng.randrange(200)}"
        other = f"k:{self.rng.randrange(200)}"
        kind = self.rng.randrange(12)
        if kind < 4:
            return encode("GET", key), self.data.get(key)
        if kind < 6:
            value = str(self.rng.random()).encode() * self.rng.choice((1, 1, 1, 300))
            self.data[key] = value
            return encode("SET", key, value), "OK"
        if kind == 6:
            return encode("MGET", key, other), [self.data.get(key), self.data.get(other)]
        if kind == 7:
            return encode("DEL", key), int(self.data.pop(key, None) is not None)
        if kind == 8:
            return b"ECHO 'e %s'\r\n" % key.encode(), b"e " + key.encode()
        if kind == 9:
            return encode("EXISTS", key, other), (key in self.data) + (other in self.data)
        if kind == 10:
            return encode("CLIENT", "GETNAME"), None
        return encode("NOSUCH", key), RespError(f"ERR unknown command 'NOSUCH', with args beginning with: '{key}' ")


@pytest.mark.tsan
@pytest.mark.parametrize("mode", ["embedded", "fleet", "fleet-evicting"])
def test_pipelines_mixed_replies_come_in_order(mode, make_redis, make_harcad):
    """Hits, misses, writes and errors, thousands in one pipeline, checked one by one. Evicting: the memory is small, so
    that what was written has to be fetched."""
    settings = {"upstream.timeout": "30s", "server.workers": "2"}
    if mode == "fleet-evicting":
        settings["memory.max_bytes"] = "1M"
    harcad = make_harcad(settings, upstream=None if mode == "embedded" else make_redis())
    if mode != "embedded":
        harcad.wait_info(upstream_state="up", event_link="up")
    model = Model(random.Random(7))
    with harcad.raw() as conn:
        for size in (1, 10, 100, 1000, 5000):
            steps = [model.step() for _ in range(size)]
            sender = threading.Thread(target=conn.send, args=(b"".join(step[0] for step in steps),))
            sender.start()
            for i, (request, reply) in enumerate(steps):
                assert conn.read_reply() == reply, f"{i} of {size}: {request[:80]!r}"
            sender.join(TIMEOUT)


# ---- transactions ----


def transfer_and_check(harcad, read, seconds):
    """Two writers move amounts between a and b; readers, by read(conn), must always see the same sum."""
    stop = threading.Event()
    faults = []
    with harcad.raw() as conn:
        assert conn.command("MSET", "a", "0", "b", "0") == "OK"

    def writer(seed):
        rng = random.Random(seed)
        with harcad.raw() as conn:
            while not stop.is_set():
                n = rng.randrange(1000)
                conn.send(encode("MULTI") + encode("SET", "a", n) + encode("SET", "b", -n) + encode("EXEC"))
                replies = [conn.read_reply() for _ in range(4)]
                if replies != ["OK", "QUEUED", "QUEUED", ["OK", "OK"]]:
                    faults.append(replies)
                    return

    def reader():
        with harcad.raw() as conn:
            while not stop.is_set():
                a, b = read(conn)
                if int(a) + int(b) != 0:
                    faults.append((a, b))
                    return

    threads = [threading.Thread(target=writer, args=(i,)) for i in range(2)] + [threading.Thread(target=reader) for _ in range(2)]
    for thread in threads:
        thread.start()
    stop.wait(seconds)
    stop.set()
    for thread in threads:
        thread.join(TIMEOUT)
    assert not faults


def read_in_transaction(conn):
    conn.send(encode("MULTI") + encode("GET", "a") + encode("GET", "b") + encode("EXEC"))
    return [conn.read_reply() for _ in range(4)][3]


@pytest.mark.tsan
@pytest.mark.parametrize("workers", [1, 4])
def test_pipelines_exec_embedded_is_atomic(make_harcad, workers):
    harcad = make_harcad({"server.workers": workers})
    transfer_and_check(harcad, read_in_transaction, 2)
    transfer_and_check(harcad, lambda conn: conn.command("MGET", "a", "b"), 2)


def test_pipelines_exec_in_a_fleet_answers_in_order(redis_server, make_harcad):
    harcad = make_harcad({"upstream.timeout": "30s"}, upstream=redis_server)
    harcad.wait_info(upstream_state="up", event_link="up")
    with harcad.raw() as conn:
        for n in (1, 2, 50, 2000):
            queued = [("SET", f"k:{i}", i) if i % 2 == 0 else ("GET", f"k:{i - 1}") for i in range(n)]
            conn.send(encode("GET", "absent") + encode("MULTI") + b"".join(encode(*each) for each in queued)
                      + encode("NOSUCHMODEL" if n == 50 else "PING") + encode("EXEC") + encode("PING"))
            replies = [conn.read_reply() for _ in range(n + 5)]
            if n == 50:
                assert replies[2:-3] == ["QUEUED"] * n
                assert str(replies[-2]).startswith("EXECABORT")
            else:
                assert replies[:2] == [None, "OK"] and replies[2:-2] == ["QUEUED"] * (n + 1)
                assert replies[-2] == ["OK" if i % 2 == 0 else str(i - 1).encode() for i in range(n)] + ["PONG"]
            assert replies[-1] == "PONG"
    assert redis_server.client().get("harca:k:1998") == b"1998"
