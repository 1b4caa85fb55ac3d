"""What the upstream went through, in its own order: told by MONITOR, which shows what scripts really did.

A Change says that a key had a value, or none, from then on; an Epoch that a model had been cleared. Positions order
both. When the upstream came back with other data than it had, the runner asks it for all there is before any daemon
can: those are changes too, at the position of that moment.
"""

import bisect
import codecs
import collections
import dataclasses
import re
import socket
import threading
import time

from fleet import PREFIX, STATE, frame_parts
from harcad_harness import RawConn, wait_until

TOKEN = re.compile(rb'"((?:[^"\\]|\\.)*)"')
NOBODY = ("", ("", 0.0))
SWEEP = "the sweep"  # stands for the instance of whichever daemon does it
NUMBER = re.compile(rb"v(\d+)\.")
OUTSIDER = "outsider"  # what a connection calls itself on which somebody writes past the daemons
PASSED_ON = b"return "  # so begins each script that a client has a daemon pass on, and none of the daemons' own


@dataclasses.dataclass(slots=True, eq=False)
class Change:
    pos: int
    at: float  # monotonic
    key: str
    value: int = None  # None: gone
    model: str = None
    expires: float = None
    instance: str = ""  # of the daemon whose script it was
    link: str = ""  # the name of that daemon's connection
    link_since: float = 0.0  # when that was opened
    restored: bool = False  # found so when the upstream came back

    @property
    def foreign(self):
        return self.link == OUTSIDER

    def __str__(self):
        what = "gone" if self.value is None else f"v{self.value} of {self.model}"
        who = "as it came back" if self.restored else self.instance or (OUTSIDER if self.foreign else "the runner")
        return f"{self.at:.4f} #{self.pos:<6} upstream: {self.key} {what} ({who})"


@dataclasses.dataclass(slots=True, eq=False)
class Epoch:
    pos: int
    at: float
    model: str
    epoch: int
    instance: str = ""

    def __str__(self):
        return f"{self.at:.4f} #{self.pos:<6} upstream: model {self.model} in epoch {self.epoch} ({self.instance})"


def model_of_raw(key):
    """As outsiders.py's template has it: of:MODEL:…"""
    parts = key.split(":")
    return parts[1] if len(parts) == 3 and parts[0] == "of" else "default"


def unescape(token):
    """MONITOR writes bytes as C and Python do."""
    return codecs.escape_decode(token)[0] if b"\\" in token else token


class Monitor:
    """Listens to one server after the other; keeps the lines. follow() returns once it hears the new one."""

    def __init__(self):
        self.lines = []  # as they came; what the runner puts in between are callables of a Timeline
        self._server = self._conn = self._thread = None
        self.offset = time.monotonic() - time.time()

    def follow(self, server):
        self.leave()
        self._server = server
        self._conn = RawConn(server.address)
        assert self._conn.command("MONITOR") == "OK"
        self._conn.sock.settimeout(None)
        self._thread = threading.Thread(target=self._listen, args=(self._conn,), name="monitor", daemon=True)
        self._thread.start()

    def _listen(self, conn):
        try:
            while True:
                self.lines.append(conn.recv_line())
        except OSError:
            pass

    def leave(self):
        """No more lines. All that the server has answered so far is among them."""
        if self._conn is None:
            return
        token = f"heard-{len(self.lines)}"
        with self._server.client() as client:
            client.echo(token)
        wait_until(lambda: any(token.encode() in line for line in self.lines[-50:] if not callable(line)),
                   message="MONITOR has told all")
        self._conn.sock.shutdown(socket.SHUT_RDWR)
        self._thread.join()
        self._conn.close()
        self._conn = None

    def note(self, fact):
        """fact(timeline, pos) is called when the lines are gone through, in its place among them."""
        self.lines.append(fact)


