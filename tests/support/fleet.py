"""Fleets for tests: several daemons before one Redis, what is asked of them again and again, and a proxy that knows
their links apart."""

import asyncio
import collections
import struct
import threading
import time

from harcad_harness import CUT, Proxy, SLOW, _end_link as end_link, wait_until

PREFIX = b"harca:"  # upstream.prefix's default
STATE = b"harcad/harca/state"  # the fleet's own key, with fleet.name's default
STATE_SCRIPT = b"-- The fleet's state at this node"  # it begins so
MAGIC = b"\xf5hc\x01"

# A machine with much else to do must not look like an upstream that is down.
PATIENT = {"upstream.timeout": f"{int(5 * SLOW)}s", "fleet.lease": f"{int(4 * SLOW)}s"}
# Nor must it make two calls of what a client sends at once.
ONE_TURN = {"client.turn_us": "10000000"}


def in_step(*nodes):
    """Waits until each of them has its links up and keeps copies."""
    for node in nodes:
        node.wait_info(upstream_state="up", event_link="up")


def start_fleet(make_harcad, upstream, n=3, settings=None):
    """n daemons, in step."""
    nodes = [make_harcad({**PATIENT, **(settings or {})}, upstream=upstream) for _ in range(n)]
    in_step(*nodes)
    return nodes


def has_heard_all(node, upstream):
    """Waits until it has heard of all changes up to now. (A connection that is made then is served behind them.)"""
    seq = int(upstream.hget(STATE, "seq") or 0)
    wait_until(lambda: node.info()["fleet_seq"] >= seq, message=f"{seq} changes are heard of")


def prime(node, *keys):
    """Reads the keys until the daemon has copies of its own."""
    with node.raw() as conn:
        for key in keys:
            wait_until(lambda key=key: conn.command("GET", key) is not None and has_copy(conn, key),
                       message=f"a copy of {key!r} is kept")


def has_copy(conn, key):
    """Whether the daemon keeps one. (If not, asking may have brought it about.)"""
    pairs = conn.command("EXPLAIN", key)
    return dict(zip(pairs[::2], pairs[1::2]))[b"tier"] == b"memory"


def serves(node, key, value, timeout=None):
    """Waits until it answers GET so. Returns how long that took, in seconds."""
    started = time.monotonic()
    with node.raw() as conn:
        wait_until(lambda: conn.command("GET", key) == value, *([timeout] if timeout else []),
                   message=lambda: f"GET {key!r} gives {value!r}, not {conn.command('GET', key)!r}", interval=0.002)
    return time.monotonic() - started


def calls(redis, *commands):
    """How often the server has carried these commands out."""
    with redis.client() as client:
        stats = client.info("commandstats")
    return sum(stats.get(f"cmdstat_{command}", {}).get("calls", 0) for command in commands)


def frame_parts(stored):
    """(model, seq, incarnation, epoch, value) of a framed value; None of a raw one."""
    if not stored.startswith(MAGIC):
        return None
    version, codec, model_len, seq, incarnation, epoch, raw_len, _ = struct.unpack_from("<BBHQIIII", stored, 4)
    assert (version, codec) == (1, 0)
    value = stored[32 + model_len:]
    assert len(value) == raw_len
    return stored[32:32 + model_len], seq, incarnation, epoch, value


def cut_when_sent_again(proxy, value, arrives):
    """The link on which that value goes by the script is cut, when Redis has it (`arrives`) or just before. Returns the
    connections on which it did."""
    again = []

    def cut(direction, data, number):
        if direction == "up" and b"EVALSHA" in data and value in data:
            again.append(number)
            return None if arrives else CUT
        return CUT if direction == "down" and number in again else None

    proxy.on_data = cut
    return again


