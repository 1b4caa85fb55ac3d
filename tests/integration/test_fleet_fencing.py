"""P2 and P5: what a daemon sent and has given up, since it was not answered in time, may be on its way still, in the network
or in a server that hangs. It does not overwrite what came after it."""

import time

import pytest

from fleet import PREFIX, in_step, start_fleet
from harcad_harness import SLOW, wait_until

TIMEOUT_S = 0.3 * SLOW
HASTY = {"upstream.timeout": f"{int(1000 * TIMEOUT_S)}ms", "upstream.backoff_max": "100ms"}


class Stranding:
    """A daemon whose links go through a proxy, in which requests can be left on their way."""

    def __init__(self, make_harcad, make_link_proxy, redis, **settings):
        self.proxy = make_link_proxy(redis.address)
        self.node, = start_fleet(make_harcad, self.proxy.url, 1, {**HASTY, **settings})
        self.upstream = redis.client()

    def strand(self, *command):
        """Sends a write that is given up: it is queued."""
        self.proxy.strand("worker")
        queued = self.node.info()["writes_while_down"]
        self.node.client().execute_command(*command)
        assert self.node.info()["writes_while_down"] == queued + 1
        assert self.proxy.stranded_bytes > 0

    def has_caught_up(self):
        in_step(self.node)
        self.node.wait_info(queued_writes=0)

    def arrive(self):
        """What was stranded arrives now, if anybody is there to take it."""
        self.proxy.arrive()
        time.sleep(0.1 * SLOW)


@pytest.fixture
def stranding(make_harcad, make_link_proxy, redis_server):
    return Stranding(make_harcad, make_link_proxy, redis_server)


def both_have(stranding, key, value):
    assert stranding.upstream.get(PREFIX + key) == value
    assert stranding.node.client().get(key.decode()) == value


def test_a_set_that_was_given_up_does_not_overwrite_a_later_one(stranding):
    stranding.node.client().set("k", "old")
    stranding.strand("SET", "k", "given up")
    stranding.has_caught_up()
    both_have(stranding, b"k", b"given up")  # it was queued, and so it was written: by another way
    stranding.node.client().set("k", "later")
    stranding.arrive()
    both_have(stranding, b"k", b"later")
