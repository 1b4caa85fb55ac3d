"""Histories made by hand, one that breaks each promise and its neighbour that does not: a checker that cannot fail is
worse than none.

Times are in tenths of a second: `set(1, 2, …)` was sent at 0.1 and answered at 0.2. The upstream's changes stand at their
own times, and their positions follow these.
"""

import collections
import types

import pytest

from checker.faults import CONTROL, DATA, EVENTS, EVERYTHING, Window
from checker.history import BROKEN, DONE, OUTSIDE, UNKNOWN, Op
from checker.judge import Judge
from checker.promises import Promises
from checker.run import lost
from checker.truth import OUTSIDER, SWEEP, Change, Epoch, Timeline

NONE = frozenset()
LEASE_S, TIMEOUT_S, SLACK_S, EVENT_S = 0.4, 0.25, 0.1, 0.2


class Told(Timeline):
    """A Timeline from changes that are given."""

    def __init__(self, changes, flushes=(), passed=()):  # pylint: disable=super-init-not-called
        self.keys = ("k",)
        self.changes = collections.defaultdict(list)
        self.of_value = collections.defaultdict(list)
        self.epochs = collections.defaultdict(list)
        self.flushes = list(flushes)
        self.passed = collections.defaultdict(list, {"k": [at / 10 for at in passed]})
        for change in changes:
            if isinstance(change, Epoch):
                self.epochs[change.model].append(change)
                continue
            self.changes[change.key].append(change)
            if change.value is not None:
                self.of_value[change.value].append(change)


def has(at, value, model="default", by="d0.1", **more):
    return Change(int(at * 100), at / 10, "k", value, model, instance=by, **more)


def gone(at, by="d0.1", **more):
    return Change(int(at * 100), at / 10, "k", instance=by, **more)


def cleared(at, model="m", epoch=1, by="d0.1"):
    return Epoch(int(at * 100), at / 10, model, epoch, by)


def op(verb, sent, done, daemon=0, life=1, **fields):
    fields.setdefault("key", "k" if verb not in ("clear", "flush") else None)
    fields.setdefault("outcome", DONE if done is not None else UNKNOWN)
    return Op(0, daemon, life, "c", verb, sent=sent / 10, done=None if done is None else done / 10, **fields)


def get(sent, done, seen, **fields):
    return op("get", sent, done, seen=seen, **fields)


def write(sent, done, value, model="default", **fields):
    return op("set", sent, done, value=value, model=model, **fields)


def fault(since, until, links=EVERYTHING, daemons=(0, 1), hangs=False, forgets=False, loses=False):
    return Window("a fault", frozenset(daemons), links, hangs, forgets=forgets, loses=loses, since=since / 10, mended=until / 10, until=until / 10)


def worker_lost(since, until, faults=(), lines=()):
    """As daemon 0's log tells of it."""
    settings = {"upstream.timeout": f"{TIMEOUT_S * 1000:.0f}ms", "fleet.lease": f"{LEASE_S * 1000:.0f}ms"}
    node = types.SimpleNamespace(number=0, daemon=types.SimpleNamespace(settings=settings))
    return lost(node, "worker", since / 10, None if until is None else until / 10, faults, [(at / 10, state, None, None) for at, state in lines])


def broken(ops, changes, windows=(), promises=Promises(), flushes=(), stalled_s=0.0, passed=()):
    """The promises that are broken, each once."""
    judge = Judge(sorted(ops, key=lambda o: o.sent), Told(changes, flushes, passed), list(windows), promises,
                  lease_s=LEASE_S, timeout_s=TIMEOUT_S, slack_s=SLACK_S, event_s=EVENT_S, stalled=lambda since, until: stalled_s)
    return sorted({violation.promise for violation in judge.verdicts()})


# ---- P1 ----


def test_a_read_of_the_last_write_is_well():
    assert broken([write(1, 2, 1), get(3, 4, 1)], [has(1.5, 1)]) == []


