"""The file tier: what a read from it costs beside memcached's extstore, what writing through costs, how soon it is there
again, and how the two tiers do on recorded traces. What it costs those who do not use it: beside.py."""

import glob
import os
import socket
import statistics
import time

from kit import replay
from kit.processes import wait_until

from . import account, hits, inprocess, programs
from .lab import settle
from .row import HARCAD, MEMCACHED, Reading, Section, Skip

VALUE_BYTES = 4096
MIB = 1 << 20
ROUNDS = 5
START_ENTRIES = 1_000_000
START_WITHIN_S = 120.0
BENCH_VALUES = 200_000  # of build/filebench

COSTS = Section(
    "The file tier's threads",
    "CPU time for each operation, by the kernel's account of each thread, in µs. Workers serve clients, and read what the\n"
    "page cache has; the writer writes; readers wait for disks.",
    ("operation", "server", "workers", "writer", "readers", "all others", "operations from files"))

TIERS = Section(
    "Two tiers on traces",
    "Hit ratios of a cache-aside client; what was written to the disk for each byte of values, and the most that the files\n"
    "took of file.max_bytes.",
    ("trace", "memory + files", "memory of both", "memory only", "written for a byte", "most of max_bytes"))


# ---- CPU by thread ----


def cpu_by_name(pid):
    """CPU time in ns of all threads of a name; digits at its end are left out."""
    found = {}
    for path in glob.glob(f"/proc/{pid}/task/*"):
        name = account.read(f"{path}/comm").strip().rstrip("-0123456789")
        found[name] = found.get(name, 0) + int(account.read(f"{path}/schedstat").split()[0])
    return found


def spent(pid, work):
    """What work() gives, and the CPU time meanwhile by thread's name, what it left to be done included."""
    before = cpu_by_name(pid)
    result = work()
    settle(pid, 2.0)
    return result, {name: ns - before.get(name, 0) for name, ns in cpu_by_name(pid).items()}


def cost_line(operation, kind, cpu, operations, from_files):
    named = [cpu.get(name, 0) for name in ("worker", "file-writer", "file-reader")]
    cells = (f"{ns / operations / 1000:.2f}" for ns in (*named, sum(cpu.values()) - sum(named)))
    return (COSTS, (operation, kind, *cells, from_files))


# ---- GET from a file ----


GET_KEYS = 150_000  # 600 MB, of which memory holds a tenth
GET_OPTIONS = {HARCAD: {"memory.max_bytes": "64M", "file.max_bytes": "1G", "file.threads": "2"}}


def extstore(lab):
    """memcached's options: a file in its own directory, which is where it runs."""
    if not lab.kinds(MEMCACHED):
        raise Skip("memcached is not installed")
    # Without the age it keeps what is new in memory for longer than it has memory, and drops it.
    return {"-m": "64", "-t": "1", "-o": "ext_path=extstore:1G,ext_threads=2,ext_item_age=0"}


def from_files(kind, server):
    """Reads that files have answered so far."""
    if kind == HARCAD:
        return server.client().info()["file_hits"]
    return memcached_stat(server, b"get_extstore")


def memcached_stat(server, name):
    with socket.create_connection(server.address, timeout=10.0) as connection, connection.makefile("rwb") as stream:
        stream.write(b"stats\r\n")
        stream.flush()
        for line in stream:
            words = line.split()
            if words[:1] == [b"END"]:
                break
            if words[1] == name:
                return int(words[2])
    raise Skip(f"this memcached tells no {name.decode()}: it has no extstore")


def fill_slowly(lab, kind, server, keys):
    """memcached drops what comes faster than it can write."""
    step = 2000
    for first in range(0, keys, step):
        lab.load(kind, server, "-o", "fill", "-n", min(step, keys - first), "-f", first, "-d", VALUE_BYTES, "-c", 1)
        if kind == MEMCACHED:
            time.sleep(0.02)


