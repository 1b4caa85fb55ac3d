#!/usr/bin/python3
"""A fleet of three daemons with one Redis on this machine, shown at work on embeddings.

Loads every embedding through daemon A, as an application does that computes what the cache does not have; reads them at
B and C; measures how long a change at A takes to show at B; clears models; lets Redis hang, kills it and brings it back.
What is printed was measured in this run, and what is claimed at the end was checked in it: the exit status is 0 when
all of it held.

Times are those of this client, which is written in Python: its own part is some tens of microseconds a request.
"""

import argparse
import dataclasses
import itertools
import struct
import sys
import threading
import time

from kit import text, vectors
from kit.processes import Servers, StartError, default_harcad, exit_on_sigterm, wait_until
from kit.resp import Client, RespError, encode
from kit.scene import IN_STEP_SECONDS, TIERS, Daemon, Report, Scene, read, timed_gets

PREFIX = "harca:"
LEASE_SECONDS = 2.0
TIMEOUT_SECONDS = 0.2  # upstream.timeout
SCHEDULING_SECONDS = 0.3  # what a busy machine may add to a bound

TOTALS = (*TIERS, "stale_served", "fills_not_kept", "invalidations_in", "invalidations_out", "resyncs",
          "memory_entries")
HANG_MISSES = 3
AWAY_MISSES = 50
AWAY_WRITES = 50
AWAY_NEW = 10
AWAY_DELETES = 5


def other_bytes(value, salt):
    """A value of the same length that no other salt makes."""
    stamp = struct.pack("<Q", salt)
    return (stamp + value[len(stamp):]) if len(value) > len(stamp) else stamp


# ---- 1, 2: loading, sharing ----


def load(scene):
    report, first = scene.report, scene.daemons[0]
    report.step("Loaded through daemon A: each value asked for (nothing), then SET")
    before, rows, asked_for_nothing = first.counters(), [], True
    for model in scene.models:
        started = time.monotonic()
        asked_for_nothing &= not any(first.client.get_all(model.keys))
        first.client.pipeline([model.set_command(key, value) for key, value in model.values.items()])
        rows.append((model.name, model.shape, text.count(len(model.values)), text.size(model.bytes),
                     text.duration((time.monotonic() - started) / len(model.values))))
    total = len(scene.values)
    all_bytes = sum(model.bytes for model in scene.models)
    rows += [None, (f"{len(scene.models)} models", "", text.count(total), text.size(all_bytes), "")]
    report.table(("model", "shape", "values", "bytes", "GET+SET each"), rows)

    told = first.counters()
    told.subtract(before)
    report.gap()
    report.say(f"A had to fetch:   {told['upstream_hits']:,} values; Redis was asked for {told['fills']:,} and had none")
    report.say(f"A had to be told: {told['invalidations_in']:,} changes by siblings")
    report.say(f"A told:           Redis {told['upstream_writes']:,} writes in {told['upstream_batches']:,} script calls, "
               f"its siblings {told['invalidations_out']:,} changes")
    report.say(f"A keeps:          {told['memory_entries']:,} values in {text.size(told['memory_bytes'])} of memory")

    with Client(scene.redis.address) as redis:
        in_redis = sum(redis.pipeline([("EXISTS", PREFIX + key) for key in scene.values]))
    report.claim("an empty fleet answers nothing", asked_for_nothing)
    report.claim("every value whose SET was answered OK is in Redis", in_redis == total, f"{in_redis} of {total}")


def share(scene):
    report, values = scene.report, scene.values
    report.step("Read everywhere: what one daemon learned, all have")
    rows, readings = [], {}
    kept_by_writer = scene.daemons[0].counters()["memory_entries"]
    for name, daemon in itertools.product(("first", "second"), scene.daemons):
        reading = readings[daemon.name, name] = read(daemon, values)
        tiers = [text.count(reading.tiers[tier]) for tier in TIERS]
        rows.append((f"{daemon.name}, {name}", text.count(reading.reads), *tiers, text.count(reading.not_kept),
                     text.duration(reading.seconds)))
    report.table(("daemon, reading", "reads", "memory", "file", "upstream", "misses", "not kept", "time"), rows)

    total = len(values)
    report.claim("every daemon answers every value, byte for byte", all(r.right == total for r in readings.values()),
                 f"{[r.right for r in readings.values()]} of {total}")
    report.claim("the daemon that wrote answers from memory what it kept",
                 readings["A", "first"].tiers["memory_hits"] == kept_by_writer)
    report.claim("each sibling fetches each value from Redis once",
                 all(readings[name, "first"].tiers["upstream_hits"] == total for name in "BC"))
    report.claim("a second reading is answered from memory, but for what the first answered and did not keep",
                 all(readings[d.name, "second"].tiers["memory_hits"] == total - readings[d.name, "first"].not_kept
                     for d in scene.daemons))


