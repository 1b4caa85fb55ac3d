"""What tests of an upstream that fails share: settings, what a daemon is asked, how its upstream goes and comes back."""

import time

from fleet import in_step
from harcad_harness import SLOW, RespError

TIMEOUT_S = 0.5 * SLOW  # upstream.timeout here
# Failures are to be noticed soon, and a slow machine is not to be taken for one.
BRISK = {
    "upstream.timeout": f"{int(TIMEOUT_S * 1000)}ms",
    "upstream.connect_timeout": f"{int(500 * SLOW)}ms",
    "upstream.backoff_min": "20ms",
    "upstream.backoff_max": "100ms",
    "fleet.lease": f"{int(1000 * SLOW)}ms",
}
JOURNAL = b"harcad/harca/journal"
# How much longer than a bound something may take on a machine with other things to do.
SLACK_S = 1.0 * SLOW
# What is answered at once, as opposed to after upstream.timeout.
AT_ONCE_S = 0.25 * SLOW


def timed(conn, *command):
    started = time.monotonic()
    reply = conn.command(*command)
    return reply, time.monotonic() - started


def is_down(reply):
    return isinstance(reply, RespError) and str(reply).startswith("UPSTREAMDOWN")


def down(*nodes, upstream="down"):
    for node in nodes:
        node.wait_info(upstream_state=upstream)


def hits_do_not_wait(conn, key, value, seconds=0.5):
    """Reads a copy again and again; returns the slowest, in seconds. The median shows that none waits for anything, the
    slowest that not even one waits for the timeout."""
    took = []
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        reply, t = timed(conn, "GET", key)
        assert reply == value
        took.append(t)
    took.sort()
    print(f"{len(took)} hits, median {took[len(took) // 2] * 1e3:.3f} ms, slowest {took[-1] * 1e3:.2f} ms")
    assert took[len(took) // 2] < 0.05 * SLOW
    assert took[-1] < TIMEOUT_S
    return took[-1]


def quick_miss(conn, key="never"):
    """With the breaker open a miss is answered at once. The best of a few: the machine may be busy."""
    took = min(timed(conn, "GET", key)[1] for _ in range(5))
    assert took < AT_ONCE_S < TIMEOUT_S


def cut_off(proxy, node):
    proxy.refuse()
    node.wait_info(upstream_state="down", event_link="down")


def back(proxy, node):
    proxy.accept()
    in_step(node)
    node.wait_info(queued_writes=0, timeout=30 * SLOW)
