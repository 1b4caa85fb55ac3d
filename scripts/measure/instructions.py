"""Where the instructions of a GET hit go, counted by callgrind: user space only, and the machine's noise does not matter.

A server runs under callgrind with N GETs and with 2 N of them; the difference, divided by N, is a GET's. Only the thread that
answers counts: what others do is by the clock, and callgrind makes that long. Instructions are attributed by the source file
they were compiled from, so that functions inlined from headers count where they belong.
"""

import collections
import glob
import itertools
import os
import re

from kit.resp import encode

from .row import HARCAD, REDIS, Reading, Section, Skip

GETS = 8192  # a multiple of every pipeline depth
KEYS = 1024  # the same; where a key's place in a table is depends on the start's seed, and with it what it takes to find it
KEY = "key:%012d"
UNHURRIED = {HARCAD: {"client.turn_us": 10_000_000}, REDIS: {}}  # callgrind makes a turn of a client's last fifty times as long

# The first that matches the file, or else the object, counts. What matches none is "rest".
GROUPS = (
    ("parse", r"proto/resp_request|proto/resp_scan|proto/resp_quick|proto/number"),
    ("reply", r"proto/resp_reply|base/out|base/chunk"),
    ("look-up", r"daemon/store/|base/hash|xxh|base/lock|mmintrin|daemon/core/"),
    ("dispatch", r"daemon/command/|commands\.def|base/stats"),
    ("net", r"daemon/net/|libevent"),
    ("libc", r"libc|ld-linux|vdso"),
)
NAMES = (*(name for name, _ in GROUPS), "rest")

INSTRUCTIONS = Section(
    "Instructions of a GET hit",
    "Of 64 bytes over TCP, in user space, by callgrind, of the thread that answers. Groups are of harcad's source files: net with the event loop,\n"
    "dispatch with the commands, look-up with the store and the hash; libc is what any of them calls there, such as memcpy,\n"
    "and the system calls' wrappers.",
    ("pipeline", "redis-server", "harcad", *NAMES))


def group_of(file, obj):
    for name, pattern in GROUPS:
        if re.search(pattern, file) or re.search(pattern, obj):
            return name
    return "rest"


class Callgrind:
    """The self cost of each (object, source file) in a callgrind.out file."""

    def __init__(self, text):
        self.costs = collections.Counter()
        self._names = {}
        self._object = self._file = self._inlined = ""
        self._is_call = False
        for line in text.splitlines():
            self._take(line)

    def _name(self, kind, text):
        """Names are written once, as `(id) name`, and by their id from then on."""
        found = re.match(r"(\(\d+\))\s*(.*)", text)
        if not found:
            return text
        identity, name = found.groups()
        if name:
            self._names[kind, identity] = name
        return self._names.get((kind, identity), "")

    def _take(self, line):
        if self._is_call:  # the line after calls= has the inclusive cost of what was called
            self._is_call = False
            return
        key, equals, value = line.partition("=")
        if equals and key in ("ob", "fl", "fi", "fe", "fn", "cob", "cfi", "cfl", "cfn", "calls"):
            self._take_position(key, value)
        elif re.match(r"[+\-*\d]", line):
            self.costs[self._object, self._inlined] += int(line.split()[1])

    def _take_position(self, key, value):
        if key == "calls":
            self._is_call = True
        elif key in ("ob", "cob"):
            name = self._name("ob", value)
            self._object = name if key == "ob" else self._object
        elif key in ("fl", "fi", "fe", "cfi", "cfl"):
            name = self._name("file", value)
            self._inlined = name if key in ("fl", "fi", "fe") else self._inlined

    def groups(self):
        grouped = collections.Counter()
        for (obj, file), cost in self.costs.items():
            grouped[group_of(file, obj)] += cost
        return grouped


def read_profile(path):
    with open(path, encoding="utf-8", errors="replace") as file:
        return Callgrind(file.read()).groups()


def need_valgrind():
    if not os.path.exists("/usr/bin/valgrind"):
        raise Skip("valgrind is not installed")


def counted(lab, kind, depth, gets, options, prepare):
    """Of a server under callgrind from its start to its end, with so many GETs in between, by group: of each thread, in the
    order in which they were started."""
    out = "callgrind.out"
    server = lab.start(kind, f"callgrind-{depth}-{gets}", {**options, **UNHURRIED[kind]},
                       ["valgrind", "--tool=callgrind", "--separate-threads=yes", f"--callgrind-out-file={out}"])
    prepare(server)
    client = server.client()
    client.pipeline([("SET", KEY % number, b"v" * 64) for number in range(KEYS)])
    batches = [b"".join(encode("GET", KEY % number) for number in range(first, first + depth)) for first in range(0, KEYS, depth)]
    for batch in itertools.islice(itertools.cycle(batches), gets // depth):
        client.send(batch)
        for _ in range(depth):
            client.receive()
    server.stop()
    return [read_profile(path) for path in sorted(glob.glob(os.path.join(server.directory, f"{out}-*")))]


def busiest_difference(once, twice):
    """What the thread that had the most to do with the second half needed for it."""
    differences = [{name: more[name] - less[name] for name in NAMES} for less, more in zip(once, twice)]
    return max(differences, key=lambda costs: sum(costs.values()))


def nothing(_server):
    pass


def per_get(lab, kind, depth, options=None, prepare=nothing):
    """By group. `prepare` is a function of the server, called before anything else is asked of it."""
    gets = max(depth, GETS // lab.divisor)
    costs = busiest_difference(*(counted(lab, kind, depth, number, options or {}, prepare) for number in (gets, 2 * gets)))
    return {name: cost / gets for name, cost in costs.items()}


def at_depth(depth):
    """A measurement: instructions of each GET at that pipeline depth."""
    def measure(lab):
        need_valgrind()
        groups = {kind: per_get(lab, kind, depth) for kind in (REDIS, HARCAD)}
        totals = {kind: sum(costs.values()) for kind, costs in groups.items()}
        line = (str(depth), f"{totals[REDIS]:,.0f}", f"{totals[HARCAD]:,.0f}",
                *(f"{groups[HARCAD][name]:,.0f}" for name in NAMES))
        return Reading({kind: [total] for kind, total in totals.items()},
                       f"`valgrind --tool=callgrind`, {GETS} and {2 * GETS} GETs of {KEYS} keys on one connection, {depth} at a time; the "
                       "difference.", details=[(INSTRUCTIONS, line)])

    return measure