def test_p1_a_read_older_than_an_acknowledged_write_is_found():
    ops = [write(1, 2, 1), write(3, 4, 2), get(5, 6, 1)]
    assert broken(ops, [has(1.5, 1), has(3.5, 2)]) == ["P1"]


def test_p1_a_read_older_than_an_acknowledged_delete_is_found():
    ops = [write(1, 2, 1), op("del", 3, 4), get(5, 6, 1)]
    assert broken(ops, [has(1.5, 1), gone(3.5)]) == ["P1"]


def test_p1_writes_that_overlap_are_ordered_by_the_upstream():
    ops = [write(1, 4, 1), write(1, 4, 2), get(5, 6, 1)]
    assert broken(ops, [has(2, 2), has(3, 1)]) == []
    assert broken(ops, [has(2, 1), has(3, 2)]) == ["P1"]


def test_p1_reads_that_go_back_are_found():
    ops = [write(1, 2, 1, daemon=1), write(3, 4, 2, daemon=1), get(3.6, 3.8, 2), get(3.9, 4, 1)]
    changes = [has(1.5, 1, by="d1.1"), has(3.5, 2, by="d1.1")]
    assert broken(ops, changes) == ["P1"]
    ops[-1].daemon = 2  # another daemon may not have heard yet
    assert broken(ops, changes) == []


def test_p1_a_read_that_was_under_way_may_see_either():
    ops = [write(1, 2, 1), write(3, 4, 2), get(3.9, 6, 1)]
    assert broken(ops, [has(1.5, 1), has(3.5, 2)]) == []


def test_p1_of_two_writes_whose_answers_are_lost_either_may_have_been_taken_last():
    ops = [write(1, 3, 1), write(1, 2.5, 2), get(3.2, 3.3, 1)]
    changes = [has(2, 1), has(2.2, 2)]
    assert broken(ops, changes) == ["P1"]
    assert broken(ops, changes, [fault(2.3, 4, DATA)]) == []
    ops[1] = write(3.05, 3.1, 2)  # one after the other is another matter
    assert broken(ops, [has(2, 1), has(3.07, 2)], [fault(2.3, 4, DATA)]) == ["P1"]


def test_p1_holds_within_what_is_sent_in_one_piece():
    first, second = write(1, 2, 1), write(3, 5, 2)
    read = get(3, 5, 1)
    read.before = (second,)
    assert broken([first, second, read], [has(1.5, 1), has(3.5, 2)]) == ["P1"]


# ---- P2 ----


def test_p2_an_older_value_after_a_restart_is_found():
    ops = [write(1, 2, 1), write(3, 4, 2), get(5, 6, 1, life=2)]
    assert broken(ops, [has(1.5, 1), has(3.5, 2)]) == ["P2"]


def test_what_the_upstream_lost_in_a_failover_may_come_back():
    ops = [write(1, 2, 1), write(3, 4, 2), get(6, 7, 1)]
    assert broken(ops, [has(1.5, 1), has(3.5, 2), has(5, 1, restored=True)]) == []


def test_p2_the_old_value_after_a_write_without_the_upstream_is_found():
    ops = [write(1, 2, 1), write(3, 4, 2), get(5, 6, 1)]
    assert broken(ops, [has(1.5, 1)], [fault(2.5, 4.5)]) == ["P2"]


def test_p2_the_old_value_after_a_delete_without_the_upstream_is_found():
    ops = [write(1, 2, 1), op("del", 3, 4), get(5, 6, 1)]
    assert broken(ops, [has(1.5, 1)], [fault(2.5, 4.5)]) == ["P2"]


def test_a_value_nobody_here_knew_may_follow_a_write_without_the_upstream():
    ops = [write(1, 2, 1, daemon=1), write(3, 4, 2), get(5, 6, 1)]
    assert broken(ops, [has(1.5, 1, by="d1.1")], [fault(2.5, 4.5, daemons=[0])]) == []


