"""Clients that read and write a few keys of several models at random, through many connections, and note what they did
and saw. One thread for each; its connections are its own."""

import threading
import time

import redis

from harcad_harness import RawConn, RespError, SLOW

from checker.history import DONE, NOT_DONE, UNKNOWN, Op

ANSWER_WITHIN_S = 5.0 * SLOW
SIZES = (0, 0, 0, 10, 300, 20000)  # the last is more than a reply copies

# verb: weight
MIX = {"get": 46, "mget": 8, "set": 20, "mset": 3, "setnx": 3, "getset": 3, "del": 4, "getdel": 3, "expire": 2, "clear": 0.4, "flush": 0.01,
       "burst": 7, "miss": 2}
CHANGES = frozenset(MIX) - {"get", "mget"}


class Client(threading.Thread):
    """Talks to one of its daemons for a while, then to another."""

    def __init__(self, scene, history, rng, name, nodes):
        super().__init__(name=name, daemon=True)
        self.scene, self.history, self.rng, self.nodes = scene, history, rng, nodes
        self.conns = {}  # daemon -> (RawConn, its log, its life, its name)
        self.connections = 0
        self.error = None

    def run(self):
        try:
            self.begin()
            while not self.scene.over.is_set():
                node = self.rng.choice(self.nodes)
                for _ in range(self.stay()):
                    self.turn(node)
                    self.scene.over.wait(self.rng.expovariate(1 / self.scene.config.pause_s))
        except BaseException as error:  # pylint: disable=broad-except
            self.error = error
            self.scene.over.set()
        finally:
            for conn, *_ in self.conns.values():
                conn.close()

    def begin(self):
        for key in self.scene.config.cold:
            self.ask(self.nodes[0], [self.command("set", [key])])

    def stay(self):
        """For how many turns it stays with a daemon."""
        return self.rng.randrange(1, 12)

    # ---- one turn: commands sent in one piece, their answers ----

    def turn(self, node):
        due = self.scene.take_due(node)
        if due:
            self.ask(node, [self.command("set", [due])])
        verb = self.rng.choices(list(MIX), MIX.values())[0]
        if verb == "burst":
            verbs = self.rng.choices(["get", "set", "del", "getset"], [5, 4, 1, 1], k=self.rng.randrange(2, 6))
            key = self.key("burst")
            self.ask(node, [self.command(v, [key]) for v in verbs])
        elif verb == "miss":
            self.recompute(node)
        else:
            self.ask(node, [self.command(verb)])

    def recompute(self, node):
        """What an application does: a miss, some time to compute the value, a SET."""
        key = self.key("miss")
        (op,), = [ops for _, ops in self.ask(node, [self.command("get", [key])])]
        if op.reads and op.seen is None:
            self.scene.over.wait(self.rng.uniform(0, 0.05))
            self.ask(node, [self.command("set", [key])])

    def key(self, verb):
        """Some keys are changed so rarely that a copy may grow old, were it not for the fleet."""
        config = self.scene.config
        cold = verb not in CHANGES or self.rng.random() < config.cold_share
        return self.rng.choice(config.keys + config.cold if cold else config.keys)

    def command(self, verb, keys=None):
        """(arguments, [Op]) of a random command."""
        rng = self.rng
        if verb in ("mget", "mset"):
            keys = sorted({self.key(verb) for _ in range(3)})
        keys = keys or [self.key(verb)]
        if verb in ("get", "del", "getdel"):
            return [verb, *keys], [self.op(verb, key=key) for key in keys]
        if verb == "mget":
            return ["mget", *keys], [self.op("get", key=key) for key in keys]
        if verb == "expire":
            ttl_ms = rng.choice([30, 200, 1000000])
            return ["pexpire", *keys, ttl_ms], [self.op("expire", key=keys[0], ttl_ms=ttl_ms)]
        if verb == "clear":
            model = rng.choice(self.scene.config.models + (self.scene.config.cold_model,))
            return ["clear", "model", model], [self.op("clear", model=model)]
        if verb == "flush":
            return ["flushdb"], [self.op("flush")]
        return self.write(verb, keys)

    def write(self, verb, keys):
        rng, ops, words = self.rng, [], []
        for key in keys:
            number, payload = self.history.values.new(rng.choice(SIZES))
            ops.append(self.op("getset" if verb == "getset" else "set", key=key, model="default", value=number))
            words += [key, payload]
        if verb == "mset":
            return ["mset", *words], ops
        op = ops[0]
        if verb == "setnx":
            op.only_if = "NX"
            words.append("nx")
        if verb == "getset":
            words.append("get")
        if op.key not in self.scene.config.cold and rng.random() < self.scene.config.expiring:
            op.ttl_ms = rng.choice([60, 200, 600])
            words += ["px", op.ttl_ms]
        config = self.scene.config
        op.model = config.cold_model if op.key in config.cold else rng.choice(config.models)
        if op.model != "default":
            words += ["model", op.model]
        return ["set", *words], ops

    def op(self, verb, **fields):
        return Op(next(self.history.numbers), -1, 0, "", verb, **fields)

    # ---- asking ----

    def conn(self, node):
        known = self.conns.get(node.number)
        if known and known[2] == node.life:
            return known
        if known:
            known[0].close()
            del self.conns[node.number]
        life = node.life
        self.connections += 1
        raw = RawConn(node.daemon.address, timeout=ANSWER_WITHIN_S)
        if node.life != life:  # which one has answered?
            raw.close()
            raise ConnectionError("started again meanwhile")
        self.conns[node.number] = (raw, self.history.log(), life, f"{self.name}/{self.connections}")
        return self.conns[node.number]

    def ask(self, node, commands):
        """Sends them in one piece. Whatever happens to the connection, the ops are noted."""
        try:
            raw, log, life, name = self.conn(node)
        except OSError:
            self.scene.over.wait(0.01)
            return commands
        before = []
        now = time.monotonic()
        for _, ops in commands:
            for op in ops:
                op.daemon, op.life, op.conn, op.sent, op.before = node.number, life, name, now, tuple(before)
                op.together = len(ops)
                log.append(op)
            before += ops
        try:
            raw.send(b"".join(RawConn.encode(*words) for words, _ in commands))
            for words, ops in commands:
                self.take(words, ops, raw.read_reply(), name)
        except (OSError, AssertionError) as error:
            for _, ops in commands:
                for op in ops:
                    op.text = op.text or (repr(error) if op.done is None else "")
            raw.close()
            self.conns.pop(node.number, None)
        return commands

    def take(self, words, ops, reply, name):
        done = time.monotonic()
        replies = reply if words[0] == "mget" and isinstance(reply, list) else [reply] * len(ops)
        for op, answer in zip(ops, replies):
            self.settle(op, answer)
            op.done = done

    def settle(self, op, answer):
        if isinstance(answer, RespError):
            op.outcome, op.text = UNKNOWN, str(answer)
        elif op.verb in ("get", "getdel", "getset"):
            op.outcome = DONE if op.verb != "getdel" or answer is not None else NOT_DONE
            op.seen = None if answer is None else self.history.values.number_of(answer)
            op.text = repr(answer[:60]) if op.seen == -1 else ""
        elif op.verb == "set":
            op.outcome = DONE if answer == "OK" else NOT_DONE
        elif op.verb in ("del", "expire"):
            op.outcome = DONE if answer else NOT_DONE
        else:
            op.outcome = DONE


