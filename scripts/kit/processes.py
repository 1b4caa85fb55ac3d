"""Servers of our own: redis-server, harcad and memcached on free loopback ports, each with a directory of its own below
one temporary directory. They are ended by their process ids, and nothing else is."""

import contextlib
import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time

from .resp import Client

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
START_SECONDS = 30.0
STOP_SECONDS = 10.0
START_ATTEMPTS = 5


class StartError(Exception):
    """A server did not come up; the text has the end of its log."""


def wait_until(condition, seconds, what, pause=0.002):
    """Calls condition() until it is true; TimeoutError after so many seconds."""
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            raise TimeoutError(f"not within {seconds:g} s: {what}")
        time.sleep(pause)


def free_port():
    """A port nobody listens on now; somebody may before we do, so starting with it is tried again."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def exit_on_sigterm():
    """SIGTERM unwinds the stack as Ctrl-C does, so that what was started is ended."""
    def leave(number, _frame):
        raise SystemExit(128 + number)

    signal.signal(signal.SIGTERM, leave)


@contextlib.contextmanager
def signals_held():
    """SIGINT and SIGTERM wait for the end of the block: a process that is being started must not be forgotten. They are not
    blocked, which the child would inherit."""
    held = []
    numbers = (signal.SIGINT, signal.SIGTERM)
    handlers = {number: signal.signal(number, lambda number, _frame: held.append(number)) for number in numbers}
    try:
        yield
    finally:
        for number, handler in handlers.items():
            signal.signal(number, handler)
        for number in held:
            signal.raise_signal(number)


def resp_pid(address):
    """The process id that a server which speaks RESP says it has."""
    with Client(address) as client:
        return client.info().get("process_id")


def memcached_pid(address):
    with socket.create_connection(address, timeout=10.0) as connection, connection.makefile("rwb") as stream:
        stream.write(b"stats\r\n")
        stream.flush()
        for line in stream:
            words = line.split()
            if words[:2] == [b"STAT", b"pid"]:
                return int(words[2])
    return None


class Server:
    """A child process that listens. argv is a function of the port; `wrapper` goes in front, as for valgrind; `ask_pid`
    tells by a server's address which process it is."""

    def __init__(self, name, directory, argv, wrapper=(), ask_pid=resp_pid):
        os.mkdir(directory)
        self.name = name
        self.directory = directory
        self.port = 0
        self.unix_path = os.path.join(directory, "server.sock")
        self._argv = argv
        self._wrapper = list(wrapper)
        self._ask_pid = ask_pid
        self._process = None
        self._clients = []

    @property
    def pid(self):
        return self._process.pid

    @property
    def address(self):
        return ("127.0.0.1", self.port)

    def start(self):
        """Returns once it answers. After a kill() it comes back on the same port."""
        for _ in range(START_ATTEMPTS):
            port = self.port or free_port()
            self._spawn(port)
            if self._answers(port):
                self.port = port
                return self
        raise StartError(f"{self.name} does not start:\n{self.log()}")

    def client(self, unix=False):
        """Closed with the server."""
        client = Client(self.unix_path if unix else self.address)
        self._clients.append(client)
        return client

    def log(self, limit=4000):
        with open(os.path.join(self.directory, "log"), encoding="utf-8", errors="replace") as log:
            return log.read()[-limit:]

    def kill(self):
        """SIGKILL: as a machine that fails."""
        self._end(signal.SIGKILL)

    def pause(self):
        """SIGSTOP: it neither answers nor closes its connections."""
        os.kill(self.pid, signal.SIGSTOP)

    def resume(self):
        os.kill(self.pid, signal.SIGCONT)

    def stop(self):
        """SIGTERM, and SIGKILL if that is not enough. Returns the exit status, negative for a signal; harmless when it does
        not run any more, or never did."""
        for client in self._clients:
            client.close()
        self._clients.clear()
        self._end(signal.SIGTERM)
        return None if self._process is None else self._process.returncode

    def _spawn(self, port):
        with open(os.path.join(self.directory, "log"), "ab") as log, signals_held():
            self._process = subprocess.Popen(self._wrapper + self._argv(port), stdin=subprocess.DEVNULL, stdout=log,
                                             stderr=log, cwd=self.directory, env=self._environment())

    def _environment(self):
        """Without what would configure the daemon behind our back; its cache directory goes below ours."""
        kept = {name: value for name, value in os.environ.items()
                if not name.startswith(("HARCA_", "LISTEN_", "XDG_")) and name not in ("REDIS_URL", "NOTIFY_SOCKET")}
        return {**kept, "HOME": self.directory}

    def _answers(self, port):
        """False when it ended instead, perhaps because the port was taken."""
        def answered():
            if self._process.poll() is not None:
                return True
            try:
                return self._ask_pid(("127.0.0.1", port)) == self._process.pid
            except (OSError, ValueError):
                return False

        try:
            wait_until(answered, START_SECONDS, f"{self.name} answers")
        except TimeoutError as error:
            raise StartError(f"{error}\n{self.log()}") from None
        return self._process.poll() is None

    def _end(self, number):
        if self._process is None or self._process.poll() is not None:
            return
        self._process.send_signal(number)
        self._process.send_signal(signal.SIGCONT)
        try:
            self._process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()