def test_a_queue_that_is_not_promised_to_survive_may_be_lost_with_its_daemon():
    ops = [write(1, 2, 1), write(3, 4, 2), get(5, 6, 1, life=2)]
    assert broken(ops, [has(1.5, 1)], [fault(2.5, 4.5)]) == []
    assert broken(ops, [has(1.5, 1)], [fault(2.5, 4.5)], Promises(queue_survives=True)) == ["P2"]


# ---- P3 ----

STALE = [write(1, 2, 1, daemon=1), get(2.1, 2.2, 1), write(3, 4, 2, daemon=1), get(20, 21, 1)]
STALE_CHANGES = [has(1.5, 1, by="d1.1"), has(3.5, 2, by="d1.1")]


def test_p3_a_value_outdated_for_longer_than_a_lease_is_found():
    assert broken(STALE, STALE_CHANGES) == ["P3"]
    assert broken(STALE, STALE_CHANGES, [fault(2.5, 22, EVENTS)]) == ["P3"]


def test_p3_within_the_lease_it_may_be_served_when_events_may_be_missing():
    ops = STALE[:3] + [get(7, 8, 1)]
    assert broken(ops, STALE_CHANGES, [fault(2.5, 22, EVENTS)]) == []
    assert broken(ops, STALE_CHANGES) == ["P3"]


def test_p3_until_the_event_has_arrived_it_may_be_served():
    assert broken(STALE[:3] + [get(5, 6, 1)], STALE_CHANGES) == []


def test_p3_without_an_upstream_it_may_be_served():
    assert broken(STALE, STALE_CHANGES, [fault(2.5, 22, CONTROL, [0])]) == []
    assert broken(STALE, STALE_CHANGES, [fault(2.5, 22, CONTROL, [1])]) == ["P3"]


def test_p3_what_went_with_the_data_may_be_served_while_a_worker_cannot_ask():
    lost = [has(1.5, 1, by="d1.1"), gone(3.5, "")]
    flushall, cut = fault(3.4, 3.6, forgets=True), fault(18, 22, DATA, [0])
    assert broken(STALE[:2] + [STALE[3]], lost, [flushall, cut]) == []
    assert broken(STALE[:2] + [STALE[3]], lost, [flushall]) == ["P3"]
    assert broken(STALE[:2] + [STALE[3]], lost, [flushall, fault(18, 22, DATA, [1])]) == ["P3"]
    assert broken(STALE[:2] + [STALE[3]], lost, [fault(5, 6, forgets=True), cut]) == ["P3"]
    assert broken(STALE, STALE_CHANGES, [cut]) == ["P3"]


def test_p3_what_is_suspect_may_be_served_while_neither_events_come_nor_a_worker_can_ask():
    ops = [write(1, 2, 1), get(20, 21, 1)]
    changes = [has(1.5, 1), has(5, 2)]
    deaf, mute = fault(4, 22, EVENTS, [0]), fault(18, 22, DATA, [0])
    assert broken(ops, changes, [deaf, mute]) == []
    assert broken(ops, changes, [deaf]) == ["P3"]
    assert broken(ops, changes, [mute]) == ["P3"]
    assert broken(ops, changes, [fault(4, 10, EVENTS, [0]), mute]) == ["P3"]  # by then the event has come, late


def test_p3_a_deleted_value_and_a_cleared_model_are_outdated_too():
    assert broken(STALE[:2] + [STALE[3]], [has(1.5, 1, by="d1.1"), gone(3.5, "d1.1")]) == ["P3"]
    ops = [write(1, 2, 1, "m", daemon=1), get(20, 21, 1)]
    assert broken(ops, [has(1.5, 1, "m", "d1.1"), cleared(3.5, by="d1.1")]) == ["P3"]
    assert broken(ops, [has(1.5, 1, "m", "d1.1"), cleared(3.5, "other", by="d1.1")]) == []


