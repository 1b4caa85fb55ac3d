#!/usr/bin/python3
"""harcad and redis-server side by side: what an operation costs each of them in CPU time.

The load comes from redis-benchmark. Both servers answer from memory, and persist nothing. The measurements of a case
are made in turn, several rounds of them, and in each round the two are compared with each other: what a busy machine does
to one it mostly does to the other. CPU time is the kernel's own account of the server's threads in nanoseconds
(/proc/PID/task/*/schedstat: user and system), so that it does not matter what the load generator needs, or whether it
is held up; throughput and latency do depend on that, and are no more than indicative where others use the machine.
"""

import argparse
import csv
import dataclasses
import datetime
import glob
import os
import platform
import re
import statistics
import subprocess
import sys

from kit import text
from kit.processes import ROOT, Servers, StartError, default_harcad, exit_on_sigterm
from kit.resp import RespError, encode

KEYS = 10000  # of each size of value
MGET_KEYS = 100
CLIENTS = 50
ROUNDS = 5
QUICK_ROUNDS = 3
QUICK_DIVISOR = 4
CALLGRIND_GETS = 8192  # a multiple of every pipeline depth below
CALLGRIND_DEPTHS = (1, 16, 64)
DOC_PATH = os.path.join(ROOT, "docs", "benchmarks.md")


@dataclasses.dataclass(frozen=True)
class Case:
    """What redis-benchmark is told. `target` bounds the ratio of harcad's CPU time to redis-server's."""

    name: str
    pipeline: int
    requests: int
    arguments: tuple
    unix: bool = False
    target: float = None

    @property
    def title(self):
        return f"{self.name}, {'Unix' if self.unix else 'TCP'}, pipeline {self.pipeline}"

    def argv(self, server, requests):
        address = ["-s", server.unix_path] if self.unix else ["-p", str(server.port)]
        return ["redis-benchmark", *address, "-c", str(CLIENTS), "-n", str(requests), "-P", str(self.pipeline), "--csv",
                *self.arguments]


def key(prefix, number):
    """As redis-benchmark makes them of `prefix:__rand_int__`."""
    return f"{prefix}:{number:012d}"


def cases():
    """`key:` has values of 64 bytes, for -t get and set; `large:` of 4 KiB."""
    get, set_ = ("-r", str(KEYS), "-t", "get"), ("-r", str(KEYS), "-d", "64", "-t", "set")
    large = ("-r", str(KEYS), "GET", "large:__rand_int__")
    mget = ("MGET", *(key("key", number) for number in range(MGET_KEYS)))
    depths = ((1, 40_000), (16, 320_000), (64, 640_000))
    return ([Case("GET hit 64 B", depth, n, get, target=1.0) for depth, n in depths] +
            [Case("GET hit 64 B", depth, n, get, unix=True, target=1.0) for depth, n in depths] +
            [Case("GET hit 4 KiB", 16, 160_000, large)] +
            [Case("SET 64 B", depth, n, set_) for depth, n in depths] +
            [Case(f"MGET of {MGET_KEYS}, 64 B", 1, 20_000, mget)])


# ---- measuring ----


@dataclasses.dataclass
class Sample:
    cpu_ns: float  # of the server, for each operation
    per_second: float
    p50_ms: float
    p99_ms: float


def cpu_ns(pid):
    """CPU time of all threads so far. Exact while they sleep."""
    total = 0
    for path in glob.glob(f"/proc/{pid}/task/*/schedstat"):
        with open(path, encoding="ascii") as file:
            total += int(file.read().split()[0])
    return total


def fill(server):
    small, large = b"v" * 64, b"V" * 4096
    client = server.client()
    client.pipeline([("SET", key("key", number), small) for number in range(KEYS)])
    client.pipeline([("SET", key("large", number), large) for number in range(KEYS)])


def check_hits(server, misses_field):
    """A miss costs something else than a hit: there must have been none."""
    misses = server.client().info()[misses_field]
    if misses:
        raise RuntimeError(f"{server.name} answered {misses} reads with nothing")


def measure(case, server, requests):
    before = cpu_ns(server.pid)
    run = subprocess.run(case.argv(server, requests), stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False)
    spent = cpu_ns(server.pid) - before
    rows = list(csv.reader(run.stdout.splitlines()))
    if run.returncode != 0 or len(rows) != 2:
        raise RuntimeError(f"redis-benchmark against {server.name}: {run.stderr or run.stdout}")
    numbers = dict(zip(rows[0][1:], map(float, rows[1][1:])))
    return Sample(spent / requests, numbers["rps"], numbers["p50_latency_ms"], numbers["p99_latency_ms"])


