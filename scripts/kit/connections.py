"""What connections cost a daemon: memory of each at rest, connecting and leaving by the thousand, CLIENT LIST, and what a
daemon does that nobody asks anything. For harcad and redis-server alike, as kit.processes starts them.

    python3 -m kit.connections [--clients N]       in scripts/; prints the numbers
"""

import argparse
import os
import resource
import socket
import statistics
import time

from .processes import Servers, default_harcad, wait_until
from .resp import encode

TICKS = os.sysconf("SC_CLK_TCK")
VALUE = b"v" * 65536
SPARE_FDS = 200


def rss(pid):
    """Resident bytes. Not those of /proc/PID/statm, which the kernel counts by and by on each processor."""
    with open(f"/proc/{pid}/smaps_rollup", encoding="ascii") as rollup:
        return next(int(line.split()[1]) * 1024 for line in rollup if line.startswith("Rss:"))


def cpu_seconds(pid):
    """User and system time of all threads."""
    with open(f"/proc/{pid}/stat", encoding="ascii", errors="replace") as stat:
        fields = stat.read().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / TICKS


def wakeups(pid):
    """How often each thread has gone to sleep so far, by its name and id."""
    counts = {}
    for task in os.listdir(f"/proc/{pid}/task"):
        with open(f"/proc/{pid}/task/{task}/status", encoding="ascii", errors="replace") as status:
            lines = dict(line.split(":", 1) for line in status if ":" in line)
        counts[f"{lines['Name'].strip()}/{task}"] = int(lines["voluntary_ctxt_switches"])
    return counts


def at_rest(server, seconds=10.0, settle=3.0):
    """A daemon with nothing to do: resident bytes, wake-ups a second by thread and in all, parts of a core used."""
    time.sleep(settle)
    before, cpu = wakeups(server.pid), cpu_seconds(server.pid)
    time.sleep(seconds)
    after = wakeups(server.pid)
    by_thread = {name: (after[name] - before.get(name, 0)) / seconds for name in after}
    return {
        "rss": rss(server.pid),
        "wakeups_a_second": sum(by_thread.values()),
        "wakeups_by_thread": by_thread,
        "cpu": (cpu_seconds(server.pid) - cpu) / seconds,
    }