def test_p3_what_never_was_upstream_is_not_served_when_all_is_well_again():
    ops = [write(3, 4, 1), get(20, 21, 1)]
    assert broken(ops, [], [fault(2, 5, daemons=[0])]) == ["P3"]
    assert broken(ops, [], [fault(2, 19, daemons=[0])]) == []
    assert broken(ops, [has(5.1, 1)], [fault(2, 5, daemons=[0])]) == []


# ---- P4 ----


def clear(sent, done, **fields):
    return op("clear", sent, done, model="m", **fields)


def test_p4_what_was_cleared_is_found():
    ops = [write(1, 2, 1, "m"), clear(3, 4), get(5, 6, 1)]
    changes = [has(1.5, 1, "m"), cleared(3.5)]
    assert broken(ops, changes) == ["P4"]
    ops[1].model = "other"
    assert broken(ops, [has(1.5, 1, "m"), cleared(3.5, "other")]) == []


def test_p4_what_was_written_after_the_clear_is_well():
    ops = [clear(3, 4), write(4, 5, 1, "m"), get(5, 6, 1)]
    assert broken(ops, [cleared(3.5), has(4.5, 1, "m")]) == []


def test_p4_a_clear_without_the_upstream_counts_as_well():
    ops = [write(1, 2, 1, "m"), clear(3, 4), get(5, 6, 1)]
    assert broken(ops, [has(1.5, 1, "m")], [fault(2.5, 4.5)]) == ["P4"]


def test_p4_what_a_failover_brought_back_stays_cleared_here():
    ops = [write(1, 2, 1, "m"), clear(3, 4), get(6, 7, 1)]
    changes = [has(1.5, 1, "m"), cleared(3.5), has(5, 1, "m", restored=True)]
    assert broken(ops, changes) == ["P4"]
    ops[-1].life = 2  # whom should it have that from?
    assert broken(ops, changes) == []


def test_p4_what_was_flushed_is_found():
    ops = [write(1, 2, 1), op("flush", 3, 4), get(5, 6, 1)]
    assert broken(ops, [has(1.5, 1)], flushes=[(350, 0.35, "d0.1")]) == ["P4"]


LATE = [get(1, 2, None), clear(3, 4), write(5, 6, 1, "m"), get(7, 8, 1)]
LATE_CHANGES = [cleared(3.5), has(5.5, 1, "m")]


def test_p4_a_value_computed_before_the_clear_is_found():
    assert broken(LATE, LATE_CHANGES) == ["P4"]
    assert broken(LATE[1:], LATE_CHANGES) == []  # nobody had missed it
    assert broken([get(3.5, 4.5, None), *LATE], LATE_CHANGES) == []  # or another did, perhaps after the clear
    assert broken([get(2.4, 2.5, None, daemon=1), *LATE], LATE_CHANGES) == ["P4"]
    assert broken([write(2.4, 2.5, 2, "n"), *LATE], [has(2.45, 2, "n"), *LATE_CHANGES]) == []  # that was its SET
    assert broken([get(2.2, 2.3, None), write(2.4, 2.5, 2, "n"), *LATE], [has(2.45, 2, "n"), *LATE_CHANGES]) == ["P4"]


def test_p4_of_misses_before_and_after_another_clear_those_before_are_forgotten():
    other = op("clear", 2.1, 2.2, model="n")
    ops = [*LATE, other, get(2.3, 2.4, None), write(2.5, 2.6, 2)]
    assert broken(ops, [cleared(2.15, "n"), has(2.55, 2), *LATE_CHANGES]) == []


def test_p4_a_siblings_clear_counts_once_it_is_upstream():
    ops = [LATE[0], clear(3, 4, daemon=1), *LATE[2:]]
    assert broken(ops, [cleared(3.5, by="d1.1"), LATE_CHANGES[1]]) == ["P4"]
    assert broken(ops, [LATE_CHANGES[1]], [fault(2.5, 4.5, daemons=[1])]) == []
    assert broken(ops, [cleared(3.5, by="d1.1"), LATE_CHANGES[1]], [fault(4.5, 6.5, daemons=[0])]) == []


