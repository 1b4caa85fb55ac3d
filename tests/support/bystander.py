"""Another client, who must be served whatever is done to the daemon."""

import contextlib
import os
import threading
import time

from harcad_harness import SLOW, TIMEOUT, wait_until


def seconds_kept_waiting(pid):
    """For how long threads of the process were ready to run while the machine had no processor for them."""
    waited_ns = 0
    for task in os.listdir(f"/proc/{pid}/task"):
        with contextlib.suppress(OSError), open(f"/proc/{pid}/task/{task}/schedstat", encoding="ascii") as stat:
            waited_ns += int(stat.read().split()[1])
    return waited_ns / 1e9


def admitted(harcad):
    """A connection that has given the password, if one is wanted."""
    conn = harcad.raw()
    if password := harcad.settings.get("server.password"):
        assert conn.command("AUTH", password) == "OK"
    return conn


class Bystander:
    """Pings in a thread, and remembers how long each took."""

    def __init__(self, harcad):
        self.pids = (harcad.pid, os.getpid())
        self.waited = sum(map(seconds_kept_waiting, self.pids))
        self.conn = admitted(harcad)
        self.conn.command("SET", "sentinel", "intact")
        self.times = []
        self.error = None
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def _run(self):
        try:
            while True:
                begin = time.monotonic()
                assert self.conn.command("PING") == "PONG"
                self.times.append(time.monotonic() - begin)
                if self._stop.wait(0.002):
                    return
        except (AssertionError, OSError) as error:
            self.error = error

    def __enter__(self):
        self._thread.start()
        return self

    def __exit__(self, *exc):
        self._end()
        self.conn.close()

    def _end(self):
        self._stop.set()
        self._thread.join(TIMEOUT)

    def check(self, harcad, slowest=2.0):
        """Nobody had to wait, but for a processor, and what was stored is there; ends the pinging."""
        self._end()
        waited = sum(map(seconds_kept_waiting, self.pids)) - self.waited
        assert self.error is None and self.times
        times = sorted(self.times)
        median = times[len(times) // 2]
        assert median < 0.1 * SLOW + waited / len(times), f"median {median:.3f} s of {len(times)}, {waited:.3f} s without a processor"
        assert times[-1] < slowest * SLOW + waited, f"slowest {times[-1]:.3f} s of {len(times)}, {waited:.3f} s without a processor"
        # With an upstream that has been overrun, it is a miss for a moment.
        with admitted(harcad) as conn:
            wait_until(lambda: conn.command("GET", "sentinel") == b"intact", message="what was stored is there")
