#!/usr/bin/python3
"""harcad beside redis-server and memcached: what it costs, what it takes, whom it keeps waiting; against targets.

measure/table.py has a line for each row, measure/ a file for each kind of measurement.
"""

import argparse
import os
import re
import subprocess
import sys

from kit.processes import ROOT, Servers, default_harcad, exit_on_sigterm
from measure import report, runner
from measure.lab import Lab
from measure.table import TABLE

ROUNDS = 9
QUICK_ROUNDS = 3
QUICK_DIVISOR = 10
DOC_PATH = os.path.join(ROOT, "docs", "benchmarks.md")


def selected(patterns):
    """Rows of which key or title match one of the patterns; without any, all."""
    if not patterns:
        return list(TABLE)
    return [row for row in TABLE
            if any(re.search(pattern, text, re.IGNORECASE) for pattern in patterns for text in (row.key, row.title))]


def parse_options(arguments=None):
    parser = argparse.ArgumentParser(prog="scripts/bench", description="harcad beside redis-server and memcached.")
    parser.add_argument("--quick", action="store_true", help="fewer rounds, and a tenth of the work")
    parser.add_argument("--only", action="append", default=[], metavar="PATTERN",
                        help="rows whose key or title matches the regular expression; may be repeated")
    parser.add_argument("--rounds", type=int, help="of what is measured in turn")
    parser.add_argument("--callgrind", action="store_true", help="the instructions of a GET only")
    parser.add_argument("--list", action="store_true", help="the rows' keys, titles and targets")
    parser.add_argument("--write", action="store_true", help="write docs/benchmarks.md")
    parser.add_argument("--json", metavar="FILE", help="write all numbers there")
    parser.add_argument("--traces", default=os.environ.get("BENCH_TRACES"), metavar="DIR",
                        help="traces for the hit ratios (default: $BENCH_TRACES)")
    parser.add_argument("--harcad", default=default_harcad(), help="the daemon (default: build/harcad)")
    options = parser.parse_args(arguments)
    if options.callgrind:
        options.only.append("^instructions")
    if options.write and options.only:
        parser.error("--write is for the whole table")
    if options.rounds is not None and options.rounds < 1:
        parser.error("--rounds: at least 1")
    if not selected(options.only):
        parser.error("no such row: --list shows them")
    return options


def command_of(options):
    """As it can be typed again."""
    words = ["scripts/bench", *(["--quick"] if options.quick else []),
             *([f"--rounds {options.rounds}"] if options.rounds else []), *(["--write"] if options.write else [])]
    return ("BENCH_TRACES=DIR " if options.traces else "") + " ".join(words)


def write(path, content):
    with open(path, "w", encoding="utf-8") as file:
        file.write(content)


def bench(options):
    """Whether all rows could be measured, or were skipped for a reason."""
    divisor = QUICK_DIVISOR if options.quick else 1
    rounds = options.rounds or (QUICK_ROUNDS if options.quick else ROUNDS)
    facts, noise = report.machine(options.harcad), report.Noise()
    with Servers(options.harcad, unix=True) as servers:
        outcomes = runner.measure(Lab(servers, divisor, options.traces), selected(options.only), rounds)
    facts += noise.facts()
    print(report.terminal(facts, rounds, outcomes), end="")
    if options.write:
        write(DOC_PATH, report.document(command_of(options), facts, rounds, divisor, outcomes))
    if options.json:
        write(options.json, report.as_json(facts, rounds, outcomes))
    return not any(outcome.failed for outcome in outcomes)


def main():
    options = parse_options()
    if options.list:
        for row in TABLE:
            print(f"{row.key:<20} {row.title}{'' if row.target is None else f', target {row.target} {row.unit}'}")
        return 0
    exit_on_sigterm()
    try:
        return 0 if bench(options) else 1
    except (OSError, subprocess.CalledProcessError) as error:
        print(f"bench: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("bench: interrupted", file=sys.stderr)
        return 130


if __name__ == "__main__":
    sys.exit(main())
