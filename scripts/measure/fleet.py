"""A fleet of two daemons: how soon one sees what the other wrote, what that costs Redis and the daemons, and how old what
is served may get while events do not arrive."""

import contextlib
import random
import statistics
import time

from kit.processes import wait_until
from kit.relay import Relay

from . import account, programs
from .lab import loop_thread, settle
from .row import HARCAD, REDIS, Reading, Section

UP_WITHIN_S = 20.0
SPREAD_ROUNDS = 10_000
CUTS = 6
LEASE_S = 2.0  # fleet.lease as it is by default
ROUNDS = 5
WRITES = 60_000
SMALL = 64  # bytes of a value
KEYS = 10_000
EVENTS_LINK = b"harcad-events"  # how a daemon names that connection
NO_FOREIGN_WRITES = {"upstream.foreign_writes": "no"}
NO_JOURNAL = {"fleet.journal_len": "0"}

SPREAD = Section(
    "A write seen at a sibling",
    "In µs. Publish: PUBLISH sent, until a subscriber has it. Seen: OK of a SET at one daemon, until a GET at the other answers the\n"
    "new value, which it fetches from Redis, having had the old one in memory. Whole: the same from when the SET was sent.",
    ("", "p50", "p99", "p999", "longest"))

WRITING = Section(
    "What a write costs Redis",
    "CPU time of redis-server in µs: of a SET it is sent, and of a SET at a daemon, which becomes value, journal and event,\n"
    "with two daemons that hear of it. With upstream.foreign_writes=no Redis does not tell them of each key by itself as well,\n"
    "with fleet.journal_len=0 it keeps no journal.",
    ("pipeline", "value", "daemons with", "SET at Redis", "SET at a daemon", "of a bare one"))


class Pair:
    """Two daemons of one fleet and their Redis. `between` gives for Redis's address the port at which the reader finds it."""

    def __init__(self, lab, name, between=None, **settings):
        self.redis = lab.start(REDIS, f"{name}-redis")
        self.writer = daemon(lab, f"{name}-writer", self.redis.port, settings)
        self.reader = daemon(lab, f"{name}-reader", between(self.redis.address) if between else self.redis.port, settings)

    def stop(self):
        for server in (self.reader, self.writer, self.redis):
            server.stop()


def daemon(lab, name, redis_port, settings):
    started = lab.start(HARCAD, name, {"upstream.url": f"redis://127.0.0.1:{redis_port}", **settings})
    wait_until_up(started.client())
    return started


def wait_until_up(client):
    def is_up():
        info = client.info()
        return info["upstream_state"] == info["event_link"] == "up"

    wait_until(is_up, UP_WITHIN_S, "the fleet is up")


# ---- how soon ----


def spread(lab):
    pair = Pair(lab, "spread")
    argv = [lab.program("spread"), *(str(server.port) for server in (pair.redis, pair.writer, pair.reader)),
            str(lab.scaled(SPREAD_ROUNDS))]
    values = programs.parse(programs.run(argv))
    pair.stop()
    if values["backwards"]:
        raise programs.ProgramError(f"an old value was seen after a new one {values['backwards']:.0f} times")
    return values


def seen(quantile):
    """A measurement: that quantile of the time until a write is seen, of that of a bare PUBLISH."""
    def measure(lab):
        values = lab.once(spread)
        lines = [(SPREAD, (what, *(f"{values[f'{what}_{name}']:.0f}" for name in ("p50", "p99", "p999", "longest"))))
                 for what in ("publish", "seen", "whole")] if quantile == "p50" else []
        ours, bare = values[f"seen_{quantile}"], values[f"publish_{quantile}"]
        return Reading({HARCAD: [ours / bare]}, f"`build/spread REDIS_PORT WRITER_PORT READER_PORT {lab.scaled(SPREAD_ROUNDS)}`",
                       f"{ours:.0f} µs, bare {bare:.0f} µs", lines)

    return measure


# ---- how old ----


