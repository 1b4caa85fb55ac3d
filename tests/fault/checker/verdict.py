"""What a predicate found."""

import dataclasses


@dataclasses.dataclass
class Violation:
    promise: str  # "P1", …
    text: str
    ops: tuple = ()  # those that contradict each other, with Changes of the upstream among them

    def when(self):
        """The time of the last of them."""
        return max((getattr(op, "sent", None) or getattr(op, "at", 0.0) for op in self.ops), default=0.0)
