"""Hit ratios on recorded traces, by the simulator that links the real store."""

import gzip
import os
import shutil
import subprocess

from . import programs
from .row import HARCAD, REDIS, Reading, Section, Skip

HIT_RATIOS = Section(
    "Hit ratios",
    "Each policy within the same budget, a percentage of the trace's footprint.",
    ("trace", "budget", "policy", "hit ratio", "hit ratio of bytes"))


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