def test_p5_a_write_that_came_too_late_may_be_acknowledged_and_not_kept():
    assert broken(LATE[:3] + [get(7, 8, None)], [cleared(3.5), gone(5.5)]) == []
    assert broken(LATE[:3], [cleared(3.5)]) == ["P5"]  # it takes what was there along
    assert broken(LATE[1:3], [cleared(3.5), gone(5.5)]) == ["P5"]
    ops = [LATE[0], LATE[1], get(6, 6.5, None), write(7, 8, 1, "m")]  # missed again when the clear was known
    assert broken(ops, [cleared(3.5), gone(7.5)]) == ["P5"]
    ops[2].sent = 0.5  # or perhaps not yet
    assert broken(ops, [cleared(3.5), gone(7.5)]) == []


def test_p4_the_sweep_may_take_only_what_was_cleared():
    ops = [write(1, 2, 1, "m"), clear(3, 4)]
    assert broken(ops, [has(1.5, 1, "m"), cleared(3.5), gone(5, SWEEP)]) == []
    assert broken(ops[:1], [has(1.5, 1, "m"), gone(5, SWEEP)]) == ["P4"]
    ops += [write(4, 5, 2, "m")]
    assert broken(ops, [has(1.5, 1, "m"), cleared(3.5), has(4.5, 2, "m"), gone(5, SWEEP)]) == ["P4"]


# ---- P5 ----


def test_p5_an_acknowledged_write_that_is_not_upstream_is_found():
    assert broken([write(1, 2, 1)], []) == ["P5"]
    assert broken([write(1, 2, 1)], [has(4, 1)]) == ["P5"]
    assert broken([write(1, 2, 1)], [], [fault(0, 3, DATA)]) == []
    assert broken([write(1, 2, 1)], [], [fault(0, 3, DATA, [1])]) == ["P5"]


def test_p5_until_a_daemon_has_caught_up_it_may_acknowledge_what_it_queues():
    ops, changes = [write(41, 41.1, 1), write(42, 42.1, 2)], [has(43, 2)]
    delays = fault(20, 44, NONE, [0])  # no failure by itself, but a link was lost meanwhile
    assert broken(ops, changes, [delays, worker_lost(30, 40, [delays])]) == []
    delays.until = 4.15  # all was well by then
    assert broken(ops, changes, [delays, worker_lost(30, 40, [delays])]) == ["P5"]


def test_p5_where_nobody_has_seen_a_daemon_catch_up_it_has_a_lease_for_it():
    others = [fault(20, 39, NONE, [0]), fault(20, 60, NONE, [1]), fault(40.5, 60, NONE, [0])]
    assert broken([write(43.8, 43.9, 1)], [], [worker_lost(30, 40, others)]) == []
    assert broken([write(44.1, 44.2, 1)], [], [worker_lost(30, 40, others)]) == ["P5"]
    assert broken([write(99, 100, 1)], [], [worker_lost(30, None, others)]) == []
    late = [(35, "caught_up"), (40, "up"), (46, "caught_up"), (47, "down"), (60, "caught_up")]  # as its log tells
    assert broken([write(45.8, 45.9, 1)], [], [worker_lost(30, 40, others, late)]) == []
    assert broken([write(46.1, 46.2, 1)], [], [worker_lost(30, 40, others, late)]) == ["P5"]
    assert broken([write(44.1, 44.2, 1)], [], [worker_lost(30, 40, others, late[3:])]) == ["P5"]


def test_p5_an_acknowledged_clear_that_is_not_upstream_is_found():
    assert broken([clear(1, 2)], []) == ["P5"]
    assert broken([clear(1, 2)], [cleared(1.5)]) == []


def test_p5_a_write_that_failed_need_not_be():
    assert broken([write(1, 2, 1, outcome=UNKNOWN)], []) == []
    assert broken([write(1, None, 1)], []) == []


