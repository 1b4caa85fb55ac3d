"""The proxy before each daemon: what tests/support/fleet.py's can do, for several kinds of links at once, and delays
of their own for each kind.

    proxy.silence(kinds)      nothing passes either way, no FIN: neither on links that are nor on those that come
    proxy.slow(kinds, low, high)  what the upstream says arrives that many seconds later, in order
    proxy.swallow(first)    Pub/Sub messages on event links vanish, while all else passes: from the next one that tells of one
                            of these keys on, or at once
    proxy.mend()              all of that is over; what was held goes on, late as it is
"""

import random

from fleet import PREFIX, LinkProxy
from harcad_harness import DOWN, UP

ALL_LINKS = LinkProxy.KINDS
MESSAGE = b"*3\r\n$7\r\nmessage\r\n"


def end_of_reply(data, at):
    """Where the reply that begins there ends; None: not all of it is there."""
    line = data.find(b"\r\n", at)
    if line < 0:
        return None
    kind, end = data[at:at + 1], line + 2
    size = int(data[at + 1:line]) if kind in (b"$", b"*") else -1
    if kind == b"$" and size >= 0:
        end += size + 2
    for _ in range(size if kind == b"*" else 0):
        end = end_of_reply(data, end)
        if end is None:
            return None
    return end if end <= len(data) else None


class FaultProxy(LinkProxy):
    def __init__(self, target, seed):
        super().__init__(target)
        self._random = random.Random(seed)
        self._delays = {}  # kind -> (low, high)
        self._swallowing = False
        self._awaited = ()  # what the first message to vanish has in it
        self._unended = {}  # number of an event link -> what is not a whole reply yet

    def silence(self, kinds):
        for kind in kinds:
            self.hold(kind, DOWN)
            self.hold(kind, UP)

    def slow(self, kinds, low, high):
        self._delays.update({kind: (low, high) for kind in kinds})

    def swallow(self, first=()):
        self._awaited = tuple(b"\r\n" + PREFIX + key.encode() + b"\r\n" for key in first)
        self._swallowing = not first

    def cut_kinds(self, kinds):
        for kind in kinds:
            self.cut_links(kind)

    def mend(self):
        self._delays.clear()
        self._awaited, self._swallowing = (), False
        self.let_go()
        self.normal()

    def _delay_of(self, direction, number):
        low_high = self._delays.get(self._kinds.get(number)) if direction == DOWN else None
        return self._random.uniform(*low_high) if low_high else super()._delay_of(direction, number)

    async def _pass(self, direction, data, writer, number):
        if direction == DOWN and data and self._kinds.get(number) == "events":
            data = self._without_swallowed(number, data)
            if not data:
                return True
        return await super()._pass(direction, data, writer, number)

    def _without_swallowed(self, number, data):
        """What goes on of it, in whole replies."""
        data, at, passed = self._unended.get(number, b"") + data, 0, bytearray()
        while at < len(data) and (end := end_of_reply(data, at)) is not None:
            if not self._is_swallowed(data[at:end]):
                passed += data[at:end]
            at = end
        self._unended[number] = data[at:]
        return bytes(passed)

    def _is_swallowed(self, reply):
        if not reply.startswith(MESSAGE):
            return False
        self._swallowing = self._swallowing or any(key in reply for key in self._awaited)
        return self._swallowing
