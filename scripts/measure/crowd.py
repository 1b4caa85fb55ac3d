"""Many connections, by kit.connections: what each takes when it is idle, and how many can come and go a second."""

try:
    from kit import connections
except ImportError:
    connections = None

from .row import HARCAD, REDIS, Reading, Section, Skip

CLIENTS = 10_000
RATE = 1500  # connects a second that are tried
SPARE = 100
MAXCLIENTS = {HARCAD: "server.maxclients", REDIS: "maxclients"}

OF_EACH = Section(
    "Memory of a connection",
    "Resident bytes that each of many connections adds: when it has just come, after a PING, and at rest after it has\n"
    "moved 64 KiB in and out. When gone: what is left of it.",
    ("server", "connections", "fresh", "after PING", "after 64 KiB", "when gone"))


def start(lab, kind):
    """The server, and how many connections it is to have: as many as this process may open."""
    if connections is None:
        raise Skip("scripts/kit/connections.py is not there")
    clients = min(lab.scaled(CLIENTS), connections.raise_descriptors(lab.scaled(CLIENTS)))
    return lab.start(kind, "crowd", {MAXCLIENTS[kind]: str(clients + SPARE)}), clients


def memory(lab):
    """The most that an idle connection takes, whatever it did before."""
    values, lines, clients = {}, [], 0
    for kind in lab.kinds(HARCAD, REDIS):
        server, clients = start(lab, kind)
        found = connections.memory_of_each(server, clients)
        server.stop()
        states = [found[f"bytes_{state}"] for state in ("fresh", "after_ping", "after_64k")]
        values[kind] = [max(states)]
        cells = (f"{number:,.0f}" for number in (*states, found["bytes_when_gone"]))
        lines.append((OF_EACH, (kind, f"{clients:,}", *cells)))
    return Reading(values, f"`kit.connections.memory_of_each()` with {clients} connections: the most of fresh, after PING, "
                   "and after 64 KiB each way.", details=lines)


def connects(lab):
    values = {}
    for kind in lab.kinds(HARCAD, REDIS):
        server, _ = start(lab, kind)
        values[kind] = [connections.coming_and_going(server, RATE)["connects_a_second"]]
        server.stop()
    return Reading(values, f"`kit.connections.coming_and_going()`: connect, PING, leave; {RATE} a second are tried.")