def test_p5_nil_for_what_is_upstream_is_found():
    ops = [write(1, 2, 1), get(5, 6, None)]
    assert broken(ops, [has(1.5, 1)]) == ["P5"]
    assert broken(ops, [has(1.5, 1), gone(5.5, "d1.1")]) == []
    assert broken(ops, [has(1.5, 1, "m"), cleared(3)]) == []
    assert broken(ops, [has(1.5, 1)], [fault(5, 7, DATA)]) == []
    assert broken(ops, [has(1.5, 1, expires=0.5)]) == []


def test_p5_nil_may_be_the_answer_of_a_fetch_from_before_a_siblings_write():
    assert broken([write(1, 2, 1, daemon=1), get(3, 4, None)], [has(1.5, 1, by="d1.1")]) == []
    assert broken([write(1, 2, 1, daemon=1), get(5, 6, None)], [has(1.5, 1, by="d1.1")]) == ["P5"]


def replayed(**link):
    ops = [write(3, 4, 1), write(5, 6, 2, daemon=1)]
    changes = [has(5.5, 2, by="d1.1"), has(8, 1, **link)]
    return broken(ops, changes, [fault(2, 7, daemons=[0])])


def test_p5_a_replay_over_a_siblings_write_is_found():
    assert replayed(link="harcad-control") == ["P5"]
    assert replayed(link="harcad-worker-0", link_since=0.7) == ["P5"]


def test_p5_a_write_that_arrives_late_is_no_replay():
    assert replayed(link="harcad-worker-0", link_since=0.1) == []


def test_p5_a_queued_write_that_is_never_replayed_is_found_where_that_is_promised():
    ops = [write(3, 4, 1)]
    faults = [fault(2, 7, daemons=[0])]
    assert broken(ops, [], faults) == []
    assert broken(ops, [], faults, Promises(replay_keeps=True)) == ["P5"]
    assert broken(ops, [has(7.1, 1, link="harcad-control")], faults, Promises(replay_keeps=True)) == []
    assert broken(ops, [has(5, 2, by="d1.1")], faults, Promises(replay_keeps=True)) == []


def test_p5_a_value_queued_behind_a_clear_of_its_own_daemon_must_be_replayed_and_one_before_it_must_not():
    keeps = Promises(replay_keeps=True)
    clear, faults = op("clear", 3, 4, model="m"), [fault(2, 7, daemons=[0])]
    after, before = write(5, 6, 1, "m"), write(2.5, 2.8, 1, "m")
    made_up = cleared(7.05)
    assert broken([clear, after], [made_up], faults, keeps) == ["P5"]
    assert broken([clear, after], [made_up, has(7.1, 1, "m", link="harcad-control")], faults, keeps) == []
    assert broken([clear, after], [cleared(5.5, by="d1.1"), made_up], faults, keeps) == [], "another cleared it too"
    assert broken([before, clear], [made_up], faults, keeps) == []
    assert broken([before, clear, get(8, 8.1, 1)], [made_up], faults, keeps) == ["P4"]


# ---- P7 ----

THEIR_WRITES = [write(1, 2, 1, daemon=OUTSIDE, life=0), write(3, 4, 2, daemon=OUTSIDE, life=0)]
THEIRS = [has(1.5, 1, by="", link=OUTSIDER), has(3.5, 2, by="", link=OUTSIDER)]
STRICT = Promises(gaps_watched=True)


def test_p7_a_foreign_write_is_noticed_as_soon_as_an_event_would_be():
    assert broken([*THEIR_WRITES, get(5, 6, 1)], THEIRS) == []
    assert broken([*THEIR_WRITES, get(7, 8, 1)], THEIRS) == ["P7"]
    assert broken([*THEIR_WRITES, get(7, 8, 2)], THEIRS) == []
    assert broken([THEIR_WRITES[0], get(7, 8, 1)], [THEIRS[0], gone(3.5, "", link=OUTSIDER)]) == ["P7"]


