"""Programs of tests/sim that link the daemon's own library and measure by themselves."""

import re

from . import programs
from .row import HARCAD, Reading, Section

CHURN_BUDGET = 128 << 20
CHURN_REQUESTS = 1_500_000  # a phase
CHURN_A_SECOND = 10_000  # requests from ten turns of upkeep, which the daemon does in a second
CHURN = Section(
    "Memory while sizes change",
    "Of the process, as parts of the budget: at the end of each phase of traffic, and at its worst. Grown is without what\n"
    "the process had before there was a store.",
    ("values of", "resident", "at worst", "grown", "at worst"))


def output(lab, name, *arguments):
    return programs.run([lab.program(name), *arguments])


def run(lab, name, *arguments):
    """Rows of one program with the same arguments share a run."""
    return lab.once(output, name, *arguments)


def find(text, pattern, program):
    """The number that the pattern's only group finds."""
    found = re.search(pattern, text, re.MULTILINE | re.IGNORECASE)
    if not found:
        raise programs.ProgramError(f"{program} says nothing like {pattern!r}")
    return float(found.group(1))


# ---- two threads on one store ----

TWO_METHOD = ("`build/storebench two`: 95 % hits and 5 % overwrites of 1 M keys. Operations a second of each thread's CPU "
              "time, added up, of those of one thread: not of the wall clock, since the machine is shared and may not have "
              "given two processors. Time asleep for a lock does not show.")


def two_threads(keys):
    """A measurement: TWO_METHOD. `keys` is how storebench calls the draw."""
    def measure(lab):
        text = run(lab, "storebench", "two")
        speedup = find(text, rf"^{keys}.*two threads ([\d.]+) times", "storebench")
        apart = find(text, rf"^{keys}.*a store each ([\d.]+)", "storebench")
        return Reading({HARCAD: [speedup]}, TWO_METHOD, f"with a store each, so at best here: {apart:.2f}")

    return measure


# ---- churn ----


def parse_churn(text):
    """(phase, resident, at worst, grown, at worst) of each line, as parts of the budget."""
    number = r"(\d+\.\d+)\s+"
    return [(name, *map(float, numbers)) for name, *numbers in
            re.findall(rf"^(\S.*?)\s+{number * 4}", text, re.MULTILINE)]


def churn_phases(lab):
    """The phases of a run, and how it was made."""
    requests = lab.scaled(CHURN_REQUESTS)
    arguments = (str(CHURN_BUDGET), str(requests), "1")
    phases = parse_churn(run(lab, "churn", *arguments))
    if not phases:
        raise programs.ProgramError("churn printed no phases")
    minutes = len(phases) * requests / CHURN_A_SECOND / 60
    return phases, (f"`build/churn {' '.join(arguments)}`: bytes of budget, requests a phase, seed; {minutes:.0f} minutes' worth at "
                    f"{CHURN_A_SECOND:,} requests a second.")


def churn(lab):
    """The largest resident size at the end of a phase."""
    phases, method = churn_phases(lab)
    name, resident, *_ = max(phases, key=lambda phase: phase[1])
    lines = [(CHURN, (phase, *(f"{number:.3f}" for number in numbers))) for phase, *numbers in phases]
    return Reading({HARCAD: [resident]}, f"{method} The largest at the end of a phase.", f"after {name}", lines)


def churn_worst(lab):
    """The largest resident size at any time."""
    phases, method = churn_phases(lab)
    name, end, worst, *_ = max(phases, key=lambda phase: phase[2])
    return Reading({HARCAD: [worst]}, f"{method} The largest of all times, looked at ten times a second of these.",
                   f"within {name}; {end:.3f} at its end")
