"""Connections in great number: what each costs at rest, that thousands can be there and come and go, and that a daemon
nobody asks anything sleeps. The numbers are measured by scripts/kit/connections.py."""

import os
import re
import subprocess
import sys
import time

import pytest

from harcad_harness import Harcad, ROOT, SLOW, TIMEOUT, wait_until

sys.path.insert(0, os.path.join(ROOT, "scripts"))

from kit import connections  # noqa: E402
from kit.resp import Client  # noqa: E402

SANITIZED = SLOW > 1
EACH_MAX = 3 * 1024


class Measured:
    """A daemon of the harness, as the kit wants it."""

    def __init__(self, harcad):
        self.pid, self.address = harcad.pid, harcad.address

    def client(self):
        return Client(self.address, timeout=TIMEOUT)


@pytest.mark.limit(120)
def test_connections_ten_thousand_are_served_and_cost_little(make_harcad):
    wanted = 1000 if SANITIZED else 10000
    n = min(wanted, connections.raise_descriptors(wanted))
    assert n >= 500, "too few descriptors to say anything"
    harcad = make_harcad({"server.maxclients": str(n + 10)})
    numbers = connections.memory_of_each(Measured(harcad), n)
    if SANITIZED:
        return
    for when in ("bytes_fresh", "bytes_after_ping", "bytes_after_64k"):
        assert numbers[when] <= EACH_MAX, numbers
    assert numbers["cpu_with_all_at_rest"] < 0.1, numbers
    assert numbers["client_list_seconds"] < 1, numbers
    assert harcad.info()["connected_clients"] == 1


def test_connections_thousand_a_second_come_and_go(make_harcad):
    """How many it is depends on what else the machine does; what each costs hardly does."""
    harcad = make_harcad({"server.workers": "2"})
    before = harcad.open_fds()
    for _ in range(3):  # a thousand are tried each second; a busy machine may be short of time in one window
        numbers = connections.coming_and_going(Measured(harcad), seconds=2.0)
        if numbers["connects_a_second"] > 500 / SLOW:
            break
    assert numbers["connects_a_second"] > 500 / SLOW, numbers
    assert numbers["cpu_us_each"] < 500 * SLOW, numbers
    wait_until(lambda: harcad.open_fds() <= before, message="descriptors are closed again")


def windows_at_rest(harcad, how_many):
    """What the daemon does in windows of some seconds, one after the other. It comes to rest only after a start's own work:
    directories are looked through, a first file is synced; and what a busy machine holds up is asked again."""
    for _ in range(how_many):
        yield connections.at_rest(Measured(harcad), seconds=4.0, settle=0.0)


@pytest.mark.parametrize("mode", ["embedded", "fleet"])
def test_connections_none_and_the_daemon_sleeps(make_harcad, make_redis, mode):
    """With default settings: alone a timer of more than a second, and a look around in the directory now and then; in a fleet the proof that no event was missed, too."""
    harcad = make_harcad({}, upstream=make_redis() if mode == "fleet" else None)
    harcad.wait_info(upstream_state="up" if mode == "fleet" else "off")
    most = 2 if mode == "embedded" else 12

    def sleeps(numbers):
        workers = sum(times for name, times in numbers["wakeups_by_thread"].items() if name.startswith("worker"))
        return workers <= 0.5 and numbers["wakeups_a_second"] <= most

    seen = []
    for numbers in windows_at_rest(harcad, 6):
        seen.append(numbers)
        if sleeps(numbers):
            break
    assert sleeps(seen[-1]), seen
    if not SANITIZED:
        assert seen[-1]["rss"] <= 6 << 20, seen


@pytest.mark.parametrize("life_ms", [600, 4000])
def test_connections_at_rest_and_the_sweep_still_comes(make_harcad, life_ms):
    """Entries that are never read go in time: those of a daemon that was at rest when they came, and those that have seen
    it come to rest."""
    harcad = make_harcad({})
    with harcad.raw() as conn:
        time.sleep(1.5)
        begin = time.monotonic()
        for i in range(500):
            assert conn.command("SET", f"k{i}", "v" * 100, "PX", life_ms) == "OK"
        wait_until(lambda: harcad.info()["memory_entries"] == 0, message="all are reclaimed")
        assert time.monotonic() - begin < life_ms / 1000 + 5 * SLOW