class Servers:
    """All that a run starts, as a context: at its end, however it ends, the servers are ended in reverse and the
    directories removed. For the main thread, and for the program's last act: signals are ignored from then on. With
    `unix` they listen on Unix sockets too, which asks for a short path of the temporary directory."""

    def __init__(self, harcad, unix=False):
        self.harcad_program = harcad
        self._unix = unix
        self._directory = ""
        self._servers = []

    def __enter__(self):
        try:
            with signals_held():
                self._directory = tempfile.mkdtemp(prefix="harcad-")
        except BaseException:
            shutil.rmtree(self._directory, ignore_errors=True)
            raise
        return self

    def __exit__(self, *exc):
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, signal.SIG_IGN)  # a second Ctrl-C leaves nothing behind either
        self.stop_all()
        shutil.rmtree(self._directory, ignore_errors=True)

    def stop_all(self):
        """Those that were started so far, in reverse."""
        for server in reversed(self._servers):
            server.stop()
        self._servers.clear()

    def redis(self, name, options=(), wrapper=()):
        """A redis-server; options are its configuration's. Without any it persists nothing."""
        options = {"save": "", "appendonly": "no", **dict(options)}

        def argv(server, port):
            words = ["redis-server", "--bind", "127.0.0.1", "--port", str(port), "--dir", server.directory]
            if self._unix:
                words += ["--unixsocket", server.unix_path]
            for option, value in options.items():
                words += [f"--{option}", value]
            return words

        return self._start(name, argv, wrapper)

    def harcad(self, name, settings=(), wrapper=()):
        """A harcad; settings are given as --set."""
        def argv(server, port):
            unix_path = server.unix_path if self._unix else ""
            given = {"listen.tcp": f"127.0.0.1:{port}", "listen.unix": unix_path, **dict(settings)}
            words = [self.harcad_program]
            for setting, value in given.items():
                words += ["--set", f"{setting}={value}"]
            return words

        return self._start(name, argv, wrapper)

    def memcached(self, name, options=(), wrapper=()):
        """A memcached; options are its command line's. It listens on TCP only."""
        options = {"-U": "0", "-l": "127.0.0.1", **dict(options)}
        if os.geteuid() == 0:
            options["-u"] = "root"  # it does not run as root without being told to

        def argv(_server, port):
            return ["memcached", "-p", str(port), *(word for pair in options.items() for word in pair)]

        return self._start(name, argv, wrapper, memcached_pid)

    def floor(self, name, program, wrapper=()):
        """The canned server of tests/sim, for Servers with `unix`."""
        return self._start(name, lambda server, port: [program, "-p", str(port), "-s", server.unix_path], wrapper)

    def _start(self, name, argv, wrapper, ask_pid=resp_pid):
        server = Server(name, os.path.join(self._directory, name), lambda port: argv(server, port), wrapper, ask_pid)
        self._servers.append(server)
        return server.start()


def default_harcad():
    return os.environ.get("HARCAD_BIN", os.path.join(ROOT, "build", "harcad"))