def raise_descriptors(wanted):
    """Makes room for so many sockets of ours; returns for how many there is."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    limit = max(soft, wanted + SPARE_FDS if hard == resource.RLIM_INFINITY else min(hard, wanted + SPARE_FDS))
    resource.setrlimit(resource.RLIMIT_NOFILE, (limit, hard))
    return limit - SPARE_FDS


class Crowd:
    """Many connections to one address."""

    def __init__(self, address):
        self.address = address
        self.socks = []

    def __enter__(self):
        return self

    def __exit__(self, *exc):
        self.leave()

    def come(self, n):
        family = socket.AF_UNIX if isinstance(self.address, str) else socket.AF_INET
        for _ in range(n):
            sock = socket.socket(family)
            self.socks.append(sock)
            sock.settimeout(30)
            sock.connect(self.address)

    def leave(self):
        for sock in self.socks:
            sock.close()
        self.socks.clear()

    def ask(self, request, reply):
        """Everyone asks, then everyone is answered."""
        for sock in self.socks:
            sock.sendall(request)
        for sock in self.socks:
            expect(sock, reply)

    def ask_in_turn(self, request, reply):
        for sock in self.socks:
            sock.sendall(request)
            expect(sock, reply)


def expect(sock, reply):
    data = bytearray()
    while len(data) < len(reply):
        chunk = sock.recv(1 << 17)
        if not chunk:
            raise ConnectionError(f"closed after {bytes(data[:100])!r}")
        data += chunk
    if data != reply:
        raise ValueError(f"not the reply: {bytes(data[:100])!r}")


def connected(server, client):
    return client.info()["connected_clients"]


def memory_of_each(server, n):
    """Resident bytes each of n connections adds: fresh, after a PING, and after it has moved 64 KiB in and out."""
    client = server.client()
    client.call("SET", "connections", VALUE)
    here = connected(server, client)
    bulk = b"$%d\r\n%b\r\n" % (len(VALUE), VALUE)
    result = {}
    with Crowd(server.address) as crowd:
        before = rss(server.pid)
        begin = time.monotonic()
        crowd.come(n)
        wait_until(lambda: connected(server, client) >= here + n, 30, "all are connected", 0.02)
        result["seconds_to_connect"] = time.monotonic() - begin
        result["bytes_fresh"] = (rss(server.pid) - before) / n
        crowd.ask(encode("PING"), b"+PONG\r\n")
        result["bytes_after_ping"] = (rss(server.pid) - before) / n
        crowd.ask_in_turn(encode("SET", "connections", VALUE) + encode("GET", "connections"), b"+OK\r\n" + bulk)
        result["bytes_after_64k"] = (rss(server.pid) - before) / n
        result |= with_all_there(server, client)
        begin = time.monotonic()
        crowd.leave()
        wait_until(lambda: connected(server, client) <= here, 30, "all are gone", 0.02)
        result["seconds_to_leave"] = time.monotonic() - begin
    result["bytes_when_gone"] = (rss(server.pid) - before) / n
    client.call("DEL", "connections")
    return result


def with_all_there(server, client, seconds=5.0):
    """What a crowd at rest costs: its list, and time."""
    times = []
    for _ in range(5):
        begin = time.monotonic()
        size = len(client.call("CLIENT", "LIST"))
        times.append(time.monotonic() - begin)
    cpu = cpu_seconds(server.pid)
    time.sleep(seconds)
    return {
        "client_list_seconds": statistics.median(times),
        "client_list_bytes": size,
        "cpu_with_all_at_rest": (cpu_seconds(server.pid) - cpu) / seconds,
    }


def coming_and_going(server, rate=1000, seconds=5.0):
    """Connect, PING, leave, `rate` times a second: how many it was, and how much of a core the server took for it."""
    cpu, begin = cpu_seconds(server.pid), time.monotonic()
    done = 0
    while (elapsed := time.monotonic() - begin) < seconds:
        for _ in range(max(0, int(elapsed * rate) - done)):
            with Crowd(server.address) as crowd:
                crowd.come(1)
                crowd.ask(b"PING\r\n", b"+PONG\r\n")
            done += 1
        time.sleep(0.001)
    elapsed = time.monotonic() - begin
    used = cpu_seconds(server.pid) - cpu
    return {"connects_a_second": done / elapsed, "cpu": used / elapsed, "cpu_us_each": used / done * 1e6}


def measure(server, n=10000, rest_seconds=10.0):
    """All of it for one server, which must allow some clients more than n, as a dictionary of dictionaries."""
    n = min(n, raise_descriptors(n))
    return {
        "at_rest": at_rest(server, rest_seconds),
        "clients": n,
        "memory": memory_of_each(server, n),
        "connects": coming_and_going(server),
    }


def show(name, numbers):
    rest, memory, connects = numbers["at_rest"], numbers["memory"], numbers["connects"]
    print(f"{name}, {numbers['clients']} clients")
    print(f"  at rest: {rest['rss'] / 1048576:.1f} MB, {rest['wakeups_a_second']:.1f} wake-ups a second, "
          f"{rest['cpu'] * 100:.2f} % of a core; " +
          ", ".join(f"{thread.split('/')[0]} {times:.1f}" for thread, times in rest["wakeups_by_thread"].items()))
    print(f"  bytes each: fresh {memory['bytes_fresh']:.0f}, after PING {memory['bytes_after_ping']:.0f}, "
          f"after 64 KiB {memory['bytes_after_64k']:.0f}, when gone {memory['bytes_when_gone']:.0f}")
    print(f"  all connected in {memory['seconds_to_connect']:.2f} s, gone in {memory['seconds_to_leave']:.2f} s; at rest "
          f"{memory['cpu_with_all_at_rest'] * 100:.2f} % of a core; CLIENT LIST of {memory['client_list_bytes']} bytes in "
          f"{memory['client_list_seconds'] * 1000:.1f} ms")
    print(f"  {connects['connects_a_second']:.0f} connects a second at {connects['cpu'] * 100:.1f} % of a core, "
          f"{connects['cpu_us_each']:.0f} us each")


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n", maxsplit=1)[0])
    parser.add_argument("--clients", type=int, default=10000)
    parser.add_argument("--rest-seconds", type=float, default=10.0)
    options = parser.parse_args()
    most = options.clients + 100
    with Servers(default_harcad()) as servers:
        def run(name, server):
            show(name, measure(server, options.clients, options.rest_seconds))

        run("harcad", servers.harcad("harcad", {"server.maxclients": most}))
        upstream = servers.redis("upstream")
        # A moment without the processor must not count as an upstream that is down.
        settings = {"server.maxclients": most, "upstream.url": f"redis://127.0.0.1:{upstream.port}/0", "upstream.timeout": "10s"}
        run("harcad in a fleet", servers.harcad("fleet", settings))
        run("redis-server", servers.redis("redis", {"maxclients": str(most)}))


if __name__ == "__main__":
    main()
