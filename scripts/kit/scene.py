"""What the steps of the demo work with: a report that remembers its claims, the fleet, and ways of reading from it."""

import collections
import dataclasses
import time

from . import text
from .processes import wait_until
from .resp import Client, encode

IN_STEP_SECONDS = 15.0
TIERS = ("memory_hits", "file_hits", "upstream_hits", "misses")


class Report:
    """Prints as it goes, and remembers what was claimed."""

    def __init__(self):
        self._step = 0
        self._claims = []

    def step(self, title):
        self._step += 1
        print(f"\n{self._step}  {title}\n", flush=True)

    def say(self, words):
        print(f"   {words}", flush=True)

    def table(self, head, rows):
        print(text.table(head, rows), flush=True)

    def gap(self):
        print()

    def claim(self, words, held, found=""):
        """`found` is shown when the claim did not hold."""
        self._claims.append((words, bool(held), found))

    def verdict(self):
        """Prints the claims; whether all of them held."""
        self.step("What was claimed, and whether it held")
        for words, held, found in self._claims:
            self.say(f"{'held  ' if held else 'FAILED'}  {words}{'' if held or not found else f' (found: {found})'}")
        failed = sum(not held for _, held, _ in self._claims)
        self.gap()
        self.say(f"{len(self._claims) - failed} of {len(self._claims)} held")
        return failed == 0


class Daemon:
    def __init__(self, name, server):
        self.name = name
        self.server = server
        self.client: Client = server.client()

    def counters(self):
        return collections.Counter({name: value for name, value in self.client.info().items() if isinstance(value, int)})

    def in_step(self, siblings):
        """It hears Redis, owes it nothing, and knows of at least so many siblings."""
        info = self.client.info()
        return (info["upstream_state"] == "up" and info["event_link"] == "up" and info["queued_writes"] == 0 and
                info["fleet_siblings"] >= siblings)

    def has_copy(self, key):
        return self.client.map("EXPLAIN", key).get("tier") == b"memory"

    def model_entries(self, model):
        return self.client.map("MODEL", "INFO", model.name).get("entries", 0)


@dataclasses.dataclass
class Scene:
    report: Report
    redis: object
    daemons: list
    models: list
    trials: int

    @property
    def values(self):
        """Of all models: what every daemon must answer now."""
        return {key: value for model in self.models for key, value in model.values.items()}

    def wait_in_step(self, daemons=None):
        """Seconds until these are in step and know of each other; without any named, all."""
        daemons = daemons or self.daemons
        started = time.monotonic()
        for daemon in daemons:
            wait_until(lambda: daemon.in_step(len(daemons) - 1), IN_STEP_SECONDS, f"daemon {daemon.name} is in step")
        return time.monotonic() - started

    def warm(self):
        """Everybody has a local copy of everything: a fill that met another may have been answered and not kept."""
        values = self.values
        for daemon in self.daemons:
            wait_until(lambda: read(daemon, values).tiers["memory_hits"] == len(values), IN_STEP_SECONDS, "local copies")


@dataclasses.dataclass
class Reading:
    """A list of keys read at one daemon: how the answers compare, how long it took, which tiers answered."""

    right: int
    missing: int
    wrong: int
    seconds: float
    tiers: collections.Counter
    not_kept: int  # answered from upstream, without a local copy being left

    @property
    def reads(self):
        return self.right + self.missing + self.wrong


def read(daemon, values):
    before = daemon.counters()
    started = time.monotonic()
    answers = daemon.client.get_all(list(values))
    seconds = time.monotonic() - started
    after = daemon.counters()
    missing = answers.count(None)
    right = sum(answer == value for answer, value in zip(answers, values.values()))
    tiers = collections.Counter({tier: after[tier] - before[tier] for tier in TIERS})
    not_kept = after["fills_not_kept"] - before["fills_not_kept"]
    return Reading(right, missing, len(answers) - right - missing, seconds, tiers, not_kept)


def timed_gets(client, keys):
    """The answers, and the seconds each took, one request at a time."""
    answers, seconds = [], []
    for key in keys:
        request = encode("GET", key)
        started = time.perf_counter()
        client.send(request)
        answers.append(client.receive())
        seconds.append(time.perf_counter() - started)
    return answers, seconds
