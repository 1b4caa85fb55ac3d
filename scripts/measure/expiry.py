"""Entries that expire all at once and are read by nobody: how soon their memory is back, and at what cost."""

import dataclasses
import time

from kit.processes import wait_until

from . import account
from .lab import need_memory, settle, stored_bytes
from .row import HARCAD, REDIS, Reading, Section

ENTRIES = 1_000_000
VALUE_BYTES = 64
WINDOW_S = 2.0
BACK = 0.95  # of what the entries had taken
PATIENCE_S = 20.0
POLL_S = 0.05
POLLS_A_COUNT = 4  # its own count the server has to be asked for, which takes it some tenths of a millisecond

EXPIRED = Section(
    "Entries expired without being read",
    f"Seconds from the moment of expiry until {100 * BACK:.0f} % of what the entries had taken was given back: by the "
    "server's own count,\nand of the process's resident size. CPU time is the server's in the "
    f"{WINDOW_S:.0f} s from that moment on.",
    ("server", "entries", "own count s", "resident s", "resident back at last", "CPU s", "% of a core"))


@dataclasses.dataclass(frozen=True)
class Expired:
    entries: int
    count_s: float | None  # None: not within PATIENCE_S
    resident_s: float | None
    resident_back: float  # part of what the entries had taken, at the end
    cpu_s: float  # in the first WINDOW_S


@dataclasses.dataclass
class Watch:
    """When a number that fell from `full` towards `empty` had come most of the way."""

    empty: float
    full: float
    at_s: float | None = None

    def see(self, number, now_s):
        if self.at_s is None and number <= self.full - BACK * (self.full - self.empty):
            self.at_s = now_s

    @property
    def is_back(self):
        return self.at_s is not None


def watch_return(server, count, resident, read_count, expires_at):
    """Polls until both are back. Returns the CPU seconds of the window."""
    before = account.cpu_ns(server.pid)
    spent = None
    polls = 0

    def is_over():
        nonlocal spent, polls
        now_s = time.time() - expires_at
        if polls % POLLS_A_COUNT == 0:
            count.see(read_count(), now_s)
        polls += 1
        resident.see(account.rss_bytes(server.pid), now_s)
        if spent is None and now_s >= WINDOW_S:
            spent = account.cpu_ns(server.pid) - before
        return spent is not None and count.is_back and resident.is_back

    try:
        wait_until(is_over, PATIENCE_S, "memory is back", pause=POLL_S)
    except TimeoutError:
        pass
    return spent / 1e9


def observe(lab, kind):
    need_memory(1 << 30)
    entries = lab.scaled(ENTRIES)
    server = lab.start_unlimited(kind, "expiry")
    client = server.client()
    settle(server.pid)
    empty = stored_bytes(kind, client), account.rss_bytes(server.pid)
    expires_at = lab.fill_expiring(kind, server, entries, "-d", VALUE_BYTES)
    full = stored_bytes(kind, client), account.rss_bytes(server.pid)
    time.sleep(expires_at - time.time())
    count, resident = Watch(empty[0], full[0]), Watch(empty[1], full[1])
    cpu_s = watch_return(server, count, resident, lambda: stored_bytes(kind, client), expires_at)
    back = (full[1] - account.rss_bytes(server.pid)) / (full[1] - empty[1])
    server.stop()
    return Expired(entries, count.at_s, resident.at_s, back, cpu_s)


def observe_all(lab):
    return {kind: lab.once(observe, kind) for kind in lab.kinds(HARCAD, REDIS)}


def method(lab):
    return (f"`build/load -o fill -n {lab.scaled(ENTRIES)} -c 4 -P 16 -d {VALUE_BYTES} -x PXAT -x MS`, all with the "
            f"same MS; then `/proc/PID/smaps_rollup` every {1e3 * POLL_S:.0f} ms, and one section of INFO every {1e3 * POLL_S * POLLS_A_COUNT:.0f}.")


def seconds(number):
    return f"> {PATIENCE_S:.0f}" if number is None else f"{number:.2f}"


def lines(expired):
    return [(EXPIRED, (kind, f"{e.entries:,}", seconds(e.count_s), seconds(e.resident_s), f"{100 * e.resident_back:.0f} %",
                       f"{e.cpu_s:.3f}", f"{100 * e.cpu_s / WINDOW_S:.1f}")) for kind, e in expired.items()]


def memory_back(lab):
    """Seconds until both the own count and the resident size are back; PATIENCE_S stands for longer."""
    expired = observe_all(lab)
    return Reading({kind: [max(e.count_s or PATIENCE_S, e.resident_s or PATIENCE_S)] for kind, e in expired.items()},
                   method(lab), f"harcad's own count after {seconds(expired[HARCAD].count_s)} s", lines(expired))


def cpu_percent(lab):
    return Reading({kind: [100 * e.cpu_s / WINDOW_S] for kind, e in observe_all(lab).items()},
                   f"As above: CPU time of the server in the {WINDOW_S:.0f} s after the expiry, by their length.")
