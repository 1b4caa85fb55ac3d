"""Replies as bytes: to compare what two servers send, and what one sends with what it should."""

import contextlib

from fleet import PATIENT
from harcad_harness import Harcad, RawConn, Redis

PREFIX = "harca:"  # upstream.prefix's default


class WireConn(RawConn):
    """A connection that also gives replies as the bytes they came as."""

    def __init__(self, address, resp=2):
        super().__init__(address)
        self._seen = bytearray()
        if resp == 3:
            self.command("HELLO", "3")

    def recv(self, n):
        data = super().recv(n)
        self._seen += data
        return data

    def read_wire(self):
        """One reply: the bytes, and what they mean."""
        self._seen.clear()
        meaning = self.read_reply()
        return bytes(self._seen), meaning

    def ask(self, *args):
        self.send(self.encode(*args))
        return self.read_wire()

    def ask_all(self, commands):
        """Sends all commands at once, then reads their replies."""
        self.send(b"".join(self.encode(*command) for command in commands))
        return [self.read_wire() for _ in commands]


class Target:
    """A server under test, and the Redis whose data it shows (None: nobody else's)."""

    def __init__(self, name, server, upstream, prefix):
        self.name = name
        self.server = server
        self.upstream = upstream
        self.prefix = prefix

    def connect(self, resp=2):
        return WireConn(self.server.address, resp)

    def behind(self, *args):
        """Runs a command where the data is; "@key" among the arguments is that key."""
        args = [self.prefix + arg[1:] if isinstance(arg, str) and arg.startswith("@") else arg for arg in args]
        with WireConn(self.upstream.address) as conn:
            return conn.command(*args)


@contextlib.contextmanager
def started(name, settings=None):
    """The target of that name: redis, embedded (a harcad alone) or fleet (a harcad before a Redis of its own, which waits
    for it as long as a busy machine may take). With these settings, if it is a harcad."""
    with contextlib.ExitStack() as stack:
        redis = stack.enter_context(Redis()) if name != "embedded" else None
        if name == "redis":
            yield Target(name, redis, redis, "")
            return
        harcad = stack.enter_context(Harcad({**(PATIENT if redis else {}), **(settings or {})}, upstream=redis))
        if redis:
            harcad.wait_info(upstream_state="up", event_link="up")
        yield Target(name, harcad, redis, PREFIX)
        harcad.check_sanitizers()  # before it is asked why it has ended, should it have
        harcad.stop()


# ---- replies as they should be ----


class Simple(str):
    """A simple string."""


class Err(str):
    """An error; its text begins with its code."""


class Near:
    """A whole number that may be off by a little, as it depends on the time."""

    def __init__(self, number, tolerance):
        self.number = number
        self.tolerance = tolerance

    def __repr__(self):
        return f"{self.number}±{self.tolerance}"


def encode_reply(reply, resp):
    """bytes are bulk strings, None is null, lists are arrays."""
    if reply is None:
        return b"$-1\r\n" if resp == 2 else b"_\r\n"
    if isinstance(reply, Simple):
        return f"+{reply}\r\n".encode()
    if isinstance(reply, Err):
        return f"-{reply}\r\n".encode()
    if isinstance(reply, int):
        return b":%d\r\n" % reply
    if isinstance(reply, bytes):
        return b"$%d\r\n%b\r\n" % (len(reply), reply)
    assert isinstance(reply, list), reply
    return b"*%d\r\n" % len(reply) + b"".join(encode_reply(each, resp) for each in reply)
