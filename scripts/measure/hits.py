"""Hit ratios on recorded traces: by the simulator that links the real store, and of a daemon, which takes what its process
needs beside the store off the same budget."""

import gzip
import os
import shutil
import subprocess

from kit import replay

from . import programs
from .row import HARCAD, REDIS, Reading, Section, Skip

BATCH = 8  # requests that are under way at a time at a daemon
BUDGET_MIN = 1 << 20  # the least that memory.max_bytes may be

HIT_RATIOS = Section(
    "Hit ratios",
    "Each policy within the same budget, a percentage of the trace's footprint.",
    ("trace", "budget", "policy", "hit ratio", "hit ratio of bytes"))

OF_DAEMONS = Section(
    "Hit ratios of daemons",
    "The same traces and budgets at a daemon without a file tier. Of memory.max_bytes it takes off what its process grows by\n"
    "beside the store, more than 1 MiB and its fixed tables. Kept: entries and tables, at the end.",
    ("trace", "budget", "bytes", "kept", "of the budget", "hit ratio", "values refused"))


def parse(text):
    """Of the simulator's table: (policy, hit ratio, hit ratio of bytes) of each line."""
    found = []
    for line in text.splitlines():
        words = line.rsplit(None, 3)
        try:
            hits, hit_bytes, _seconds = map(float, words[1:])
        except ValueError:
            continue
        found.append((words[0].strip(), hits, hit_bytes))
    return found


def simulate(lab, path, budget):
    """The trace, unpacked where it is compressed, through build/sim."""
    opener = gzip.open if path.endswith(".gz") else open
    with subprocess.Popen([lab.program("sim"), budget], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        with opener(path, "rb") as trace:
            shutil.copyfileobj(trace, process.stdin.buffer)
        out, _ = process.communicate()
    if process.returncode != 0:
        raise programs.ProgramError(f"sim failed on {path}")
    return parse(out)


def find(lab, name):
    for ending in ("", ".gz"):
        path = os.path.join(lab.traces or "", name + ending)
        if lab.traces and os.path.isfile(path):
            return path
    raise Skip(f"no trace {name}: BENCH_TRACES names a directory of them")


def on_trace(name, percent):
    """A measurement: harcad's hit ratio within that percentage of the trace's footprint."""
    def measure(lab):
        policies = simulate(lab, find(lab, name), f"{percent}%")
        values = {HARCAD: [policies[0][1]]}  # the first line is the store with its default settings
        values |= {REDIS: [hits] for policy, hits, _ in policies if policy.startswith("Redis")}
        lines = [(HIT_RATIOS, (name, f"{percent} %", policy, f"{hits:.4f}", f"{hit_bytes:.4f}"))
                 for policy, hits, hit_bytes in policies]
        return Reading(values, f"`make sim TRACE={name}.gz BYTES={percent}%`; redis-server's is its sampling, simulated.",
                       details=lines)

    return measure


def on_daemon(name, percent):
    """A measurement: a daemon's hit ratio with that percentage of the trace's footprint as its memory.max_bytes."""
    def measure(lab):
        trace = list(replay.read(find(lab, name), lab.scaled(2_000_000)))
        budget = max(replay.footprint(trace) * percent // 100, BUDGET_MIN)
        server = lab.start(HARCAD, f"hits-{name}-{percent}", {"memory.max_bytes": budget, "file.enabled": "no"})
        client = server.client(unix=True)
        done = replay.replay(client, trace, most=BATCH, apart=True)
        kept = client.info()["used_memory"]
        server.stop()
        line = (OF_DAEMONS, (name, f"{percent} %", f"{budget:,}", f"{kept:,}", f"{kept / budget:.2f}", f"{done.hit_ratio:.4f}",
                             f"{done.refused:,}"))
        return Reading({HARCAD: [done.hit_ratio]}, f"The trace, replayed by kit/replay.py, {BATCH} requests at a time, on a daemon with "
                       f"memory.max_bytes={budget} and file.enabled=no.",
                       f"entries and tables take {100 * kept / budget:.0f} % of memory.max_bytes", [line])

    return measure
