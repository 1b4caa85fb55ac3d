"""What a row of the table is, and what measuring it gives."""

import dataclasses
import statistics

HARCAD, REDIS, MEMCACHED = "harcad", "redis-server", "memcached"
FLOOR = "floor"  # tests/sim/floor.c: what any server needs


class Skip(Exception):
    """Raised by a measurement that cannot be made here; the text says why."""


@dataclasses.dataclass(frozen=True)
class Target:
    """A bound on harcad's own number, or on its ratio to redis-server's."""

    bound: float
    is_ratio: bool = False
    is_least: bool = False

    def __str__(self):
        return f"{'>=' if self.is_least else '<='} {self.bound:g}{'x' if self.is_ratio else ''}"


def of_redis(bound):
    return Target(bound, is_ratio=True)


def at_most(bound):
    return Target(bound)


def at_least(bound):
    return Target(bound, is_least=True)


@dataclasses.dataclass(frozen=True)
class Section:
    """A table of details that measurements add lines to."""

    title: str
    caption: str
    head: tuple


@dataclasses.dataclass
class Reading:
    """`values` by server, of each the numbers of its rounds. What two servers needed in the same round is compared,
    and of these ratios the median counts."""

    values: dict
    method: str  # the commands, or how it was found
    note: str = ""
    details: list = dataclasses.field(default_factory=list)  # (Section, line)

    def value(self, server=HARCAD):
        """The median of its rounds; None when it was not measured."""
        rounds = self.values.get(server)
        return statistics.median(rounds) if rounds else None

    def ratios(self, server=REDIS):
        """harcad's to that server's, of each round."""
        pairs = zip(self.values.get(HARCAD, ()), self.values.get(server, ()))
        return [own / other for own, other in pairs if other]

    def ratio(self, server=REDIS):
        ratios = self.ratios(server)
        return statistics.median(ratios) if ratios else None


@dataclasses.dataclass(frozen=True)
class Row:
    """`measure` is a function of a lab that gives a Reading or raises Skip; or an object with a function
    sample(lab, server) that gives a Sample, with the names of the `servers` it is for, and reading(samples): it is then
    measured on each of them in turn, in several rounds."""

    key: str
    title: str
    unit: str
    target: Target | None
    measure: object
    digits: int = 0

    @property
    def is_in_turn(self):
        return hasattr(self.measure, "sample")

    def judged(self, reading):
        """The number the target is about, as it is shown; None without one."""
        if self.target is None:
            return None
        number = reading.ratio() if self.target.is_ratio else reading.value()
        return None if number is None else round(number, 2 if self.target.is_ratio else self.digits)

    def verdict(self, reading):
        number = self.judged(reading)
        if number is None:
            return ""
        held = number >= self.target.bound if self.target.is_least else number <= self.target.bound
        return "met" if held else "missed"


@dataclasses.dataclass
class Outcome:
    """What became of a row: a reading, or why there is none."""

    row: Row
    reading: Reading | None = None
    skipped: str = ""
    failed: str = ""

    @property
    def verdict(self):
        if self.reading is not None:
            return self.row.verdict(self.reading)
        return "failed" if self.failed else "skipped"
