"""What a daemon must hold after it was killed: a model of a client's keys, and of what was on its way.

Each client has keys, and a default model, of its own, so that the outcome of each command is known exactly. What was
sent and not answered may have taken effect or not: with `exact` the daemon must hold what it held after some beginning
of that, all keys at the same point; without, it may have lost any value, but must not hold an older one. An MSET may
have been cut off between its keys.
"""

import itertools

KEYS = 40
COUNTERS = 3
FAR_PX = 3_600_000
ABSENT = (None, False)  # value, whether it has a time to live
SIZES = (0, 10, 300, 5000, 40000)
MIX = {"read": 40, "set": 24, "overwrite": 12, "mset": 6, "delete": 8, "getdel": 4, "expire": 6, "expire_past": 6, "clear": 0.7}
MIX_EXACT = {**MIX, "persist": 4, "incr": 10, "append": 8}  # what builds on the value before


class Client:
    def __init__(self, name, rng, *, exact):
        self.name, self.rng, self.exact = name, rng, exact
        self.mix = MIX_EXACT if exact else MIX
        self.written = 0
        self.state = {key: ABSENT for key in self.keys()}  # as acknowledged
        self.latest = dict(self.state)  # once all that was sent is done
        self.under_way = []  # (words, effects, reply), in the order they were sent

    def keys(self):
        numbers = [f"k{i}" for i in range(KEYS)] + [f"{kind}{i}" for kind in "na" for i in range(COUNTERS)]
        return [f"{self.name}:{number}" for number in numbers]

    # ---- commands ----

    def next(self, verb=None):
        """The words of a command to be sent, drawn when it is not told which."""
        verb = verb or self.rng.choices(list(self.mix), list(self.mix.values()))[0]
        words, effects, reply = getattr(self, "_" + verb)()
        self.under_way.append((words, effects, reply))
        self.latest.update(effects)
        return words

    def _key(self):
        return f"{self.name}:k{self.rng.randrange(KEYS)}"

    def _present(self):
        """A key that is there; None: none is. A read that misses is remembered by the daemon, and a SET that follows it
        is not kept once the model was cleared in between: such pairs are not made here."""
        there = [key for key, state in self.latest.items() if state != ABSENT and key.startswith(f"{self.name}:k")]
        return self.rng.choice(there) if there else None

    def _unique(self):
        self.written += 1
        return f"{self.name}/{self.written}/".encode() + b"x" * self.rng.choice(SIZES)

    def _read(self):
        """What is read is worth being demoted."""
        key = self._present()
        if key is None:
            return self._set()
        return ["GET", key], {}, self.latest[key][0]

    def _set(self, key=None):
        key, value, expires = key or self._key(), self._unique(), self.rng.random() < 0.3
        return ["SET", key, value, *(["PX", FAR_PX] if expires else [])], {key: (value, expires)}, "OK"

    def _overwrite(self):
        """The same key again and again is what a log is most likely to confuse."""
        return self._set(f"{self.name}:k0")

    def _mset(self):
        values = {f"{self.name}:k{i}": self._unique() for i in self.rng.sample(range(KEYS), 3)}
        words = [word for pair in values.items() for word in pair]
        return ["MSET", *words], {key: (value, False) for key, value in values.items()}, "OK"

    def _delete(self):
        key = self._key()
        return ["DEL", key], {key: ABSENT}, int(self.latest[key] != ABSENT)

    def _getdel(self):
        key = self._present()
        if key is None:
            return self._set()
        return ["GETDEL", key], {key: ABSENT}, self.latest[key][0]

    def _expire(self):
        key = self._key()
        value, _ = self.latest[key]
        return ["PEXPIRE", key, FAR_PX], {key: (value, value is not None)}, int(value is not None)

    def _expire_past(self):
        key = self._key()
        return ["PEXPIREAT", key, 1], {key: ABSENT}, int(self.latest[key] != ABSENT)

    def _persist(self):
        key = self._key()
        value, expires = self.latest[key]
        return ["PERSIST", key], {key: (value, False)}, int(expires)

    def _incr(self):
        key = f"{self.name}:n{self.rng.randrange(COUNTERS)}"
        value, expires = self.latest[key]
        number = int(value or 0) + 1
        return ["INCR", key], {key: (str(number).encode(), expires)}, number

    def _append(self):
        key, more = f"{self.name}:a{self.rng.randrange(COUNTERS)}", f"{self.rng.randrange(1000)},".encode()
        value, expires = self.latest[key]
        value = (value or b"") + more
        return ["APPEND", key, more], {key: (value, expires)}, len(value)

    def _clear(self):
        return ["CLEAR", "MODEL", self.name], {key: ABSENT for key in self.state}, "OK"

    # ---- what came of them ----

    def answered(self, reply):
        words, effects, expected = self.under_way.pop(0)
        well = reply == expected or not self.exact and (reply is None or isinstance(reply, int))
        assert well, f"{words[0]} {words[1]} was answered {reply!r}, not {expected!r}"
        self.state.update(effects)

    def flushed(self, *, answered):
        """By a FLUSHALL on another connection, with nothing of this client under way."""
        self.under_way.append((["FLUSHALL", ""], {key: ABSENT for key in self.state}, "OK"))
        if answered:
            self.answered("OK")

    def found(self, actual):
        """What the daemon holds, started again: {key: (value, expires)}. It is the state from now on."""
        points = [dict(self.state)]
        for words, effects, _ in self.under_way:
            before = points[-1]
            points += [{**before, **part} for part in (parts(effects) if words[0] == "MSET" else [effects])]
        wrong = self._wrong_exactly(points, actual) if self.exact else self._outdated(points, actual)
        assert not wrong, f"{self.name}, {len(self.under_way)} commands under way: " + "; ".join(wrong)
        self.state, self.latest, self.under_way = dict(actual), dict(actual), []

    @staticmethod
    def _wrong_exactly(points, actual):
        """Of the point that comes closest, what differs."""
        return min(([f"{key} is {shown(actual[key])}, not {shown(point[key])}" for key in point if point[key] != actual[key]]
                    for point in points), key=len)

    @staticmethod
    def _outdated(points, actual):
        return [f"{key} is {shown(found)}" for key, found in actual.items()
                if found[0] is not None and found not in [point[key] for point in points]]


def parts(effects):
    """Of a command that is cut off between its keys; the whole comes last."""
    keys = list(effects)
    return [{key: effects[key] for key in some} for n in range(1, len(keys) + 1) for some in itertools.combinations(keys, n)]


def shown(state):
    value, expires = state
    return "absent" if value is None else f"{value[:24]!r}{', expiring' if expires else ''}"
