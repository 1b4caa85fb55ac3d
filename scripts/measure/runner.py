"""Measures rows: first those in turn, round by round, then the others one after the other."""

import subprocess
import sys

from kit.processes import StartError
from kit.resp import RespError

from . import inturn
from .programs import ProgramError
from .row import Outcome, Skip

FAILURES = (OSError, StartError, RespError, RuntimeError, ValueError, TimeoutError, ProgramError, KeyError,
            subprocess.SubprocessError)


def why(error):
    """On one line; of a server's log the end."""
    return " ".join((str(error) or repr(error)).split())[-300:]


def say(words):
    print(words, file=sys.stderr, flush=True)


def tell(outcome):
    row = outcome.row
    if outcome.reading is None:
        say(f"{row.key}: {outcome.verdict}, {outcome.skipped or outcome.failed}")
        return
    number = row.judged(outcome.reading)
    shown = f"{outcome.reading.value():.{row.digits}f} {row.unit}" if number is None else f"{number} ({row.target})"
    say(f"{row.key}: {shown} {outcome.verdict}")


def sample_all(lab, rows, rounds):
    """Samples by row and server. Round by round, so that a minute's noise spreads over all rows; who is first changes with
    the round."""
    samples = {row.key: {kind: [] for kind in row.measure.servers if kind in lab.side_by_side} for row in rows}
    for number in range(rounds):
        for row in rows:
            kinds = list(samples[row.key])
            for kind in kinds if number % 2 == 0 else reversed(kinds):
                samples[row.key][kind].append(row.measure.sample(lab, kind))
        say(f"round {number + 1} of {rounds} done")
    return samples


def measure_in_turn(lab, rows, rounds):
    """Any failure is all these rows'."""
    if not rows:
        return []
    kinds = list(dict.fromkeys(kind for row in rows for kind in row.measure.servers))
    try:
        inturn.start_side_by_side(lab, kinds)
        samples = sample_all(lab, rows, rounds)
        return [Outcome(row, row.measure.reading(samples[row.key])) for row in rows]
    except Skip as skip:
        return [Outcome(row, skipped=str(skip)) for row in rows]
    except FAILURES as error:
        return [Outcome(row, failed=why(error)) for row in rows]
    finally:
        inturn.stop_side_by_side(lab)


def measure_one(lab, row):
    try:
        return Outcome(row, row.measure(lab))
    except Skip as skip:
        return Outcome(row, skipped=str(skip))
    except FAILURES as error:
        return Outcome(row, failed=why(error))
    finally:
        lab.servers.stop_all()


def measure(lab, rows, rounds):
    """An outcome for each row, in their order."""
    outcomes = {outcome.row.key: outcome for outcome in measure_in_turn(lab, [row for row in rows if row.is_in_turn], rounds)}
    for outcome in outcomes.values():
        tell(outcome)
    for row in rows:
        if row.key not in outcomes:
            outcomes[row.key] = measure_one(lab, row)
            tell(outcomes[row.key])
    return [outcomes[row.key] for row in rows]
