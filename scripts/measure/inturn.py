"""CPU time of a server for an operation, measured on several servers in turn.

The measurements of a row are made in turn, several rounds of them, and in each round the servers are compared with each
other: what a busy machine does to one it mostly does to the other. CPU time is the kernel's own account of the server's
threads in nanoseconds, user and system, so that it does not matter what the load generator needs, or whether it is held
up; throughput and latency do depend on that, and are no more than indicative where others use the machine.

Beside redis-benchmark's load there is the floor: the same bytes exchanged with a server that does nothing else. What it
needs is the kernel's, and nobody's to save.

Two loads: redis-benchmark, and build/load for comparisons that include memcached. None of the servers writes to a disk:
harcad runs without its file tier, whose costs have rows of their own (file.py).
"""

import csv
import dataclasses
import statistics

from kit.resp import Client, encode

from . import account, programs
from .row import FLOOR, HARCAD, MEMCACHED, REDIS, Reading, Section

KEYS = 10000  # of each size of value
MGET_KEYS = 100
CLIENTS = 50
SIZES = {"key": 64, "large": 4096}  # of values, by the prefix of their keys
HUGE, HUGE_KEYS, HUGE_CLIENTS = "huge", 200, 4  # values of many pages: fewer of them
HUGE_BYTES = 256 << 10
OPTIONS = {HARCAD: {"file.enabled": "no"}, REDIS: {}, MEMCACHED: {"-t": "1"}, FLOOR: {}}

SPEED_CAPTION = """Medians of the rounds the CPU time was measured in. Indicative only: load generator and server share the machine, with
whatever else runs there. Latency is that of a whole pipeline."""
EQUAL_CAPTION = SPEED_CAPTION + """ memcached answers each `get` of a pipeline with a
write of its own; reading many keys at once is what its `get key key …` is for."""


def speed_section(title, caption, servers):
    return Section(title, caption, ("operation", *(word for kind in servers for word in (f"{kind} op/s", "p50 ms", "p99 ms"))))


PAIR, ALL = (REDIS, HARCAD), (MEMCACHED, REDIS, HARCAD)
SPEED = speed_section("Throughput and latency", SPEED_CAPTION, PAIR)
EQUAL_SPEED = speed_section("Throughput and latency with equal load generators", EQUAL_CAPTION, ALL)
ABOVE_FLOOR = Section(
    "Above the floor",
    "CPU time beside that of `build/floor`, an epoll loop which counts the bytes of the requests and writes replies made\n"
    "beforehand: it parses nothing and looks nothing up. Medians of the rounds' ratios to it.",
    ("operation", "floor ns/op", "redis-server", "harcad"))


@dataclasses.dataclass
class Sample:
    cpu_ns: float  # of the server, for each operation
    per_second: float
    p50_ms: float
    p99_ms: float


def fill(lab, kind, server):
    for prefix, size in SIZES.items():
        lab.load(kind, server, "-o", "fill", "-n", KEYS, "-P", 16, "-K", prefix, "-d", size)
    if kind in PAIR:
        lab.load(kind, server, "-o", "fill", "-n", HUGE_KEYS, "-K", HUGE, "-d", HUGE_BYTES)


def start_side_by_side(lab, kinds):
    for kind in lab.kinds(*kinds):
        lab.side_by_side[kind] = lab.start(kind, "beside", OPTIONS[kind])
        if kind != FLOOR:
            fill(lab, kind, lab.side_by_side[kind])


def stop_side_by_side(lab):
    for server in lab.side_by_side.values():
        server.stop()
    lab.side_by_side.clear()


@dataclasses.dataclass(frozen=True)
class Exchange:
    """A request and its reply, byte for byte in length: all that the floor has to know."""

    request: bytes
    reply: bytes

    def tell(self, client):
        client.send(b"FLOOR %d %d\r\n%s" % (len(self.request), len(self.reply), self.reply))
        client.receive()


def median_of(samples, field):
    return statistics.median(getattr(sample, field) for sample in samples)


def median_ratio(numbers, others):
    return statistics.median(number / other for number, other in zip(numbers, others))


def speed_cells(samples):
    """Blank where a server was not measured."""
    if not samples:
        return ("", "", "")
    return (f"{median_of(samples, 'per_second'):,.0f}", f"{median_of(samples, 'p50_ms'):.3f}",
            f"{median_of(samples, 'p99_ms'):.3f}")


@dataclasses.dataclass(frozen=True)
class InTurn:
    """The base of both loads: subclasses say how the load is run."""

    title: str
    requests: int
    pipeline: int = 1
    servers = PAIR
    section = SPEED

    def sample(self, lab, kind):
        server, requests = lab.side_by_side[kind], lab.scaled(self.requests)
        self.prepare(kind, server)
        before = account.cpu_ns(server.pid)
        per_second, p50_ms, p99_ms = self.run(lab, kind, server, requests)
        return Sample((account.cpu_ns(server.pid) - before) / requests, per_second, p50_ms, p99_ms)

    def reading(self, samples):
        values = {kind: [sample.cpu_ns for sample in rounds] for kind, rounds in samples.items()}
        cells = (cell for kind in self.servers if kind != FLOOR for cell in speed_cells(samples.get(kind)))
        return Reading(values, self.method(), details=[(self.section, (self.title, *cells)), *self.above_floor(values)])

    def prepare(self, kind, server):
        """Before a sample is taken."""

    def above_floor(self, values):
        """Lines for the section of that name."""
        return []

    def run(self, lab, kind, server, requests):
        """Operations a second, and milliseconds a pipeline took: p50, p99."""
        raise NotImplementedError

    def method(self):
        raise NotImplementedError