def silent_cut(pair, relay, number):
    """Seconds after its OK for which a write was not seen, the event link having gone silent just before it."""
    writer, reader = pair.writer.client(), pair.reader.client()
    old, new = b"old-%d" % number, b"new-%d" % number
    writer.call("SET", "cut", old)
    wait_until(lambda: reader.call("GET", "cut") == old, UP_WITHIN_S, "the old value is read")
    time.sleep(random.uniform(0, LEASE_S))  # anywhere between two fences
    relay.silence(EVENTS_LINK)
    writer.call("SET", "cut", new)
    began = last_old = time.monotonic()
    while reader.call("GET", "cut") == old:
        last_old = time.monotonic()
        if last_old - began > 10 * LEASE_S:
            raise programs.ProgramError("the old value is served for ever")
        time.sleep(0.001)
    relay.speak()
    wait_until(lambda: reader.info()["event_link"] == "up", UP_WITHIN_S, "events arrive again")
    return last_old - began


def staleness(lab):
    with contextlib.ExitStack() as stack:
        relays = []

        def between(address):
            relays.append(stack.enter_context(Relay(address)))
            return relays[0].port

        pair = Pair(lab, "cut", between)
        ages = [silent_cut(pair, relays[0], number) for number in range(CUTS)]
        pair.stop()
    return Reading({HARCAD: [max(ages) / LEASE_S]},
                   f"What comes on the event link vanishes, {CUTS} times, at random moments; with the default lease.",
                   "seen after " + ", ".join(f"{age:.2f}" for age in sorted(ages)) + " s")


# ---- what a write costs Redis ----


