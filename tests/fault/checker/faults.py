"""Faults, each by a real means, and when they were: a Window for each.

A fault is a generator: it does harm up to its first yield, which gives the Window, and mends behind it. Which ones come,
for how long and to whom is drawn from the run's seed.
"""

import dataclasses

from harcad_harness import TIMEOUT, wait_until

from checker import truth
from checker.proxy import ALL_LINKS

EVENTS = frozenset({"events"})
DATA = frozenset({"worker"})
CONTROL = frozenset({"control"})
EVERYTHING = frozenset(ALL_LINKS)
UNNAMED = frozenset({None})  # those that have not said yet what they are, or are no daemon's


@dataclasses.dataclass
class Window:
    """From `since` on the links named could not be relied on at those daemons, until all was well again."""

    name: str
    daemons: frozenset
    links: frozenset
    hangs: bool = False  # nothing is answered, and no connection ends by itself
    restarts: bool = False  # the daemons' processes end
    loses: bool = False  # messages vanish on an event link that stays: only the numbers tell
    forgets: bool = False  # what was written upstream meanwhile cannot be known by its numbers any more
    since: float = 0.0
    mended: float = None  # when it was over, as seen from outside
    until: float = None  # … and the daemons had noticed

    def covers(self, daemon, links, since, until):
        return (daemon in self.daemons and bool(self.links & links) and self.since <= until and
                (self.until is None or since <= self.until))

    def __str__(self):
        who = "all daemons" if len(self.daemons) > 1 else f"daemon {min(self.daemons)}"
        end = lambda t: "the end" if t is None else f"{t:.4f}"
        return f"{self.since:.4f} to {end(self.mended)}, felt until {end(self.until)}: {self.name}, {who}"


# ---- between a daemon and the upstream ----


def cut(scene, rng):
    """Connections are reset, and may be opened anew at once."""
    node = rng.choice(scene.nodes)
    kinds = rng.choice([EVENTS, DATA, CONTROL, EVERYTHING])
    window = Window(f"reset of {named(kinds)}", frozenset({node.number}), kinds)
    node.proxy.cut_kinds(kinds)
    yield window


def blackhole(scene, rng):
    node = rng.choice(scene.nodes)
    kinds = rng.choice([EVENTS, EVENTS, DATA, EVERYTHING, EVERYTHING])
    window = Window(f"silence on {named(kinds)}", frozenset({node.number}), kinds, hangs=kinds == EVERYTHING)
    node.proxy.silence(kinds)
    yield window
    if rng.random() < 0.5:  # what was held is lost, or arrives late
        node.proxy.cut_kinds(kinds)
    node.proxy.mend()


def one_way(scene, rng):
    """What the daemon sends is taken and comes nowhere."""
    node = rng.choice(scene.nodes)
    kinds = rng.choice([EVENTS, DATA, EVERYTHING])
    window = Window(f"loss of all that is sent on {named(kinds)}", frozenset({node.number}), kinds, hangs=kinds == EVERYTHING)
    for kind in kinds:
        node.proxy.lose(kind)
    yield window
    node.proxy.cut_kinds(kinds)
    node.proxy.mend()


def swallowed(scene, rng):
    """Messages vanish on an event link that stays up and answers. Mostly the first of them tells of a key that is changed so
    rarely that nothing soon makes up for it: such a change is asked for."""
    node = rng.choice(scene.nodes)
    window = Window("loss of messages on an events link that stays", frozenset({node.number}), EVENTS, loses=True)
    first = rng.choice([(), *((key,) for key in scene.config.cold)])
    node.proxy.swallow(first)
    scene.due += [(key, node) for key in first]
    yield window
    node.proxy.mend()


def stranded(scene, rng):
    """What was sent on the connections that are open now is on its way for long, and arrives after they were given up."""
    node = rng.choice(scene.nodes)
    kinds = rng.choice([DATA, DATA, CONTROL, DATA | CONTROL])
    window = Window(f"late arrival of what was sent on {named(kinds)}", frozenset({node.number}), kinds)
    for kind in kinds:
        node.proxy.strand(kind)
    yield window
    node.proxy.arrive()


def delays(scene, rng):
    """Not a failure: replies and events are late, each kind by its own. All promises hold, but for events in time."""
    node = rng.choice(scene.nodes)
    kinds = rng.choice([EVENTS, DATA, EVENTS | DATA])
    high = rng.choice([0.005, 0.03, scene.lease_s / 6])
    window = Window(f"up to {high * 1000:.0f} ms of delay on {named(kinds)}", frozenset({node.number}), frozenset())
    node.proxy.slow(kinds, 0.0, high)
    yield window
    node.proxy.mend()


def refused(scene, rng):
    node = rng.choice(scene.nodes)
    window = Window("connections refused", frozenset({node.number}), EVERYTHING)
    node.proxy.refuse()
    yield window
    node.proxy.accept()


# ---- the upstream ----


def upstream_paused(scene, _):
    window = Window("upstream stopped by SIGSTOP", scene.everyone, EVERYTHING, hangs=True)
    scene.upstream.pause()
    yield window
    scene.upstream.resume()


def upstream_killed(scene, rng):
    """SIGKILL; it comes back with what its log of writes holds, or with nothing."""
    with_data = rng.random() < 0.5
    window = Window(f"upstream killed, back {'with' if with_data else 'without'} its data", scene.everyone, EVERYTHING, forgets=True)
    scene.keep_apart()
    scene.monitor.leave()
    scene.upstream.kill()
    yield window
    scene.upstream.restart(keep_data=with_data, hard=True)
    came_back(scene)


