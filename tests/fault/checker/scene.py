"""Who takes part: an upstream, perhaps its replica, daemons, each behind a proxy of its own, one more proxy for whoever
talks to the upstream itself, and the Monitor."""

import os
import threading

from harcad_harness import Harcad, Redis, SLOW, wait_until

from checker.proxy import FaultProxy
from checker.truth import Monitor

LEASE_MS = int(400 * SLOW)
TIMEOUT_MS = int(250 * SLOW)
FAKETIME = "/usr/lib/{}-linux-gnu/faketime/libfaketimeMT.so.1".format(os.uname().machine)

SETTINGS = {
    "fleet.lease": f"{LEASE_MS}ms",
    "upstream.timeout": f"{TIMEOUT_MS}ms",
    "upstream.connect_timeout": f"{TIMEOUT_MS}ms",
    "upstream.backoff_min": "10ms",
    "upstream.backoff_max": "80ms",
}


class Node:
    """A daemon, over all its lives, and what stands between it and the upstream."""

    def __init__(self, number, upstream, settings, seed, clock_offset_s=0):
        self.number = number
        self.life = 0
        self.clock_offset_s = clock_offset_s
        self.proxy = FaultProxy(upstream.address, f"{seed} proxy {number}").start()
        self.daemon = Harcad({**SETTINGS, **settings}, upstream=self.proxy.url, env=self._clock(clock_offset_s))

    @staticmethod
    def _clock(offset_s):
        """Its wall clock is off by that much; the monotonic one runs as on the same machine."""
        if not offset_s:
            return {}
        return {"LD_PRELOAD": FAKETIME, "FAKETIME": f"{offset_s:+d}s", "FAKETIME_DONT_FAKE_MONOTONIC": "1"}

    @property
    def instance(self):
        """What it calls itself in scripts and events, another in each life."""
        return f"d{self.number}.{self.life}"

    def start(self):
        self.life += 1
        self.daemon.settings["fleet.instance"] = self.instance
        self.daemon.start()

    def stop(self, hard):
        if hard:
            self.daemon.kill()
        else:
            self.daemon.stop()

    def is_well(self):
        info = self.daemon.info("upstream", "fleet")
        return info["upstream_state"] == "up" and info["event_link"] == "up" and info["queued_writes"] == 0

    def close(self):
        try:
            self.daemon.stop()
        finally:
            self.daemon.close()
            self.proxy.close()


class Scene:
    def __init__(self, config, seed, made):
        self.config = config
        self.promises = made
        self.seed = seed
        self.keys = config.keys + config.cold + config.owned + config.theirs + config.passed
        self.lease_s = LEASE_MS / 1000
        self.timeout_s = TIMEOUT_MS / 1000
        self.over = threading.Event()
        self.monitor = Monitor()
        self.upstream = Redis(appendonly="yes", appendfsync="no", repl_diskless_sync_delay="0")
        self.replica = Redis(appendonly="yes", appendfsync="no", repl_diskless_sync_delay="0") if config.replica else None
        self.nodes = []
        self.outside = None  # the proxy of those who talk to the upstream itself
        self.struck = threading.Event()  # by a fault, just now
        self.due = []  # (key, node): it shall be written soon, at another node
        self.everyone = frozenset(range(config.daemons))

    def __enter__(self):
        self.upstream.start()
        if self.replica:
            self.replicate()
        self.monitor.follow(self.upstream)
        self.outside = FaultProxy(self.upstream.address, f"{self.seed} outside").start()
        for number in range(self.config.daemons):
            offset_s = self.config.clocks[number % len(self.config.clocks)]
            node = Node(number, self.upstream, self.config.settings, self.seed, offset_s)
            self.nodes.append(node)
            node.start()
        wait_until(self.is_well, message="the fleet is in step")
        return self

    def __exit__(self, *exc):
        self.over.set()
        errors = []
        for thing in [*self.nodes, self.outside, self.upstream, self.replica]:
            try:
                if thing is not None:
                    thing.close()
            except AssertionError as error:
                errors.append(str(error))
        assert not errors or exc[0], "\n".join(errors)

    def is_well(self):
        return all(node.is_well() for node in self.nodes)

    def take_due(self, node):
        """A key that shall be written there now, or None."""
        found = next((due for due in self.due if due[1] is not node), None)
        try:
            self.due.remove(found)
        except ValueError:  # there is none, or another client has taken it
            return None
        return found[0]

    def replicate(self):
        """The replica, started if need be, has what the upstream has."""
        if not self.replica.running():
            self.replica.restart(keep_data=False, hard=True) if self.replica.port else self.replica.start()
        client = self.replica.client()
        client.replicaof(*map(str, self.upstream.address))
        wait_until(lambda: client.info("replication")["master_link_status"] == "up", message="the replica is in step")

    def proxies(self):
        """All ways to the upstream."""
        return [node.proxy for node in self.nodes] + [self.outside]

    def keep_apart(self):
        """Nobody reaches the upstream until the proxies accept again."""
        for proxy in self.proxies():
            proxy.refuse()