# ---- 3: a change here, its effect there ----


def change_once(writer, reader, key, old, new):
    """Seconds from sending SET at the writer to the first reply at the reader that has it; how many replies before were
    the old value; and whether anything but these two was seen."""
    wait_until(lambda: reader.client.call("GET", key) == old and reader.has_copy(key), LEASE_SECONDS, "a local copy", 0)
    get, replies_old = encode("GET", key), 0
    started = time.perf_counter()
    writer.client.send(encode("SET", key, new))
    while True:
        reader.client.send(get)
        answer = reader.client.receive()
        if answer != old:
            break
        replies_old += 1
        if time.perf_counter() - started > IN_STEP_SECONDS:
            raise TimeoutError(f"{key} has not changed at daemon {reader.name}")
    seconds = time.perf_counter() - started
    stayed = reader.client.call("GET", key) == new
    writer.client.receive()
    return seconds, replies_old, answer == new and stayed


def invalidate(scene):
    report, (writer, reader, bystander) = scene.report, scene.daemons
    model = scene.models[0]
    key = model.keys[0]
    report.step(f"A change at A shows at B: {scene.trials} times SET {key} ({text.size(len(model.values[key]))})")
    times, replies_old, orderly = [], 0, True
    for trial in range(scene.trials):
        old, new = model.values[key], other_bytes(model.values[key], trial)
        seconds, n_old, good = change_once(writer, reader, key, old, new)
        model.values[key] = new
        times.append(seconds)
        replies_old += n_old
        orderly &= good
    report.say("B had a local copy before each; B is asked again and again on one connection, from the moment SET is sent")
    report.say(f"SET at A to the new value at B: {text.spread(times)}")
    report.say(f"replies at B in between that had the old value: {replies_old / scene.trials:.1f} a trial")
    report.claim("a change at A replaced B's local copy every time, within the lease", max(times) < LEASE_SECONDS,
                 text.duration(max(times)))
    report.claim("B went from the old value to the new one and never back", orderly)
    wait_until(lambda: bystander.client.call("GET", key) == model.values[key], LEASE_SECONDS, "the last of them at C", 0)
    report.claim("C has the last of them within the lease", bystander.client.call("GET", key) == model.values[key])


# ---- 4: CLEAR MODEL ----


@dataclasses.dataclass
class Clearing:
    model: object
    entries: dict  # daemon's name: entries before
    ok_seconds: float
    forgot_seconds: dict  # daemon's name: from the sending of the command to its first reply of nothing


def clear(scene, model):
    first, *others = scene.daemons
    entries = {daemon.name: daemon.model_entries(model) for daemon in scene.daemons}
    request = encode("CLEAR", "MODEL", model.name)
    key = model.keys[-1]
    forgot = {}
    started = time.perf_counter()
    first.client.send(request)
    first.client.receive()
    ok_seconds = time.perf_counter() - started
    while len(forgot) < len(others):
        for daemon in others:
            if daemon.name not in forgot and daemon.client.call("GET", key) is None:
                forgot[daemon.name] = time.perf_counter() - started
        if time.perf_counter() - started > IN_STEP_SECONDS:
            raise TimeoutError(f"a sibling still has {model.name}")
    return Clearing(model, entries, ok_seconds, forgot)


def clear_models(scene):
    report = scene.report
    by_size = sorted(scene.models, key=lambda model: len(model.values))
    cleared = [by_size[-1], *by_size[:-1][:1]]
    report.step("CLEAR MODEL at A, of the model with most values and of the one with fewest")
    scene.warm()
    clearings = [clear(scene, model) for model in cleared]
    report.table(("model", "made invisible at A", "B", "C", "bytes", "OK after", "B forgot after", "C forgot after"),
                 [(c.model.name, *(text.count(c.entries[d.name]) for d in scene.daemons), text.size(c.model.bytes),
                   text.duration(c.ok_seconds), *(text.duration(c.forgot_seconds[name]) for name in "BC"))
                  for c in clearings])
    report.gap()
    check_cleared(scene, cleared)
    write_retrained(scene, cleared)
    report.claim("CLEAR MODEL made each daemon's copies invisible, all of them",
                 all(n == len(c.model.values) for c in clearings for n in c.entries.values()),
                 str([c.entries for c in clearings]))


