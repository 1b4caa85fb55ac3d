"""Histories of a daemon that is alone, made by hand: one that breaks each promise and its neighbour that does not. Life 1
ends at 1.0, in tenths of a second as in test_judge.py at 10."""

from checker.history import BROKEN, DONE, NOT_DONE, UNKNOWN
from checker.promises import Promises
from checker.register import Register
from test_judge import clear, get, op, write


def broken(*ops, keeps=True, promises=Promises(), loaded=None):
    register = Register(sorted(ops, key=lambda o: o.sent), {1: 1.0}, promises, keeps=keeps, slack_s=0.1, loaded=loaded)
    return sorted({violation.promise for violation in register.verdicts()})


def test_what_was_written_may_be_read_and_is_not_lost():
    assert broken(write(1, 2, 1), get(3, 4, 1), get(12, 13, 1, life=2)) == []


def test_an_overwritten_value_is_found():
    assert broken(write(1, 2, 1), write(3, 4, 2), get(5, 6, 1)) == ["P1"]
    assert broken(write(1, 2, 1), write(3, 4, 2), get(12, 13, 1, life=2)) == ["P2"]
    assert broken(write(1, 4, 1), write(3, 5, 2), get(6, 7, 1)) == []  # they overlap


def test_a_deleted_value_is_found():
    assert broken(write(1, 2, 1), op("del", 3, 4), get(12, 13, 1, life=2)) == ["P2"]
    assert broken(write(1, 2, 1), op("del", 3, 4, outcome=NOT_DONE), get(12, 13, 1, life=2)) == ["P2"]
    assert broken(write(1, 2, 1), op("del", 3, None), get(12, 13, 1, life=2)) == []


def test_a_cleared_value_is_found():
    assert broken(write(1, 2, 1, "m"), clear(3, 4), get(12, 13, 1, life=2)) == ["P2"]
    assert broken(write(1, 2, 1, "n"), clear(3, 4), get(12, 13, 1, life=2)) == []
    assert broken(write(1, 2, 1), op("flush", 3, 4), get(12, 13, 1, life=2)) == ["P2"]


def test_reads_that_go_back_are_found():
    first, second = write(1, 9, 1), write(1, 9, 2)
    assert broken(first, second, get(2, 3, 1), get(4, 5, 2), get(6, 7, 1)) == ["P1"]
    assert broken(first, second, get(4, 5, 2), get(6, 7, 1)) == []


def test_a_write_that_was_cut_off_took_effect_before_the_end_or_never():
    assert broken(write(1, None, 1), write(11, 12, 2, life=2), get(13, 14, 1, life=2)) == ["P1"]
    assert broken(write(1, None, 1), get(13, 14, 1, life=2)) == []
    assert broken(write(1, None, 1), get(13, 14, None, life=2)) == []


def test_what_was_only_shown_may_be_undone_by_the_end_unless_that_is_promised():
    ops = [write(1, 2, 1), write(3, None, 2), get(4, 5, 2), get(12, 13, 1, life=2)]
    assert broken(*ops) == []
    assert broken(*ops, promises=Promises(shown_is_kept=True)) == ["P2"]
    ops[3].life = 1  # within one life it is another matter
    ops[3].sent, ops[3].done = 0.6, 0.7
    assert broken(*ops) == ["P1"]


def test_a_lost_value_is_found_where_it_is_kept():
    assert broken(write(1, 2, 1), get(12, 13, None, life=2)) == ["P6"]
    assert broken(write(1, 2, 1), get(12, 13, None, life=2), keeps=False) == []
    assert broken(write(1, 2, 1), get(3, 4, None), keeps=False) == ["P6"]
    assert broken(write(1, None, 1), get(12, 13, None, life=2)) == []


def test_until_all_is_loaded_a_value_may_be_missing():
    ops = [write(1, 2, 1), get(12, 13, None, life=2)]
    assert broken(*ops, loaded={1: 0.0, 2: 1.25}) == broken(*ops, loaded={1: 0.0}) == []
    assert broken(*ops, loaded={1: 0.0, 2: 1.15}) == ["P6"]


def test_nil_is_well_when_something_may_have_taken_it_away():
    for other in (op("del", 3, 4), op("del", 3, None), clear(3, 4), clear(3, None), op("flush", 3, 4),
                  write(3, 4, 2, ttl_ms=500), op("getdel", 3, 4, seen=1)):
        assert broken(write(1, 2, 1, "m"), other, get(12, 13, None, life=2)) == [], other
    for other in (op("clear", 3, 4, model="n"), op("del", 0.2, 0.4), write(3, 4, 2, ttl_ms=9000)):
        assert broken(write(1, 2, 1, "m"), other, get(12, 13, None, life=2)) == ["P6"], other


def test_what_has_expired_is_found():
    assert broken(write(1, 2, 1, ttl_ms=300), get(12, 13, 1, life=2)) == ["TTL"]
    assert broken(write(1, 2, 1, ttl_ms=300), get(4, 4.5, 1)) == []


def test_an_expiry_given_later_counts_instead():
    def expire(sent, done, ttl_ms):
        return op("expire", sent, done, ttl_ms=ttl_ms)

    assert broken(write(1, 2, 1), expire(3, 4, 300), get(12, 13, 1, life=2)) == ["TTL"]
    assert broken(write(1, 2, 1), expire(3, 4, 300), expire(5, 6, 9000), get(12, 13, 1, life=2)) == []
    assert broken(write(1, 2, 1), expire(3, 6, 300), expire(5, 6, 9000), get(12, 13, 1, life=2)) == []
    assert broken(write(1, 2, 1), expire(3, None, 300), get(12, 13, 1, life=2)) == []
    assert broken(write(1, 2, 1, ttl_ms=300), expire(3, 4, 9000), get(12, 13, 1, life=2)) == []
    assert broken(write(1, 2, 1), expire(3, 4, 300), get(12, 13, None, life=2)) == []
    assert broken(write(1, 2, 1), expire(3, 4, 9000), get(12, 13, None, life=2)) == ["P6"]


def test_broken_bytes_are_found():
    assert broken(get(1, 2, BROKEN)) == ["integrity"]
    assert broken(write(1, 2, 1, outcome=UNKNOWN), get(3, 4, 1)) == []
    assert broken(op("set", 1, 2, value=1, model="m", outcome=DONE, key="j"), get(3, 4, 1)) == ["integrity"]


def test_a_value_computed_before_a_clear_is_found_and_may_be_missing():
    ops = [get(1, 2, None), clear(3, 4), write(5, 6, 1, "m")]
    assert broken(*ops, get(7, 8, 1)) == ["P4"]
    assert broken(*ops, get(7, 8, None)) == []
    assert broken(*ops[1:], get(7, 8, 1)) == []
    assert broken(*ops[1:], get(7, 8, None)) == ["P6"]
    assert broken(get(1, 2, None), clear(3, 4), get(4.1, 4.2, None), ops[2], get(7, 8, None)) == ["P6"]