@dataclasses.dataclass(frozen=True)
class RedisBenchmark(InTurn):
    """What redis-benchmark is told, and what is exchanged then."""

    arguments: tuple = ()
    unix: bool = False
    exchange: Exchange | None = None
    servers = (*PAIR, FLOOR)

    def prepare(self, kind, server):
        if kind == FLOOR:
            with Client(server.address) as client:
                self.exchange.tell(client)

    def above_floor(self, values):
        if not values.get(FLOOR):
            return []
        ratios = (median_ratio(values[kind], values[FLOOR]) for kind in PAIR)
        return [(ABOVE_FLOOR, (self.title, f"{statistics.median(values[FLOOR]):,.0f}", *(f"{ratio:.2f}" for ratio in ratios)))]

    def argv(self, address, requests):
        return ["redis-benchmark", *address, "-c", str(CLIENTS), "-n", str(requests), "-P", str(self.pipeline), "--csv",
                *self.arguments]

    def run(self, lab, kind, server, requests):
        address = ("-s", server.unix_path) if self.unix else ("-p", str(server.port))
        return parse_csv(programs.run(self.argv(address, requests)))

    def method(self):
        words = self.argv(("-s", "SOCKET") if self.unix else ("-p", "PORT"), self.requests)
        if "MGET" in words:
            first = words.index("MGET") + 1
            words[first + 1:-1] = ["..."]
        return f"`{' '.join(words)}`"


def parse_csv(text):
    """Of redis-benchmark --csv with one test: operations a second, p50 and p99 in ms. ValueError for anything else."""
    rows = list(csv.reader(text.splitlines()))
    if len(rows) != 2:
        raise ValueError(f"redis-benchmark said: {text}")
    numbers = dict(zip(rows[0][1:], map(float, rows[1][1:])))
    return numbers["rps"], numbers["p50_latency_ms"], numbers["p99_latency_ms"]


@dataclasses.dataclass(frozen=True)
class EqualLoad(InTurn):
    """What build/load is told, the same for all three servers."""

    operation: str = "get"
    prefix: str = "key"
    many: int = 1
    servers = ALL
    section = EQUAL_SPEED

    def options(self, requests):
        many = ("-m", self.many) if self.many > 1 else ()
        return ("-o", self.operation, "-n", requests, "-c", CLIENTS, "-P", self.pipeline, *many, "-k", KEYS,
                "-K", self.prefix, "-d", SIZES[self.prefix])

    def run(self, lab, kind, server, requests):
        values = lab.load(kind, server, *self.options(requests))
        if values["misses"]:
            raise programs.ProgramError(f"{kind} answered {values['misses']:.0f} reads with nothing")
        return values["throughput"], values["p50"] / 1e3, values["p99"] / 1e3

    def method(self):
        return f"`build/load -p PORT [-t memcached] {' '.join(map(str, self.options(self.requests)))}`"


@dataclasses.dataclass(frozen=True)
class HugeLoad(EqualLoad):
    """The same with values that memcached would have to be told to take."""

    servers = PAIR
    section = SPEED

    def options(self, requests):
        return ("-o", self.operation, "-n", requests, "-c", HUGE_CLIENTS, "-k", HUGE_KEYS, "-K", HUGE, "-d", HUGE_BYTES)


# ---- the cases ----


def random_keys(*arguments):
    return ("-r", str(KEYS), *arguments)


def key(prefix, number=0):
    return f"{prefix}:{number:012d}"


def bulk(size):
    return b"$%d\r\n%s\r\n" % (size, b"x" * size)


def exchange_of_get(prefix):
    return Exchange(encode("GET", key(prefix)), bulk(SIZES[prefix]))


def get(pipeline, requests, unix=False):
    return RedisBenchmark(f"GET hit 64 B, {'Unix' if unix else 'TCP'}, pipeline {pipeline}", requests, pipeline,
                          random_keys("-t", "get"), unix, exchange_of_get("key"))


def get_large(pipeline, requests):
    return RedisBenchmark(f"GET hit 4 KiB, TCP, pipeline {pipeline}", requests, pipeline,
                          random_keys("GET", "large:__rand_int__"), exchange=exchange_of_get("large"))


def set_(pipeline, requests):
    return RedisBenchmark(f"SET 64 B, TCP, pipeline {pipeline}", requests, pipeline, random_keys("-d", "64", "-t", "set"),
                          exchange=Exchange(encode("SET", key("key"), b"x" * 64), b"+OK\r\n"))


def mget(requests):
    """Keys drawn from as many as in the other rows."""
    keys = [key("key", number) for number in range(MGET_KEYS)]
    reply = b"*%d\r\n%s" % (MGET_KEYS, bulk(SIZES["key"]) * MGET_KEYS)
    return RedisBenchmark(f"MGET of {MGET_KEYS}, 64 B, TCP", requests,
                          arguments=random_keys("MGET", *("key:__rand_int__" for _ in keys)),
                          exchange=Exchange(encode("MGET", *keys), reply))


def equal(operation, prefix, pipeline, requests):
    size = "64 B" if prefix == "key" else "4 KiB"
    return EqualLoad(f"{operation.upper()} {size}, TCP, pipeline {pipeline}, equal load", requests, pipeline, operation,
                     prefix)


def huge(operation, requests):
    return HugeLoad(f"{operation.upper()} {HUGE_BYTES >> 10} KiB, TCP, pipeline 1", requests, operation=operation)


def equal_mget(requests):
    return EqualLoad(f"{MGET_KEYS} keys of 64 B in one request, TCP, equal load", requests, many=MGET_KEYS)
