"""What measurements work with: servers, programs, and what others measured already."""

import contextlib
import os
import shutil
import tempfile
import time

from kit.processes import wait_until

from . import account, programs
from .row import FLOOR, HARCAD, MEMCACHED, REDIS, Skip

KEY_BYTES = 16  # of the keys that build/load and redis-benchmark make: key:000000000000
FILL_ATTEMPTS = 4
UNLIMITED = {HARCAD: {"memory.max_bytes": "8G"}, REDIS: {}, MEMCACHED: {"-m": "4096"}}


def loop_thread(pid):
    """The thread of a server with one worker that serves clients: harcad's worker-0, redis-server's only loop."""
    for thread in account.threads(pid):
        if thread.name.startswith("worker-"):
            return thread.tid
    return pid


class Lab:
    """`divisor` makes quick runs of it: each with so much less work."""

    ENDLESS = 4_000_000_000  # operations of a load that is ended by force

    def __init__(self, servers, divisor=1, traces=None):
        self.servers = servers
        self.divisor = divisor
        self.traces = traces
        self.side_by_side = {}  # servers that were started and filled for the rows measured in turn
        self._done = {}
        self._started = 0

    def scaled(self, number):
        return max(1, number // self.divisor)

    def once(self, function, *arguments):
        """What several rows read off the same measurement: it is made when the first asks."""
        key = (function, arguments)
        if key not in self._done:
            self._done[key] = function(self, *arguments)
        return self._done[key]

    # ---- servers ----

    def kinds(self, *wanted):
        """Those of the servers that are installed."""
        return [kind for kind in wanted if kind != MEMCACHED or shutil.which("memcached")]

    def start(self, kind, name, options=(), wrapper=()):
        start = {HARCAD: self.servers.harcad, REDIS: self.servers.redis, MEMCACHED: self.servers.memcached,
                 FLOOR: self.start_floor}[kind]
        self._started += 1
        return start(f"{self._started}-{name}", options, wrapper)

    def start_unlimited(self, kind, name, wrapper=()):
        """One that has room for all that is put in."""
        return self.start(kind, name, UNLIMITED[kind], wrapper)

    def start_floor(self, name, _options, wrapper):
        return self.servers.floor(name, self.program("floor"), wrapper)

    # ---- programs ----

    @contextlib.contextmanager
    def scratch(self):
        """A path for a program's own directory, removed at the end."""
        parent = tempfile.mkdtemp(prefix="harcad-")
        try:
            yield os.path.join(parent, "scratch")
        finally:
            shutil.rmtree(parent, ignore_errors=True)

    def program(self, name):
        """One of tests/sim, built beside the daemon."""
        path = os.path.join(os.path.dirname(self.servers.harcad_program), name)
        return programs.need(path, f": make {programs.relative(path)}")

    def load_argv(self, kind, server, *options, unix=False):
        address = ("-s", server.unix_path) if unix else ("-p", str(server.port))
        protocol = ("-t", "memcached") if kind == MEMCACHED else ()
        return [self.program("load"), *address, *protocol, *map(str, options)]

    def load(self, kind, server, *options, unix=False, wrapper=()):
        """The values that build/load prints."""
        return programs.parse(programs.run([*wrapper, *self.load_argv(kind, server, *options, unix=unix)]))

    def fill(self, kind, server, entries, *options, **how):
        return self.load(kind, server, "-o", "fill", "-n", entries, "-c", 4, "-P", 16, *options, **how)

    def fill_expiring(self, kind, server, entries, *options, **how):
        """All with the same moment of expiry, which is returned, in seconds of wall time: it is still ahead."""
        life_s = 1.5 + entries / 250_000
        for _ in range(FILL_ATTEMPTS):
            expires_at = time.time() + life_s
            self.fill(kind, server, entries, *options, "-x", "PXAT", "-x", int(expires_at * 1000), **how)
            if time.time() < expires_at - 0.1:
                return expires_at
            server.client().call("FLUSHALL")
            life_s *= 3  # the machine is busy
        raise RuntimeError(f"{kind}: filling took longer than the entries were to live")


def stored_bytes(kind, client):
    """By the server's own count, asked for no more of INFO than has it: on a machine whose processors were idle each page
    that the answer touches costs microseconds."""
    section, field = ("tiers", "memory_bytes") if kind == HARCAD else ("memory", "used_memory")
    return client.info(section)[field]


def settle(pid, seconds=10.0, quiet=5):
    """Returns once the process has used next to no CPU time for a while, or the time is over."""
    seen = [account.cpu_ns(pid)]

    def is_quiet():
        seen.append(account.cpu_ns(pid))
        return len(seen) > quiet and seen[-1] - seen[-1 - quiet] < 0.05 * quiet * 0.1e9

    try:
        wait_until(is_quiet, seconds, "the process is at rest", pause=0.1)
    except TimeoutError:
        pass


def need_memory(amount):
    available = account.available_bytes()
    if available < amount:
        raise Skip(f"it takes {amount >> 20} MiB of memory, and {available >> 20} are available")
