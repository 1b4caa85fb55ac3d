"""One run: a fleet under faults drawn from a seed, its clients, and the verdict.

    scene ─→ clients read and write, each op noted ─┐
      └─→ injector: fault, mend, wait until well ───┴→ all is quiet → last reads → MONITOR's lines understood → judge
"""

import dataclasses
import datetime
import itertools
import os
import random
import re
import threading
import time

from harcad_harness import ROOT, SLOW, TIMEOUT, Harcad, wait_until

from checker import promises, report
from checker.clients import Client, Owner, final_reads
from checker.faults import Injector, Window
from checker.history import History
from checker.judge import Judge
from checker.outsiders import PASSED, TEMPLATE, THEIRS, Guest, Outsider
from checker.scene import Scene
from checker.truth import Timeline

GUESTS = 2
OUT = os.path.join(ROOT, "build", "history")
EVENT_S = 0.2 * SLOW  # for an event to be delivered, with the delays that faults.py brings about
SLACK_S = 0.4 * SLOW  # for a machine with other things to do


@dataclasses.dataclass
class Config:
    seconds: float = 3.0
    daemons: int = 3
    clients: int = 8
    keys: tuple = ("a", "b", "c", "d")
    cold: tuple = ("w", "x", "y", "z")  # keys that are read as often, and changed rarely
    cold_share: float = 0.01  # of changes that may be of those
    models: tuple = ("default", "m", "n/2:large")
    cold_model: str = "cold"  # of the cold keys, so that no other key tells of its epoch
    pause_s: float = 0.003  # of a client between commands, on average
    expiring: float = 0.15  # share of writes with a time to live
    theirs: tuple = ()  # keys that somebody writes past the daemons
    passed: tuple = ()  # keys that are written by commands which daemons pass on
    replica: bool = False
    clocks: tuple = (0,)  # seconds that daemons' clocks are off by, in turn
    settings: dict = dataclasses.field(default_factory=dict)
    faults: tuple = None  # names; None: all

    @staticmethod
    def owned_by(daemon):
        """The model, and its keys, that are written at that daemon alone, by one client."""
        return f"own{daemon}", [f"own{daemon}.{i}" for i in range(3)]

    @property
    def owned(self):
        return tuple(key for daemon in range(self.daemons) for key in self.owned_by(daemon)[1])

    @classmethod
    def drawn(cls, rng, **fixed):
        """What a seed makes of it."""
        drawn = {
            "daemons": rng.choice([2, 3, 3]),
            "keys": tuple("abcdefgh"[:rng.choice([2, 4, 8])]),
            "cold_share": rng.choice([0.004, 0.01, 0.03]),
            "pause_s": rng.choice([0.001, 0.003, 0.006]),
            "expiring": rng.choice([0.0, 0.15, 0.4]),
            "replica": rng.random() < 0.3,
            "clocks": rng.choice([(0,), (0,), (0, 3600, -86400)]) if SLOW == 1 else (0,),  # sanitizers want no preload
            "settings": {
                "server.workers": rng.choice(["1", "1", "2"]),
                "upstream.frame": rng.choice(["auto", "auto", "always"]),
                "upstream.foreign_writes": rng.choice(["yes", "yes", "no", "strict"]),
                "file.enabled": rng.choice(["yes", "yes", "no"]),
                "file.write": rng.choice(["demote", "through"]),
            },
        }
        drawn.update({key: value for key, value in fixed.items() if value is not None})
        config = cls(**drawn)
        config.replica = config.replica or bool({"failover", "failover_unheard"} & set(config.faults or ()))
        return config

    def with_outsiders(self, rng):
        """What else a seed makes of it, where others than harcads write."""
        self.theirs, self.passed = THEIRS, PASSED
        self.settings = {**self.settings, "upstream.foreign_writes": rng.choice(["yes", "strict"]), "model.templates": TEMPLATE}

    def arguments(self):
        """Those that are not drawn from the seed."""
        words = [f"--seconds {self.seconds:g}"]
        words += [f"--faults {','.join(self.faults)}"] if self.faults else []
        words += ["--outsiders"] if self.theirs else []
        return " ".join(words)