def test_p7_who_writes_past_the_daemons_has_nothing_promised_to_them():
    theirs = write(1, 9, 1, daemon=OUTSIDE, life=0)  # it took long, and the upstream has lost it
    assert broken([theirs], []) == []


@pytest.mark.parametrize("links, verdict", [(EVENTS, []), (EVERYTHING, []), (DATA, ["P7"]), (NONE, ["P7"])])
def test_p7_what_was_written_while_the_event_link_was_away_may_be_missed_for_good(links, verdict):
    away = fault(3, 4, links, [0])
    assert broken([*THEIR_WRITES, get(20, 21, 1)], THEIRS, [away]) == verdict
    away.daemons = frozenset({1})
    assert broken([*THEIR_WRITES, get(20, 21, 1)], THEIRS, [away]) == ["P7"]


def test_p7_what_is_written_after_a_gap_counts_again():
    later = has(9, 3, by="", link=OUTSIDER)
    ops = [*THEIR_WRITES, write(8.9, 9.1, 3, daemon=OUTSIDE, life=0)]
    assert broken([*ops, get(10, 10.5, 1)], [*THEIRS, later], [fault(3, 4, EVENTS, [0])]) == []
    assert broken([*ops, get(12, 12.5, 1)], [*THEIRS, later], [fault(3, 4, EVENTS, [0])]) == ["P7"]
    assert broken([*ops, get(12, 12.5, 2)], [*THEIRS, later], [fault(3, 4, EVENTS, [0])]) == ["P7"]


def test_p7_a_delete_of_what_is_gone_already_is_told_to_nobody():
    deletes = [gone(3.5, "", link=OUTSIDER), gone(9, "", link=OUTSIDER)]
    ops, missed = [THEIR_WRITES[0], get(20, 21, 1)], fault(3, 4, EVENTS, [0])
    assert broken(ops, [THEIRS[0], *deletes], [missed]) == []
    assert broken(ops, [THEIRS[0], *deletes]) == ["P7"]
    # One of what was there again in between is.
    assert broken(ops, [THEIRS[0], deletes[0], has(6, 2, by="", link=OUTSIDER), deletes[1]], [missed]) == ["P7"]


def test_p7_where_gaps_are_watched_nothing_is_missed_for_longer_than_a_lease():
    ops, away = [*THEIR_WRITES, get(20, 21, 1)], fault(3, 4, EVENTS, [0])
    assert broken(ops, THEIRS, [away], STRICT) == ["P7"]
    assert broken([*THEIR_WRITES, get(8, 8.1, 1)], THEIRS, [fault(3, 7, EVENTS, [0])], STRICT) == []
    assert broken([*THEIR_WRITES, get(9, 9.1, 1)], THEIRS, [fault(3, 20, EVENTS, [0])], STRICT) == ["P7"]
    away.loses = True  # a link that stays is none that was away
    assert broken(ops, THEIRS, [away], STRICT) == []


def test_p7_what_redis_has_told_is_suspect_at_most_and_served_while_it_cannot_be_asked():
    ops = [*THEIR_WRITES, get(20, 21, 1)]
    assert broken(ops, THEIRS, [fault(18, 22, DATA, [0])]) == []
    assert broken(ops, THEIRS, [fault(18, 22, DATA, [1])]) == ["P7"]


def test_p7_a_foreign_write_in_one_turn_behind_what_was_passed_on_is_not_taken_for_that():
    ops = [*THEIR_WRITES, get(20, 21, 1)]
    for at in (2.5, 3.4, 3.6):
        assert broken(ops, THEIRS, passed=[at]) == ["P7"]


def test_p2_a_foreign_write_that_only_memory_had_is_lost_with_it():
    ops = [*THEIR_WRITES, get(4.5, 4.6, 2), get(5, 5.1, 1, life=2)]
    ended = fault(4.7, 4.9, EVERYTHING, [0])
    assert broken(ops, THEIRS, [ended]) == []
    assert broken(ops, THEIRS, [ended], STRICT) == ["P2"]
    ops[-1].life = 1
    assert broken(ops, THEIRS, [ended]) == ["P1"]
    ops[-1].life = 2
    harcads = [THEIRS[0], has(3.5, 2, by="d1.1")]
    assert broken([ops[0], write(3, 4, 2, daemon=1), *ops[2:]], harcads, [ended]) == ["P2"]


