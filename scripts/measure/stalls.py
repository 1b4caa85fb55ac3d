"""How long a client that only PINGs is kept waiting while the server has something large to do.

build/probe PINGs 4000 times a second over the Unix socket, and separates what the server made it wait from what the
scheduler did and from what the host of a virtual machine took (its file says how). The server has processors of its own, the
prober and the load share another. On two processors that is one for all of the server's threads: what its background work
takes from the thread that answers shows. On a shared machine others use all of them, which is why the same probe beside the
same server at rest is shown with each: that is how much the machine alone makes of it. What the host takes comes at random,
and its shortest pieces are not seen: of a few rounds the median tells what the server does each time.
"""

import dataclasses
import statistics
import time

from kit.processes import wait_until

from .lab import loop_thread, need_memory, settle, stored_bytes
from .processors import pinned
from .programs import Background
from .row import HARCAD, REDIS, Reading, Section

RATE = 4000  # PINGs a second: a stall may be longer than what is seen by a 4000th
GROWTH = 10_000_000
ENTRIES = 1_000_000
BUDGET = 64 << 20
MEBIBYTE = 1 << 20
OVER_BUDGET = 2 * BUDGET // 100  # entries, more than it holds
REST_S = 2.0
ROUNDS = {HARCAD: 3, REDIS: 1}
PATIENCE_S = 30.0
METHOD = f"`taskset -c LAST build/probe -s SOCKET -w PID/TID -r {RATE}`, the server on the other processors; "

STALLS = Section(
    "Stalls",
    "What a client that only PINGs waited, in ms. Own: without the time in which the scheduler ran neither the server's\n"
    "thread nor the prober, though they were ready, and without that in which the host let a processor of this machine\n"
    "stand still; this is what the target is about. Host: the longest it did so. Longest: with all that. At rest: the same\n"
    "probe of the same server just before, with nothing to do, so that it shows the machine's own share. All are medians\n"
    "of the rounds.",
    ("beside", "server", "rounds", "PINGs", "own longest", "own p99.9", "own > 2 ms", "host", "longest",
     "at rest: own longest", "host", "longest"))


class Run:
    """One server, and what a situation does to it."""

    def __init__(self, lab, kind, situation):
        self.lab = lab
        self.kind = kind
        self.server = lab.start(kind, f"stall-{situation.name}", situation.options.get(kind, ()), pinned(0))
        self.client = self.server.client(unix=True)
        self.expires_at = None

    def fill(self, entries, *options, first=0):
        """Two connections with short pipelines: what a PING waits in their queue is little."""
        self.lab.load(self.kind, self.server, "-o", "fill", "-n", entries, "-f", first, "-c", 2, "-P", 16, *options,
                      unix=True, wrapper=pinned(1))

    def probe(self):
        argv = [*pinned(1), self.lab.program("probe"), "-s", self.server.unix_path, "-r", str(RATE),
                "-w", f"{self.server.pid}/{loop_thread(self.server.pid)}"]
        return Background(argv)

    def wait_for(self, condition, what):
        wait_until(condition, PATIENCE_S, what, pause=0.2)

    def memory(self):
        return stored_bytes(self.kind, self.client)


def nothing(_run):
    pass


@dataclasses.dataclass(frozen=True)
class Situation:
    """Functions of a Run: `prepare`, then the server is probed at rest, `arm`, then it is probed during `act`."""

    name: str
    title: str
    prepare: object
    act: object
    does: str
    options: dict = dataclasses.field(default_factory=dict)  # by kind of server
    needs_bytes: int = 512 * MEBIBYTE
    arm: object = nothing


def limits(budget):
    """For both kinds; redis-server evicts as a cache does."""
    return {HARCAD: {"memory.max_bytes": str(budget)}, REDIS: {"maxmemory": str(budget), "maxmemory-policy": "allkeys-lru"}}


# ---- the situations ----


def rest(run):
    time.sleep(REST_S / run.lab.divisor)


def fill_small(run):
    run.fill(run.lab.scaled(ENTRIES))


def read_hits(run):
    """As many as there are inserts in grow(): what is seen here once in a minute is the machine's, there as well."""
    run.lab.load(run.kind, run.server, "-o", "get", "-n", run.lab.scaled(GROWTH), "-k", run.lab.scaled(ENTRIES),
                 "-c", 2, "-P", 16, unix=True, wrapper=pinned(1))


def grow(run):
    run.fill(run.lab.scaled(GROWTH))


def fill_over(run):
    run.fill(OVER_BUDGET)


def insert_more(run):
    run.fill(run.lab.scaled(ENTRIES), first=OVER_BUDGET)