class Stalls(threading.Thread):
    """When this process was kept from running: what a slow machine does to us is not the daemons' fault."""

    TICK_S = 0.005

    def __init__(self, over):
        super().__init__(daemon=True)
        self.over = over
        self.gaps = []  # (since, until)
        self.longest = 0.0

    def run(self):
        last = time.monotonic()
        while not self.over.is_set():
            time.sleep(self.TICK_S)
            now = time.monotonic()
            if now - last > 3 * self.TICK_S:
                self.gaps.append((last, now))
                self.longest = max(self.longest, now - last)
            last = now

    def within(self, since, until):
        """How much of that time it was."""
        return sum(max(0.0, min(until, end) - max(since, begin)) for begin, end in self.gaps)


def run(config, seed):
    """Returns (whether all promises were kept, the text to show)."""
    rng = random.Random(f"{seed} run")
    history = History()
    quiet = threading.Event()
    with Scene(config, seed, promises.made_by(Harcad.binary(), config.settings)) as scene:
        injector = Injector(scene, random.Random(f"{seed} faults"), time.monotonic, config.faults)
        stalls = Stalls(quiet)
        clients = [Client(scene, history, random.Random(f"{seed} client {i}"), f"c{i}", some_nodes(rng, scene.nodes))
                   for i in range(config.clients)]
        clients += [Owner(scene, history, random.Random(f"{seed} owner {node.number}"), node) for node in scene.nodes]
        if config.theirs:
            clients += outsiders(scene, history, seed)
        for thread in [stalls, *clients]:
            thread.start()
        injector.run(time.monotonic() + config.seconds)
        scene.over.wait(scene.lease_s)
        scene.over.set()
        for client in clients:
            client.join()
        time.sleep(scene.lease_s)
        trouble = injector.trouble + [f"client {client.name}: {client.error!r}" for client in clients if client.error]
        trouble += deaths(scene)
        trouble += restless(scene)
        final_reads(scene, history)
        time.sleep(0.05)
        scene.monitor.leave()
        quiet.set()
        windows = injector.windows + losses(scene, injector.windows)
        logs = {node.number: node.daemon.log(1 << 20) for node in scene.nodes}
    return conclude(config, seed, scene, history, windows, trouble, stalls, logs)


def deaths(scene):
    """Daemons that ended by themselves. They are taken out of the scene."""
    dead = [node for node in scene.nodes if not node.daemon.running()]
    texts = [f"daemon {node.number}.{node.life} ended with {node.daemon.process.returncode}; its log ends:\n{node.daemon.log(2000)}"
             for node in dead]
    for node in dead:
        scene.nodes.remove(node)
        node.daemon.close()
        node.proxy.close()
    return texts


def restless(scene):
    """Daemons that do not get well. (A machine that kept one from running may have cost it its links just now.)"""
    try:
        wait_until(scene.is_well, TIMEOUT, "all daemons are well in the end", 0.01)
    except AssertionError as error:
        return [str(error)]
    return []


def some_nodes(rng, nodes):
    """Most clients stay with one daemon, as applications do."""
    return nodes if rng.random() < 0.4 else [rng.choice(nodes)]


def outsiders(scene, history, seed):
    guests = [Guest(scene, history, random.Random(f"{seed} guest {i}"), f"guest{i}", scene.nodes) for i in range(GUESTS)]
    return [*guests, Outsider(scene, history, random.Random(f"{seed} outsider"))]


