"""What a hit in memory costs beside a busy file tier, which it has nothing to do with.

Of two workers one answers the hits, and only its thread is looked at: what the writer and the other worker do is their
own. For the target it has a processor to itself, shared with nobody but the client that asks: then what differs is
what the file tier makes of the way of a hit: instructions, locks that others hold, cache lines that others write. Where all
threads share all processors, whoever has a writer to run is interrupted more often than who has none, and finds the
processor's caches colder each time. That is the scheduler's price for one more busy thread, whoever's it is, and told beside it.
"""

import os
import statistics
import time

from . import account, instructions, programs
from .processors import pinned, processors
from .row import HARCAD, Reading, Skip

ROUNDS = 20
KEYS = 1000
DEPTH = 16
BUSY_BYTES = 4096
CLEARLY_NS = 50_000_000  # of CPU more than the other: whatever it did to get ready is far less
PATIENCE_S = 20
BUSY_SETS = 2000  # before GETs are counted: the log has records, and the index is in use
STATES = {"off": "no", "on": "yes"}
EVERYWHERE = frozenset(os.sched_getaffinity(0))


def options(state, workers):
    return {"server.workers": str(workers), "memory.max_bytes": "64M", "file.max_bytes": "1G", "file.enabled": STATES[state]}


# ---- CPU time ----


def busy(lab, server, wrapper):
    """Somebody else's SETs and what they evict, on one connection."""
    return programs.Endless([*wrapper, *lab.load_argv(HARCAD, server, "-o", "set", "-n", lab.ENDLESS, "-k", 100_000, "-K", "busy",
                                                      "-d", BUSY_BYTES, "-c", 1)])


def hits(lab, server, wanted, wrapper=()):
    lab.load(HARCAD, server, "-o", "get", "-n", wanted, "-k", KEYS, "-K", "hot", "-c", 1, "-P", DEPTH, wrapper=wrapper)


def worker_ns(pid):
    return {thread.tid: account.thread_ns(pid, thread.tid) for thread in account.threads(pid) if thread.name.startswith("worker")}


def quiet_worker(pid):
    """That of the two which does not have the busy connection; looked at until the other has spent clearly more."""
    before, end = worker_ns(pid), time.monotonic() + PATIENCE_S
    while time.monotonic() < end:
        time.sleep(0.1)
        spent = {tid: account.thread_ns(pid, tid) - before[tid] for tid in before}
        if max(spent.values()) - min(spent.values()) > CLEARLY_NS:
            return min(spent, key=spent.get)
    raise programs.ProgramError(f"no worker of process {pid} has become busy")


def place(pid, alone):
    """The thread `alone` on the processor that clients have, all others on the rest; None: all everywhere."""
    rest, last = ({int(number) for number in words.split(",")} for words in processors())
    for thread in account.threads(pid):
        os.sched_setaffinity(thread.tid, EVERYWHERE if alone is None else last if thread.tid == alone else rest)


def hit_ns(lab, server, wanted, apart):
    """CPU of one of the two workers for a hit, while the other has the busy connection."""
    with busy(lab, server, pinned(0) if apart else ()):
        quiet = quiet_worker(server.pid)
        place(server.pid, quiet if apart else None)
        before = account.thread_ns(server.pid, quiet)
        hits(lab, server, wanted, pinned(1) if apart else ())
        return (account.thread_ns(server.pid, quiet) - before) / wanted


def compared(lab, servers, wanted, apart):
    """CPU for a hit by state, round by round."""
    costs = {state: [] for state in servers}
    for number in range(ROUNDS):
        for state in servers if number % 2 == 0 else reversed(servers):
            costs[state].append(hit_ns(lab, servers[state], wanted, apart))
    return costs


def told(costs):
    return f"{statistics.median(costs['off']):.0f} ns without, {statistics.median(costs['on']):.0f} ns with it"


def hit_cpu(lab):
    if processors() is None:
        raise Skip("it takes two processors")
    wanted, servers = lab.scaled(200_000), {}
    for state in STATES:
        servers[state] = lab.start(HARCAD, f"hit-{state}", options(state, 2))
        lab.load(HARCAD, servers[state], "-o", "fill", "-n", KEYS, "-K", "hot", "-d", 64)
        hits(lab, servers[state], 50_000)
    apart, shared = compared(lab, servers, wanted, True), compared(lab, servers, wanted, False)
    ratios = [on / off for on, off in zip(apart["on"], apart["off"])]
    return Reading({HARCAD: ratios}, f"`taskset -c LAST build/load -o get -k {KEYS} -c 1 -P {DEPTH}` on one worker of two, which runs on "
                   "that processor too and whose CPU is measured. All other threads run on another; there the other worker has SETs of "
                   "4 KiB that are written through and evicted. Of the same with file.enabled=no.",
                   f"{told(apart)}; with all threads on all processors {told(shared)}")


# ---- instructions ----


def write_some(server):
    """What makes the tier below known to all that a hit passes."""
    client = server.client()
    for number in range(BUSY_SETS):
        client.call("SET", f"busy:{number}", b"b" * BUSY_BYTES)


def hit_instructions(lab):
    """The higher ratio of one worker, which has all locks at once, and of two."""
    instructions.need_valgrind()
    ratios, notes = [], []
    for workers in (1, 2):
        counts = {state: sum(instructions.per_get(lab, HARCAD, DEPTH, options(state, workers), write_some).values())
                  for state in STATES}
        ratios.append(counts["on"] / counts["off"])
        notes.append(f"{workers} worker{'s'[:workers - 1]}: {counts['off']:.1f} without, {counts['on']:.1f} with it")
    return Reading({HARCAD: [max(ratios)]}, f"`valgrind --tool=callgrind`, as for the instructions of a GET hit at pipeline "
                   f"{DEPTH}, after {BUSY_SETS} SETs of 4 KiB; of the same with file.enabled=no.", "; ".join(notes))