def shrink(run):
    """What is over the new budget goes while others insert."""
    run.client.call("CONFIG", "SET", "memory.max_bytes" if run.kind == HARCAD else "maxmemory", run.memory() // 10)
    insert_more(run)


def fill_expiring(run):
    run.expires_at = run.lab.fill_expiring(run.kind, run.server, run.lab.scaled(ENTRIES), unix=True, wrapper=pinned(1))


def expire(run):
    full = run.memory()
    time.sleep(max(0.0, run.expires_at - time.time()))
    run.wait_for(lambda: run.memory() < full / 2, "what has expired is given up")
    time.sleep(1.0)


def fill_model(run):
    run.fill(run.lab.scaled(ENTRIES), *(("-x", "MODEL", "-x", "m") if run.kind == HARCAD else ()))


def clear_model(run):
    """redis-server has no models; to forget everything is the cheapest it has to offer."""
    full = run.memory()
    run.client.call(*(("CLEAR", "MODEL", "m") if run.kind == HARCAD else ("FLUSHALL",)))
    run.wait_for(lambda: run.memory() < full / 2, "the memory is given back")
    time.sleep(1.0)


SITUATIONS = {situation.name: situation for situation in (
    Situation("rest", "nothing", nothing, rest, f"nothing, for {REST_S:g} s"),
    Situation("hits", "10 M GET hits", fill_small, read_hits,
              f"`build/load -s SOCKET -o get -n {GROWTH} -k {ENTRIES} -c 2 -P 16`"),
    Situation("growth", "10 M inserts", nothing, grow, f"`build/load -s SOCKET -o fill -n {GROWTH} -c 2 -P 16`",
              limits(8 << 30), 4 << 30),
    Situation("eviction", "mass eviction", fill_over, insert_more,
              f"a budget of {BUDGET // MEBIBYTE} MiB filled, then {ENTRIES} more inserts", limits(BUDGET)),
    Situation("shrink", "CONFIG SET of the budget to a tenth", fill_over, shrink,
              f"a budget of {BUDGET // MEBIBYTE} MiB filled, then CONFIG SET memory.max_bytes (maxmemory), and {ENTRIES} more "
              "inserts", limits(BUDGET)),
    Situation("expiry", "1 M expiring at once", nothing, expire, f"{ENTRIES} entries with the same PXAT", limits(8 << 30),
              arm=fill_expiring),
    Situation("clear", "CLEAR MODEL of 1 M", fill_model, clear_model,
              f"{ENTRIES} entries of one model, then CLEAR MODEL (redis-server: FLUSHALL)", limits(8 << 30)),
)}


# ---- probing ----


@dataclasses.dataclass(frozen=True)
class Probed:
    at_rest: dict
    beside: dict


def probe_once(lab, kind, situation):
    run = Run(lab, kind, situation)
    situation.prepare(run)
    settle(run.server.pid)
    with run.probe() as probe:
        time.sleep(REST_S / lab.divisor)
        at_rest = probe.finish()
    situation.arm(run)
    with run.probe() as probe:
        situation.act(run)
        beside_it = probe.finish()
    run.server.stop()
    return Probed(at_rest, beside_it)


def observe(lab, kind, situation):
    """Of each round."""
    need_memory(situation.needs_bytes)
    rounds = 1 if lab.divisor > 1 else ROUNDS[kind]
    return [probe_once(lab, kind, situation) for _ in range(rounds)]


def median(dicts, name):
    return statistics.median(values[name] for values in dicts)


def line(situation, kind, rounds):
    at_rest, during = [probed.at_rest for probed in rounds], [probed.beside for probed in rounds]

    def ms(dicts, name):
        return f"{median(dicts, name) / 1e3:.2f}"

    return (situation.title, kind, len(rounds), f"{median(during, 'pings'):,.0f}", ms(during, "own_longest"),
            ms(during, "own_p999"), f"{median(during, 'own_long'):.0f}", ms(during, "gaps_longest"), ms(during, "longest"),
            ms(at_rest, "own_longest"), ms(at_rest, "gaps_longest"), ms(at_rest, "longest"))


def unseen(values):
    """What of the host's doings the probe could not see, for want of a privilege."""
    if not all(each["realtime"] for each in values):
        return "the prober had no real-time priority: own has what the host took in it"
    if not all(each["tickers"] for each in values):
        return "the prober had no perf events: own has some of what the host took in it"
    return ""


def beside(name):
    """A measurement: the longest own wait, in ms."""
    def measure(lab):
        situation = SITUATIONS[name]
        probed = {kind: observe(lab, kind, situation) for kind in lab.kinds(HARCAD, REDIS)}
        values = {kind: [each.beside["own_longest"] / 1e3 for each in rounds] for kind, rounds in probed.items()}
        return Reading(values, f"{METHOD}beside it {situation.does}.",
                       unseen([each.beside for each in probed[HARCAD]]),
                       [(STALLS, line(situation, kind, rounds)) for kind, rounds in probed.items()])

    return measure
