"""What was measured, as text for a terminal, as docs/benchmarks.md and as JSON."""

import dataclasses
import datetime
import json
import os
import platform
import re
import shutil
import subprocess

from kit import text

from . import account
from .row import HARCAD, MEMCACHED, REDIS

HEAD = ("row", "unit", "harcad", "redis-server", "memcached", "to redis", "to memcached", "lowest", "highest", "target", "")

CAPTION = """Numbers of each server, and harcad's ratio to the others. What is measured in turn has {rounds} rounds: its numbers are
medians of them, its ratios medians of the rounds' own, and lowest and highest are of the ratio to redis-server. Where else
there are rounds, they are of harcad's number. CPU time (ns/op) is the server's, user and system. A target with an x is for
the ratio to redis-server, one without for harcad's number."""


# ---- the machine ----


def first_line(*argv):
    return subprocess.run(argv, capture_output=True, text=True, check=True).stdout.splitlines()[0]


def processor():
    model = re.search(r"^model name\s*: (.*)$", account.read("/proc/cpuinfo"), re.MULTILINE)
    return f"{model.group(1) if model else platform.machine()}, {len(os.sched_getaffinity(0))} logical processors"


def memcached_version():
    return first_line("memcached", "--version").removeprefix("memcached ") if shutil.which("memcached") else "not installed"


def counters():
    """Whether the processor's own are there, for perf: many virtual machines have none."""
    found = os.path.exists("/sys/bus/event_source/devices/cpu")
    return "there" if found else "not there: instructions are counted by callgrind"


def machine(harcad):
    return [
        ("date", datetime.date.today().isoformat()),
        ("processor", processor()),
        ("memory", text.size(1024 * account.field(account.read("/proc/meminfo"), "MemTotal"))),
        ("system", f"{platform.system()} {platform.release()}, {platform.machine()}"),
        ("hardware counters", counters()),
        ("harcad", first_line(harcad, "--version").removeprefix("harcad ")),
        ("redis-server", re.search(r"v=(\S+)", first_line("redis-server", "--version")).group(1)),
        ("redis-benchmark", first_line("redis-benchmark", "--version").removeprefix("redis-benchmark ")),
        ("memcached", memcached_version()),
    ]


@dataclasses.dataclass
class Noise:
    """What else the machine did meanwhile."""

    load_before: float = dataclasses.field(default_factory=lambda: os.getloadavg()[0])
    time_before: account.MachineTime = dataclasses.field(default_factory=account.machine_time)

    def facts(self):
        spent = account.machine_time().since(self.time_before)
        total = (spent.busy + spent.idle + spent.stolen) or 1
        return [
            ("load average", f"{self.load_before:.1f} before, {os.getloadavg()[0]:.1f} after"),
            ("processors meanwhile", f"{100 * spent.busy / total:.0f} % busy, {100 * spent.stolen / total:.1f} % taken by "
             "the host"),
        ]


# ---- tables ----


def number(value, digits):
    return "" if value is None else f"{value:,.{digits}f}"


def main_line(outcome):
    row, reading = outcome.row, outcome.reading
    target = "" if row.target is None else str(row.target)
    if reading is None:
        return (row.title, row.unit, *[""] * 7, target, outcome.verdict)
    rounds = reading.ratios() if row.is_in_turn else reading.values[HARCAD]
    return (row.title, row.unit, *(number(reading.value(kind), row.digits) for kind in (HARCAD, REDIS, MEMCACHED)),
            number(reading.ratio(REDIS), 2), number(reading.ratio(MEMCACHED), 2),
            *((number(min(rounds), 2), number(max(rounds), 2)) if len(rounds) > 1 else ("", "")), target, outcome.verdict)


def sections(outcomes):
    """The tables of details, in the order they first appear: (section, lines)."""
    found = {}
    for outcome in outcomes:
        for section, line in outcome.reading.details if outcome.reading else ():
            found.setdefault(section, []).append(line)
    return list(found.items())


def notes(outcomes):
    """What is to be said of single rows."""
    said = [(outcome.row.title, outcome.reading.note if outcome.reading else f"{outcome.verdict}: "
             f"{outcome.skipped or outcome.failed}") for outcome in outcomes]
    return [(title, note) for title, note in said if note]


def summary(outcomes):
    verdicts = [outcome.verdict for outcome in outcomes if outcome.row.target is not None]
    counts = ((verdict, verdicts.count(verdict)) for verdict in ("met", "missed", "skipped", "failed"))
    return f"Of {len(verdicts)} targets: " + ", ".join(f"{count} {verdict}" for verdict, count in counts if count) + "."


def terminal(facts, rounds, outcomes):
    parts = ["\n".join(f"{name + ':':<22}{value}" for name, value in facts), CAPTION.format(rounds=rounds),
             text.table(HEAD, map(main_line, outcomes), indent="")]
    parts += [f"{title}: {note}" for title, note in notes(outcomes)]
    for section, lines in sections(outcomes):
        parts.append(f"{section.title}\n\n{section.caption}\n\n{text.table(section.head, lines, indent='')}")
    return "\n\n".join([*parts, summary(outcomes)]) + "\n"


def methods(outcomes):
    return "\n".join(f"- {outcome.row.title}: {outcome.reading.method}" for outcome in outcomes if outcome.reading)


def document(command, facts, rounds, divisor, outcomes):
    parts = ["# Benchmarks",
             f"Written by `{command}`: numbers of one machine on one day. Run it on yours.",
             text.markdown_table(("", "what was measured"), facts),
             "## Targets", summary(outcomes), CAPTION.format(rounds=rounds),
             text.markdown_table(HEAD, map(main_line, outcomes))]
    if notes(outcomes):
        parts.append("\n".join(f"- {title}: {note}" for title, note in notes(outcomes)))
    for section, lines in sections(outcomes):
        parts += [f"## {section.title}", section.caption, text.markdown_table(section.head, lines)]
    parts += ["## How",
              "All servers answer from memory and persist nothing: redis-server has `--save '' --appendonly no`, harcad no "
              "upstream and one worker, memcached one thread where it is compared by time. CPU time is the sum of the first "
              "field of `/proc/PID/task/*/schedstat` after less before, divided by the number of operations.",
              methods(outcomes)]
    if divisor > 1:
        parts.append(f"This was a quick run: each with a {divisor}th of the work.")
    return "\n\n".join(parts) + "\n"


def as_json(facts, rounds, outcomes):
    rows = []
    for outcome in outcomes:
        row, reading = outcome.row, outcome.reading
        entry = {"key": row.key, "title": row.title, "unit": row.unit, "verdict": outcome.verdict,
                 "target": None if row.target is None else dataclasses.asdict(row.target)}
        if reading is None:
            entry["why"] = outcome.skipped or outcome.failed
        else:
            entry |= {"rounds": reading.values, "judged": row.judged(reading), "note": reading.note,
                      "method": reading.method}
        rows.append(entry)
    return json.dumps({"machine": dict(facts), "rounds": rounds, "rows": rows}, indent=1) + "\n"
