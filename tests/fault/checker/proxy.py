"""The proxy before each daemon: what tests/support/fleet.py's can do, for several kinds of links at once, and delays
of their own for each kind.

    proxy.silence(kinds)      nothing passes either way, no FIN: neither on links that are nor on those that come
    proxy.slow(kinds, low, high)  what the upstream says arrives that many seconds later, in order
    proxy.mend()              all of that is over; what was held goes on, late as it is
"""

import random

from fleet import LinkProxy
from harcad_harness import DOWN, UP

ALL_LINKS = LinkProxy.KINDS


class FaultProxy(LinkProxy):
    def __init__(self, target, seed):
        super().__init__(target)
        self._random = random.Random(seed)
        self._delays = {}  # kind -> (low, high)

    def silence(self, kinds):
        for kind in kinds:
            self.hold(kind, DOWN)
            self.hold(kind, UP)

    def slow(self, kinds, low, high):
        self._delays.update({kind: (low, high) for kind in kinds})

    def cut_kinds(self, kinds):
        for kind in kinds:
            self.cut_links(kind)

    def mend(self):
        self._delays.clear()
        self.let_go()
        self.normal()

    def _delay_of(self, direction, number):
        low_high = self._delays.get(self._kinds.get(number)) if direction == DOWN else None
        return self._random.uniform(*low_high) if low_high else super()._delay_of(direction, number)