def get_cpu(lab):
    """harcad's CPU for a GET that a file answers, of memcached's. Uniform keys, of which a tenth fits into memory."""
    keys, reads = lab.scaled(GET_KEYS), lab.scaled(100_000)
    options = {**GET_OPTIONS, MEMCACHED: extstore(lab)}
    if lab.divisor > 1:
        raise Skip("a tenth of the keys fits into memory")
    servers = {kind: lab.start(kind, "files", options[kind]) for kind in (MEMCACHED, HARCAD)}
    for kind, server in servers.items():
        os.sync()  # what the disk has to do for others makes memcached drop more
        fill_slowly(lab, kind, server, keys)
        lab.load(kind, server, "-o", "get", "-n", reads, "-k", keys, "-c", 50)  # the page cache, and memory's choice
    values, lines = {kind: [] for kind in servers}, []
    for number in range(ROUNDS):
        for kind, server in servers.items() if number % 2 == 0 else reversed(servers.items()):
            before = from_files(kind, server)
            said, cpu = spent(server.pid, lambda k=kind, s=server: lab.load(k, s, "-o", "get", "-n", reads, "-k", keys, "-c", 50))
            answered = from_files(kind, server) - before
            if said["misses"] > reads // 100:
                raise Skip(f"{kind} has dropped {100 * said['misses'] / reads:.0f} % of the keys")
            values[kind].append(sum(cpu.values()) / reads)
            shown = f"{100 * answered / reads:.0f} %, {100 * said['misses'] / reads:.0f} % missed"
            lines.append(cost_line("GET 4 KiB", kind, cpu, reads, shown))
    ratio = statistics.median(own / other for own, other in zip(values[HARCAD], values[MEMCACHED]))
    info = servers[HARCAD].client().info()
    note = (f"harcad {statistics.median(values[HARCAD]):,.0f} ns, memcached {statistics.median(values[MEMCACHED]):,.0f} ns; "
            f"index {info['file_index_bytes'] / info['file_entries']:.1f} B an entry")
    return Reading({HARCAD: [ratio]}, f"`build/load -o get -k {keys} -c 50` on both, memory of 64 MB and a file of 1 GB, two threads "
                   "for files; CPU of all threads for each GET.", note, lines)


# ---- build/filebench: the log by itself ----


def bench(lab):
    with lab.scratch() as directory:
        return programs.run([lab.program("filebench"), directory, str(lab.scaled(BENCH_VALUES))])


def read_p99(lab):
    text = lab.once(bench)
    bare = inprocess.find(text, r"^read +bare pread.*p99 +([\d.]+)", "filebench")
    cached = inprocess.find(text, r"^read +cached.*p99 +([\d.]+)", "filebench")
    return Reading({HARCAD: [cached / bare]}, f"`build/filebench DIR {lab.scaled(BENCH_VALUES)}`: four threads each, 4 KiB, page cache warm.",
                   f"bare pread {bare} µs, from the log {cached} µs")


def index_bytes(lab):
    text = lab.once(bench)
    each = inprocess.find(text, r"^index +1000000 items: ([\d.]+) bytes", "filebench")
    most = inprocess.find(text, r"^index +10000000 items: ([\d.]+) bytes", "filebench")
    return Reading({HARCAD: [each]}, "`build/filebench DIR N`: the index of a million items.", f"of ten million: {most}")


# ---- SET through ----


def set_cpu(lab):
    """CPU of all threads but the writer, whose work is the write itself, of that without a file tier."""
    sets = lab.scaled(60_000)
    servers = {state: lab.start(HARCAD, f"set-{state}", {"file.enabled": enabled, "memory.max_bytes": "256M", "file.max_bytes": "1G"})
               for state, enabled in (("off", "no"), ("through", "yes"))}
    costs, lines = {state: [] for state in servers}, []
    for number in range(ROUNDS + 1):  # the first is for the page cache
        for state, server in servers.items():
            _, cpu = spent(server.pid, lambda s=server: lab.load(HARCAD, s, "-o", "set", "-n", sets, "-k", 10_000, "-d", VALUE_BYTES,
                                                                   "-c", 50))
            if number > 0:
                costs[state].append((sum(cpu.values()) - cpu.get("file-writer", 0)) / sets)
                lines.append(cost_line("SET 4 KiB", state, cpu, sets, ""))
    ratios = [through / off for through, off in zip(costs["through"], costs["off"])]
    return Reading({HARCAD: ratios}, f"`build/load -o set -k 10000 -d {VALUE_BYTES} -c 50`: CPU of all threads but file-writer, "
                   "with file.write=through, of that with file.enabled=no.", details=lines)