def check_cleared(scene, cleared):
    """Nothing of these models is answered any more, everything else is, and from where it was."""
    gone = {key: value for model in cleared for key, value in model.values.items()}
    kept = {key: value for key, value in scene.values.items() if key not in gone}
    of_gone = [read(daemon, gone) for daemon in scene.daemons]
    of_kept = [read(daemon, kept) for daemon in scene.daemons]
    scene.report.table(
        ("then, at", "of the cleared: nothing", "a value", "of the others: right", "from memory"),
        [(daemon.name, text.count(g.missing), text.count(g.reads - g.missing), f"{k.right:,} of {k.reads:,}",
          text.count(k.tiers["memory_hits"])) for daemon, g, k in zip(scene.daemons, of_gone, of_kept)])
    scene.report.claim("after CLEAR MODEL no daemon answers any of its values", all(g.missing == g.reads for g in of_gone))
    scene.report.claim("the other models are untouched: all right, all from memory",
                       all(k.right == k.reads == k.tiers["memory_hits"] for k in of_kept))


def write_retrained(scene, models):
    """The models' new values, through C; the others must have these and none from before."""
    writer = scene.daemons[-1]
    for model in models:
        model.values = {key: other_bytes(value, 1 << 32 | i) for i, (key, value) in enumerate(model.values.items())}
        writer.client.pipeline([model.set_command(key, value) for key, value in model.values.items()])
    new = {key: value for model in models for key, value in model.values.items()}
    readings = [read(daemon, new) for daemon in scene.daemons]
    scene.report.gap()
    scene.report.say("new values of the cleared models, SET at C, then read: " +
                     ", ".join(f"{d.name} {r.right:,} right" for d, r in zip(scene.daemons, readings)))
    scene.report.claim("a cleared model is filled anew, and the fleet has the new values only",
                       all(r.right == r.reads for r in readings))


# ---- 5: Redis hangs ----


def miss_slowly(daemon, seconds):
    """In a thread: misses one after the other on a connection of their own; how long each took is left in `seconds`."""
    with Client(daemon.server.address) as client:
        seconds += timed_gets(client, [f"nowhere:{i}" for i in range(HANG_MISSES)])[1]


def hang(scene):
    report, first = scene.report, scene.daemons[0]
    report.step("Redis hangs (SIGSTOP): a miss at A waits for upstream.timeout, A's local hits meanwhile do not")
    scene.warm()
    values = scene.values
    _, usual = timed_gets(first.client, values)
    misses = []
    missing = threading.Thread(target=miss_slowly, args=(first, misses))
    scene.redis.pause()
    try:
        missing.start()
        answers, hung = timed_gets(first.client, values)
        missing.join()
    finally:
        scene.redis.resume()
    seconds = scene.wait_in_step()
    right = sum(answer == value for answer, value in zip(answers, values.values()))
    report.say(f"local hits, before:  {text.spread(usual)}")
    report.say(f"local hits, hanging: {text.spread(hung)}; {right:,} of {len(values):,} right")
    report.say(f"misses, hanging:     {', '.join(text.duration(s) for s in misses)} (then the link is given up)")
    report.say(f"all in step again:   {text.duration(seconds)} after Redis went on")
    report.claim("Redis hanging: local hits go on, all right", right == len(values), f"{right} of {len(values)}")
    report.claim("Redis hanging: no local hit waits for it", max(hung) < TIMEOUT_SECONDS, text.duration(max(hung)))
    report.claim(f"Redis hanging: a miss waits no longer than upstream.timeout ({text.duration(TIMEOUT_SECONDS)})",
                 len(misses) == HANG_MISSES and max(misses) < TIMEOUT_SECONDS + SCHEDULING_SECONDS, str(misses))


# ---- 6: Redis is gone, and back ----


@dataclasses.dataclass
class AwayWrites:
    """What was changed at A while Redis was away."""

    replaced: dict  # key: the value from before
    written: dict  # key: the new value, of the replaced keys and of new ones
    deleted: list


def away_hits(scene):
    """All of it at all daemons, one request at a time."""
    values, rows, held = scene.values, [], True
    for daemon in scene.daemons:
        before = daemon.counters()["memory_hits"]
        answers, seconds = timed_gets(daemon.client, values)
        from_memory = daemon.counters()["memory_hits"] - before
        right = sum(answer == value for answer, value in zip(answers, values.values()))
        held &= right == from_memory == len(values)
        rows.append((daemon.name, text.count(len(values)), text.count(right), text.count(from_memory),
                     *(text.duration(text.percentile(seconds, p)) for p in (50, 99)), text.duration(max(seconds))))
    scene.report.table(("local hits at", "reads", "right", "from memory", "p50", "p99", "longest"), rows)
    scene.report.claim("Redis gone: every local copy is served on, at every daemon", held)


