"""Random sequences of commands on strings and keys, valid ones and others, sent to a real Redis and to a harcad: each
reply must be the same, byte for byte. What depends on the time may differ by a little; SCAN is compared as the set of
keys that a whole walk finds, RANDOMKEY by whether the key is there; and what a key costs and how it is used is another
figure, but of the same keys.

    HARCAD_DIFF_SEED    the first seed (default: fixed), to repeat what failed
    HARCAD_DIFF_STEPS   steps of a sequence (default: 600)

A failure is reduced to the fewest steps that still fail, and printed with its seed.
"""

import contextlib
import os
import random
import threading
import time

import pytest

from fleet import PATIENT
from harcad_harness import Harcad, RespError
from wire import started

SEED = int(os.environ.get("HARCAD_DIFF_SEED", "20240501"))
STEPS = int(os.environ.get("HARCAD_DIFF_STEPS", "600"))
TOLERANCE_MS = 10_000
SHRINK_TRIES = 150
MAX = 2**63 - 1

KEYS = [b"k%d" % i for i in range(18)] + [b"ns:a", b"ns:b", b"ns:{c}:1", b"k*[x]", b"k\\", b"with space", b"", b"\x00", b"\xff\xfe\r\n",
                                          b"x" * 300, b"K1", b"default"]
LISTS = [b"list%d" % i for i in range(3)]
VALUES = [b"", b"0", b"1", b"-17", b"3.14", b"hello", b"\x00\x01\r\n", b"$-1\r\n", b"\xf5hc\x01", b"\xf5hc\x01\x01" + b"\x00" * 40,
          b"v" * 70, bytes(range(256)), b"L" * 20_000, bytes(range(256)) * 300]
