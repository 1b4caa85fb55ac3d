"""The promises as predicates over what clients saw (history.py), what the upstream went through (truth.py) and which
faults were active (faults.py).

The model is a register for each key and an epoch for each model. The upstream orders all that reached it, so that a
value is older than another when it was there before; what a daemon took while the upstream was down has no place in that
order, and is known to be newer only than what that daemon had acknowledged or shown before.

`floor` is what a daemon has certainly applied of a key when a read begins: what it acknowledged, what it showed.

A read may always be answered nil, unless the upstream had the value all the time and the daemon could reach it: it is
a cache.
"""

import bisect
import collections

from checker.faults import CONTROL, DATA, EVENTS, EVERYTHING
from checker.history import BROKEN, OUTSIDE
from checker.late import Late
from checker.truth import SWEEP, Change
from checker.verdict import Violation

EPS_S = 0.003  # between the clocks of MONITOR and ours
PUSH_S = 0.02  # for Redis's own word of a change to arrive behind the event


class Floor:
    """The highest position applied of one key at one daemon, as time goes on."""

    def __init__(self):
        self._applied = []  # (done, pos, op)
        self._done = self._best = None

    def add(self, op, pos):
        self._applied.append((op.done, pos, op))

    def seal(self):
        self._applied.sort(key=lambda a: a[0])
        self._done = [done for done, *_ in self._applied]
        self._best = []
        best = (-1, None)
        for _, pos, op in self._applied:
            best = max(best, (pos, op), key=lambda b: b[0])
            self._best.append(best)

    def at(self, time):
        """(position, the op that showed it) of all that was answered before that time."""
        i = bisect.bisect_left(self._done, time)
        return self._best[i - 1] if i else (-1, None)