@dataclasses.dataclass
class Result:
    case: Case
    redis: list
    harcad: list

    @property
    def ratios(self):
        return [h.cpu_ns / r.cpu_ns for h, r in zip(self.harcad, self.redis)]

    @property
    def ratio(self):
        return statistics.median(self.ratios)

    @property
    def verdict(self):
        if self.case.target is None:
            return ""
        return "met" if round(self.ratio, 2) <= self.case.target else "missed"


def median_of(samples, field):
    return statistics.median(getattr(sample, field) for sample in samples)


def run_cases(redis, harcad, rounds, divisor):
    """Round by round, so that a minute's noise spreads over all cases; who is first changes with the round."""
    results = [Result(case, [], []) for case in cases()]
    for number in range(rounds):
        for result in results:
            pairs = [(redis, result.redis), (harcad, result.harcad)]
            for server, samples in pairs if number % 2 == 0 else reversed(pairs):
                samples.append(measure(result.case, server, result.case.requests // divisor))
        print(f"round {number + 1} of {rounds} done", file=sys.stderr, flush=True)
    return results


# ---- instructions ----


def instructions(start, name, depth, gets):
    """Of a server under callgrind from its start to its end, with so many GETs in between."""
    out = f"callgrind.{name}"
    wrapper = ["valgrind", "--tool=callgrind", f"--callgrind-out-file={out}"]
    server = start(name, wrapper=wrapper)
    client = server.client()
    client.pipeline([("SET", key("key", number), b"v" * 64) for number in range(depth)])
    batch = b"".join(encode("GET", key("key", number)) for number in range(depth))
    for _ in range(gets // depth):
        client.send(batch)
        for _ in range(depth):
            client.receive()
    server.stop()
    with open(os.path.join(server.directory, out), encoding="utf-8") as file:
        return int(re.search(r"^(?:summary|totals): (\d+)", file.read(), re.MULTILINE).group(1))


def instructions_per_get(servers):
    """Rows of pipeline depth, redis-server's and harcad's instructions a GET: the difference between N and 2 N of them,
    so that start, end and filling do not count. User space only; noise of the machine does not matter."""
    rows = []
    for depth in CALLGRIND_DEPTHS:
        costs = []
        for kind, start in (("redis", servers.redis), ("harcad", servers.harcad)):
            once, twice = (instructions(start, f"{kind}-{depth}-{times}", depth, times * CALLGRIND_GETS)
                           for times in (1, 2))
            costs.append((twice - once) / CALLGRIND_GETS)
        rows.append((depth, *costs))
        print(f"callgrind, pipeline {depth}: done", file=sys.stderr, flush=True)
    return rows


# ---- telling ----

COST_HEAD = ("operation", "redis-server ns", "harcad ns", "ratio", "lowest", "highest", "target", "")
SPEED_HEAD = ("operation", "redis-server op/s", "p50 ms", "p99 ms", "harcad op/s", "p50 ms", "p99 ms")
CALLGRIND_HEAD = ("GET hit 64 B, TCP", "redis-server", "harcad", "ratio")


def cost_rows(results):
    return [(r.case.title, f"{median_of(r.redis, 'cpu_ns'):,.0f}", f"{median_of(r.harcad, 'cpu_ns'):,.0f}", f"{r.ratio:.2f}",
             f"{min(r.ratios):.2f}", f"{max(r.ratios):.2f}", "" if r.case.target is None else f"<= {r.case.target:.2f}",
             r.verdict) for r in results]


def speed_rows(results):
    def numbers(samples):
        return (f"{median_of(samples, 'per_second'):,.0f}", f"{median_of(samples, 'p50_ms'):.3f}",
                f"{median_of(samples, 'p99_ms'):.3f}")

    return [(r.case.title, *numbers(r.redis), *numbers(r.harcad)) for r in results]


def callgrind_rows(costs):
    return [(f"pipeline {depth}", f"{redis:,.0f}", f"{harcad:,.0f}", f"{harcad / redis:.2f}")
            for depth, redis, harcad in costs]


def first_line(*command):
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.splitlines()[0]


def processor():
    with open("/proc/cpuinfo", encoding="utf-8", errors="replace") as file:
        model = re.search(r"^model name\s*: (.*)$", file.read(), re.MULTILINE)
    return f"{model.group(1) if model else platform.machine()}, {os.cpu_count()} logical processors"


def machine(harcad):
    return [
        ("date", datetime.date.today().isoformat()),
        ("processor", processor()),
        ("system", f"{platform.system()} {platform.release()}, {platform.machine()}"),
        ("harcad", first_line(harcad, "--version")),
        ("redis-server", re.search(r"v=(\S+)", first_line("redis-server", "--version")).group(1)),
        ("redis-benchmark", first_line("redis-benchmark", "--version")),
        ("load average before", f"{os.getloadavg()[0]:.1f}"),
    ]


def cost_caption(rounds):
    return (f"CPU time of the server (user and system) for each operation, {CLIENTS} clients: medians of {rounds} rounds.\n"
            "The ratio is harcad's to redis-server's, the median of the rounds' own; lowest and highest are of the rounds.")


SPEED_CAPTION = ("Throughput and latency, medians of the same rounds. Indicative only: load generator and server share the "
                 "machine, with whatever\nelse runs there. Latency is that of a whole pipeline.")
CALLGRIND_CAPTION = "Instructions in user space for each GET, counted by callgrind."


def print_report(facts, rounds, results, costs):
    for name, value in facts:
        print(f"{name + ':':<21}{value}")
    print(f"\n{cost_caption(rounds)}\n\n{text.table(COST_HEAD, cost_rows(results), indent='')}")
    print(f"\n{SPEED_CAPTION}\n\n{text.table(SPEED_HEAD, speed_rows(results), indent='')}")
    if costs:
        print(f"\n{CALLGRIND_CAPTION}\n\n{text.table(CALLGRIND_HEAD, callgrind_rows(costs), indent='')}")


def command_lines():
    """As they were run, with shorthands for what differs between the servers and for MGET's keys."""
    lines = []
    for case in cases():
        address = "-s SOCKET" if case.unix else "-p PORT"
        arguments = case.arguments if case.arguments[0] != "MGET" else ("MGET", key("key", 0), "...",
                                                                       key("key", MGET_KEYS - 1))
        lines.append(f"redis-benchmark {address} -c {CLIENTS} -n {case.requests} -P {case.pipeline} --csv "
                     f"{' '.join(arguments)}")
    return lines


def document(facts, rounds, divisor, results, costs):
    parts = [
        "# Benchmarks",
        f"Written by `scripts/bench{' --callgrind' if costs else ''} --write`: numbers of one machine on one day. Run it on "
        "yours.",
        text.markdown_table(("", "what was measured"), facts),
        "## CPU time",
        cost_caption(rounds),
        text.markdown_table(COST_HEAD, cost_rows(results)),
    ]
    if costs:
        parts += ["## Instructions", CALLGRIND_CAPTION + f" The difference between runs with {CALLGRIND_GETS} and twice as "
                  "many, so that starting and stopping do not count.",
                  text.markdown_table(CALLGRIND_HEAD, callgrind_rows(costs))]
    parts += [
        "## Throughput and latency",
        SPEED_CAPTION,
        text.markdown_table(SPEED_HEAD, speed_rows(results)),
        "## How",
        "redis-server (`--save '' --appendonly no`) and harcad (no upstream, one worker) run side by side and are measured "
        f"in turn. {KEYS} keys have values of 64 bytes, as many have 4 KiB; every GET hits. CPU time is the sum of the "
        "first field of `/proc/PID/task/*/schedstat` after less before, divided by the number of operations. The load:",
        "```\n" + "\n".join(command_lines()) + "\n```",
    ]
    if divisor > 1:
        parts.append(f"This was a quick run: each with a {divisor}th of the requests.")
    return "\n\n".join(parts) + "\n"


# ---- all of it ----


def parse_options():
    parser = argparse.ArgumentParser(prog="scripts/bench",
                                     description="CPU time per operation, harcad beside redis-server.")
    parser.add_argument("--quick", action="store_true", help="fewer rounds and requests")
    parser.add_argument("--callgrind", action="store_true", help="count instructions per GET too, with valgrind")
    parser.add_argument("--write", action="store_true", help="write docs/benchmarks.md")
    parser.add_argument("--harcad", default=default_harcad(), help="the daemon (default: build/harcad)")
    return parser.parse_args()


def main():
    options = parse_options()
    rounds, divisor = (QUICK_ROUNDS, QUICK_DIVISOR) if options.quick else (ROUNDS, 1)
    exit_on_sigterm()
    try:
        facts = machine(options.harcad)
        with Servers(options.harcad, unix=True) as servers:
            redis, harcad = servers.redis("redis"), servers.harcad("harcad")
            for server in (redis, harcad):
                fill(server)
            results = run_cases(redis, harcad, rounds, divisor)
            check_hits(redis, "keyspace_misses")
            check_hits(harcad, "misses")
            costs = instructions_per_get(servers) if options.callgrind else []
        print_report(facts, rounds, results, costs)
        if options.write:
            os.makedirs(os.path.dirname(DOC_PATH), exist_ok=True)
            with open(DOC_PATH, "w", encoding="utf-8") as file:
                file.write(document(facts, rounds, divisor, results, costs))
    except (OSError, StartError, RespError, RuntimeError, subprocess.CalledProcessError) as error:
        print(f"bench: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("bench: interrupted", file=sys.stderr)
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())