BAD_NUMBERS = [b"", b"x", b"1.5", b" 1", b"1 ", b"+1", b"01", b"0x10", b"-", b"1e3", b"%d" % (MAX + 1), b"%d" % -(MAX + 2)]
EDGE_NUMBERS = [b"0", b"-1", b"%d" % MAX, b"%d" % -(MAX + 1), b"%d" % (MAX // 1000), b"%d" % (MAX // 1000 + 1), b"%d" % -(MAX // 1000 + 1)]
PATTERNS = [b"*", b"k*", b"k?", b"k1[0-5]", b"k[^1]*", b"ns:*", b"k\\*\\[x\\]", b"*\\\\", b"nothing", b"[", b"K*", b"k[", b"?", b"*1*"]
ENCODED = [b"12", b"-0", b"007", b"%d" % MAX, b"%d" % (MAX + 1), b"x" * 44, b"x" * 45, b"9999", b"1.0", b""]

# Commands of this test only.
SCAN_ALL = b"SCAN*"  # a whole walk, with these options
RANDOM_KEY = b"RANDOMKEY*"  # and whether that key is there
NO_TOUCH = b"NO-TOUCH*"  # CLIENT NO-TOUCH, which Redis has from 7.2 on; of an older one, CLIENT NO-EVICT, which answers alike
OURS = (SCAN_ALL, RANDOM_KEY, NO_TOUCH)
ALONE = (*OURS, b"DBSIZE", b"KEYS", b"MEMORY")
THE_END = b"the end of what may have no replies"

FLOATS = [b"0", b"-0", b"0.1", b"-.5", b"1e17", b"1e-17", b"1e-18", b"5e-18", b"1e20", b"-1e300", b"0x1p-3", b"3.0", b"inf", b"-Infinity", b"nan", b"1e4932",
          b"1e4933", b"1e-4950", b"1e-5000", b"x", b"", b" 1", b"1 ", b"99999999999999999999.123456789", b"0.000000000000000005"]


def random_float(draw):
    """A number of any size, in any of the ways there are to write one."""
    number = draw.choice([draw.uniform(-1, 1), draw.uniform(-1e6, 1e6), draw.randint(-10**19, 10**19) / 10**draw.randint(0, 25)])
    return draw.choice(["%.3f", "%.17f", "%.25Lf", "%r", "%.10e", "%g", "%.1f"]).replace("L", "").__mod__(number).encode()


class Generator:
    """Draws steps: each is a list of commands sent at once, most of them of one command."""

    def __init__(self, seed, now_s, keys):
        self.random = random.Random(seed)
        self.now_s = now_s
        self.keys = keys
        self.drawn = set()

    def steps(self, n):
        return [self.step() for _ in range(n)]

    def step(self):
        kind = self.random.random()
        if kind < 0.03:
            return self.silent()
        if kind < 0.05:
            # Only of a value as it was SET is the encoding the same.
            key = self.key()
            return [[b"SET", key, self.random.choice(ENCODED)], [b"OBJECT", b"ENCODING", key]]
        if kind < 0.80:
            return [self.command()]
        if kind < 0.93:
            return self.batch(2, 20)
        return [[b"MULTI"], *self.batch(0, 6, exact=True), [b"EXEC"] if kind < 0.99 else [b"DISCARD"]]

    def silent(self):
        """A part of a pipeline that goes without replies."""
        off = self.random.choice([b"OFF", b"off", b"SKIP", b"skip"])
        on = [[b"CLIENT", b"REPLY", b"ON"]] if off.upper() == b"OFF" else []
        return [[b"CLIENT", b"REPLY", off], *self.batch(0, 4, exact=True), *on, *self.batch(1, 3, exact=True)]

    def batch(self, low, high, *, exact=False):
        """What several requests make up, or needs one before it, is sent alone only."""
        commands = []
        while len(commands) < low or len(commands) < high and self.random.random() < 0.9:
            command = self.command()
            if command[0].upper() not in ALONE and not (exact and is_figure(command)):
                commands.append(command)
        return commands

    def key(self):
        # Few keys are drawn often, so that commands meet.
        return self.random.choice(self.keys if self.random.random() < 0.5 else self.keys[:6])

    def value(self):
        return self.random.choice(VALUES)

    def number(self, *, at, seconds):
        """An expiry: far enough from all others drawn that what time passes decides nothing."""
        draw = self.random.random()
        if draw < 0.05:
            return self.random.choice(BAD_NUMBERS)
        if draw < 0.10:
            return self.random.choice(EDGE_NUMBERS)
        if draw < 0.16:
            return b"1" if at else b"-5"
        while (grid := self.random.randint(1, 50_000)) in self.drawn:
            pass
        self.drawn.add(grid)
        far_s = grid * 1000 + (self.now_s + 500 if at else 0)
        return b"%d" % (far_s if seconds else far_s * 1000)

    def expiry(self):
        word = self.random.choice([b"EX", b"PX", b"EXAT", b"PXAT", b"ex", b"Pxat"])
        return [word, self.number(at=word.upper().endswith(b"AT"), seconds=word.upper().startswith(b"E"))]

    def some(self, *options):
        """Each of the options with a chance of its own, in any order."""
        chosen = [option for option in options if self.random.random() < 0.22]
        self.random.shuffle(chosen)
        return [word for option in chosen for word in option]

    def command(self):
        command = getattr(self, self.random.choice(self.COMMANDS))()
        if self.random.random() < 0.03 and command[0] != b"SCAN":
            # One argument too few, or too many; of GET, which can take more than in Redis, MULTI would not know at once.
            more = self.random.random() < 0.5 and command[0] != b"GET"
            command = command + [b"more"] if more else command[:-1] or command
        if self.random.random() < 0.1:
            command = [command[0].lower(), *command[1:]] if command[0] not in OURS else command
        return command

    def get(self):
        return [b"GET", self.key()]

    def set(self):
        return [b"SET", self.key(), self.value(), *self.some([b"NX"], [b"XX"], [b"GET"], [b"KEEPTTL"], self.expiry(), self.expiry())]

    def set_plain(self):
        return [b"SET", self.key(), self.value()]

    def set_wrong(self):
        wrong = self.random.choice([[b"FOO"], [b"EX"], [b"PERSIST"], [b"NX", b"XX"], [b"EX", b"NX"], [b""]])
        return [b"SET", self.key(), self.value(), *self.some([b"NX"], [b"GET"]), *wrong]

    def setex(self):
        return [b"SETEX", self.key(), self.number(at=False, seconds=True), self.value()]

    def psetex(self):
        return [b"PSETEX", self.key(), self.number(at=False, seconds=False), self.value()]

    def setnx(self):
        return [b"SETNX", self.key(), self.value()]

    def getset(self):
        return [b"GETSET", self.key(), self.value()]

    def getdel(self):
        return [b"GETDEL", self.key()]

    def getex(self):
        return [b"GETEX", self.key(), *self.some(self.expiry(), self.expiry(), [b"PERSIST"], [b"KEEPTTL"])]

    def getex_plain(self):
        return [b"GETEX", self.key(), *self.random.choice([[b"PERSIST"], self.expiry()])]

    def many(self, command):
        return [command, *[self.key() for _ in range(self.random.randint(1, 6))]]

    def mget(self):
        return self.many(b"MGET")

    def mset(self):
        return [b"MSET", *[each for _ in range(self.random.randint(1, 5)) for each in (self.key(), self.value())]]

    def strlen(self):
        return [b"STRLEN", self.key()]

    def delete(self):
        return self.many(self.random.choice([b"DEL", b"UNLINK"]))

    def exists(self):
        return self.many(self.random.choice([b"EXISTS", b"TOUCH"]))

    def type(self):
        return [b"TYPE", self.key()]

    def expire(self):
        command = self.random.choice([b"EXPIRE", b"PEXPIRE", b"EXPIREAT", b"PEXPIREAT"])
        number = self.number(at=command.endswith(b"AT"), seconds=command.startswith(b"E"))
        return [command, self.key(), number, *self.some([b"NX"], [b"XX"], [b"GT"], [b"lt"]),
                *([b"FOO"] if self.random.random() < 0.03 else [])]

    def ttl(self):
        return [self.random.choice([b"TTL", b"PTTL", b"EXPIRETIME", b"PEXPIRETIME"]), self.key()]

    def persist(self):
        return [b"PERSIST", self.key()]

    def scan(self):
        options = self.some([b"MATCH", self.random.choice(PATTERNS)], [b"COUNT", b"%d" % self.random.randint(1, 50)],
                            [b"TYPE", self.random.choice([b"string", b"String", b"list", b"x"])])
        return [SCAN_ALL, *options]

    def scan_wrong(self):
        wrong = self.random.choice([[b"x"], [b"0", b"FOO"], [b"0", b"COUNT", b"0"], [b"0", b"COUNT", b"x"], [b"0", b"MATCH"],
                                    [b"1x", b"COUNT", b"x"], [b"-"], [b"99999999999999999999"], [b"0", b"TYPE"]])
        return [b"SCAN", *wrong]

    def randomkey(self):
        return [RANDOM_KEY]

    def object(self):
        return [b"OBJECT", self.random.choice([b"ENCODING", b"encoding", b"REFCOUNT", b"FREQ", b"IDLETIME", b"nope"]), self.key()]

    def memory(self):
        samples = self.random.choice([b"0", b"5", b"-1", b"x", b"%d" % (MAX + 1)])
        return [b"MEMORY", b"USAGE", self.key(), *self.random.choice([[], [b"SAMPLES", samples], [b"samples", samples, b"FOO"]])]

    def no_touch(self):
        return [NO_TOUCH, self.random.choice([b"ON", b"off", b"x"])]

    def server(self):
        """Nothing is ever slow: see play()."""
        return self.random.choice([
            [b"SLOWLOG", b"LEN"], [b"SLOWLOG", b"RESET"], [b"SLOWLOG", b"GET"],
            [b"SLOWLOG", b"GET", self.random.choice([b"0", b"-1", b"5", b"-2", b"x"])], [b"LATENCY", b"RESET"], [b"LATENCY", b"LATEST"],
            [b"LATENCY", b"RESET", b"command", b"nope"], [b"LATENCY", b"HISTORY", b"nope"], [b"LATENCY", b"GRAPH", b"nope"],
            [b"CLIENT", b"NO-EVICT", self.random.choice([b"ON", b"off", b"x"])], [b"CLIENT", b"REPLY", b"ON"], [b"CLIENT", b"REPLY", b"x"],
            [b"CONFIG", b"REWRITE"], [b"CONFIG", b"RESETSTAT"], [b"CONFIG", b"GET", b"nope*"], [b"CONFIG", b"SET", b"nope", b"1"]])

    def dbsize(self):
        return [b"DBSIZE"]

    def msetnx(self):
        return [b"MSETNX", *self.mset()[1:]]

    def whole(self):
        return self.random.choice(BAD_NUMBERS + EDGE_NUMBERS) if self.random.random() < 0.2 else b"%d" % self.random.randint(-1000, 1000)

    def incr(self):
        return [self.random.choice([b"INCR", b"DECR"]), self.key()]

    def incrby(self):
        return [self.random.choice([b"INCRBY", b"DECRBY"]), self.key(), self.whole()]

    def incrbyfloat(self):
        by = self.random.choice(FLOATS) if self.random.random() < 0.4 else random_float(self.random)
        return [b"INCRBYFLOAT", self.key(), by]

    def append(self):
        return [b"APPEND", self.key(), self.random.choice(VALUES[:8])]

    def setrange(self):
        offset = self.whole() if self.random.random() < 0.2 else b"%d" % self.random.randint(0, 300)
        if offset.isdigit() and 2**20 < int(offset) < 2**29:
            offset = b"7"
        return [b"SETRANGE", self.key(), offset, self.random.choice(VALUES[:10])]

    def getrange(self):
        return [self.random.choice([b"GETRANGE", b"SUBSTR"]), self.key(), *[
            self.whole() if self.random.random() < 0.3 else b"%d" % self.random.randint(-20, 20) for _ in range(2)]]

    def rename(self):
        return [self.random.choice([b"RENAME", b"RENAMENX"]), self.key(), self.key()]

    def copy(self):
        return [b"COPY", self.key(), self.key(), *self.some([b"REPLACE"], [b"DB", b"0"], [b"DB", self.random.choice([b"x", b"-1", b"16"])], [b"FOO"])]

    def keys_of(self):
        return [b"KEYS", self.random.choice(PATTERNS)]

    def flush(self):
        if self.random.random() < 0.7:
            return self.get()
        return [self.random.choice([b"FLUSHALL", b"FLUSHDB"]), *self.some([b"ASYNC"], [b"sync"], [b"FOO"])]

    COMMANDS = (["get"] * 4 + ["set"] * 5 + ["set_plain"] * 3 + ["getex", "getex_plain"] * 2 + ["expire"] * 6 + ["ttl"] * 6 +
                ["incr", "incrby", "incrbyfloat", "append", "setrange", "getrange", "rename", "copy"] * 3 + ["msetnx"] * 2 + ["keys_of"] +
                ["set_wrong", "setex", "psetex", "setnx", "getset", "getdel", "mget", "mset", "strlen", "delete", "exists", "type",
                 "persist", "scan", "scan_wrong", "dbsize", "flush", "randomkey", "no_touch"] + ["object", "memory", "server"] * 2)


class LongPipelines(Generator):
    """Most of a step is sent at once, and reads again and again what it has written. Nothing that looks at all keys: there are
    others' among them."""

    COMMANDS = [name for name in Generator.COMMANDS if name not in (
        "scan", "scan_wrong", "keys_of", "dbsize", "randomkey", "flush", "object", "memory", "server", "no_touch")] + ["get"] * 12 + ["mget"] * 3

    def step(self):
        return super().step() if self.random.random() < 0.15 else self.batch(5, 40)

    def key(self):
        return self.random.choice(self.keys if self.random.random() < 0.1 else self.keys[:3])


# ---- carrying out and comparing ----


def execute(conn, step, keys, *, has_no_touch):
    """The replies to a step's commands; of those that have none in between, all as one."""
    name, *options = step[0]
    if name == SCAN_ALL:
        return [walk(conn, options)]
    if name == RANDOM_KEY:
        wire, key = conn.ask(b"RANDOMKEY", *options)
        return [(b"", f"EXISTS says {conn.command('EXISTS', key)}") if isinstance(key, bytes) else (wire, key)]
    if name == NO_TOUCH:
        wire, reply = conn.ask(b"CLIENT", b"NO-TOUCH" if has_no_touch else b"NO-EVICT", *options)
        return [(wire.replace(b"|no-touch", b"|no-evict"), "")]
    if is_silent(step):
        wires, meanings = zip(*ask_until(conn, step, THE_END))
        return [(b"".join(wires), list(meanings))]
    if name.upper() in (b"DBSIZE", b"MEMORY"):
        # Redis counts what has expired until somebody looks.
        conn.ask(b"EXISTS", *keys)
    return conn.ask_all(step)


def ask_until(conn, commands, end):
    """All replies that come until the one to an ECHO behind the commands."""
    conn.send(b"".join(conn.encode(*command) for command in [*commands, [b"ECHO", end]]))
    while (reply := conn.read_wire())[1] != end:
        yield reply
    yield reply


def walk(conn, options):
    """All that SCAN finds, as a set; or its error."""
    found, cursor = set(), b"0"
    while True:
        wire, reply = conn.ask(b"SCAN", cursor, *options)
        if not isinstance(reply, list):
            return wire, reply
        cursor = reply[0]
        found.update(reply[1])
        if cursor == b"0":
            return b"", found


def is_timed(step):
    return any(command[0].upper() in (b"TTL", b"PTTL", b"EXPIRETIME", b"PEXPIRETIME") for command in step)


def is_unordered(command):
    return command[0].upper() == b"KEYS"


def is_silent(step):
    return step[0][:2] == [b"CLIENT", b"REPLY"] and step[0][-1].upper() in (b"OFF", b"SKIP")


def is_figure(command):
    return command[0].upper() in (b"OBJECT", b"MEMORY")


ENCODINGS = [b"int", b"embstr", b"raw"]


def figures_agree(what, theirs, ours):
    """Of a key that both have."""
    if what == b"ENCODING":
        # Redis remembers that a value was changed in place; it is never kept better than one that was SET.
        return theirs in ENCODINGS and ours in ENCODINGS and ENCODINGS.index(ours) <= ENCODINGS.index(theirs)
    if what == b"FREQ" and isinstance(theirs, RespError):
        return "LFU" in str(theirs) and isinstance(ours, int) and 0 <= ours <= 255
    if not isinstance(theirs, int) or not isinstance(ours, int):
        return False
    if what == b"REFCOUNT":
        return ours == 1 and theirs in (1, 2**31 - 1)  # Redis shares small numbers
    return (0 <= ours < 600) if what == b"IDLETIME" else ours > 0 and theirs > 0


def near(a, b):
    if isinstance(a, int) and isinstance(b, int):
        # Seconds or milliseconds: neither is ever near another time that was drawn.
        return a == b or min(a, b) >= 0 and abs(a - b) <= TOLERANCE_MS
    if isinstance(a, list) and isinstance(b, list):
        return len(a) == len(b) and all(near(x, y) for x, y in zip(a, b))
    return type(a) is type(b) and a == b


def same(step, command, a, b):
    (a_wire, a_meaning), (b_wire, b_meaning) = a, b
    if a_wire == b_wire and a_meaning == b_meaning:
        return True
    if len(step) == 1 and is_unordered(step[0]) and isinstance(a_meaning, list) and isinstance(b_meaning, list):
        return sorted(a_meaning) == sorted(b_meaning)
    was_set = len(step) == 2 and len(step[0]) == 3 and step[0][:2] == [b"SET", command[-1]]
    if is_figure(command) and not (was_set and command[1] == b"ENCODING"):
        return figures_agree(command[1].upper(), a_meaning, b_meaning)
    return is_timed(step) and near(a_meaning, b_meaning)


def play(redis, harcad, resp, steps, keys):
    """Runs the steps on both, from scratch. None, or (index of the step, what differed)."""
    with redis.connect(resp) as a, harcad.connect(resp) as b:
        for target, conn in ((redis, a), (harcad, b)):
            assert conn.command("FLUSHALL") == "OK"
            never_slow = ("slowlog-log-slower-than", "-1") if target is redis else ("server.slowlog_slower_than", "1h")
            assert conn.command("CONFIG", "SET", *never_slow) == "OK"
            conn.command("SLOWLOG", "RESET")
            conn.command("LATENCY", "RESET")
            if target.name not in ("redis", "embedded", "fleet"):
                assert conn.command("MODEL", "USE", "some/model") == "OK"
            for key in LISTS if harcad.upstream else []:
                target.behind("RPUSH", target.prefix.encode() + key, "x")
        for i, step in enumerate(steps):
            for command, a_reply, b_reply in zip(step, execute(a, step, keys, has_no_touch=False), execute(b, step, keys, has_no_touch=True)):
                if not same(step, command, a_reply, b_reply):
                    return i, (f"{show(command)} in {' ; '.join(map(show, step))}\n  redis:  {a_reply[0][:300]!r} {brief(a_reply[1])}"
                               f"\n  harcad: {b_reply[0][:300]!r} {brief(b_reply[1])}")
    return None


def brief(meaning):
    return sorted(meaning) if isinstance(meaning, set) else ""


def show(command):
    return " ".join(repr(word)[1:] if len(word) < 60 else f"'{repr(word[:8])[2:-1]}…'*{len(word)}" for word in command)


def shrink(fails, steps):
    """Fewer of the steps that fail still: takes out halves, quarters … as long as that goes."""
    tries, size = 0, max(1, len(steps) // 2)
    while tries < SHRINK_TRIES:
        for at in range(0, len(steps), size):
            fewer = steps[:at] + steps[at + size:]
            tries += 1
            if fewer and fails(fewer):
                steps = fewer
                break
            if tries >= SHRINK_TRIES:
                break
        else:
            if size == 1:
                break
            size = max(1, size // 2)
    return steps


@pytest.fixture(scope="module")
def redis():
    with started("redis") as target:
        yield target


@contextlib.contextmanager
def again_and_again(every_s, *functions):
    """Calls them, one after the other."""
    over = threading.Event()

    def run():
        while not over.wait(every_s):
            for function in functions:
                function()

    thread = threading.Thread(target=run)
    thread.start()
    yield
    over.set()
    thread.join()


@contextlib.contextmanager
def shaken(target):
    """Its connection for events is ended again and again."""
    with target.upstream.client() as client, again_and_again(0.02, lambda: client.client_kill_filter(_type="pubsub")):
        yield


@contextlib.contextmanager
def crossed(target):
    """What it has sent, for others, must be sent again all the time: Redis forgets the script, and is told it by a sibling; and
    a sibling clears the model of large values."""
    noise = [("SET", "noise%d" % (i % 3), b"x" * (5000 * (i % 2)), "MODEL", "noise") for i in range(6)] + [("APPEND", "noise0", "y")]
    with contextlib.ExitStack() as stack:
        sibling = stack.enter_context(Harcad(PATIENT, upstream=target.upstream)).client()
        upstream = stack.enter_context(target.upstream.client())
        conn = stack.enter_context(target.server.raw())

        def others_write():
            conn.send(b"".join(conn.encode(*command) for command in noise))
            for _ in noise:
                conn.read_reply()

        stack.enter_context(again_and_again(0.0005, others_write))
        stack.enter_context(again_and_again(0.004, upstream.script_flush, lambda: sibling.set("loads", "x"),
                                            lambda: sibling.execute_command("CLEAR", "MODEL", "noise")))
        yield


NO_JOURNAL = {"fleet.journal_len": "0", "upstream.backoff_min": "10ms", "upstream.backoff_max": "10ms"}
TARGETS = {
    "embedded": ("embedded", {}, []),
    "fleet": ("fleet", {}, []),
    "framed": ("fleet", {}, []),  # all values have a model other than the default, and so a header in Redis
    "shaken": ("fleet", NO_JOURNAL, [shaken]),  # which never knows for long whether its copies are what Redis has, too
    "crossed": ("fleet", {}, [crossed]),
    "shaken and crossed": ("fleet", NO_JOURNAL, [shaken, crossed]),
}


@pytest.fixture(scope="module", params=TARGETS)
def harcad(request):
    kind, settings, disturbances = TARGETS[request.param]
    with contextlib.ExitStack() as stack:
        target = stack.enter_context(started(kind, settings))
        for disturb in disturbances:
            stack.enter_context(disturb(target))
        target.name = request.param
        target.generator = LongPipelines if crossed in disturbances else Generator
        yield target


@pytest.mark.limit(240)
@pytest.mark.parametrize("resp", [2, 3], ids=["resp2", "resp3"])
@pytest.mark.parametrize("seed", range(SEED, SEED + 3))
def test_commands_random_sequence_replies_as_redis(redis, harcad, resp, seed):
    keys = KEYS + (LISTS if harcad.upstream else [])
    steps = harcad.generator(seed, int(time.time()), keys[:3] + keys[-3:] + keys[3:-3]).steps(STEPS)
    failure = play(redis, harcad, resp, steps, keys)
    if failure is None:
        return
    steps = shrink(lambda fewer: play(redis, harcad, resp, fewer, keys), steps[:failure[0] + 1])
    again = play(redis, harcad, resp, steps, keys)
    lines = "\n".join("  " + " ; ".join(map(show, step)) for step in steps)
    pytest.fail(f"seed {seed}, {harcad.name}, RESP{resp}: {(again or failure)[1]}\nafter\n{lines}", pytrace=False)