def test_connections_limit_in_time_set_later_reaches_those_at_rest(make_harcad):
    harcad = make_harcad({})
    conns = [harcad.raw() for _ in range(20)]
    with harcad.raw() as conn:
        assert conns[0].command("PING") == "PONG"
        assert conn.command("CONFIG", "SET", "client.idle_timeout", "1s") == "OK"
        wait_until(lambda: conn.command("PING") == "PONG" and harcad.info()["connected_clients"] <= 2, message="all but one go")
        assert conn.command("CONFIG", "SET", "client.idle_timeout", "0") == "OK"
    with harcad.raw() as conn:
        time.sleep(1.5)
        assert conn.command("PING") == "PONG"
    for each in conns:
        assert each.recv_until_closed() == b""
        each.close()


def test_connections_thousands_killed_at_once(make_harcad):
    n = min(3000, connections.raise_descriptors(3000))
    harcad = make_harcad({"server.workers": "2"})
    with connections.Crowd(harcad.address) as crowd, harcad.raw() as conn:
        crowd.come(n)
        wait_until(lambda: harcad.info()["connected_clients"] >= n)
        begin = time.monotonic()
        assert conn.command("CLIENT", "KILL", "TYPE", "normal") >= n
        wait_until(lambda: b"connected_clients:1\r\n" in conn.command("INFO", "clients"), message="they are gone")
        assert time.monotonic() - begin < 5 * SLOW


# ---- descriptors ----


def soft_limit(harcad):
    with open(f"/proc/{harcad.pid}/limits", encoding="ascii") as limits:
        return int(re.search(r"Max open files\s+(\d+)", limits.read()).group(1))


class Confined(Harcad):
    """Started with limits of its own on descriptors."""

    limits = (256, 256)

    def _spawn(self, argv, env):
        with open(self.log_path, "ab") as log:
            self.process = subprocess.Popen(["prlimit", "--nofile=%d:%d" % self.limits] + argv, stdin=subprocess.DEVNULL,
                                            stdout=log, stderr=log, env=env, cwd=self.dir)


def confined(things, limits, settings):
    harcad = Confined(settings)
    harcad.limits = limits
    things.append(harcad)
    return harcad.start()


def test_connections_daemon_raises_its_descriptors(_started):
    harcad = confined(_started, (128, 4096), {"server.maxclients": "500"})
    assert soft_limit(harcad) >= 564
    assert "maxclients_lowered" not in harcad.log()
    with harcad.raw() as conn:
        assert conn.command("CONFIG", "SET", "server.maxclients", "1000") == "OK"
        wait_until(lambda: soft_limit(harcad) >= 1064, message="more when more may come")
        assert b"maxclients:1000\r\n" in conn.command("INFO", "clients")
    with connections.Crowd(harcad.address) as crowd:
        crowd.come(900)
        crowd.ask(b"PING\r\n", b"+PONG\r\n")


def test_connections_too_few_descriptors_are_told_and_fewer_clients_served(_started):
    harcad = confined(_started, (256, 256), {"server.maxclients": "10000"})
    assert "warn maxclients_lowered to=192 why=\"RLIMIT_NOFILE is 256, 10064 wanted\"" in harcad.log()
    with harcad.raw() as conn:
        assert b"maxclients:192\r\n" in conn.command("INFO", "clients")
        with connections.Crowd(harcad.address) as crowd:
            crowd.come(190)
            crowd.ask(b"PING\r\n", b"+PONG\r\n")
            with harcad.raw() as one_more, harcad.raw() as too_many:
                assert one_more.command("PING") == "PONG"
                assert too_many.recv_until_closed() == b"-ERR max number of clients reached\r\n"
        assert "accept_failed" not in harcad.log()
        assert conn.command("CONFIG", "SET", "server.maxclients", "50") == "OK"
        wait_until(lambda: b"maxclients:50\r\n" in conn.command("INFO", "clients"))