# ---- starting ----


def loaded(server):
    """Seconds from the start of the process until all is known, by its own clock: INFO."""
    began = time.monotonic()
    wait_until(lambda: server.client().info()["file_state"] == "on", START_WITHIN_S, "the log is loaded")
    return server.client().info()["file_load_ms"] / 1000, time.monotonic() - began


def starts(lab):
    """(after a clean stop, after a kill) of load seconds, and entries."""
    entries = lab.scaled(START_ENTRIES)
    server = lab.start(HARCAD, "start", {"file.max_bytes": "8G", "memory.max_bytes": "256M", "file.sync": "no"})
    lab.fill(HARCAD, server, entries, "-d", VALUE_BYTES)
    found = server.client().info()["file_entries"]
    server.stop()
    server.start()
    clean, _ = loaded(server)
    lab.fill(HARCAD, server, 1000, "-d", VALUE_BYTES)  # so that there is something to be scanned
    server.kill()
    server.start()
    killed, _ = loaded(server)
    return clean, killed, found


def start_after(how):
    def measure(lab):
        clean, killed, entries = lab.once(starts)
        return Reading({HARCAD: [clean if how == "stop" else killed]}, "INFO file_load_ms after a start on as many entries of 4 KiB.",
                       f"{entries:,} entries")

    return measure


# ---- traces ----


TRACES = {"orm-night": (8 * MIB, 32 * MIB), "oltp": (16 * MIB, 64 * MIB)}  # memory and files


def run_trace(lab, name):
    """Hit ratios of both tiers, of memory with both budgets, of memory alone; INFO of both; the most that files took."""
    memory, files = TRACES[name]
    trace = list(replay.read(hits.find(lab, name), lab.scaled(2_000_000)))
    ratios = {}
    for label, options in (("both", {"memory.max_bytes": memory, "file.max_bytes": files}),
                           ("alone", {"memory.max_bytes": memory + files, "file.enabled": "no"}),
                           ("memory", {"memory.max_bytes": memory, "file.enabled": "no"})):
        server, most = lab.start(HARCAD, f"{name}-{label}", options), [0]
        client, asking = server.client(), server.client()

        def watch(asking=asking, most=most):
            most[0] = max(most[0], asking.info()["file_bytes"])

        ratios[label] = replay.replay(client, trace, watch if label == "both" else None).hit_ratio
        if label == "both":
            info, top = asking.info(), most[0]
        server.stop()
    return ratios, info, top


def trace_line(lab, name):
    ratios, info, most = lab.once(run_trace, name)
    written = info["file_written_bytes"] / info["file_appended_bytes"]
    cells = (f"{ratios[label]:.4f}" for label in ("both", "alone", "memory"))
    return (TIERS, (name, *cells, f"{written:.3f}", f"{most / info['file_max_bytes']:.3f}")), written, ratios


def two_tiers(name):
    """Both tiers' hit ratio, of that of memory with both budgets."""
    def measure(lab):
        line, _, ratios = trace_line(lab, name)
        return Reading({HARCAD: [ratios["both"] / ratios["alone"]]}, f"The trace, replayed by kit/replay.py with "
                       f"{TRACES[name][0] >> 20} MB of memory and {TRACES[name][1] >> 20} MB of files.", details=[line])

    return measure


def amplification(name):
    def measure(lab):
        _, written, _ = trace_line(lab, name)
        return Reading({HARCAD: [written]}, "The same run: INFO file_written_bytes / file_appended_bytes.")

    return measure
