"""What integration tests are made of: real processes of redis-server and harcad, a proxy between them that can be
told to misbehave, and polling with a deadline.

Everything started here has a stop() and is also ended when the interpreter exits. Tests get theirs from the fixtures
in tests/conftest.py, which stop them whatever happens. Processes stay in pytest's process group, so that
whoever ends the group ends them too.

    HARCAD_BIN         the daemon (default: build/harcad)
    HARCAD_TEST_SLOW   factor on all deadlines, for sanitizers (default: 1)
"""

import asyncio
import atexit
import collections
import contextlib
import glob
import os
import random
import shutil
import signal
import socket
import subprocess
import tempfile
import threading
import time

import redis as redis_py

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
SLOW = float(os.environ.get("HARCAD_TEST_SLOW", "1"))
TIMEOUT = 10.0 * SLOW
SANITIZER_WORDS = (b"ERROR: AddressSanitizer", b"WARNING: ThreadSanitizer", b"ERROR: LeakSanitizer", b": runtime error: ")

# Sanitizers keep what was freed for a while, and need room for their own: bounds on memory are wider with them.
SANITIZER_ROOM = 700 << 20 if SLOW > 1 else 0

LIVE = set()  # what runs now


def _stop_all():
    for thing in list(LIVE):
        thing.kill()


atexit.register(_stop_all)


# ---- waiting and ports ----


def wait_until(predicate, timeout=TIMEOUT, message="", interval=0.01):
    """Calls predicate() until it returns something true, which is returned. AssertionError after `timeout` seconds.
    An AssertionError, ConnectionError or RedisError raised by it counts as "not yet" and is named at the end."""
    deadline = time.monotonic() + timeout
    last = None
    while True:
        try:
            result = predicate()
            if result:
                return result
            last = f"last value: {result!r}"
        except (AssertionError, OSError, redis_py.RedisError) as error:
            last = f"last error: {error!r}"
        if time.monotonic() >= deadline:
            text = message() if callable(message) else message
            raise AssertionError(f"not within {timeout:g} s: {text or 'the condition'} ({last})")
        time.sleep(interval)


def _claim_port_range():
    """
    Each process that runs tests has its own ports, below those the kernel hands out to connections: a port of a
    server that was killed is nobody else's until it is back. The claim is an abstract socket, gone with its process.
    """
    for index in range(16):
        claim = socket.socket(socket.AF_UNIX)
        try:
            claim.bind(f"\0harcad-test-ports-{index}")
            return claim, 10000 + index * 1300, 1300
        except OSError:
            claim.close()
    raise RuntimeError("sixteen processes run these tests already")


_port_claim, _port_start, _port_count = _claim_port_range()
_port_next = random.randrange(_port_count)


def free_port():
    """A TCP port on 127.0.0.1 that nobody listens on, not given out before in this round of the range."""
    global _port_next
    for _ in range(_port_count):
        port = _port_start + _port_next
        _port_next = (_port_next + 1) % _port_count
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
            return port
    raise AssertionError("no free port")


# ---- processes ----