def failover(scene, _):
    """A replica takes over; what had not reached it is lost, and that is nobody's fault but Redis's."""
    window = Window("failover to a replica", scene.everyone, EVERYTHING, forgets=True)
    scene.keep_apart()
    scene.monitor.leave()
    scene.replica.client().replicaof("NO", "ONE")
    scene.upstream.kill()
    scene.upstream, scene.replica = scene.replica, scene.upstream
    yield window
    came_back(scene)
    scene.replicate()


def failover_unheard(scene, _):
    """The same, but the old server lives on, and event links stay with it: all that they lack is what happens."""
    window = Window("failover that leaves event links behind", scene.everyone, EVENTS, forgets=True)
    for proxy in scene.proxies():
        proxy.pause()
    scene.monitor.leave()
    scene.replica.client().replicaof("NO", "ONE")
    scene.upstream, scene.replica = scene.replica, scene.upstream
    came_back(scene)
    for proxy in scene.proxies():
        proxy.cut_kinds(DATA | CONTROL | UNNAMED)
        proxy.resume()
    yield window
    scene.replica.kill()
    scene.replicate()


def came_back(scene):
    """What the upstream has now is noted, before any daemon can ask it."""
    scene.monitor.follow(scene.upstream)
    scene.monitor.note(truth.snapshot(scene.upstream, scene.keys))
    for proxy in scene.proxies():
        proxy.target = scene.upstream.address
        proxy.accept()


def flushed(scene, _):
    """FLUSHALL by somebody's hand: state and all."""
    window = Window("FLUSHALL", scene.everyone, EVERYTHING, forgets=True)
    scene.upstream.client().flushall()
    yield window


def script_forgotten(scene, _):
    """Nobody is to notice."""
    scene.upstream.client().script_flush()
    yield Window("SCRIPT FLUSH", scene.everyone, frozenset())


def journal_trimmed(scene, _):
    """All of it, whichever streams the fleet has."""
    client = scene.upstream.client()
    for name in client.scan_iter("harcad/*", _type="stream"):
        client.xtrim(name, maxlen=0, approximate=False)
    yield Window("journal trimmed", scene.everyone, frozenset(), forgets=True)


# ---- daemons ----


def daemon_restarted(scene, rng):
    node = rng.choice(scene.nodes)
    hard = rng.random() < 0.7
    window = Window(f"daemon {'killed by SIGKILL' if hard else 'stopped'} and started again", frozenset({node.number}),
                    EVERYTHING, restarts=True)
    node.stop(hard)
    yield window
    node.start()


# Weights: what is quick and found most comes most often.
CATALOGUE = {
    cut: 5,
    blackhole: 6,
    one_way: 3,
    stranded: 4,
    delays: 6,
    refused: 2,
    upstream_paused: 3,
    upstream_killed: 2,
    failover: 2,
    failover_unheard: 2,
    flushed: 1,
    script_forgotten: 2,
    journal_trimmed: 1,
    daemon_restarted: 3,
    swallowed: 3,
}
# One of these and no other at a time: they are about the upstream itself.
EXCLUSIVE = frozenset({upstream_paused, upstream_killed, failover, failover_unheard, flushed})


def possible(scene):
    """Those that this scene has the means for, and whose consequences the daemon promises to bear."""
    without = set()
    if scene.replica is None:
        without |= {failover, failover_unheard}
    if not scene.promises.fence:
        without.add(failover_unheard)
    return {fault: weight for fault, weight in CATALOGUE.items() if fault not in without}


def named(kinds):
    return "all links" if kinds == EVERYTHING else " and ".join(sorted(kinds)) + " links"


class Injector:
    """Draws faults, and sees to it that all is well between them. One thread."""

    def __init__(self, scene, rng, clock, names=None):
        self.scene, self.rng, self.clock = scene, rng, clock
        self.windows = []
        self.trouble = []  # what did not get well again
        self.catalogue = {f: w for f, w in possible(scene).items() if names is None or f.__name__ in names}

    def run(self, until):
        while self.clock() < until:
            self.round(until)
            self.scene.over.wait(self.rng.uniform(0.02, 0.5))

    def round(self, until):
        running = []
        for fault in self._draw():
            since = self.clock()
            generator = fault(self.scene, self.rng)
            window = next(generator)
            window.since = since
            self.windows.append(window)
            running.append((generator, window))
        self.scene.struck.set()
        deaf = any(window.links == EVENTS for _, window in running)
        self.scene.over.wait(min(self._hold_s(deaf), max(0.0, until - self.clock())))
        for generator, window in running:
            next(generator, None)
            window.mended = self.clock()
        self._recover([window for _, window in running])

    def _draw(self):
        faults, weights = zip(*self.catalogue.items())
        first = self.rng.choices(faults, weights)[0]
        if first in EXCLUSIVE or self.rng.random() < 0.6:
            return [first]
        second = self.rng.choices(faults, weights)[0]
        return [first] if second in EXCLUSIVE or second is first else [first, second]

    def _hold_s(self, deaf):
        """Mostly short, for the races; what a lease bounds must last longer than one."""
        lease = self.scene.lease_s
        choices = [0.1, lease, 6 * lease, 8 * lease] if deaf else [0.0, 0.02, 0.1, 0.1, lease, lease, 4 * lease]
        return self.rng.choice(choices) * self.rng.uniform(0.5, 1.0)

    def _recover(self, windows):
        try:  # all at one look: one that has not noticed yet looks well, and another is waited for meanwhile
            wait_until(self.scene.is_well, TIMEOUT, "all daemons are well again", 0.01)
        except AssertionError as error:
            self.trouble.append(f"after {', '.join(w.name for w in windows)}: {error}")
        for window in windows:
            window.until = self.clock()
