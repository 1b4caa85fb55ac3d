"""Which processors a measurement gives to whom."""

import os


def processors():
    """(for the server, for prober and load), as taskset wants them; None where there is one processor only."""
    allowed = sorted(os.sched_getaffinity(0))
    if len(allowed) < 2:
        return None
    return ",".join(map(str, allowed[:-1])), str(allowed[-1])


def pinned(which):
    """The words that start a program on its processors: 0 the server, 1 prober and load."""
    found = processors()
    return ("taskset", "-c", found[which]) if found else ()
