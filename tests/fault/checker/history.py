"""What clients did and saw: one Op for each key a command touched, in the order of each connection.

Every value written is another, and tells by its first bytes which one it is: so it is always known which write a read
saw. Times are CLOCK_MONOTONIC, in seconds.
"""

import dataclasses
import itertools

READS = frozenset({"get", "getdel", "getset"})
WRITES = frozenset({"set", "getset"})
DELETES = frozenset({"del", "getdel"})

DONE = "done"  # carried out
NOT_DONE = "not done"  # refused by its own condition, or nothing was there
UNKNOWN = "unknown"  # an error, or no answer at all: it may have been carried out

OUTSIDE = -1  # `daemon`: none, it was asked of the upstream itself
BROKEN = -1  # `seen`: bytes that nobody wrote


@dataclasses.dataclass(slots=True, eq=False)
class Op:
    number: int
    daemon: int
    life: int  # how often that daemon had been started
    conn: str
    verb: str  # get set getset del getdel expire clear flush, and passed on: idle look
    key: str = None
    model: str = None  # of the value written, or the one cleared
    value: int = None  # the number of the value written
    ttl_ms: int = None
    only_if: str = None  # NX
    sent: float = 0.0
    done: float = None  # None: no answer came
    outcome: str = UNKNOWN
    seen: int = None  # the number of the value read; None: nil
    text: str = ""  # of an error
    together: int = 1  # keys of its command
    before: tuple = ()  # those sent in one piece with it, ahead of it

    @property
    def reads(self):
        return self.verb in READS and self.outcome != UNKNOWN

    @property
    def writes(self):
        return self.verb in WRITES and self.outcome == DONE

    @property
    def deletes(self):
        return self.verb in DELETES and self.outcome == DONE

    def follows(self, other):
        """Whether it was asked for when the other had been answered, or right behind it on the same connection."""
        return other in self.before or (other.done is not None and other.done < self.sent)

    def __str__(self):
        what = [self.verb, self.key or "", self.model or "", f"v{self.value}" if self.value is not None else ""]
        what += [f"px {self.ttl_ms}"] if self.ttl_ms else []
        what += [self.only_if] if self.only_if else []
        answer = self.outcome
        if self.reads:
            answer = {None: "nil", BROKEN: f"BROKEN BYTES {self.text}"}.get(self.seen, f"v{self.seen}")
        elif self.outcome == UNKNOWN:
            answer = self.text or "no answer"
        took = f"{(self.done - self.sent) * 1000:.1f} ms" if self.done is not None else "never"
        who = self.conn if self.daemon == OUTSIDE else f"daemon {self.daemon}.{self.life} {self.conn}"
        return f"{self.sent:.4f} +{took:>9}  {who:<18} {' '.join(word for word in what if word)} -> {answer}"


class Values:
    """The values handed out, by number."""

    def __init__(self):
        self._numbers = itertools.count(1)
        self.sizes = {}

    def new(self, size):
        """A number, and the bytes that stand for it."""
        number = next(self._numbers)
        self.sizes[number] = size
        return number, self.payload(number, size)

    @staticmethod
    def payload(number, size):
        head = b"v%d." % number
        return head + bytes((number + i) % 251 for i in range(min(size, 64))) * (size // 64 + 1)

    def number_of(self, data):
        """Which value these bytes are, to the last one; BROKEN when they are none."""
        head, dot, _ = data.partition(b".")
        number = int(head[1:]) if dot and head[:1] == b"v" and head[1:].isdigit() else 0
        if number not in self.sizes or data != self.payload(number, self.sizes[number]):
            return BROKEN
        return number


class History:
    def __init__(self):
        self.values = Values()
        self.numbers = itertools.count(1)
        self._lists = []

    def log(self):
        """A list for one connection's ops: only its thread appends."""
        self._lists.append([])
        return self._lists[-1]

    def ops(self):
        return sorted(itertools.chain.from_iterable(self._lists), key=lambda op: op.sent)