class Judge:
    def __init__(self, ops, timeline, windows, promises, *, lease_s, timeout_s, slack_s, event_s, stalled):
        self.ops = [op for op in ops if op.daemon != OUTSIDE]
        self.timeline, self.windows, self.promises = timeline, windows, promises
        self.lease_s, self.timeout_s, self.slack_s, self.event_s = lease_s, timeout_s, slack_s, event_s
        self.stalled = stalled  # (since, until) -> for how much of that time the machine had no time for us
        self.reads = [op for op in self.ops if op.reads and op.done is not None]
        self.writers = {op.value: op for op in ops if op.value is not None}
        self.pos = {}  # op -> the upstream's position of it, when it was there before the answer
        self.local = collections.defaultdict(list)  # (daemon, key) -> writes and deletes that were answered without
        self.first_shown = {}  # (daemon, value) -> the op that first acknowledged or showed it
        self.shown = collections.defaultdict(list)  # the same -> all of those
        self.floors = collections.defaultdict(Floor)  # (daemon, key)
        self.changing = collections.defaultdict(list)  # (daemon, key) -> all that may have changed it there
        self.checked = collections.Counter()  # how often each predicate had something to decide
        self.late = Late(self.ops, self._learned())
        self._place()

    def verdicts(self):
        found = []
        for check in (self.integrity, self.p1_p2_order, self.p2_local_order, self.p3_staleness, self.p4_clears,
                      self.p4_late_sets, self.p4_swept, self.p5_acknowledged, self.p5_found, self.p5_replay, self.p5_replayed,
                      self.p5_given_up, self.expiry, self.p9_time):
            found += check()
        return sorted(found, key=lambda v: v.when())

    def covered(self, daemon, links, since, until):
        return any(w.covers(daemon, links, since, until) for w in self.windows)

    def _learned(self):
        """When daemons may have heard of a clear at another: as soon as it is upstream, or when what kept them from it is over."""
        for epochs in self.timeline.epochs.values():
            for epoch in epochs:
                yield epoch.model, epoch.at - EPS_S, epoch.at + self.event_s, None
                for window in self.windows:
                    until = float("inf") if window.until is None else window.until + self.lease_s
                    if until > epoch.at:
                        for daemon in window.daemons:
                            yield epoch.model, max(epoch.at, window.since) - EPS_S, until, daemon

    # ---- where ops stand in the upstream's order ----

    def _place(self):
        for op in self.ops:
            if op.verb in ("set", "getset", "del", "getdel", "expire", "idle"):
                self.changing[op.daemon, op.key].append(op)
            if op.done is None:
                continue
            if op.writes or op.deletes or op.verb in ("clear", "flush") and op.outcome == "done":
                self._place_change(op)
            if op.reads and op.seen not in (None, BROKEN):
                self._shows(op, op.seen)
                change = self.timeline.earliest(op.seen, op.done + EPS_S)
                if change is not None and change.key == op.key:
                    self.floors[op.daemon, op.key].add(op, change.pos)
        for floor in self.floors.values():
            floor.seal()
        for local in self.local.values():
            local.sort(key=lambda op: op.done)

    def _shows(self, op, value):
        self.shown[op.daemon, value].append(op)
        first = self.first_shown.get((op.daemon, value))
        if first is None or op.done < first.done:
            self.first_shown[op.daemon, value] = op

    def _place_change(self, op):
        pos = self._pos_of(op)
        if pos is not None:
            self.pos[op] = pos
        if op.key is None:
            return
        if op.writes:
            self._shows(op, op.value)
        if pos is not None:
            self.floors[op.daemon, op.key].add(op, pos)
        else:
            self.local[op.daemon, op.key].append(op)

    def _pos_of(self, op):
        since, until, instance = op.sent - EPS_S, op.done + EPS_S, f"d{op.daemon}.{op.life}"
        if op.writes:
            candidates = [c for c in self.timeline.of_value.get(op.value, ()) if c.at <= until]
            if not candidates and self.late.may_be(op):
                candidates = self._removals(op.key, instance, since, until)
        elif op.deletes:
            candidates = self._removals(op.key, instance, since, until)
        elif op.verb == "clear":
            candidates = [e for e in self.timeline.epochs.get(op.model, ())
                          if e.instance == instance and since <= e.at <= until]
        else:
            return next((pos for pos, at, who in self.timeline.flushes if who == instance and since <= at <= until), None)
        return candidates[0].pos if candidates else None

    def _removals(self, key, instance, since, until):
        return [c for c in self.timeline.changes[key] if c.value is None and c.instance == instance and since <= c.at <= until]

    def _floor(self, op):
        """What had been applied when it was sent, by what was answered before and what goes ahead of it."""
        best = self.floors[op.daemon, op.key].at(op.sent) if (op.daemon, op.key) in self.floors else (-1, None)
        for earlier in op.before:
            if earlier.key == op.key and earlier in self.pos and (earlier.writes or earlier.deletes):
                best = max(best, (self.pos[earlier], earlier), key=lambda b: b[0])
        return best

    # ---- predicates ----

    def integrity(self):
        """A value is what was written under that key, to the last byte."""
        for op in self.reads:
            if op.seen is None:
                continue
            self.checked["integrity"] += 1
            writer = self.writers.get(op.seen)
            if op.seen == BROKEN:
                yield Violation("integrity", "bytes that nobody wrote", (op,))
            elif writer is None or writer.key != op.key:
                yield Violation("integrity", "a value of another key", (op, *filter(None, [writer])))
            elif not self.timeline.of_value.get(op.seen) and writer.daemon != op.daemon:
                yield Violation("integrity", "a value that never was upstream, nor written at this daemon", (writer, op))

    def p1_p2_order(self):
        """Nothing older than what the daemon has acknowledged or shown, in whichever life."""
        for op in self.reads:
            if op.seen in (None, BROKEN):
                continue
            change = self.timeline.latest(op.seen, op.done + EPS_S)
            pos, by = self._floor(op)
            if change is None or by is None:
                continue
            self.checked["P1/P2 order"] += 1
            if change.pos < pos and not self._taken_again(op, by) and not self._may_be_forgotten(op, by, change.pos, pos):
                again = "" if by.life == op.life else ", after a restart"
                what = "after it had shown a newer one" if by.reads and not by.writes else "after it had acknowledged a newer change"
                yield Violation("P2" if again else "P1", f"an older value{again}, {what}", (change, by, op))

    def _taken_again(self, read, by):
        """Whether the value read may have been taken, its answer being lost, as a write without the upstream: later than
        the upstream had it, and after what it seems to be older than."""
        writer = self.writers.get(read.seen)
        return writer is not None and writer.daemon == read.daemon and not by.follows(writer) and \
            self.covered(read.daemon, DATA, writer.sent, read.sent if writer.done is None else writer.done)

    def _may_be_forgotten(self, op, by, since, upto):
        """Whether no more than a foreign write came after the value read, and the daemon that showed so has ended since: what
        its files do not have yet is in no journal either."""
        return op.life != by.life and not self.promises.gaps_watched and \
            all(c.foreign for c in self.timeline.changes[op.key] if since < c.pos <= upto)

    def p2_local_order(self):
        """What was written while the upstream was down is not followed by what this daemon had before."""
        for op in self.reads:
            first = self.first_shown.get((op.daemon, op.seen))
            if first is None:
                continue
            for newer in self._local_since(op, first.done):
                if newer.value == op.seen or not newer.follows(first):
                    continue
                if newer.life != op.life and not self.promises.queue_survives:
                    continue
                self.checked["P2 local order"] += 1
                if not self._came_anew(op, newer):
                    yield Violation("P2", "an older value, after a newer change had been acknowledged without the upstream",
                                    (first, newer, op))
                    break

    def _local_since(self, op, since):
        """Changes of its key that its daemon acknowledged without the upstream, after that time and before it was sent."""
        local = self.local.get((op.daemon, op.key), [])
        first = bisect.bisect_left(local, since, key=lambda o: o.done)
        last = bisect.bisect_left(local, op.sent, key=lambda o: o.done)
        return local[first:last] + [earlier for earlier in op.before if earlier in local]

    def _came_anew(self, op, newer):
        """Whether the value read got upstream again after that change had been made up for."""
        change = self.timeline.latest(op.seen, op.done + EPS_S)
        if change is None:
            return False
        made_up = next((c for c in self.timeline.changes[op.key]
                        if c.at > newer.done and c.instance.startswith(f"d{op.daemon}.")), None)
        return made_up is not None and change.pos > made_up.pos

    def p3_staleness(self):
        """What was outdated upstream is not served for longer than an event takes when all is well; than a lease, when
        the daemon can know that its events may be missing. What never was upstream is not served when all is well. P7: the
        same of what a foreign write has outdated."""
        lease_s = self.lease_s + self.slack_s
        for op in self.reads:
            change = self.timeline.latest(op.seen, op.done + EPS_S)
            if change is None and self._is_left_over(op, lease_s):
                yield Violation("P3", "served long after an outage, and not upstream", (self.writers[op.seen], op))
            if change is None or self.covered(op.daemon, CONTROL, op.sent - lease_s, op.done):
                continue
            deaf = self.covered(op.daemon, EVERYTHING, op.sent - self.event_s, op.done)
            self.checked["P3 with doubtful events" if deaf else "P3"] += 1
            bound_s = lease_s if deaf else self.event_s
            end = self._end_to_notice(op.daemon, change)
            foreign = getattr(end, "foreign", False)
            self.checked["P7"] += foreign
            if end is not None and end.at < op.sent - bound_s and not self._cannot_be_asked_for(op, end):
                yield Violation("P7" if foreign else "P3", f"outdated for {op.sent - end.at:.3f} s, {bound_s:.3f} s are allowed",
                                (change, end, op))

    def _end_to_notice(self, daemon, change):
        """What made that value outdated first, of all that is promised to be noticed at that daemon; None: nothing. Of a DEL of
        what is gone already, Redis tells nobody."""
        end, is_gone = self.timeline.ended_by(change), False
        while isinstance(end, Change) and end.foreign and (
                is_gone and end.value is None or self._may_be_missed(daemon, end)):
            is_gone = end.value is None
            end = self.timeline.ended_by(end)
        return end

    def _may_be_missed(self, daemon, foreign):
        """Whether the event link may not have brought word of that foreign write, and nothing made up for it."""
        return any(w.covers(daemon, EVENTS, foreign.at - EPS_S, foreign.at + self.event_s) for w in self.windows
                   if w.loses or not self.promises.gaps_watched)

    def _cannot_be_asked_for(self, op, end):
        """Whether no event has told of it, but Redis alone of a foreign write, or nobody: since it went with the upstream's data,
        or since the event link is away. And the worker's link is down: what is older is suspect, and such is served as it is
        then."""
        away = self.covered(op.daemon, EVENTS, end.at - EPS_S, end.at + self.event_s) and \
            self.covered(op.daemon, EVENTS, op.sent - self.event_s, op.done)
        untold = away or getattr(end, "foreign", False) or \
            any(w.forgets and w.since <= end.at and (w.until is None or end.at <= w.until) for w in self.windows)
        return untold and self.covered(op.daemon, DATA, op.sent - self.timeout_s, op.done)

    def _is_left_over(self, op, lease_s):
        writer = self.writers.get(op.seen)
        return writer is not None and writer.done is not None and writer.done < op.sent - lease_s and \
            not self.covered(op.daemon, EVERYTHING, op.sent - lease_s, op.done)

    def p4_clears(self):
        """After CLEAR MODEL (and FLUSHDB) nothing from before is served by that daemon."""
        clears = collections.defaultdict(list)
        for op in self.ops:
            if op.verb in ("clear", "flush") and op.outcome == "done" and op.done is not None:
                clears[op.daemon].append(op)
        for op in self.reads:
            if op.seen in (None, BROKEN) or op.seen not in self.writers:
                continue
            writer = self.writers[op.seen]
            for clear in clears[op.daemon]:
                if clear.verb == "clear" and clear.model != writer.model or not op.follows(clear):
                    continue
                self.checked["P4 clears"] += 1
                if self._before_clear(op, writer, clear):
                    yield Violation("P4", f"a value from before {clear.verb}", (writer, clear, op))
                    break

    def _before_clear(self, op, writer, clear):
        if clear in self.pos:
            # Found again after a failover it is still older, as long as the daemon remembers.
            change = self.timeline.latest(op.seen, op.done + EPS_S, restored=clear.life != op.life or clear.verb == "flush")
            return change is not None and change.pos < self.pos[clear]
        if clear.life != op.life and not self.promises.queue_survives:
            return False
        if writer.done is None or not clear.follows(writer):
            return False
        change = self.timeline.latest(op.seen, op.done + EPS_S)
        return change is None or change.at < clear.sent

    def p4_late_sets(self):
        """A value computed before a clear and set after it does not count as new, at whichever daemon the clear was."""
        clears = [op for op in self.ops if op.verb == "clear" and op.outcome == "done" and op.done is not None]
        late = {}
        for writer in self.writers.values():
            for clear in clears:
                if clear.model == writer.model and self.late.must_be(writer, clear) and self._counts(clear, writer):
                    late[writer.value] = clear
        self.checked["P4 late sets"] = len(late)
        for op in self.reads:
            if op.seen in late:
                yield Violation("P4", "a value computed before the clear", (late[op.seen], self.writers[op.seen], op))

    def _counts(self, clear, writer):
        """Whether the daemon knew of that clear, or the upstream told it."""
        if clear.daemon == writer.daemon:
            return clear.life == writer.life
        if clear not in self.pos or self.covered(writer.daemon, EVERYTHING, writer.sent - EPS_S, writer.done):
            return False
        epochs = [e.epoch for e in self.timeline.epochs[writer.model] if e.pos >= self.pos[clear] and e.at <= writer.done]
        return epochs == sorted(epochs)  # else that clear was lost with the upstream's data

    def p4_swept(self):
        """The sweep deletes what a clear has made invisible, and nothing else."""
        for changes in self.timeline.changes.values():
            for change in (c for c in changes if c.instance == SWEEP):
                before = self.timeline.before(change)
                if before is None or before.value is None:
                    continue
                self.checked["P4 swept"] += 1
                if not any(before.pos < e.pos < change.pos and e.epoch > 0 for e in self.timeline.epochs[before.model]):
                    yield Violation("P4", "the sweep deleted what was valid", (before, change))

    def p5_acknowledged(self):
        """OK with the upstream healthy: the upstream had it by then."""
        for op in self.ops:
            if op.done is None or not (op.writes or op.verb in ("clear", "flush") and op.outcome == "done"):
                continue
            if self.covered(op.daemon, EVERYTHING, op.sent - EPS_S, op.done):
                continue
            self.checked["P5 acknowledged"] += 1
            if op not in self.pos:
                yield Violation("P5", "acknowledged, and not upstream", (op,))

    def p5_found(self):
        """What is upstream is found, when nothing is wrong: at once by the daemon that wrote it; by others as soon as no
        answer from before, which a reader may join, can be on its way any more."""
        for op in self.reads:
            if op.seen is not None or op.verb != "get":
                continue
            self.checked["P5 found"] += 1
            change = self.timeline.current(op.key, op.sent - EPS_S)
            if change is None or change.value is None:
                continue
            writer = self.writers.get(change.value)
            own = writer is not None and writer.daemon == op.daemon and op.follows(writer)
            if not own and change.at > op.sent - self.timeout_s:
                continue
            end = self.timeline.ended_by(change)
            if end is not None and end.at < op.done + EPS_S:
                continue
            if change.expires is not None and change.expires < op.done + self.slack_s:
                continue
            if any(earlier.key in (None, op.key) and earlier.verb != "get" for earlier in op.before):
                continue
            if self.covered(op.daemon, EVERYTHING, op.sent - self.timeout_s, op.done):
                continue
            yield Violation("P5", "nil, while the upstream had a value", (change, op))

    def p5_replay(self):
        """What is replayed after an outage does not overwrite what others wrote since."""
        for writer in (op for ops in self.local.values() for op in ops if op.writes):
            for change in self.timeline.of_value.get(writer.value, ()):
                if change.restored or not self._is_replay(writer, change):
                    continue
                self.checked["P5 replay"] += 1
                for other in self._met_by(writer, change):
                    newer = self.writers.get(other.value)
                    if other.pos < change.pos and newer is not None and newer.daemon != writer.daemon and \
                            newer.follows(writer):
                        yield Violation("P5", "a replay overwrote what had been written since", (writer, other, change))
                        break

    def _met_by(self, writer, replay):
        """What the replay may have to give way to: all that others wrote. When the upstream's numbers prove nothing, the
        daemon can only know what is there."""
        changes = self.timeline.changes[writer.key]
        ill = [w for w in self.windows if writer.daemon in w.daemons or w.forgets]
        since = self._ill_since(ill, writer.sent)
        if any(w.forgets and w.since <= replay.at and (w.until is None or w.until >= since) for w in ill):
            return [c for c in changes if c.pos < replay.pos and self._is_there(c, replay)]
        return changes

    def _is_there(self, change, later):
        """Still, just before that later change of its key."""
        end = self.timeline.ended_by(change)
        return end.pos >= later.pos and (change.expires is None or change.expires > later.at)

    @staticmethod
    def _is_replay(writer, change):
        """Or else it was sent before the daemon gave up on it, and carried out late: others may have written meanwhile."""
        return change.at > writer.done and (change.link.endswith("control") or change.link_since > writer.done)

    def p5_given_up(self):
        """What was acknowledged without the upstream does not overwrite there what its daemon acknowledged after it: neither
        by a replay, nor when what was given up is carried out late."""
        for (daemon, key), ops in self.local.items():
            later = [op for op in self.changing[daemon, key] if self._is_upstream(op)]
            for writer in (op for op in ops if op.writes):
                for change in self.timeline.of_value.get(writer.value, ()):
                    if change.restored:
                        continue
                    self.checked["P5 given up"] += 1
                    newer = next((op for op in later if op.life == writer.life and op.follows(writer) and
                                  self.pos[op] < change.pos and not self._forgotten(op, change)), None)
                    if newer is not None:
                        yield Violation("P5", "what was given up overwrote what had been acknowledged after it", (writer, newer, change))

    def _is_upstream(self, op):
        """Whether it was there before its answer, for certain: a late value's place may be that of another removal."""
        if op.writes:
            return op in self.pos and any(c.pos == self.pos[op] for c in self.timeline.of_value.get(op.value, ()))
        return op in self.pos and op.deletes and op.verb == "del"

    def _forgotten(self, op, change):
        """Whether the upstream may have lost that op again before that change."""
        return any(w.forgets and w.since <= change.at and (w.until is None or w.until >= op.sent) for w in self.windows)

    def p5_replayed(self):
        """What was queued during an outage is upstream after it, unless others changed the key (or cleared it) since, as
        far as the daemon can know: since it was cut off."""
        if not self.promises.replay_keeps:
            return
        for (daemon, key), ops in self.local.items():
            for op in (op for op in ops if op.writes and op.ttl_ms is None):
                well = self._well_again(daemon, op)
                if well is None:
                    continue
                ill = [w for w in self.windows if daemon in w.daemons or w.forgets]
                since = self._ill_since(ill, op.sent)
                if any(w.forgets or w.restarts and not self.promises.queue_survives
                       for w in ill if w.since <= well and (w.until is None or w.until >= since)):
                    continue
                if self.late.may_be(op) or self._changed_since(op, since, well + self.slack_s):
                    continue
                self.checked["P5 replayed"] += 1
                self.checked["P5 replayed behind a clear"] += self._is_behind_a_clear(op, since)
                if not any(change.at < well + self.slack_s for change in self.timeline.of_value.get(op.value, ())):
                    yield Violation("P5", "queued, and not upstream after the outage", (op,))

    def _well_again(self, daemon, op):
        """When the outage in which it was written was over for that daemon, and nothing else went wrong for a while; None:
        never, or there was none."""
        if not self.covered(daemon, DATA, op.sent, op.done):
            return None
        well, ills = op.done, [w for w in self.windows if daemon in w.daemons]
        for window in sorted(ills, key=lambda w: w.since):
            if window.covers(daemon, EVERYTHING, well - EPS_S, well + self.slack_s):
                if window.until is None:
                    return None
                well = max(well, window.until)
        return well

    def _is_behind_a_clear(self, op, since):
        """Whether its daemon had cleared its model since then."""
        return any(clear.verb == "clear" and clear.model == op.model and clear.daemon == op.daemon and clear.sent >= since and
                   op.follows(clear) for clear in self.ops)

    def _ill_since(self, windows, time):
        """When all was well last before that time, and events had been heard."""
        since = time - self.lease_s
        for window in sorted(windows, key=lambda w: w.since, reverse=True):
            if window.since < time and (window.until is None or window.until >= since):
                since = min(since, window.since - self.lease_s)
        return since

    def _changed_since(self, op, since, until):
        """Whether others have changed its key between these times, or its own daemon after it."""
        own = f"d{op.daemon}."
        if any(since <= c.at <= until and not c.instance.startswith(own) for c in self.timeline.changes[op.key]):
            return True
        if any(since <= e.at <= until and not e.instance.startswith(own) for e in self.timeline.epochs.get(op.model, ())):
            return True
        for other in self.ops:
            if other is op or other.sent > until or other.done is not None and other.done <= since:
                continue
            if other.verb == "flush":
                return True
            if other.daemon == op.daemon and (other.done is None or other.done > op.sent) and \
                    (other.key == op.key and other.verb != "get" or other.verb == "clear" and other.model == op.model):
                return True
        return False

    def expiry(self):
        """Nothing is served beyond its time, whatever the daemons' clocks say."""
        for op in self.reads:
            writer = self.writers.get(op.seen)
            change = self.timeline.latest(op.seen, op.done + EPS_S, restored=False)
            over = change.expires if change is not None else 0.0
            if writer is None or writer.ttl_ms is None or over is None or self._expiry_changed_here(op, writer):
                continue
            # What was acknowledged without the upstream began then.
            over = max(over, (writer.done or op.sent) + writer.ttl_ms / 1000)
            self.checked["expiry"] += 1
            if op.sent > over + self.slack_s / 2:
                yield Violation("TTL", f"served {op.sent - over:.3f} s after its time", (writer, op))

    def _expiry_changed_here(self, op, writer):
        return any(other.verb == "expire" and other.sent < op.done and (other.done is None or other.done > writer.sent)
                   for other in self.changing[op.daemon, op.key])

    def p9_time(self):
        """While the upstream hangs, hits do not wait, and a miss no longer than upstream.timeout."""
        for op in self.ops:
            if op.done is None or op.before:
                continue
            window = next((w for w in self.windows if w.hangs and w.mended and op.daemon in w.daemons and
                           w.since <= op.sent and op.done <= w.mended), None)
            took = op.done - op.sent - 2 * self.stalled(op.sent, op.done)
            self.checked["P9 waits"] += 1
            if took > self.timeout_s + self.slack_s:
                yield Violation("P9", f"took {took:.3f} s, with a timeout of {self.timeout_s} s", (op,))
            if window is None or not self._is_hit(op, window):
                continue
            self.checked["P9 hits"] += 1
            if op.sent > window.since + EPS_S and took > self.timeout_s / 2 + self.slack_s / 4:
                yield Violation("P9", f"a hit took {took * 1000:.1f} ms while the upstream hung", (op,))

    def _began(self, window):
        """What daemons' logs tell of is put before the time of the line: see run.py."""
        return window.since + (2 * self.timeout_s if window.name.startswith("log:") else 0)

    def _is_hit(self, op, hang):
        """Whether the daemon had that value all the time and could believe in it, so that there was nobody to ask: what
        is suspect is compared first."""
        shown = [o for o in self.shown[op.daemon, op.seen] if o.life == op.life and op.follows(o)]
        if op.verb != "get" or op.together > 1 or not shown:
            return False
        if op.sent > hang.since + self.lease_s / 2:  # the last fence may be half a lease older than the hang
            return False
        since = max(o.done for o in shown)
        # Redis's own tracking tells of a change too, a little later than its event: that makes the copy suspect at most.
        changed = [change.at for change in self.timeline.changes[op.key]] + self.timeline.passed[op.key]
        if any(since - PUSH_S <= at <= op.sent for at in changed):
            return False
        if any(self._began(w) < hang.since and (w.covers(op.daemon, EVENTS, since, op.sent) or w.forgets and
               w.since <= op.sent and (w.until is None or w.until >= since)) for w in self.windows):
            return False
        return not any(other.sent <= op.done and (other.done is None or other.done >= op.sent)
                       for other in self.changing[op.daemon, op.key])