class Timeline:
    """Monitor's lines, understood."""

    def __init__(self, monitor, keys):
        self.keys = keys
        self.changes = collections.defaultdict(list)  # key -> [Change]
        self.of_value = collections.defaultdict(list)  # number -> [Change]
        self.epochs = collections.defaultdict(list)  # model -> [Epoch]
        self.passed = collections.defaultdict(list)  # key -> when a script was passed on that may have written it
        self.flushes = []  # (pos, at, instance): clear-all was told
        self._offset = monitor.offset
        self._links = {}  # address -> (name, since)
        self._caller = NOBODY  # instance of the script that runs, and its link
        self._untold = {}  # address -> changes in a transaction of its: the script behind them tells whose they are
        self._address = None  # whose command it is; None: a script's
        self._at = 0.0
        for pos, line in enumerate(monitor.lines):
            if callable(line):
                line(self, pos)
            else:
                self._read(pos, line)

    # ---- reading ----

    def _read(self, pos, line):
        head, _, rest = line.partition(b" [")
        source = rest.partition(b"]")[0]
        words = [unescape(token) for token in TOKEN.findall(rest)]
        if not words:
            return
        self._at = float(head[1:]) + self._offset
        verb = words[0].upper()
        self._address = None if source.endswith(b" lua") else source.split()[-1]
        if self._address is not None:
            instance = ""
            if verb == b"EVAL" and words[1].startswith(b"-- The sweep"):
                instance = SWEEP
            elif verb == b"EVAL" and b"cmsgpack.unpack" in words[1]:
                instance = words[8].split(b"\r\n")[6].decode("latin-1")  # that of its event
                for change in self._untold.pop(self._address, ()):
                    change.instance = instance
            elif verb == b"EVAL" and words[1].startswith(PASSED_ON):
                instance = self._caller[0]  # of the daemon's own script, just before it in one transaction
            elif verb in (b"EVAL", b"EVALSHA") and len(words) > int(words[2]) + 4:
                instance = words[int(words[2]) + 4].decode("latin-1")
            elif verb == b"MULTI":
                self._untold[self._address] = []
            self._caller = (instance, self._links.get(self._address, ("", 0.0)))
            if verb == b"CLIENT" and words[1].upper() == b"SETNAME":
                self._links[self._address] = (words[2].decode("latin-1"), self._at)
        read = getattr(self, "_on_" + verb.decode("latin-1").lower(), None)
        if read is not None:
            read(pos, words)

    def _key(self, word):
        return word[len(PREFIX):].decode() if word.startswith(PREFIX) else None

    def _on_set(self, pos, words):
        key = self._key(words[1])
        if key is None:
            return
        expires = None
        if len(words) > 4 and words[3].upper() == b"PX":
            expires = self._at + int(words[4]) / 1000
        self.had(pos, self._at, key, words[2], expires, self._caller)

    def _on_mset(self, pos, words):
        for name, value in zip(words[1::2], words[2::2]):
            if (key := self._key(name)) is not None:
                self.had(pos, self._at, key, value, None, self._caller)

    def _on_eval(self, _, words):
        if words[1].startswith(PASSED_ON):
            self.passed[self._key(words[3])].append(self._at)

    def _on_pexpire(self, _, words):
        key = self._key(words[1])
        if key is not None and self.changes[key]:
            self.changes[key][-1].expires = self._at + int(words[2]) / 1000

    def _on_del(self, pos, words):
        for word in words[1:]:
            if (key := self._key(word)) is not None:
                self.had(pos, self._at, key, None, None, self._caller)

    _on_unlink = _on_del

    def _on_hincrby(self, pos, words):
        if words[1] == STATE and words[2].startswith(b"m:"):
            model = words[2][2:].decode()
            self.raised(pos, self._at, model, self.epoch(model) + int(words[3]), self._caller[0])

    def _on_hset(self, pos, words):
        if words[1] == STATE and words[2].startswith(b"m:"):
            self.raised(pos, self._at, words[2][2:].decode(), int(words[3]), self._caller[0])

    def _on_publish(self, pos, words):
        if b"\r\nclear-all\r\n" in words[2]:
            self.flushes.append((pos, self._at, self._caller[0]))

    def _on_flushall(self, pos, _):
        for key in self.keys:
            self.had(pos, self._at, key, None, None, NOBODY)
        self.forget_epochs()

    # ---- what is read from them ----

    def had(self, pos, at, key, stored, expires=None, caller=NOBODY, restored=False):
        value = model = None
        if stored is not None:
            framed = frame_parts(stored)
            model, payload = (framed[0].decode() or "default", framed[4]) if framed else (model_of_raw(key), stored)
            match = NUMBER.match(payload)
            value = int(match.group(1)) if match else None
        change = Change(pos, at, key, value, model, expires, caller[0], *caller[1], restored)
        self.changes[key].append(change)
        if self._address in self._untold:
            self._untold[self._address].append(change)
        if value is not None:
            self.of_value[value].append(change)

    def raised(self, pos, at, model, epoch, instance=""):
        if epoch > self.epoch(model):
            self.epochs[model].append(Epoch(pos, at, model, epoch, instance))

    def epoch(self, model):
        """The last one so far."""
        return self.epochs[model][-1].epoch if self.epochs[model] else 0

    def forget_epochs(self):
        """The state is lost: they count from 0 again."""
        for model, epochs in self.epochs.items():
            if epochs:
                epochs.append(Epoch(epochs[-1].pos, epochs[-1].at, model, 0))

    # ---- questions ----

    def latest(self, value, until, restored=True):
        """The last change that made it current, not after that time; None: it never was."""
        found = None
        for change in self.of_value.get(value, ()):
            if change.at <= until and (restored or not change.restored):
                found = change
        return found

    def earliest(self, value, until):
        changes = self.of_value.get(value, ())
        return changes[0] if changes and changes[0].at <= until else None

    def ended_by(self, change):
        """What made that value outdated first: the key's next change, or its model's next epoch. None: nothing has."""
        changes = self.changes[change.key]
        i = bisect.bisect_right(changes, change.pos, key=lambda c: c.pos)
        after = changes[i] if i < len(changes) else None
        for epoch in self.epochs.get(change.model, ()):
            if epoch.pos > change.pos and epoch.epoch > 0 and (after is None or epoch.pos < after.pos):
                return epoch
        return after

    def before(self, change):
        """What the key had before that change of it; None: nothing is known."""
        changes = self.changes[change.key]
        i = bisect.bisect_left(changes, change.pos, key=lambda c: c.pos)
        return changes[i - 1] if i else None

    def current(self, key, at):
        """The key's last change not after that time."""
        changes = self.changes[key]
        i = bisect.bisect_right(changes, at, key=lambda c: c.at)
        return changes[i - 1] if i else None

    def between(self, key, since, until):
        """The key's changes, and those of epochs, in that time: for reports."""
        found = [c for c in self.changes[key] if since <= c.at <= until]
        for epochs in self.epochs.values():
            found += [e for e in epochs if since <= e.at <= until]
        return sorted(found, key=lambda c: c.pos)


def snapshot(server, keys):
    """What a server has that a reader would be given: a fact for Monitor.note()."""
    with server.client() as client:
        stored = {key: client.get(PREFIX + key.encode()) for key in keys}
        ttls = {key: client.pttl(PREFIX + key.encode()) for key in keys}
        state = client.hgetall(STATE)
    at = time.monotonic()
    epochs = {field[2:].decode(): int(number) for field, number in state.items() if field.startswith(b"m:")}

    def fact(timeline, pos):
        timeline.forget_epochs()
        for model, epoch in epochs.items():
            timeline.raised(pos, at, model, epoch, "as it came back")
        for key in keys:
            expires = at + ttls[key] / 1000 if ttls[key] >= 0 else None
            value = stored[key] if is_valid(key, stored[key], epochs, int(state.get(b"inc", 0))) else None
            timeline.had(pos, at, key, value, expires, restored=True)

    return fact


def is_valid(key, stored, epochs, incarnation):
    parts = frame_parts(stored) if stored is not None else None
    if parts is None:
        return epochs.get(model_of_raw(key), 0) == 0
    model, _, frame_incarnation, epoch, _ = parts
    return frame_incarnation == incarnation and epoch == epochs.get(model.decode() or "default", 0)
