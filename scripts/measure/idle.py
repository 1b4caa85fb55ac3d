"""A server that nobody talks to: what it takes of memory, and how often it wakes up."""

import dataclasses
import time

from . import account
from .lab import settle
from .row import HARCAD, MEMCACHED, REDIS, Reading, Section

WINDOW_S = 10
STARTED_S = 5  # after which what a start has to do, and to look after for a while, is over

WAKE_UPS = Section(
    "Wake-ups of an idle server",
    "Voluntary context switches of each thread a second. Threads that never woke are left out.",
    ("thread", "server", "wake-ups a second"))


@dataclasses.dataclass(frozen=True)
class Idle:
    rss_bytes: int
    rates: tuple  # of threads that woke: (name, wake-ups a second)
    window_s: float


def rates_between(before, after, seconds):
    """(name, wake-ups a second) of the threads that woke between two lists of threads."""
    earlier = {thread.tid: thread.switches for thread in before}
    woken = [(thread.name, (thread.switches - earlier.get(thread.tid, 0)) / seconds) for thread in after]
    return tuple((name, rate) for name, rate in woken if rate > 0)


def observe(lab, kind):
    server = lab.start(kind, "idle")
    settle(server.pid)
    time.sleep(STARTED_S)
    window_s = max(2.0, WINDOW_S / lab.divisor)
    before, began = account.threads(server.pid), time.monotonic()
    time.sleep(window_s)
    after, took_s = account.threads(server.pid), time.monotonic() - began
    idle = Idle(account.rss_bytes(server.pid), rates_between(before, after, took_s), took_s)
    server.stop()
    return idle


def observe_all(lab):
    return {kind: lab.once(observe, kind) for kind in lab.kinds(HARCAD, REDIS, MEMCACHED)}


def rss(lab):
    """In MB of a million bytes."""
    return Reading({kind: [idle.rss_bytes / 1e6] for kind, idle in observe_all(lab).items()},
                   "Rss of `/proc/PID/smaps_rollup` of a server just started with its default settings, once it is at rest.")


def wake_ups(lab):
    """A second, of all threads together: one that looks around twice a minute is not what a timer of a second is."""
    idles = observe_all(lab)
    lines = [(WAKE_UPS, (name, kind, f"{rate:.1f}")) for kind, idle in idles.items() for name, rate in idle.rates]
    note = ", ".join(f"{name} {rate:.1f}/s" for name, rate in idles[HARCAD].rates)
    return Reading({kind: [sum(rate for _, rate in idle.rates)] for kind, idle in idles.items()},
                   f"Voluntary context switches in `/proc/PID/task/*/status` over {idles[HARCAD].window_s:.0f} s, of all threads.",
                   note, lines)