def conclude(config, seed, scene, history, windows, trouble, stalls, logs):
    ops, stall_s = history.ops(), stalls.longest
    timeline = Timeline(scene.monitor, scene.keys)
    judge = Judge(ops, timeline, windows, scene.promises,
                  lease_s=scene.lease_s, timeout_s=scene.timeout_s, slack_s=SLACK_S + 2 * stall_s,
                  event_s=EVENT_S + 2 * stall_s, stalled=stalls.within)
    violations = judge.verdicts()
    told = f"{'with outsiders, ' if config.theirs else ''}{len(ops)} ops, {sum(map(len, timeline.changes.values()))} changes upstream, longest stall {stall_s * 1000:.0f} ms"
    if not violations and not trouble:
        return True, f"seed {seed}: ok, {told}; {summary(windows)}; " + \
            ", ".join(f"{name} {n}" for name, n in sorted(judge.checked.items()))
    path = dump(seed, ops, timeline, windows, logs)
    text = [report.describe(v, ops, timeline, windows) for v in violations[:report.VIOLATIONS_SHOWN]]
    text += [told, report.failure(config, seed, violations, trouble, path)]
    return False, "\n".join(text)


def summary(windows):
    names = [w.name for w in windows if not w.name.startswith("log:")]
    return f"{len(names)} faults"


def dump(seed, ops, timeline, windows, logs):
    os.makedirs(OUT, exist_ok=True)
    path = os.path.join(OUT, f"seed-{seed}.txt")
    items = [(report.time_of(item), str(item)) for item in ops]
    items += [(c.at, str(c)) for changes in [*timeline.changes.values(), *timeline.epochs.values()] for c in changes]
    items += [(w.since, f"{w.since:.4f} FAULT {w}") for w in windows]
    items += [(w.mended, f"{w.mended:.4f} MENDED {w}") for w in windows if w.mended]
    with open(path, "w", encoding="utf-8") as out:
        out.writelines(line + "\n" for _, line in sorted(items))
        for number, log in logs.items():
            out.write(f"\nlog of daemon {number}\n{log}")
    return path


# ---- what the daemons themselves noticed ----

LOG_LINE = re.compile(r"^(\S+Z) \w+ upstream_(up|down|caught_up) (?:link=harcad-(([a-z]+)\S*))?")


def losses(scene, faults):
    """A Window for each time a daemon found a link down: on a slow machine that may be nobody's doing."""
    windows = []
    offset = time.monotonic() - time.time()
    for node in scene.nodes:
        down, lines = {}, []
        for match in filter(None, map(LOG_LINE.match, node.daemon.log(tail=10 << 20).splitlines())):
            stamp, *what = match.groups()
            lines.append((datetime.datetime.fromisoformat(stamp.replace("Z", "+00:00")).timestamp() + offset - node.clock_offset_s, *what))
        for at, state, link, kind in lines:
            if state == "down":
                down.setdefault(link, at)
            elif link in down:
                windows.append(lost(node, kind, down.pop(link), at, faults, lines))
        windows += [lost(node, link.split("-")[0], at, None, faults) for link, at in down.items()]
    return windows


def lost(node, link, since, until, faults, lines=()):
    """It takes a timeout to notice, and a while to catch up."""
    return Window(f"log: {link} link down", frozenset({node.number}), frozenset({link}),
                  since=since - 2 * setting_s(node, "upstream.timeout"),
                  mended=until, until=None if until is None else caught_up(node, until, faults, lines))


def caught_up(node, up, faults, lines):
    """When a daemon whose link was up then had told Redis all that it had queued. Until then it may queue more of the same
    keys: it tries at each tick, a quarter of a lease, and has to hear first of what others have just done to them. Who
    waits for all to be well after a fault sees it; otherwise the daemon's log tells, if there is more to it than a lease."""
    seen = [window.until for window in faults if node.number in window.daemons and window.since <= up <= window.until]
    if seen:
        return max([up + 0.1, *seen])
    until_next = itertools.takewhile(lambda line: line[1] != "down", (line for line in lines if line[0] >= up))
    told = [at for at, state, *_ in until_next if state == "caught_up"]
    return max([up + setting_s(node, "fleet.lease"), *told[:1]])


def setting_s(node, name):
    return float(node.daemon.settings[name].removesuffix("ms")) / 1000