class Owner(Client):
    """Alone writes the keys of a model, at one daemon: what becomes of these is nobody else's doing. Like an operator who
    has a new model: now and then its values are cleared, and new ones come. Mostly once in each outage, so that nothing
    comes after that but what is made up for."""

    LOOK_S = 0.03  # how often it looks whether there is one
    UNASKED = 0.02  # share of looks at which it renews although all is well

    def __init__(self, scene, history, rng, node):
        super().__init__(scene, history, rng, f"owner{node.number}", [node])
        self.others = [other for other in scene.nodes if other is not node]
        self.owned = scene.config.owned_by(node.number)

    def run(self):
        try:
            renewed = False
            while not self.scene.over.wait(self.LOOK_S):
                down = self.is_cut_off()
                if (down and not renewed) or self.rng.random() < (0 if down else self.UNASKED):
                    self.renew(self.nodes[0])
                renewed = down
        except BaseException as error:  # pylint: disable=broad-except
            self.error = error
            self.scene.over.set()
        finally:
            for conn, *_ in self.conns.values():
                conn.close()

    def is_cut_off(self):
        try:
            return self.nodes[0].daemon.info("upstream")["upstream_state"] == "down"
        except (OSError, AssertionError, redis.RedisError):  # it is not there itself
            return False

    def renew(self, node):
        model, keys = self.owned
        for _ in range(self.rng.choice([0, 1, 1, 2])):
            self.ask(node, [(["clear", "model", model], [self.op("clear", model=model)])])
        for key in self.rng.sample(keys, self.rng.randrange(1, len(keys) + 1)):
            number, payload = self.history.values.new(self.rng.choice(SIZES))
            self.ask(node, [(["set", key, payload, "model", model], [self.op("set", key=key, model=model, value=number)])])
        for other in self.others:  # never here: a SET would be taken to be computed for the miss
            self.ask(other, [self.command("get", [key]) for key in keys])


def final_reads(scene, history):
    """Each daemon is asked for each key, and what it says is noted like any other read."""
    for node in scene.nodes:
        log = history.log()
        with node.daemon.raw() as conn:
            for key in scene.keys:
                op = Op(next(history.numbers), node.number, node.life, "last", "get", key=key)
                log.append(op)
                op.sent = time.monotonic()
                answer = conn.command("get", key)
                op.done = time.monotonic()
                op.outcome = DONE
                op.seen = None if answer is None else history.values.number_of(answer)
