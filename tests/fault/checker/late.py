"""SETs that come too late: of a value computed before its model was cleared, which is answered OK and leaves the key with
nothing. A daemon knows by the misses of the key since it was started: each accounts for one plain SET, and for one that
is as old as the miss; a miss after a clear of any model takes the place of those before it.

`may_be` is whether the daemon could take it for that, `must_be` whether it had to, whatever the order in which things
that overlap took effect.
"""

import bisect
import collections

NEVER = float("inf")


class Late:
    def __init__(self, ops, learned=(), end=lambda op: NEVER if op.done is None else op.done):
        """`learned`: (model, since, until, daemon) for each time from which to which a daemon may have learned of a clear,
        beside its own; the daemon None: each of them. `end`: by when an op has taken effect."""
        self._end = end
        self._misses = collections.defaultdict(list)  # (daemon, life, key) -> reads that found nothing, or may have
        self._sets = collections.defaultdict(list)  # (daemon, life, key) -> plain ones
        self._clears = [op for op in ops if op.verb == "clear"]
        self._learned = list(learned)
        for op in ops:
            where = (op.daemon, op.life, op.key)
            if op.verb == "get" and (op.outcome == "unknown" or op.seen is None):
                self._misses[where].append(op)
            elif self.is_plain(op):
                self._sets[where].append(op)
        for misses in self._misses.values():
            misses.sort(key=lambda m: m.sent)

    @staticmethod
    def is_plain(op):
        """Whether its answer does not depend on its being carried out."""
        return op.verb == "set" and op.only_if is None

    def _spans(self, writer):
        """(since, until) of the clears of its model that its daemon may have taken into account."""
        spans = [(c.sent, self._end(c)) for c in self._clears if c.model == writer.model and c.daemon == writer.daemon]
        return spans + [(since, until) for model, since, until, daemon in self._learned
                        if model == writer.model and daemon in (None, writer.daemon)]

    def may_be(self, writer):
        if not self.is_plain(writer):
            return False
        end = self._end(writer)
        misses = [m for m in self._misses[writer.daemon, writer.life, writer.key] if m.sent <= end and m is not writer]
        return any(self._is_cleared_after_a_miss(writer, misses, since, until)
                   for since, until in self._spans(writer) if since <= end)

    def _is_cleared_after_a_miss(self, writer, misses, since, until):
        """Whether that clear may have come after a miss, and no other miss after both."""
        before = [m for m in misses if m.sent <= until]
        after = [m for m in misses if m.sent > until and m.done is not None and m.outcome != "unknown" and
                 m.done < writer.sent]
        return bool(before) and not after and len(before) > self._surely_used(writer, before, since)

    def _surely_used(self, writer, misses, since):
        """How many of them other SETs have accounted for, whatever took effect first."""
        last = max(self._end(m) for m in misses)
        return sum(last < s.sent and self._end(s) < writer.sent
                   for s in self._sets[writer.daemon, writer.life, writer.key] if s is not writer)

    def must_be(self, writer, clear):
        """`clear` was answered, at whichever daemon, before the SET was sent."""
        if not self.is_plain(writer) or writer.done is None or not writer.follows(clear):
            return False
        where = (writer.daemon, writer.life, writer.key)
        misses = self._misses[where]
        before = misses[:bisect.bisect_right(misses, writer.done, key=lambda m: m.sent)]
        if not before or not all(m.outcome != "unknown" and m.done is not None and m.done < clear.sent for m in reversed(before)):
            return False  # one may have come after the clear
        last = self._undisturbed(before)
        used = sum(s.sent <= writer.done and self._end(s) >= last[0].sent for s in self._sets[where] if s is not writer)
        return used < len(last)

    def _undisturbed(self, misses):
        """The last of them between which no model was cleared, as far as is known."""
        end = misses[-1].done
        disturbed = max((min(until, end) for since, until in self._all_spans() if since <= end), default=-NEVER)
        found = [m for m in misses if m.sent > disturbed]
        return found or misses[-1:]

    def _all_spans(self):
        return [(c.sent, self._end(c)) for c in self._clears] + [(since, until) for _, since, until, _ in self._learned]