class _Process:
    """A child process with a directory of its own and its output in a log there."""

    name = "process"

    def __init__(self):
        self.dir = tempfile.mkdtemp(prefix=f"harcad-test-{self.name}-")
        self.log_path = os.path.join(self.dir, f"{self.name}.log")
        self.process = None
        self.paused = False

    def __enter__(self):
        return self.start()

    def __exit__(self, *exc):
        self.close()

    def _spawn(self, argv, env):
        assert not self.running(), f"{self.name} runs already"
        with open(self.log_path, "ab") as log:
            self.process = subprocess.Popen(argv, stdin=subprocess.DEVNULL, stdout=log, stderr=log, env=env, cwd=self.dir)
        self.paused = False
        LIVE.add(self)

    def _wait_ready(self, ping):
        def ready():
            if not self.running():
                raise EarlyExit(f"{self.name} ended with {self.process.returncode} at its start:\n{self.log()}")
            return ping()

        try:
            wait_until(ready, message=lambda: f"{self.name} answers PING; its log:\n{self.log()}")
        except AssertionError:
            self.kill()
            raise

    @property
    def pid(self):
        return self.process.pid

    def running(self):
        return self.process is not None and self.process.poll() is None

    def log(self, tail=20000):
        """The end of what it has written so far."""
        try:
            with open(self.log_path, "rb") as log:
                return log.read()[-tail:].decode("utf-8", "replace")
        except OSError:
            return ""

    def signal(self, number):
        self.process.send_signal(number)

    def pause(self):
        """SIGSTOP; returns when it stands."""
        self.signal(signal.SIGSTOP)
        self.paused = True
        wait_until(lambda: self._state() in "Tt", message=f"{self.name} stands still")

    def resume(self):
        self.paused = False
        self.signal(signal.SIGCONT)

    def _state(self):
        with open(f"/proc/{self.pid}/stat", encoding="ascii", errors="replace") as stat:
            return stat.read().rpartition(")")[2].split()[0]

    def kill(self):
        """kill -9, as when the machine fails. Harmless when it does not run."""
        if self.process is not None:
            if self.process.poll() is None:
                self.process.kill()
            self.process.wait()
        LIVE.discard(self)

    def wait(self, timeout=TIMEOUT):
        """Its exit code, once it has ended."""
        try:
            code = self.process.wait(timeout)
        except subprocess.TimeoutExpired:
            raise AssertionError(f"{self.name} did not end within {timeout:g} s; its log:\n{self.log()}") from None
        LIVE.discard(self)
        return code

    def terminate(self, timeout=TIMEOUT):
        """SIGTERM; returns the exit code."""
        if self.paused:
            self.resume()
        self.signal(signal.SIGTERM)
        return self.wait(timeout)

    def rss(self):
        """Resident memory in bytes."""
        with open(f"/proc/{self.pid}/statm", encoding="ascii") as statm:
            return int(statm.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")

    def cpu_seconds(self):
        """Processor time of all its threads so far."""
        with open(f"/proc/{self.pid}/stat", encoding="ascii", errors="replace") as stat:
            fields = stat.read().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def rss_peak(self):
        """The most it has been so far."""
        with open(f"/proc/{self.pid}/status", encoding="ascii", errors="replace") as status:
            return next(int(line.split()[1]) * 1024 for line in status if line.startswith("VmHWM"))

    def open_fds(self):
        """How many descriptors it has open."""
        return len(os.listdir(f"/proc/{self.pid}/fd"))

    def close(self):
        """Ends it and removes its directory."""
        self.kill()
        shutil.rmtree(self.dir, ignore_errors=True)


class EarlyExit(Exception):
    """The process ended before it was ready."""


class Redis(_Process):
    """A redis-server. Options are its configuration's: Redis(maxmemory="10mb", appendonly="yes", unix=True).
    Dashes are written as underscores. By default it persists nothing."""

    name = "redis"

    def __init__(self, *, unix=False, **options):
        super().__init__()
        self.unix_path = os.path.join(self.dir, "redis.sock") if unix else None
        self.port = 0
        self.options = {"save": "", "appendonly": "no", "enable_debug_command": "yes"}
        self.options.update(options)

    def start(self):
        """On a port that stays its own over restarts."""
        for attempt in range(5):
            port = self.port or free_port()
            try:
                self._start_on(port)
            except EarlyExit as error:
                # Somebody else was faster to the port.
                if self.port or attempt == 4 or "in use" not in str(error):
                    raise
                continue
            self.port = port
            return self
        raise AssertionError("unreachable")

    def _start_on(self, port):
        argv = ["redis-server", "--port", str(port), "--bind", "127.0.0.1", "--dir", self.dir, "--daemonize", "no"]
        if self.unix_path:
            argv += ["--unixsocket", self.unix_path]
        for key, value in self.options.items():
            argv += [f"--{key.replace('_', '-')}", str(value)]
        self._spawn(argv, os.environ)
        self._wait_ready(lambda: self._ping(port))

    def _ping(self, port):
        try:
            with self._client(port) as client:
                return client.ping()
        except redis_py.AuthenticationError:
            return True

    def _client(self, port, **kwargs):
        kwargs.setdefault("password", self.options.get("requirepass"))
        kwargs.setdefault("socket_timeout", TIMEOUT)
        return redis_py.Redis("127.0.0.1", port, **kwargs)

    def client(self, **kwargs):
        return self._client(self.port, **kwargs)

    @property
    def url(self):
        return f"redis://127.0.0.1:{self.port}/0"

    @property
    def address(self):
        return ("127.0.0.1", self.port)

    def stop(self):
        """SIGTERM: saves when its options say so."""
        if self.running():
            assert self.terminate() == 0, self.log()

    def restart(self, keep_data=True, hard=False):
        """On the same port. keep_data carries the data set over, without persistence being on."""
        if keep_data and not hard:
            self.client().save()
            self.kill()
        elif hard:
            self.kill()
        else:
            self.stop()
        if not keep_data:
            for leftover in glob.glob(os.path.join(self.dir, "dump*.rdb")):
                os.unlink(leftover)
            shutil.rmtree(os.path.join(self.dir, "appendonlydir"), ignore_errors=True)
        return self.start()


class Harcad(_Process):
    """A harcad. `settings` are given as --set: Harcad({"memory.max_bytes": "10M"}). It listens on a free TCP port and on
    a Unix socket in its directory unless the settings say otherwise; HOME is its directory, so that its cache
    directory is there, and survives restart()."""

    name = "harcad"

    def __init__(self, settings=None, *, upstream=None, ini=None, env=None, args=()):
        super().__init__()
        self.unix_path = os.path.join(self.dir, "harcad.sock")
        self.settings = dict(settings or {})
        self.upstream = upstream
        self.env = dict(env or {})
        self.args = list(args)
        self.port = 0
        self.ini_path = None
        if ini is not None:
            self.write_ini(ini)

    @staticmethod
    def binary():
        return os.environ.get("HARCAD_BIN", os.path.join(ROOT, "build", "harcad"))

    def write_ini(self, text):
        """For the next start, or for a reload."""
        self.ini_path = os.path.join(self.dir, "harcad.ini")
        with open(self.ini_path, "w", encoding="utf-8") as ini:
            ini.write(text)

    def argv(self, port):
        settings = {"listen.tcp": f"127.0.0.1:{port}", "listen.unix": self.unix_path}
        if self.upstream is not None:
            settings["upstream.url"] = self.upstream if isinstance(self.upstream, str) else self.upstream.url
        settings.update(self.settings)
        argv = [self.binary()]
        if self.ini_path:
            argv += ["-c", self.ini_path]
        for key, value in settings.items():
            argv += ["--set", f"{key}={value}"]
        return argv + self.args

    def environment(self):
        """pytest's own, without what would configure the daemon behind the test's back."""
        own = {key: value for key, value in os.environ.items()
               if not key.startswith(("HARCA_", "XDG_", "LISTEN_")) and key not in ("REDIS_URL", "NOTIFY_SOCKET")}
        own["HOME"] = self.dir
        for name in ("ASAN_OPTIONS", "UBSAN_OPTIONS", "TSAN_OPTIONS"):
            given = [own[name]] if own.get(name) else []
            own[name] = ":".join(given + [f"log_path={self.dir}/sanitizer"])
        own.update(self.env)
        return own

    def start(self):
        """Waits until it answers PING. The port stays its own over restarts."""
        for attempt in range(5):
            port = self.port or free_port()
            self._spawn(self.argv(port), self.environment())
            try:
                self._wait_ready(lambda: self._ping(port))
            except EarlyExit as error:
                LIVE.discard(self)
                self.check_sanitizers()
                if self.port or attempt == 4 or "in use" not in str(error).lower():
                    raise
                continue
            self.port = port
            return self
        raise AssertionError("unreachable")

    def _ping(self, port):
        conn = RawConn(self._address(port), timeout=1)
        try:
            reply = conn.command("PING")
        finally:
            conn.close()
        return reply == "PONG" or (isinstance(reply, RespError) and str(reply).startswith("NOAUTH"))

    def run(self, *args, timeout=TIMEOUT):
        """Runs the program with those arguments to its end: for -t, --describe and refusals. Gives a
        CompletedProcess with bytes."""
        return subprocess.run([self.binary(), *args], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                              stderr=subprocess.PIPE, env=self.environment(), cwd=self.dir, timeout=timeout, check=False)

    def stop(self, timeout=TIMEOUT):
        """SIGTERM; it must exit with 0, and sanitizers must have nothing to say."""
        if not self.running():
            # A death nobody asked for: kill() and wait() take it out of LIVE.
            assert self not in LIVE, f"harcad ended by itself with {self.process.returncode}; its log:\n{self.log()}"
            return
        code = self.terminate(timeout)
        self.check_sanitizers()
        assert code == 0, f"harcad ended with {code}; its log:\n{self.log()}"

    def restart(self, hard=False):
        if hard:
            self.kill()
        else:
            self.stop()
        return self.start()

    def reload(self):
        self.signal(signal.SIGHUP)

    def check_sanitizers(self):
        for path in sorted(glob.glob(os.path.join(self.dir, "sanitizer.*"))) + [self.log_path]:
            with contextlib.suppress(FileNotFoundError), open(path, "rb") as report:
                text = report.read()
                told = text if path != self.log_path else any(word in text for word in SANITIZER_WORDS)
                assert not told, f"a sanitizer reports:\n{text[-20000:].decode('utf-8', 'replace')}"

    def _address(self, port):
        listens = self.settings.get("listen.tcp", "on")
        return self.unix_path if listens == "" else ("127.0.0.1", port)

    @property
    def address(self):
        return self._address(self.port)

    def client(self, *, unix=False, **kwargs):
        """A redis-py client; values come as bytes."""
        kwargs.setdefault("socket_timeout", TIMEOUT)
        if unix or isinstance(self.address, str):
            return redis_py.Redis(unix_socket_path=self.unix_path, **kwargs)
        return redis_py.Redis("127.0.0.1", self.port, **kwargs)

    def raw(self, *, unix=False, timeout=TIMEOUT):
        return RawConn(self.unix_path if unix else self.address, timeout)

    def info(self, *sections):
        """INFO as a dictionary; whole numbers as int, all else as str."""
        with self.raw() as conn:
            if self.settings.get("server.password"):
                conn.command("AUTH", self.settings["server.password"])
            text = conn.command("INFO", *sections)
        fields = {}
        for line in text.decode().splitlines():
            key, colon, value = line.partition(":")
            if colon and not line.startswith("#"):
                fields[key] = int(value) if value.lstrip("-").isdigit() else value
        return fields

    def wait_info(self, timeout=TIMEOUT, **expected):
        """Polls INFO until the fields have those values: wait_info(upstream_state="up")."""
        def matches():
            info = self.info()
            found = {key: info.get(key) for key in expected}
            assert found == expected, f"{found}"
            return info

        return wait_until(matches, timeout, f"INFO shows {expected}")


# ---- the wire ----


class RespError(Exception):
    """An error reply."""

    def __eq__(self, other):
        return isinstance(other, RespError) and str(self) == str(other)

    __hash__ = Exception.__hash__


Push = collections.namedtuple("Push", "items")


class RawConn:
    """A connection on which a test writes bytes and reads bytes or replies. Simple strings come as str, bulk strings
    as bytes, nulls as None, errors as RespError (returned, not raised), maps as dict, pushes as Push."""

    def __init__(self, address, timeout=TIMEOUT):
        self.sock = socket.socket(socket.AF_UNIX if isinstance(address, str) else socket.AF_INET)
        self.sock.settimeout(timeout)
        if not isinstance(address, str):  # what is sent is on its way: the kernel waits for no answer before it sends more
            self.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        try:
            self.sock.connect(address)
        except OSError:
            self.sock.close()
            raise
        self.buf = bytearray()

    def __enter__(self):
        return self

    def __exit__(self, *exc):
        self.close()

    def close(self):
        self.sock.close()

    def shutdown_write(self):
        self.sock.shutdown(socket.SHUT_WR)

    def send(self, data):
        self.sock.sendall(data)

    @staticmethod
    def encode(*args):
        """A command as a RESP array."""
        out = bytearray(b"*%d\r\n" % len(args))
        for arg in args:
            arg = arg if isinstance(arg, (bytes, bytearray)) else str(arg).encode()
            out += b"$%d\r\n%b\r\n" % (len(arg), arg)
        return bytes(out)

    def command(self, *args):
        self.send(self.encode(*args))
        return self.read_reply()

    def _fill(self):
        data = self.sock.recv(65536)
        if not data:
            raise ConnectionError(f"closed by the other side, with {bytes(self.buf)!r} unread")
        self.buf += data

    def recv(self, n):
        """Exactly n bytes."""
        while len(self.buf) < n:
            self._fill()
        data = bytes(self.buf[:n])
        del self.buf[:n]
        return data

    def recv_line(self):
        while (end := self.buf.find(b"\r\n")) < 0:
            self._fill()
        line = self.recv(end)
        self.recv(2)
        return line

    def recv_until_closed(self):
        """All that comes until the other side closes."""
        with contextlib.suppress(ConnectionError):
            while True:
                self._fill()
        data = bytes(self.buf)
        self.buf.clear()
        return data

    def read_reply(self):
        line = self.recv_line()
        kind, rest = line[:1], line[1:]
        if kind == b"+":
            return rest.decode()
        if kind == b"-":
            return RespError(rest.decode("utf-8", "replace"))
        if kind in b":(":
            return int(rest)
        if kind == b",":
            return float(rest)
        if kind == b"#":
            return rest == b"t"
        if kind == b"_" or rest == b"-1":
            return None
        return self._read_sized(kind, int(rest))

    def _read_sized(self, kind, size):
        if kind in b"$=!":
            data = self.recv(size)
            assert self.recv(2) == b"\r\n"
            if kind == b"!":
                return RespError(data.decode("utf-8", "replace"))
            return data[4:] if kind == b"=" else data
        if kind == b"%":
            return {_hashable(self.read_reply()): self.read_reply() for _ in range(size)}
        if kind in b"*~>":
            items = [self.read_reply() for _ in range(size)]
            return Push(items) if kind == b">" else items
        if kind == b"|":
            for _ in range(2 * size):
                self.read_reply()
            return self.read_reply()
        raise AssertionError(f"not RESP: {kind!r}, then {bytes(self.buf[:80])!r}")


def _hashable(key):
    return tuple(key) if isinstance(key, list) else key


# ---- the network between ----

UP = "up"  # from harcad to Redis
DOWN = "down"  # from Redis to harcad
CUT = object()  # what on_data may return: the connection is cut before these bytes pass
DROP = object()  # … these bytes vanish
PAUSE = object()  # … nothing passes in this direction from these bytes on, until resume()


class Proxy:
    """A TCP proxy in a thread, between harcad and Redis: Proxy(redis.address).start(). All of it may be changed at any
    time, from any thread; it acts on present and later connections.

        proxy.delay = 0.05            replies (DOWN) arrive that many seconds later; pipelining is kept
        proxy.pause("up"|"down"|None) nothing passes in that direction (None: both); no FIN either, and what is sent
                                      waits; resume() lets it go on
        proxy.drop("up"|"down"|None)  what is sent vanishes
        proxy.cut()                   all connections are reset; with fin=True closed in good order
        proxy.refuse()                cut, and new connections are refused until accept()
        proxy.on_data = f             f(direction, bytes, connection number) for each piece that passes, called in the
                                      proxy's thread: returns None (let pass), bytes (instead of them), CUT, DROP, PAUSE
        proxy.normal()                all of that is over
    """

    def __init__(self, target):
        self.target = target
        self.port = 0
        self.delay = 0.0
        self.on_data = None
        self.accepted = 0  # connections so far
        self.bytes = {UP: 0, DOWN: 0}  # passed on
        self._dropped = set()
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._run, name="proxy", daemon=True)
        self._server = None
        self._gates = None
        self._links = {}  # connection number -> (tasks' owner, writers)

    def __enter__(self):
        return self.start()

    def __exit__(self, *exc):
        self.close()

    def start(self):
        self.port = free_port()
        self._thread.start()
        LIVE.add(self)
        self._call(self._setup())
        return self

    def close(self):
        if self._thread.is_alive():
            self._call(self._teardown())
            self._loop.call_soon_threadsafe(self._loop.stop)
            self._thread.join(TIMEOUT)
        LIVE.discard(self)

    kill = close

    @property
    def address(self):
        return ("127.0.0.1", self.port)

    @property
    def url(self):
        return f"redis://127.0.0.1:{self.port}/0"

    @property
    def connections(self):
        """How many are open."""
        return len(self._links)

    def pause(self, direction=None):
        self._call(self._set_gates(direction, False))

    def resume(self, direction=None):
        self._call(self._set_gates(direction, True))

    def drop(self, direction=None):
        self._dropped = set(_directions(direction))

    def cut(self, fin=False):
        self._call(self._cut(fin))

    def refuse(self):
        self._call(self._stop_listening())
        self.cut()

    def accept(self):
        self._call(self._listen())

    def normal(self):
        self.delay = 0.0
        self.on_data = None
        self._dropped = set()
        self.resume()
        self.accept()

    # What follows runs in the proxy's thread, but for _call().

    def _run(self):
        asyncio.set_event_loop(self._loop)
        self._loop.run_forever()
        self._loop.close()

    def _call(self, coroutine):
        return asyncio.run_coroutine_threadsafe(coroutine, self._loop).result(TIMEOUT)

    async def _setup(self):
        self._gates = {UP: asyncio.Event(), DOWN: asyncio.Event()}
        await self._set_gates(None, True)
        await self._listen()

    async def _teardown(self):
        await self._stop_listening()
        await self._cut(False)
        others = [task for task in asyncio.all_tasks() if task is not asyncio.current_task()]
        for task in others:
            task.cancel()
        await asyncio.gather(*others, return_exceptions=True)

    async def _listen(self):
        if self._server is None:
            self._server = await asyncio.start_server(self._serve, "127.0.0.1", self.port, reuse_address=True)

    async def _stop_listening(self):
        if self._server is not None:
            self._server.close()
            await self._server.wait_closed()
            self._server = None

    async def _set_gates(self, direction, is_open):
        for each in _directions(direction):
            if is_open:
                self._gates[each].set()
            else:
                self._gates[each].clear()

    async def _cut(self, fin):
        links, self._links = self._links, {}
        for task, writers in links.values():
            _end_link(task, writers, fin)

    async def _serve(self, reader, writer):
        self.accepted += 1
        number = self.accepted
        writers = [writer]
        self._links[number] = (asyncio.current_task(), writers)
        try:
            far_reader, far_writer = await asyncio.open_connection(*self.target)
            writers.append(far_writer)
            await asyncio.gather(self._pump(UP, reader, far_writer, number), self._pump(DOWN, far_reader, writer, number))
        except (OSError, asyncio.CancelledError):
            pass
        finally:
            if self._links.pop(number, None):
                _end_link(None, writers, fin=True)

    async def _pump(self, direction, reader, writer, number):
        queue = asyncio.Queue(maxsize=256)
        filling = asyncio.ensure_future(self._fill(direction, reader, queue, number))
        try:
            while True:
                due, data = await queue.get()
                await asyncio.sleep(max(0.0, due - self._loop.time()))
                if not await self._pass(direction, data, writer, number):
                    return
        finally:
            filling.cancel()

    def _delay_of(self, direction, number):
        """For how long what comes now on that connection is kept back."""
        return self.delay if direction == DOWN else 0.0

    async def _fill(self, direction, reader, queue, number):
        data = b"first"
        while data:
            await self._gates[direction].wait()
            try:
                data = await reader.read(65536)
            except OSError:
                data = b""
            await queue.put((self._loop.time() + self._delay_of(direction, number), data))

    async def _pass(self, direction, data, writer, number):
        """Sends one piece on; b"" is the end. Returns whether there may be more."""
        decision = self.on_data(direction, data, number) if self.on_data and data else None
        if decision is PAUSE:
            self._gates[direction].clear()
        await self._gates[direction].wait()
        if decision is CUT:
            task, writers = self._links.pop(number)
            _end_link(task, writers, fin=False)
            return False
        if not data:
            if writer.can_write_eof():
                writer.write_eof()
            return False
        if decision is DROP or direction in self._dropped:
            return True
        if isinstance(decision, (bytes, bytearray)):
            data = bytes(decision)
        self.bytes[direction] += len(data)
        writer.write(data)
        await writer.drain()
        return True


def _directions(direction):
    assert direction in (UP, DOWN, None), direction
    return (UP, DOWN) if direction is None else (direction,)


def _end_link(task, writers, fin):
    for writer in writers:
        if fin:
            writer.close()
            continue
        # Without lingering, abort() sends RST rather than FIN.
        sock = writer.get_extra_info("socket")
        if sock is not None:
            with contextlib.suppress(OSError):
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\x01\0\0\0\0\0\0\0")
        writer.transport.abort()
    if task is not None:
        task.cancel()