def away_misses(scene):
    answers, seconds = timed_gets(scene.daemons[1].client, [f"nowhere:away:{i}" for i in range(AWAY_MISSES)])
    scene.report.gap()
    scene.report.say(f"{AWAY_MISSES} misses at B:  {text.spread(seconds)}")
    scene.report.claim("Redis gone: a miss is answered (with nothing) within upstream.timeout",
                       not any(answers) and max(seconds) < TIMEOUT_SECONDS + SCHEDULING_SECONDS, text.duration(max(seconds)))


def away_writes(scene):
    """SETs of keys that are there and of new ones, and DELs, at A."""
    first = scene.daemons[0]
    model = max((m for m in scene.models if not m.is_named), key=lambda m: len(m.values))
    keys = model.keys[:AWAY_WRITES]
    deleted, replaced = keys[-AWAY_DELETES:], {key: model.values[key] for key in keys[:-AWAY_DELETES]}
    written = {key: other_bytes(value, 1 << 33 | i) for i, (key, value) in enumerate(replaced.items())}
    written.update({f"emb:{model.name}:new-{i}": b"new while away %d" % i for i in range(AWAY_NEW)})
    started = time.monotonic()
    replies = first.client.pipeline([("SET", key, value) for key, value in written.items()])
    seconds = (time.monotonic() - started) / len(written)
    first.client.pipeline([("DEL", key) for key in deleted])
    queued = first.counters()["queued_writes"]

    own = first.client.get_all([*written, *deleted])
    scene.report.say(f"{len(written)} SETs and {len(deleted)} DELs at A: answered {', '.join(sorted(set(replies)))}, "
                     f"{text.duration(seconds)} each; queued_writes {queued}")
    scene.report.claim("Redis gone: writes are answered OK and queued, and A reads its own",
                       set(replies) == {"OK"} and queued == len(written) + len(deleted) and
                       own == [*written.values(), *[None] * len(deleted)], f"{set(replies)}, queued {queued}")
    return AwayWrites({**replaced, **{key: model.values[key] for key in deleted}}, written, deleted)


def settle_away(scene, changes):
    """Back: at every daemon each key A changed has the new value, and all others are as they were."""
    report, rows, kept = scene.report, [], len(changes.written)
    others = {key: value for key, value in scene.values.items() if key not in changes.replaced}
    right, stale, revived = True, 0, 0
    for daemon in scene.daemons:
        answers = dict(zip(changes.written, daemon.client.get_all(list(changes.written))))
        new = sum(answers[key] == value for key, value in changes.written.items())
        nothing = sum(answer is None for answer in answers.values())
        back = sum(answer is not None for answer in daemon.client.get_all(changes.deleted))
        reading = read(daemon, others)
        stale += len(answers) - new - nothing
        kept = min(kept, new)
        revived += back
        right &= reading.right == reading.reads
        rows.append((daemon.name, new, nothing, len(answers) - new - nothing, back,
                     f"{reading.right:,} of {reading.reads:,}", text.count(reading.tiers["memory_hits"]),
                     text.count(reading.tiers["upstream_hits"])))
    report.table(("then, at", "SET while away: new", "nothing", "stale", "DEL: is back", "others right", "memory",
                  "upstream"), rows)
    report.gap()
    report.claim("Redis back: what was SET while it was away is in the whole fleet", kept == len(changes.written),
                 f"{kept} of {len(changes.written)}")
    report.claim("Redis back: of what was written while it was away nothing older is served, by anybody",
                 stale == 0, str(stale))
    report.claim("Redis back: what was deleted while it was away stays deleted", revived == 0, str(revived))
    report.claim("Redis back: all else is served as before", right)