# ---- P9, expiry, integrity ----


def test_p9_a_hit_that_waits_is_found():
    ops = [write(1, 2, 1), get(5, 9, 1)]
    assert broken(ops, [has(1.5, 1)], [fault(4, 10, hangs=True)]) == ["P9"]
    assert broken(ops, [has(1.5, 1)], [fault(4, 10)]) == ["P9"]  # it took longer than a miss may
    assert broken([write(1, 2, 1), get(5, 5.1, 1)], [has(1.5, 1)], [fault(4, 10, hangs=True)]) == []
    assert broken([write(1, 2, 1), get(5, 7, 1)], [has(1.5, 1)], [fault(4, 10, hangs=True)]) == ["P9"]


def test_p9_a_copy_that_was_not_shown_since_redis_may_have_told_of_it_may_be_suspect():
    ops = [write(1, 2, 1), get(5, 7, 1)]
    assert broken(ops, [has(1.99, 1)], [fault(4, 10, hangs=True)]) == []


def test_p9_a_copy_that_a_passed_command_may_have_changed_is_none():
    ops, hang = [write(1, 2, 1), get(2.5, 2.6, 1), get(5, 7, 1)], [fault(4, 10, hangs=True)]
    assert broken(ops, [has(1.5, 1)], hang, passed=[3]) == []
    assert broken(ops, [has(1.5, 1)], hang, passed=[1.6]) == ["P9"]
    assert broken([*ops, op("idle", 4.5, 7.1)], [has(1.5, 1)], hang) == []


def test_p9_a_machine_that_has_no_time_is_not_the_daemons_fault():
    ops = [write(1, 2, 1), get(5, 9, 1)]
    assert broken(ops, [has(1.5, 1)], [fault(4, 10, hangs=True)], stalled_s=0.15) == []


def test_p9_what_waits_with_a_write_under_way_is_no_hit():
    ops = [write(1, 2, 1), write(4.5, 7, 2), get(5, 7, 1)]
    assert broken(ops, [has(1.5, 1)], [fault(4, 10, hangs=True)]) == []


def test_p9_a_miss_that_waits_longer_than_the_timeout_is_found():
    assert broken([get(5, 8, None)], []) == []
    assert broken([get(5, 9, None)], []) == ["P9"]


@pytest.mark.parametrize("read, verdict", [(3, []), (9, ["TTL"])])
def test_what_has_expired_is_found(read, verdict):
    assert broken([write(1, 2, 1, ttl_ms=200), get(read, read + 0.1, 1)], [has(1.5, 1, expires=0.35)]) == verdict


def test_a_later_expiry_counts_instead():
    ops = [write(1, 2, 1, ttl_ms=200), op("expire", 2.5, 2.6, ttl_ms=5000), get(9, 9.1, 1)]
    assert broken(ops, [has(1.5, 1, expires=5.2)]) == []
    ops[1].daemon = 1
    assert broken(ops, [has(1.5, 1, expires=5.2)]) == []


def test_bytes_that_nobody_wrote_and_values_of_other_keys_are_found():
    assert broken([get(1, 2, BROKEN)], []) == ["integrity"]
    other = write(1, 2, 1)
    other.key = "j"
    change = has(1.5, 1)
    change.key = "j"
    assert "integrity" in broken([other, get(3, 4, 1)], [change])


def test_a_value_that_never_was_upstream_is_found_at_another_daemon():
    ops = [write(1, 2, 1), get(3, 4, 1, daemon=1)]
    assert broken(ops, [], [fault(0, 5)]) == ["integrity"]
    ops[-1].daemon = 0
    assert broken(ops, [], [fault(0, 5)]) == []
