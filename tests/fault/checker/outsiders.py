"""Who changes keys by other ways than the daemons' own commands: an Outsider writes to the upstream past all daemons, and
Guests have daemons pass commands on that these do not understand. Guests read the keys of both.

Both kinds of keys are named so that a template tells their model, which nobody clears: the values are raw, and such are
misses for good once their model has been cleared.
"""

import threading
import time

from fleet import PREFIX
from harcad_harness import RawConn, RespError

from checker.clients import ANSWER_WITHIN_S, SIZES, Client
from checker.history import DONE, NOT_DONE, OUTSIDE, Op
from checker.truth import OUTSIDER

TEMPLATE = "of:{model}:{id}"  # truth.model_of_raw() reads it
THEIRS = tuple(f"of:theirs:{i}" for i in range(5))
PASSED = tuple(f"of:passed:{i}" for i in range(3))

SET = "return redis.call('SET', KEYS[1], ARGV[1])"
DEL = "return redis.call('DEL', KEYS[1])"
NOTHING = "return 1"

# What a Guest does: weight. `idle` counts as a write of a key and changes nothing, `look` reads in a way no daemon knows.
MIX = {"get theirs": 60, "get passed": 20, "all theirs": 5, "set": 8, "del": 2, "idle": 2, "look": 4, "burst": 1}


class Outsider(threading.Thread):
    """Writes so rarely that a copy may grow old, were it not for the server's word; sometimes twice at once; and whenever a
    fault begins, so that there is something to miss."""

    def __init__(self, scene, history, rng):
        super().__init__(name="outsider", daemon=True)
        self.scene, self.history, self.rng = scene, history, rng
        self.log = history.log()
        self.pause_s = rng.choice([0.1, 0.2, 0.3])
        self.conn = None
        self.error = None

    def run(self):
        try:
            while not self.scene.over.is_set():
                n = 3 if self.scene.struck.wait(self.rng.expovariate(1 / self.pause_s)) else self.rng.choice([1, 1, 1, 2])
                self.scene.struck.clear()
                for key in self.rng.choices(self.scene.config.theirs, k=n):
                    self.change(key)
        except BaseException as error:  # pylint: disable=broad-except
            self.error = error
            self.scene.over.set()
        finally:
            self.leave()

    def change(self, key):
        op = Op(next(self.history.numbers), OUTSIDE, 0, self.name, "set" if self.rng.random() < 0.8 else "del", key=key)
        words = [op.verb, PREFIX + key.encode()]
        if op.verb == "set":
            op.model = "theirs"
            op.value, payload = self.history.values.new(self.rng.choice(SIZES))
            words.append(payload)
        op.sent = time.monotonic()
        self.log.append(op)
        try:
            answer = self.link().command(*words)
        except (OSError, AssertionError) as error:
            op.text = repr(error)
            self.leave()
            return
        op.done = time.monotonic()
        if isinstance(answer, RespError):
            op.text = str(answer)
        else:
            op.outcome = DONE if answer else NOT_DONE

    def link(self):
        if self.conn is None:
            self.conn = RawConn(self.scene.outside.address, timeout=ANSWER_WITHIN_S)
            assert self.conn.command("CLIENT", "SETNAME", OUTSIDER) == "OK"
        return self.conn

    def leave(self):
        if self.conn is not None:
            self.conn.close()
            self.conn = None


class Guest(Client):
    def begin(self):
        pass

    def stay(self):
        return 1

    def turn(self, node):
        rng, config = self.rng, self.scene.config
        verb = rng.choices(list(MIX), MIX.values())[0]
        theirs, passed = rng.choice(config.theirs), rng.choice(config.passed)
        if verb == "burst":  # with a command that changes nothing, and one that does
            commands = [self.command("get", [theirs]), self.idle(theirs), self.command("get", [theirs])]
            commands += [self.set(passed), self.command("get", [passed])]
        elif verb == "all theirs":
            commands = [self.command("get", [key]) for key in config.theirs]
        elif verb == "set":
            commands = [self.set(passed)]
        elif verb == "del":
            commands = [(["eval", DEL, 1, passed], [self.op("del", key=passed)])]
        elif verb == "idle":
            commands = [self.idle(theirs)]
        elif verb == "look":
            key = rng.choice([theirs, passed])
            commands = [(rng.choice([["getbit", key, 3], ["object", "encoding", key], ["eval_ro", NOTHING, 1, key]]),
                         [self.op("look", key=key)])]
        else:
            commands = [self.command("get", [theirs if verb == "get theirs" else passed])]
        self.ask(node, commands)

    def idle(self, key):
        return ["eval", NOTHING, 1, key], [self.op("idle", key=key)]

    def set(self, key):
        number, payload = self.history.values.new(self.rng.choice(SIZES))
        return ["eval", SET, 1, key, payload], [self.op("set", key=key, model="passed", value=number)]
