"""The promises of a daemon that is alone, over all its lives: a register for each key, whose operations take effect at
some moment between being sent and being answered, and outlive the process.

What was not answered may have taken effect or not, but no later than the daemon's end. A value that was read has been
written by then at the latest.

    stale       a value is not served once something else has been in its place: never, whatever was killed in between
    lost        an acknowledged value is there, until something takes it away
    expired     nothing is served beyond its time
    computed    what was computed for a miss from before a CLEAR MODEL, and is set after it, is not served
"""

import bisect
import collections

from checker.history import BROKEN, DONE, NOT_DONE
from checker.late import Late
from checker.verdict import Violation

NEVER = float("inf")
REPLACING = frozenset({"set", "getset"})
REMOVING = frozenset({"del", "getdel"})


class Register:
    def __init__(self, ops, ends, promises, *, keeps, slack_s, loaded=None):
        """`ends`: when each life ended, by its number. `keeps`: what is acknowledged outlives the process; without that
        only what was acknowledged in the same life must be there. `loaded`: from when on each life knows all that the
        former ones left, by its number; until then what it has not met yet may be missing."""
        self.loaded = loaded
        self.ends, self.promises, self.keeps, self.slack_s = ends, promises, keeps, slack_s
        self.reads = [op for op in ops if op.reads and op.done is not None]
        self.writers = {op.value: op for op in ops if op.value is not None}
        self.checked = collections.Counter()
        self._first_read = {}
        for op in self.reads:
            self._first_read.setdefault(op.seen, op.done)
        self._of_key = collections.defaultdict(list)  # all that may have changed it, or tells that it was changed
        self._of_all = [op for op in ops if op.verb in ("clear", "flush")]
        for op in ops:
            if op.key is not None:
                self._of_key[op.key].append(op)
        self._sent = {key: [op.sent for op in ops] for key, ops in self._of_key.items()}
        self._longest = max((self._end(op) - op.sent for op in ops), default=0.0)
        self._sent_all = [op.sent for op in self._of_all]
        self._late = Late(ops, self._learned(), self._end)

    def verdicts(self):
        found = [violation for op in self.reads for violation in (self._integrity(op) or self._stale(op) or self._lost(op),
                                                                  self._computed_before(op), self._expired(op)) if violation]
        return sorted(found, key=lambda v: v.when())

    def _learned(self):
        """What was cleared in former lives is known again once the files have been gone through."""
        for clear in self._of_all:
            for life, end in self.ends.items():
                if clear.verb == "clear" and clear.life <= life:
                    yield clear.model, end, (self.loaded or {}).get(life + 1, NEVER), clear.daemon

    # ---- when ----

    def _end(self, op):
        """By when it has taken effect, if ever."""
        end = op.done if op.done is not None else self.ends.get(op.life, NEVER)
        if op.value is not None:
            end = min(end, self._first_read.get(op.value, NEVER))
        return end

    def _after(self, op, writer):
        """Whether it began when the other had taken effect."""
        return writer in op.before or self._end(writer) < op.sent

    def _since(self, op, time):
        """Ops of its key, and of all, sent from that time on and before it was answered."""
        ops = self._of_key[op.key]
        mine = ops[bisect.bisect_left(self._sent[op.key], time):bisect.bisect_right(self._sent[op.key], op.done)]
        everyones = self._of_all[bisect.bisect_left(self._sent_all, time):bisect.bisect_right(self._sent_all, op.done)]
        return mine + everyones

    # ---- predicates ----

    def _integrity(self, op):
        if op.seen is None:
            return None
        writer = self.writers.get(op.seen)
        self.checked["integrity"] += 1
        if op.seen == BROKEN or writer is None or writer.key != op.key:
            return Violation("integrity", "bytes that nobody wrote under that key", (op,))
        return None

    def _stale(self, op):
        """Something that began after its write, and was answered before this read, shows that it was gone."""
        writer = self.writers.get(op.seen)
        if writer is None:
            return None
        self.checked["stale"] += 1
        for other in self._since(op, writer.sent):
            if other is op or other is writer or not op.follows(other) or not self._after(other, writer):
                continue
            if self._displaces(other, writer) and not self._may_be_undone(other, op):
                again = "" if other.life == op.life else ", after the daemon was started again"
                return Violation("P2" if again else "P1", f"a value that was gone{again}", (writer, other, op))
        return None

    @staticmethod
    def _displaces(other, writer):
        if other.verb == "clear":
            return other.outcome == DONE and other.model == writer.model
        if other.verb == "flush":
            return other.outcome == DONE
        if other.reads and other.seen not in (None, writer.value):
            return True
        if other.verb in REMOVING:  # also one that found nothing
            return other.outcome in (DONE, NOT_DONE)
        return other.verb in REPLACING and other.outcome == DONE

    def _may_be_undone(self, other, op):
        """Whether what it shows was never acknowledged, and its daemon has ended since."""
        if other.life == op.life or not other.reads or other.verb != "get" or self.promises.shown_is_kept:
            return False
        return self.writers[other.seen].done is None

    def _lost(self, op):
        if op.seen is not None or op.verb != "get":
            return None
        if self.loaded is not None and op.sent < self.loaded.get(op.life, NEVER):
            return None
        acknowledged = [w for w in self._of_key[op.key] if w.writes and op.follows(w) and (self.keeps or w.life == op.life)]
        if not acknowledged:
            return None
        last = max(acknowledged, key=lambda w: w.sent)
        self.checked["lost"] += 1
        since = [other for other in self._since(op, last.sent - self._longest) if self._end(other) >= last.sent]
        if any(self._may_remove(other, since, op) for other in since):
            return None
        return Violation("P6", "an acknowledged value is not there", (last, op))

    def _computed_before(self, op):
        """A value computed before a clear and set after it."""
        writer = self.writers.get(op.seen)
        if writer is None:
            return None
        for clear in self._of_all:
            if clear.verb == "clear" and clear.outcome == DONE and clear.model == writer.model and clear.life == writer.life and \
                    self._late.must_be(writer, clear):
                return Violation("P4", "a value computed before the clear", (clear, writer, op))
        return None

    def _may_remove(self, other, since, op):
        if other.verb in REMOVING:
            return other.outcome != NOT_DONE
        if other.verb == "flush" or self._late.may_be(other):
            return True
        if other.verb == "clear":
            return any(w.verb in REPLACING and w.model == other.model for w in since)
        # A time to live that may be over by then.
        return other.ttl_ms is not None and \
            other.sent + other.ttl_ms / 1000 < op.done + self.slack_s

    def _expired(self, op):
        """Its own time to live is over, or one that it was given later."""
        writer = self.writers.get(op.seen)
        if writer is None:
            return None
        given = [o for o in self._since(op, writer.sent) if o.verb == "expire" and o.outcome != NOT_DONE]
        surely = [o for o in given if o.outcome == DONE and op.follows(o) and self._after(o, writer)]
        latest = max(surely, key=lambda o: o.sent, default=writer)
        maybe = [latest] + [o for o in given if o is not latest and not latest.follows(o)]
        if any(o.ttl_ms is None for o in maybe):
            return None
        self.checked["expired"] += 1
        over = max(self._end(o) + o.ttl_ms / 1000 for o in maybe)
        if op.sent > over + self.slack_s:
            return Violation("TTL", f"served {op.sent - over:.3f} s after its time", (writer, latest, op))
        return None