def redis_ns(lab, pair, kind, server, pipeline, value_bytes):
    """CPU time of Redis for a SET by one client of that server."""
    writes = lab.scaled(WRITES if pipeline > 1 else WRITES // 4)
    model = ("-x", "MODEL", "-x", "m") if kind == HARCAD and value_bytes > SMALL else ()
    before = account.cpu_ns(pair.redis.pid)
    lab.load(kind, server, "-o", "set", "-n", writes, "-k", KEYS, "-d", value_bytes, "-K", kind, "-c", 1, "-P", pipeline, *model)
    return (account.cpu_ns(pair.redis.pid) - before) / writes


def write_costs(lab, pipeline, value_bytes, settings):
    """(bare, by way of a daemon) of each round."""
    pair = Pair(lab, f"cost-{pipeline}-{value_bytes}", **settings)
    sides = ((REDIS, pair.redis), (HARCAD, pair.writer))
    rounds = [[redis_ns(lab, pair, kind, server, pipeline, value_bytes) for kind, server in sides] for _ in range(ROUNDS)]
    pair.stop()
    return rounds


def write_cost(pipeline, value_bytes=SMALL, settings=None):
    """A measurement: Redis's CPU for a SET at a daemon with these settings, of that for a bare one."""
    given = ", ".join(f"{setting}={value}" for setting, value in (settings or {}).items())

    def measure(lab):
        rounds = write_costs(lab, pipeline, value_bytes, settings or {})
        bare, ours = (statistics.median(column) for column in zip(*rounds))
        ratio = statistics.median(ours / bare for bare, ours in rounds)
        line = (WRITING, (pipeline, f"{value_bytes:,} B", given or "the defaults", f"{bare / 1e3:.1f}", f"{ours / 1e3:.1f}",
                          f"{ratio:.2f}"))
        return Reading({HARCAD: [ratio]}, f"`build/load -o set -k {KEYS} -d {value_bytes} -c 1 -P {pipeline}`, at Redis and at a daemon in turn: "
                       f"CPU time of redis-server{', the daemons with ' if given else ''}{given}. Larger ones are of a model at "
                       "the daemon.", details=[line])

    return measure


# ---- what events cost ----


def main_ns(pid):
    """CPU time of the thread that events arrive at."""
    return int(account.read(f"/proc/{pid}/task/{pid}/schedstat").split()[0])


def pouring(lab, server):
    """Writes at that daemon."""
    return programs.Endless(lab.load_argv(HARCAD, server, "-o", "set", "-n", lab.ENDLESS, "-k", KEYS, "-K", "poured", "-c", 4, "-P", 16))


def invalidations(server, write):
    """(invalidations, events) that a daemon hears of what write() does, by a second of its main thread's CPU time."""
    settle(server.pid)
    before, began_ns = server.client().info(), main_ns(server.pid)
    write()
    settle(server.pid)
    seconds = (main_ns(server.pid) - began_ns) / 1e9
    after = server.client().info()
    return tuple((after[name] - before[name]) / seconds for name in ("invalidations_in", "events_received"))


def keys_of_event(rates):
    return statistics.median(keys / events for keys, events in rates)


def event_rate(lab):
    """Half of the keys are in memory at the start of each round."""
    pair, writes, rates = Pair(lab, "events"), lab.scaled(2 * WRITES), []

    def write():
        lab.load(HARCAD, pair.writer, "-o", "set", "-n", writes, "-k", KEYS, "-K", "poured", "-c", 4, "-P", 16)

    for _ in range(ROUNDS):
        lab.load(HARCAD, pair.writer, "-o", "set", "-n", KEYS, "-k", KEYS, "-K", "poured", "-P", 16)
        lab.load(HARCAD, pair.reader, "-o", "get", "-n", KEYS, "-k", KEYS // 2, "-K", "poured", "-P", 16)
        rates.append(invalidations(pair.reader, write))
    pair.stop()
    return Reading({HARCAD: [keys for keys, _ in rates]}, f"`build/load -o set -k {KEYS} -c 4 -P 16` at the other daemon: invalidations, by CPU "
                   f"time of the main thread. Of {writes:,} at most {KEYS:,} find their key in memory: one in two has been read, "
                   "and is fetched anew once.", f"{keys_of_event(rates):.1f} keys an event")


def lone_event_rate(lab):
    """In events of one key each, of keys that are in memory: all but a few, whose stamps others moved meanwhile."""
    pair, writes, rates, kept = Pair(lab, "lone-events", **{"upstream.batch_max": "1"}), lab.scaled(WRITES), [], []

    def fill(daemon):
        lab.load(HARCAD, daemon, "-o", "fill", "-n", writes, "-K", "lone", "-c", 4, "-P", 16)

    for _ in range(ROUNDS):
        fill(pair.reader)
        kept.append(pair.reader.client().info()["memory_entries"] / writes)
        rates.append(invalidations(pair.reader, lambda: fill(pair.writer)))
    pair.stop()
    return Reading({HARCAD: [keys for keys, _ in rates]}, f"`build/load -o fill -n {writes} -c 4 -P 16` at the daemon itself, so that the keys are in "
                   "its memory, then at the other one, both with upstream.batch_max=1: invalidations, by CPU time of the main thread.",
                   f"{keys_of_event(rates):.1f} keys an event, {100 * min(kept):.1f} % of them in memory")


def hit_ns(lab, server, hits):
    before = thread_ns(server.pid)
    lab.load(HARCAD, server, "-o", "get", "-n", hits, "-k", 1000, "-K", "hot", "-c", 1, "-P", 16)
    return (thread_ns(server.pid) - before) / hits


def thread_ns(pid):
    return int(account.read(f"/proc/{pid}/task/{loop_thread(pid)}/schedstat").split()[0])


def hit_beside_events(lab):
    """With the machine equally busy in both: a daemon of another fleet, of which the reader hears nothing, is written to."""
    pair, hits, costs = Pair(lab, "pour"), lab.scaled(200_000), []
    stranger = daemon(lab, "pour-stranger", pair.redis.port, {"fleet.name": "another", "upstream.prefix": "another:"})
    lab.load(HARCAD, pair.reader, "-o", "fill", "-n", 1000, "-K", "hot", "-d", 64)
    lab.load(HARCAD, pair.reader, "-o", "get", "-n", hits, "-k", 1000, "-K", "hot", "-P", 16)
    for _ in range(2 * ROUNDS):
        with pouring(lab, stranger):
            alone = hit_ns(lab, pair.reader, hits)
        with pouring(lab, pair.writer):
            costs.append((alone, hit_ns(lab, pair.reader, hits)))
    stranger.stop()
    pair.stop()
    alone, beside = (statistics.median(column) for column in zip(*costs))
    return Reading({HARCAD: [beside / alone]}, "`build/load -o get -k 1000 -c 1 -P 16`: CPU time of the worker, while four connections write to the "
                   "other daemon, of the same while they write to another fleet's.", f"{alone:.0f} ns, beside events {beside:.0f} ns")