def in_threads(*functions):
    """Runs them side by side; raises what one of them raised. Returns what they returned."""
    results, errors = [None] * len(functions), []

    def run(i, function):
        try:
            results[i] = function()
        except BaseException as error:  # pylint: disable=broad-except
            errors.append(error)

    threads = [threading.Thread(target=run, args=pair, daemon=True) for pair in enumerate(functions)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if errors:
        raise errors[0]
    return results


class LinkProxy(Proxy):
    """A proxy that knows a daemon's links apart by the names they give themselves, and can treat one kind alone:

        proxy.hold("worker")        replies on links of that kind wait; or requests, with direction="up"
        proxy.wait_held("worker")   returns once something does
        proxy.pass_one("worker")    once something does, what waits on each link goes on, up to one piece; what is behind it
                                    waits
        proxy.let_go()              all goes on, in order
        proxy.lose("worker")        what is sent up such links vanishes, until let_go()
        proxy.strand("worker")      what the links of that kind that are open now have sent or will send stays on its
                                    way, also when they end; later ones of that kind are not concerned
        proxy.arrive()              it arrives
        proxy.refuse_new("worker")  later links of that kind, or of those kinds, do not come up; None: they do
        proxy.cut_links("events")   connections of that kind are reset
    """

    KINDS = ("worker", "control", "events")

    def __init__(self, target):
        super().__init__(target)
        self._kinds = {}  # connection number -> kind
        self._holds = {}  # (kind, direction) -> event that ends it
        self._waiting = collections.Counter()
        self._lost = set()  # kinds
        self._stranded = {}  # connection number -> event that ends it
        self.stranded_bytes = 0
        self._refused = ()  # kinds

    def hold(self, kind, direction="down"):
        """From on_data, too."""
        self._holds.setdefault((kind, direction), asyncio.Event())

    def wait_held(self, kind, n=1):
        wait_until(lambda: self._waiting[kind] >= n, message=f"{n} pieces wait on {kind} links")

    def pass_one(self, kind, direction="down"):
        self.wait_held(kind)
        self._call(self._pass_one(kind, direction))

    def let_go(self, kind=None, direction=None):
        self._call(self._let_go(kind, direction))

    def lose(self, kind):
        self._lost.add(kind)

    def strand(self, kind):
        self._call(self._strand(kind))

    def arrive(self):
        self._call(self._arrive())

    def refuse_new(self, *kinds):
        self._refused = kinds

    def cut_links(self, kind):
        self._call(self._cut_links(kind))

    async def _pass_one(self, kind, direction):
        gate = self._holds.pop((kind, direction))
        self.hold(kind, direction)
        gate.set()

    async def _let_go(self, kind, direction):
        for key in [key for key in self._holds if kind in (None, key[0]) and direction in (None, key[1])]:
            self._holds.pop(key).set()
        self._lost -= {kind} if kind else set(self.KINDS)

    async def _strand(self, kind):
        for number in [number for number in self._links if self._kinds.get(number) == kind]:
            self._stranded[number] = asyncio.Event()

    async def _arrive(self):
        for event in self._stranded.values():
            event.set()
        self._stranded.clear()

    async def _cut_links(self, kind):
        for number in [number for number in self._links if self._kinds.get(number) == kind]:
            task, writers = self._links.pop(number)
            end_link(task, writers, fin=False)

    def _is_a_pong(self, kind, direction, data):
        """What a link asks for once a second is not what a test waits for; unless nothing is to come through."""
        return direction == "down" and data == b"+PONG\r\n" and (kind, "up") not in self._holds

    async def _pass(self, direction, data, writer, number):
        if direction == "up" and number not in self._kinds:
            for kind in self.KINDS:
                if b"harcad-" + kind.encode() in data:
                    self._kinds[number] = kind
            if self._kinds.get(number, "") in self._refused:
                task, writers = self._links.pop(number)
                end_link(task, writers, fin=False)
                return False
        kind = self._kinds.get(number)
        if kind in self._lost and direction == "up" and data:
            return True
        stranded = self._stranded.get(number) if direction == "up" else None
        if stranded is not None:
            self.stranded_bytes += len(data)
            await stranded.wait()
        gate = self._holds.get((kind, direction))
        if gate is not None and data and not self._is_a_pong(kind, direction, data):
            self._waiting[kind] += 1
            try:
                await gate.wait()
            finally:
                self._waiting[kind] -= 1
        return await super()._pass(direction, data, writer, number)


class StateRefused:
    """While it lasts, the state that a daemon asks for when it gets in step is refused."""

    def __init__(self, proxy):
        self.proxy = proxy
        self.times = 0

    def __enter__(self):
        self.proxy.on_data = self._refuse
        return self

    def __exit__(self, *exc):
        self.proxy.on_data = None

    def _refuse(self, direction, data, _):
        if direction == "up" and STATE_SCRIPT in data:
            self.times += 1
            return data.replace(STATE_SCRIPT, b"?" * len(STATE_SCRIPT))
        return None