def outage(scene):
    report, (first, second, third) = scene.report, scene.daemons
    report.step("Redis is killed (SIGKILL), and comes back")
    scene.warm()
    scene.redis.kill()
    for daemon in scene.daemons:
        wait_until(lambda: daemon.client.info()["upstream_state"] == "down", IN_STEP_SECONDS, "upstream_state:down")
    away_hits(scene)
    away_misses(scene)
    changes = away_writes(scene)
    unheard = sum(answer == value for answer, value in
                  zip(second.client.get_all(list(changes.replaced)), changes.replaced.values()))
    report.say(f"B cannot hear of these meanwhile: of {len(changes.replaced)} changed keys it answers {unheard} as they "
               "were")

    # B stands still until what the others then tell is over: it cannot hear it, and must find out that it missed something.
    second.server.pause()
    scene.redis.start()
    seconds = scene.wait_in_step([first, third])
    second.server.resume()
    seconds_late = scene.wait_in_step()
    report.say(f"Redis back: A and C in step, nothing queued, {text.duration(seconds)} after it answers again; B, which was "
               f"stopped\n   meanwhile and missed all they told, {text.duration(seconds_late)} after it went on")
    report.gap()
    settle_away(scene, changes)
    report.claim("Redis back: queued writes are made up for", first.counters()["queued_writes"] == 0)


# ---- all of it ----


def totals(scene):
    scene.report.step("Each daemon's INFO at the end")
    counters = [daemon.counters() for daemon in scene.daemons]
    fields = [field for field in TOTALS if any(field in c for c in counters)]
    scene.report.table(("", *(daemon.name for daemon in scene.daemons)),
                       [(field, *(text.count(c[field]) for c in counters)) for field in fields])


def leave(scene):
    statuses = [daemon.server.stop() for daemon in scene.daemons]
    scene.report.claim("the daemons end in good order", not any(statuses), f"exit status {statuses}")


STEPS = (load, share, invalidate, clear_models, hang, outage, totals, leave)


def start_fleet(servers, report, models, trials):
    redis = servers.redis("redis", {"appendonly": "yes"})
    settings = {
        "upstream.url": f"redis://127.0.0.1:{redis.port}/0",
        "upstream.prefix": PREFIX,
        "upstream.timeout": f"{int(TIMEOUT_SECONDS * 1000)}ms",
        "fleet.lease": f"{int(LEASE_SECONDS * 1000)}ms",
        "model.templates": "emb:{model}:{id}",
    }
    daemons = [Daemon(name, servers.harcad(f"harcad-{name}", {**settings, "fleet.instance": name})) for name in "ABC"]
    scene = Scene(report, redis, daemons, models, trials)
    seconds = scene.wait_in_step()
    info = daemons[0].client.info()
    print(f"   Redis {redis.client().info()['redis_version']}; daemons A, B, C: harcad {info['harcad_version']}, in step "
          f"and known to each other {text.duration(seconds)} after the last one answered")
    return scene


def take_steps(scene):
    """A daemon that keeps us waiting ends the show, and is named among the claims."""
    try:
        for step in STEPS:
            step(scene)
    except TimeoutError as error:
        scene.report.claim("nothing is waited for in vain", False, str(error))
    else:
        scene.report.claim("nothing is waited for in vain", True)


def positive(word):
    number = int(word)
    if number < 1:
        raise argparse.ArgumentTypeError(f"{number} is not positive")
    return number


def parse_options():
    parser = argparse.ArgumentParser(prog="scripts/demo", description="A fleet of three daemons at work on embeddings.")
    parser.add_argument("directory", nargs="?", metavar="DIR",
                        help="with *.f32, *.jsonl, docs/ (default: made-up vectors)")
    parser.add_argument("--rows", type=positive, default=1 << 30, help="at most so many values of each model")
    parser.add_argument("--trials", type=positive, default=300, help="changes whose way is measured (default: 300)")
    parser.add_argument("--seed", type=int, default=1, help="of the made-up vectors (default: 1)")
    parser.add_argument("--harcad", default=default_harcad(), help="the daemon (default: build/harcad)")
    return parser.parse_args()


def models_of(options):
    if options.directory:
        print(f"harcad at work on {options.directory}\n")
        return vectors.load(options.directory, options.rows)
    print(f"harcad at work on made-up vectors, seed {options.seed}\n")
    return vectors.make_up(options.seed, options.rows)


def main():
    options = parse_options()
    exit_on_sigterm()
    started = time.monotonic()
    report = Report()
    try:
        models = models_of(options)
        with Servers(options.harcad) as servers:
            scene = start_fleet(servers, report, models, options.trials)
            take_steps(scene)
            held = report.verdict()
            report.say(f"{time.monotonic() - started:.0f} s")
    except (OSError, StartError, RespError, ValueError) as error:
        print(f"demo: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("demo: interrupted", file=sys.stderr)
        return 130
    return 0 if held else 1


if __name__ == "__main__":
    sys.exit(main())
