"""One run of a daemon that is alone: it is killed by SIGKILL at random moments, again and again, while clients read and
write, and judged by register.py. With the file tier on, what was acknowledged outlives that; without it, nothing that
was gone may come back all the same.
"""

import dataclasses
import datetime
import os
import random
import re
import threading
import time

from harcad_harness import Harcad, SLOW

from checker import promises, report
from checker.clients import Client, final_reads
from checker.history import History
from checker.register import Register
from checker.run import OUT, Config, Stalls

SLACK_S = 0.4 * SLOW
LOADED = re.compile(r"^(\S+)Z \w+ file_loaded ", re.M)
LOG_ROUNDING_S = 0.002

# Of the file tier, where there is one: name -> (settings, whether an acknowledged value must be there afterwards).
TIERS = {
    "through": ({"file.write": "through", "file.max_bytes": "256M"}, True),
    "through, little memory": ({"file.write": "through", "file.max_bytes": "256M", "memory.max_bytes": "1M"}, True),
    "through, little disk": ({"file.write": "through", "file.max_bytes": "8M", "memory.max_bytes": "1M"}, False),
    "demote": ({"file.write": "demote", "file.max_bytes": "256M", "memory.max_bytes": "1M"}, False),
    "demote, little disk": ({"file.write": "demote", "file.max_bytes": "8M", "memory.max_bytes": "1M"}, False),
}


class Lone:
    """The daemon, over all its lives."""

    number = 0

    def __init__(self, settings):
        self.life = 0
        self.starts = {}  # life -> when it began
        self.ends = {}  # life -> when it was over
        self.daemon = Harcad(settings)

    def start(self):
        self.life += 1
        self.starts[self.life] = time.monotonic()
        self.daemon.start()

    def loaded(self):
        """life -> when it knew all that its files held, by its log."""
        offset, found = time.monotonic() - time.time(), {}
        for stamp in LOADED.findall(self.daemon.log(tail=10 << 20)):
            at = datetime.datetime.fromisoformat(stamp + "+00:00").timestamp() + offset + LOG_ROUNDING_S
            life = max((life for life, since in self.starts.items() if since <= at), default=0)
            found[life] = at
        return found

    def kill(self):
        self.daemon.kill()
        self.ends[self.life] = time.monotonic()

    def stop(self):
        self.daemon.stop()
        self.ends[self.life] = time.monotonic()


@dataclasses.dataclass
class Stage:
    """What clients expect of a Scene."""

    config: Config
    nodes: list
    keys: tuple
    over: threading.Event = dataclasses.field(default_factory=threading.Event)

    @staticmethod
    def take_due(_):
        return None


def tier_of(rng):
    if promises.made_by(Harcad.binary()).file_tier:
        return rng.choice(sorted(TIERS))
    return None


def config_of(rng):
    """Some keys that everybody fights for, and more than little memory holds that are written now and then."""
    return Config(keys=tuple("abcdef"), cold=tuple(f"x{i}" for i in range(rng.choice([4, 150]))), cold_share=rng.choice([0.05, 0.5]),
                  pause_s=rng.choice([0.0005, 0.002]), expiring=rng.choice([0.0, 0.1]), clients=6)


def run(seed, kills):
    """Returns (whether all promises were kept, the text to show)."""
    rng = random.Random(f"{seed} alone")
    tier = tier_of(rng)
    settings, keeps = TIERS[tier] if tier else ({}, False)
    node = Lone({**settings, "server.workers": rng.choice(["1", "2"])})
    config, history = config_of(rng), History()
    stage = Stage(config, [node], config.keys + config.cold)
    quiet = threading.Event()
    stalls = Stalls(quiet)
    node.start()
    clients = [Client(stage, history, random.Random(f"{seed} client {i}"), f"c{i}", [node]) for i in range(config.clients)]
    for thread in [stalls, *clients]:
        thread.start()
    try:
        restart_again_and_again(stage, node, rng, kills)
        stage.over.set()
        for client in clients:
            client.join()
        trouble = [f"client {client.name}: {client.error!r}" for client in clients if client.error]
        final_reads(stage, history)
        node.stop()
    except AssertionError as error:
        stage.over.set()
        trouble = [str(error)]
    finally:
        quiet.set()
        log, loaded = node.daemon.log(1 << 20), node.loaded() if tier else None
        node.daemon.close()
    return conclude(seed, kills, tier, keeps, node, history, trouble, stalls.longest, log, loaded)


def restart_again_and_again(stage, node, rng, kills):
    for _ in range(kills):
        stage.over.wait(rng.choice([0.0, 0.02, 0.1, 0.3]) * rng.random())
        if rng.random() < 0.1:
            node.stop()
        else:
            node.kill()
        node.start()
    stage.over.wait(0.2)


def conclude(seed, kills, tier, keeps, node, history, trouble, stall_s, log, loaded):
    ops = history.ops()
    register = Register(ops, node.ends, promises.made_by(Harcad.binary()), keeps=keeps, slack_s=SLACK_S + 2 * stall_s,
                        loaded=loaded)
    # Without a file tier, or with all that it needs of memory, nothing is lost while the process lives.
    violations = [v for v in register.verdicts() if v.promise != "P6" or keeps or tier is None]
    told = f"{tier or 'memory only'}, {kills} ends, {len(ops)} ops, longest stall {stall_s * 1000:.0f} ms"
    if not violations and not trouble:
        return True, f"seed {seed}: ok, {told}; " + ", ".join(f"{name} {n}" for name, n in sorted(register.checked.items()))
    path = dump(seed, ops, node, log)
    text = [describe(v, ops, node) for v in violations[:report.VIOLATIONS_SHOWN]]
    text += [told, f"seed {seed}: FAILED, {len(violations)} violations", *(f"trouble: {t}" for t in trouble),
             f"rerun: scripts/check-history --kills {kills} --runs 1 --seed {seed}", f"all of it: {path}",
             *map(report.contradiction, violations[:1])]
    return False, "\n".join(text)


def describe(violation, ops, node):
    lines = [report.contradiction(violation)]
    since, until = min(op.sent for op in violation.ops), max(op.sent for op in violation.ops)
    lines += [f"  life {life} ended {end:.4f}" for life, end in node.ends.items() if since <= end <= until]
    key = violation.ops[-1].key
    lines += ["  what else happened to it:"]
    lines += ["     " + line for line in report.shortened(
        [str(op) for op in ops if op.key in (key, None) and since - report.CONTEXT_S <= op.sent <= until + report.CONTEXT_S])]
    return "\n".join(lines)


def dump(seed, ops, node, log):
    os.makedirs(OUT, exist_ok=True)
    path = os.path.join(OUT, f"alone-{seed}.txt")
    items = [(op.sent, str(op)) for op in ops] + [(end, f"{end:.4f} END of life {life}") for life, end in node.ends.items()]
    with open(path, "w", encoding="utf-8") as out:
        out.writelines(line + "\n" for _, line in sorted(items))
        out.write(f"\nlog\n{log}")
    return path
