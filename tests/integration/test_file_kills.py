"""kill -9 at random moments, again and again, while several connections write: what is found afterwards is compared,
key by key, with what was acknowledged and what was on its way. HARCAD_KILLS says how often; `make check-kills` does it
often.
"""

import contextlib
import os
import random
import select
import time

import pytest

from file_tier import loaded
from harcad_harness import RawConn, SLOW
from lone_model import Client

KILLS = int(os.environ.get("HARCAD_KILLS", "14"))
CLIENTS = 5
DEPTH = 8  # commands under way on each connection
SETTINGS = {"memory.max_bytes": "1M", "file.max_bytes": "64M"}


class Incomplete(Exception):
    pass


class PolledConn(RawConn):
    """One whose replies are taken as far as they have come."""

    def fileno(self):
        return self.sock.fileno()

    def _fill(self):
        raise Incomplete

    def replies(self):
        while self.buf:
            before = bytes(self.buf)
            try:
                reply = self.read_reply()
            except Incomplete:
                self.buf[:] = before
                return
            yield reply

    def receive(self, client):
        """False: the other side is gone."""
        with contextlib.suppress(ConnectionResetError):
            data = self.sock.recv(1 << 20)
            self.buf += data
            for reply in self.replies():
                client.answered(reply)
            return bool(data)
        return False


def write_until(conns, until):
    """Each connection has some commands under way, all the time."""
    while time.monotonic() < until:
        for conn, client in conns.items():
            if len(client.under_way) < DEPTH // 2:
                conn.send(b"".join(conn.encode(*client.next()) for _ in range(DEPTH - len(client.under_way))))
        for conn in select.select(list(conns), [], [], 0.002)[0]:
            assert conn.receive(conns[conn])


def finish(conns):
    deadline = time.monotonic() + 10 * SLOW
    while any(client.under_way for client in conns.values()):
        assert time.monotonic() < deadline, "commands that are never answered"
        for conn in select.select(list(conns), [], [], 0.1)[0]:
            assert conn.receive(conns[conn])


def drain(conns):
    """What had been answered when the daemon ended."""
    for conn, client in conns.items():
        while conn.receive(client):
            pass


def look(harcad, clients):
    """Without reads that miss, see lone_model.py."""
    with harcad.raw() as conn:
        for client in clients:
            conn.send(b"".join(conn.encode("PTTL", key) for key in client.state))
            times = {key: conn.read_reply() for key in client.state}
            there = [key for key, ttl in times.items() if ttl != -2]
            values = dict(zip(there, conn.command("MGET", *there) if there else []))
            client.found({key: (values.get(key), ttl >= 0) for key, ttl in times.items()})


def flush(harcad, clients, rng, *, answered):
    """FLUSHALL, with nothing else under way; one that was cut off leaves everything or nothing."""
    with harcad.raw() as conn:
        conn.send(conn.encode("FLUSHALL"))
        if answered:
            assert conn.read_reply() == "OK"
        else:
            time.sleep(rng.random() * 0.002)
    for client in clients:
        client.flushed(answered=answered)


@contextlib.contextmanager
def connected(harcad, clients):
    """A connection for each, whose entries get the client's model."""
    with contextlib.ExitStack() as stack:
        conns = {}
        for client in clients:
            conn = stack.enter_context(PolledConn(harcad.address))
            conns[conn] = client
            conn.send(conn.encode("MODEL", "USE", client.name))
            client.under_way.append((["MODEL", "USE"], {}, "OK"))
        finish(conns)
        yield conns


def one_life(harcad, clients, rng):
    """Some writing, cut off at any moment; now and then around a FLUSHALL, or behind CLEAR MODEL."""
    with connected(harcad, clients) as conns:
        write_until(conns, time.monotonic() + rng.choice((0.005, 0.03, 0.15)) * rng.random() * SLOW)
        end = rng.random()
        if end < 0.15:
            finish(conns)
            flush(harcad, clients, rng, answered=True)
        elif end < 0.25:
            finish(conns)
            flush(harcad, clients, rng, answered=False)
        elif end < 0.4:  # a clear with nothing written behind it
            for conn, client in conns.items():
                conn.send(conn.encode(*client.next("clear")))
            finish(conns)
        harcad.kill()
        drain(conns)


VARIANTS = {
    "through": {"file.write": "through"},
    "through-always": {"file.write": "through", "file.sync": "always", "server.workers": "2"},
    "demote": {"file.write": "demote"},
}


@pytest.mark.limit(60 + KILLS)
@pytest.mark.parametrize("variant", VARIANTS)
def test_p2_p6_killed_at_random_moments_keeps_what_was_acknowledged(make_harcad, variant):
    """With demote, only that nothing outdated comes back."""
    seed = int(os.environ.get("HARCAD_SEED", random.randrange(1 << 31)))
    print(f"HARCAD_SEED={seed}")
    rng = random.Random(f"{seed} {variant}")
    harcad = make_harcad({**SETTINGS, **VARIANTS[variant]})
    clients = [Client(f"c{i}", random.Random(f"{seed} {variant} {i}"), exact=variant != "demote") for i in range(CLIENTS)]
    commands = 0
    for _ in range(KILLS):
        one_life(harcad, clients, rng)
        harcad.start()
        loaded(harcad)
        look(harcad, clients)
        commands = sum(client.written for client in clients)
    assert commands > 10 * KILLS


def test_every_write_is_answered_when_nothing_else_happens(make_harcad):
    """Replies wait for the log; none is forgotten when others have found it written first."""
    harcad = make_harcad({**SETTINGS, "file.write": "through"})
    clients = [Client(f"c{i}", random.Random(i), exact=True) for i in range(CLIENTS)]
    with connected(harcad, clients) as conns:
        for _ in range(400):
            write_until(conns, time.monotonic() + 0.003)
            finish(conns)
