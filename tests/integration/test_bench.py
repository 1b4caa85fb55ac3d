"""scripts/bench: its arithmetic, its parsers, its programs against real servers, and a run of it."""

import fcntl
import json
import os
import shutil
import signal
import socket
import struct
import subprocess
import sys
import tempfile
import termios

import pytest

from harcad_harness import Harcad, ROOT, SLOW, free_port, wait_until

SCRIPTS = os.path.join(ROOT, "scripts")
sys.path.insert(0, SCRIPTS)

import bench  # noqa: E402  needs the path above
from kit.resp import Client  # noqa: E402
from measure import account, beside, expiry, hits, idle, inprocess, inturn, instructions, programs, report, runner, table  # noqa: E402
from measure.row import HARCAD, MEMCACHED, REDIS, Reading, Row, Section, Skip, at_least, at_most, of_redis  # noqa: E402


def reading(harcad, redis=(), **fields):
    return Reading({HARCAD: list(harcad), REDIS: list(redis)}, "a command", **fields)


def row(target=None, measure=None, digits=0, key="a-row"):
    return Row(key, f"title of {key}", "B", target, measure, digits)


# ---- readings and targets ----


def test_reading_ratio_is_the_median_of_the_rounds_own():
    r = reading([10, 100, 30], [10, 50, 60])
    assert r.ratios() == [1, 2, 0.5]
    assert r.ratio() == 1 and r.value() == 30 and r.value(REDIS) == 50
    assert r.value(MEMCACHED) is None and r.ratio(MEMCACHED) is None


@pytest.mark.parametrize("target, harcad, redis, digits, judged, verdict", [
    (at_most(48), 48.4, 96, 0, 48, "met"),  # as it is shown
    (at_most(48), 48.4, 96, 1, 48.4, "missed"),
    (at_least(1.85), 1.846, 1, 2, 1.85, "met"),
    (at_least(1.85), 1.84, 1, 2, 1.84, "missed"),
    (of_redis(0.58), 58.4, 100, 0, 0.58, "met"),
    (of_redis(0.58), 59, 100, 0, 0.59, "missed"),
    (of_redis(0.58), 59, None, 0, None, ""),
    (None, 59, 100, 0, None, ""),
])
def test_row_verdict_follows_the_number_that_is_shown(target, harcad, redis, digits, judged, verdict):
    r = reading([harcad], [] if redis is None else [redis])
    assert row(target, digits=digits).judged(r) == judged
    assert row(target, digits=digits).verdict(r) == verdict


def test_table_rows_have_different_keys_and_can_be_measured():
    keys = [r.key for r in table.TABLE]
    assert len(set(keys)) == len(keys) > 40
    assert all(r.is_in_turn or callable(r.measure) for r in table.TABLE)


# ---- running rows ----


class FakeServers:
    def __init__(self):
        self.stopped = 0

    def stop_all(self):
        self.stopped += 1


class FakeLab:
    def __init__(self):
        self.servers = FakeServers()


def failing(error):
    def measure(_lab):
        raise error

    return measure


def test_runner_row_that_fails_or_is_skipped_leaves_the_others_alone(capsys):
    rows = [row(key="one", measure=failing(RuntimeError("it broke"))), row(key="two", measure=failing(Skip("no such tool"))),
            row(at_most(9), key="three", measure=lambda lab: reading([7]))]
    lab = FakeLab()

    outcomes = runner.measure(lab, rows, 1)

    assert [outcome.verdict for outcome in outcomes] == ["failed", "skipped", "met"]
    assert lab.servers.stopped == 3
    told = capsys.readouterr().err
    assert "one: failed, it broke" in told and "two: skipped, no such tool" in told and "three: 7 (<= 9) met" in told


class InTurn:
    """Counts who was asked in which order."""

    servers = (REDIS, HARCAD, MEMCACHED)

    def __init__(self, asked):
        self.asked = asked

    def sample(self, _lab, kind):
        self.asked.append(kind)
        return 1.0

    def reading(self, samples):
        return Reading(samples, "")


def test_runner_rounds_take_turns_in_who_is_first():
    asked = []
    lab = FakeLab()
    lab.side_by_side = {HARCAD: None, REDIS: None}  # memcached is not installed
    samples = runner.sample_all(lab, [row(measure=InTurn(asked))], 3)
    assert asked == [REDIS, HARCAD, HARCAD, REDIS, REDIS, HARCAD]
    assert samples == {"a-row": {REDIS: [1.0] * 3, HARCAD: [1.0] * 3}}


@pytest.mark.parametrize("arguments", [["--write", "--only", "get"], ["--only", "nothing is called so"], ["--rounds", "0"]])
def test_options_that_make_no_sense_are_refused(arguments, capsys):
    with pytest.raises(SystemExit) as refused:
        bench.parse_options(arguments)
    assert refused.value.code == 2 and "usage" in capsys.readouterr().err


def test_options_only_selects_by_key_or_title():
    assert [r.key for r in bench.selected(["^get-tcp-1$", "hit ratio, oltp, 1 %"])] == ["get-tcp-1", "hits-oltp-1"]
    assert len(bench.selected([])) == len(table.TABLE)


# ---- what others print ----


def test_programs_parse_takes_lines_of_name_value_unit():
    assert programs.parse("ready 1 bool\np50 90.4 us\n\nnot a number us\nalone\n") == {"ready": 1.0, "p50": 90.4}


def test_redis_benchmark_csv_is_read_by_its_head():
    head = '"test","rps","avg_latency_ms","min_latency_ms","p50_latency_ms","p95_latency_ms","p99_latency_ms","max_latency_ms"'
    line = '"GET","125000.00","0.2","0.1","0.183","0.3","0.415","0.6"'
    assert inturn.parse_csv(f"{head}\n{line}\n") == (125000.0, 0.183, 0.415)
    with pytest.raises(ValueError, match="Could not connect"):
        inturn.parse_csv("Could not connect to server\n")


def test_machine_time_adds_up_what_is_busy_idle_and_stolen():
    times = account.parse_machine_time("cpu  100 20 30 400 50 6 7 8 0 0\ncpu0 1 2 3 4 5 6 7 8 0 0\n")
    ticks = account.TICKS
    assert (times.busy, times.idle, times.stolen) == pytest.approx((163 / ticks, 450 / ticks, 8 / ticks))
    assert times.since(times) == account.MachineTime(0, 0, 0)


def test_wake_ups_are_per_thread_and_of_the_window():
    before = [account.Thread(1, "main", 100), account.Thread(2, "worker-0", 7)]
    after = [account.Thread(1, "main", 130), account.Thread(2, "worker-0", 7), account.Thread(3, "new", 3)]
    assert idle.rates_between(before, after, 3.0) == (("main", 10.0), ("new", 1.0))


def test_memory_is_back_when_most_of_what_was_taken_is_given_up():
    watch = expiry.Watch(empty=100, full=1100)
    watch.see(160, 1.0)
    assert not watch.is_back
    watch.see(150, 2.0)
    watch.see(100, 3.0)
    assert watch.at_s == 2.0


def test_simulator_table_is_read_by_policy():
    text = """100 requests, 10 keys, footprint 7, budget 1
                             hits  hit bytes  seconds
store, objects             0.6810     0.6710     1.87
Redis LRU, simulated       0.6624     0.6524     0.06
"""
    assert hits.parse(text) == [("store, objects", 0.681, 0.671), ("Redis LRU, simulated", 0.6624, 0.6524)]


def test_churn_table_is_read_by_phase():
    text = """268435456 bytes, 1000000 requests a phase
values                  rss  worst   grown  worst  payload   entries    hits   us/op
4 KiB                 0.991  1.012   0.975  0.996    0.950     60000  0.3333    1.20
mixed 64 B-64 KiB     1.041  1.093   1.025  1.077    0.930     20000  0.3333    1.40
"""
    assert inprocess.parse_churn(text) == [("4 KiB", 0.991, 1.012, 0.975, 0.996),
                                           ("mixed 64 B-64 KiB", 1.041, 1.093, 1.025, 1.077)]


def test_number_that_a_program_does_not_print_is_an_error():
    text = "mixed, uniform   1.96 million/s, two threads 1.84 times that, a store each 1.87: 98 % of it"
    assert inprocess.find(text, r"two threads ([\d.]+)", "it") == 1.84
    with pytest.raises(programs.ProgramError, match="it says nothing like"):
        inprocess.find("something else", r"two threads ([\d.]+)", "it")


CALLGRIND = """version: 1
positions: line
events: Ir
ob=(1) /somewhere/build/harcad
fl=(1) /tree/proto/resp_request.c
fn=(1) hc_resp_parse
10 7
fi=(2) /tree/daemon/base/out.h
+3 5
fe=(1)
20 1
cob=(2) /usr/lib/libc.so.6
cfi=(3) ???
cfn=(2) memcpy
calls=4 0
21 1000
22 2

fl=(4) /tree/daemon/store/table.c
fn=(3) find
* 11
ob=(2)
fl=(3)
fn=(2)
0 40
totals: 66
"""


def test_callgrind_costs_go_to_the_file_they_were_compiled_from():
    counted = instructions.Callgrind(CALLGRIND)
    assert sum(counted.costs.values()) == 66
    assert counted.groups() == {"parse": 10, "reply": 5, "look-up": 11, "libc": 40}


# ---- the report ----


DETAILS = Section("Details", "Of what.", ("what", "number"))


def outcomes():
    return [runner.Outcome(row(at_most(9), key="one", digits=1), reading([7, 8, 12], [16, 16, 16], note="a note",
                                                                         details=[(DETAILS, ("x", "1"))])),
            runner.Outcome(row(of_redis(0.4), key="two"), reading([8], [16], details=[(DETAILS, ("y", "2"))])),
            runner.Outcome(row(at_most(9), key="three"), skipped="no such tool"),
            runner.Outcome(row(key="four"), failed="it broke")]


def test_report_main_line_shows_numbers_spread_target_and_verdict():
    lines = [report.main_line(outcome) for outcome in outcomes()]
    assert lines[0] == ("title of one", "B", "8.0", "16.0", "", "0.50", "", "7.00", "12.00", "<= 9", "met")
    assert lines[1] == ("title of two", "B", "8", "16", "", "0.50", "", "", "", "<= 0.4x", "missed")
    assert lines[2] == ("title of three", "B", *[""] * 7, "<= 9", "skipped")
    assert all(len(line) == len(report.HEAD) for line in lines)


def test_report_says_everything_in_each_form():
    facts = [("processor", "fast")]
    plain = report.terminal(facts, 3, outcomes())
    page = report.document("scripts/bench --write", facts, 3, 1, outcomes())
    for text in (plain, page):
        assert "Of 3 targets: 1 met, 1 missed, 1 skipped." in text
        assert "title of one: a note" in text and "title of three: skipped: no such tool" in text
        assert "title of four: failed: it broke" in text
        assert "fast" in text and text.count("Of what.") == 1
    assert "- title of one: a command" in page and "quick run" not in page
    tables = [line for line in page.splitlines() if line.startswith("| title of")]
    assert len(tables) == 4 and len({line.count("|") for line in tables}) == 1
    assert "quick run" in report.document("scripts/bench --write", facts, 3, 10, outcomes())


def test_report_json_has_the_rounds_and_the_reasons():
    said = json.loads(report.as_json([("processor", "fast")], 3, outcomes()))
    assert said["machine"] == {"processor": "fast"}
    assert said["rows"][0]["rounds"][HARCAD] == [7, 8, 12] and said["rows"][0]["judged"] == 8
    assert said["rows"][2]["why"] == "no such tool" and said["rows"][3]["verdict"] == "failed"


# ---- the programs ----


def program(name):
    return os.path.join(os.path.dirname(Harcad.binary()), name)


def load(*arguments):
    done = subprocess.run([program("load"), *map(str, arguments)], capture_output=True, text=True, timeout=30 * SLOW)
    return done.returncode, programs.parse(done.stdout), done.stderr


def test_load_fills_reads_and_counts_misses(harcad):
    address = ("-p", harcad.port)
    assert load(*address, "-o", "fill", "-n", 1000, "-f", 5, "-d", 300, "-P", 16, "-x", "MODEL", "-x", "m")[0] == 0
    client = harcad.client()
    assert client.dbsize() == 1000
    assert client.get("key:000000001004") == b"v" * 300 and client.get("key:000000000004") is None
    assert client.execute_command("MODEL", "OF", "key:000000000005") == b"m"

    status, values, _ = load(*address, "-o", "get", "-n", 5000, "-f", 5, "-k", 1000, "-P", 7)
    assert status == 0 and values["operations"] == 5000 and values["misses"] == 0
    assert values["p50"] <= values["p99"] <= values["p999"] <= values["longest"]

    _, values, _ = load(*address, "-o", "get", "-n", 100, "-m", 10, "-f", 5, "-k", 1000)
    assert values["operations"] == 100 and values["misses"] == 0
    _, values, _ = load(*address, "-o", "get", "-n", 100, "-m", 10, "-f", 5000, "-k", 1000)
    assert values["misses"] == 1000


def test_load_large_values_and_deep_pipelines_are_read_whole(harcad):
    assert load("-p", harcad.port, "-o", "fill", "-n", 40, "-c", 2, "-d", 500_000, "-P", 10)[0] == 0
    status, values, _ = load("-p", harcad.port, "-o", "get", "-n", 100, "-c", 3, "-k", 40, "-P", 25)
    assert status == 0 and values["misses"] == 0


def test_load_error_reply_ends_it_with_the_servers_words(harcad):
    status, _, err = load("-p", harcad.port, "-o", "fill", "-n", 10, "-x", "NONSENSE")
    assert status == 1 and "syntax error" in err


@pytest.mark.skipif(not shutil.which("memcached"), reason="memcached is not installed")
def test_load_speaks_memcached():
    from kit.processes import Servers

    handlers = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        with Servers(Harcad.binary()) as servers:
            port = servers.memcached("memcached").port
            assert load("-p", port, "-t", "memcached", "-o", "fill", "-n", 1000, "-P", 16)[0] == 0
            status, values, _ = load("-p", port, "-t", "memcached", "-o", "get", "-n", 5000, "-k", 1000, "-P", 16)
            assert status == 0 and values["operations"] == 5000 and values["misses"] == 0
            _, values, _ = load("-p", port, "-t", "memcached", "-n", 50, "-m", 10, "-f", 995, "-k", 10)
            assert 100 < values["misses"] < 400
    finally:
        for number, handler in handlers.items():
            signal.signal(number, handler)


def of_redis_benchmark():
    return [r for r in table.TABLE if isinstance(r.measure, inturn.RedisBenchmark)]


def test_floor_exchanges_what_the_servers_do(harcad):
    client = harcad.client()
    for prefix, size in inturn.SIZES.items():
        client.mset({inturn.key(prefix, number): b"v" * size for number in range(inturn.MGET_KEYS)})

    assert len(of_redis_benchmark()) > 10
    for r in of_redis_benchmark():
        exchange = r.measure.exchange
        with socket.create_connection(harcad.address, timeout=10 * SLOW) as connection:
            connection.sendall(exchange.request)
            reply = b""
            while len(reply) < len(exchange.reply):
                more = connection.recv(1 << 16)
                assert more, r.key
                reply += more
        assert len(reply) == len(exchange.reply), r.key


def unread_by_peer(connection):
    return struct.unpack("i", fcntl.ioctl(connection, termios.TIOCOUTQ, bytes(4)))[0]


def listens(path):
    """The socket is there somewhat sooner."""
    with socket.socket(socket.AF_UNIX) as connection:
        return connection.connect_ex(path) == 0


def test_floor_answers_each_request_however_its_bytes_come(short_tmp):
    path = os.path.join(short_tmp, "sock")
    exchange = inturn.Exchange(b"r" * 10, b"abc")
    argv = [program("floor"), "-p", str(free_port()), "-s", path]
    with programs.Endless(argv):
        wait_until(lambda: listens(path), message="it listens")
        with Client(path) as told:
            exchange.tell(told)
        with socket.socket(socket.AF_UNIX) as connection:
            connection.settimeout(10 * SLOW)
            connection.connect(path)
            for pieces, replies in (([3, 3, 4], 1), ([25], 2), ([5], 1), ([10 * 1000], 1000)):
                for piece in pieces:
                    connection.sendall(b"r" * piece)
                    wait_until(lambda: unread_by_peer(connection) == 0, message="it has read that")
                got = b""
                while len(got) < 3 * replies:
                    got += connection.recv(1 << 16)
                assert got == b"abc" * replies


def start_probe(server, seconds=None):
    """Ends by itself after so many seconds, if they are given."""
    argv = [program("probe"), "-s", server.unix_path, "-w", f"{server.pid}/{server.pid}", "-r", "1000"]
    return programs.Background(argv if seconds is None else [*argv, "-T", str(seconds)])


def test_probe_sees_a_server_that_stalls(make_redis):
    server = make_redis(unix=True)
    with start_probe(server) as probe:
        server.client().execute_command("DEBUG", "SLEEP", "0.2")
        values = probe.finish()
    assert 190_000 < values["longest"] and 190_000 < values["own_longest_with_host"]
    assert 190_000 - values["gaps_total"] < values["own_longest"] <= values["own_longest_with_host"]
    assert values["own_long"] >= 1 and values["pings"] >= 1


def test_probe_does_not_blame_the_server_for_the_scheduler(make_redis):
    """A server that only runs when nobody else wants to, and somebody who always wants to."""
    server = make_redis(unix=True)
    cpu = str(min(os.sched_getaffinity(0)))
    subprocess.run(["taskset", "-a", "-cp", cpu, str(server.pid)], check=True, capture_output=True)
    os.sched_setscheduler(server.pid, os.SCHED_IDLE, os.sched_param(0))
    hog = subprocess.Popen(["taskset", "-c", cpu, sys.executable, "-c", "while True: pass"])
    try:
        with start_probe(server, seconds=1.0) as probe:
            values = probe.finish(stop=False)
    finally:
        hog.kill()
        hog.wait()
    assert values["waited"] > 50_000, values
    assert values["own_longest"] < values["longest"] / 2, values


BUSY_SIBLING = """
import hashlib, os, socket, sys, threading
os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
listener = socket.socket(socket.AF_UNIX)
listener.bind(sys.argv[1] + ".new")
listener.listen()
block = bytes(2 << 30)  # never written, so never there; seconds of work without the interpreter's lock
threading.Thread(target=hashlib.sha3_256, args=(block,), daemon=True).start()
os.rename(sys.argv[1] + ".new", sys.argv[1])
os.sched_setscheduler(threading.get_native_id(), os.SCHED_IDLE, os.sched_param(0))
connection, _ = listener.accept()
while connection.recv(100):
    connection.sendall(b"+PONG\\r\\n")
"""


def test_probe_blames_the_server_for_its_own_other_threads(tmp_path):
    """As before, but who always wants to is a thread of the server."""
    class Server:
        unix_path = str(tmp_path / "s")

    process = subprocess.Popen([sys.executable, "-c", BUSY_SIBLING, Server.unix_path])
    Server.pid = process.pid
    try:
        wait_until(lambda: os.path.exists(Server.unix_path))
        with start_probe(Server, seconds=1.0) as probe:
            values = probe.finish(stop=False)
    finally:
        process.kill()
        process.wait()
    assert values["own_longest"] > 3_000, values


STALLING = """
import os, socket, sys, time
def busy():
    until = time.thread_time() + 0.005
    while time.thread_time() < until:
        pass
def asleep():
    time.sleep(0.005)
os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
listener = socket.socket(socket.AF_UNIX)
listener.bind(sys.argv[1] + ".new")
listener.listen()
os.rename(sys.argv[1] + ".new", sys.argv[1])
connection, _ = listener.accept()
answered = 0
while connection.recv(100):
    answered += 1
    if answered % 50 == 0:
        globals()[sys.argv[2]]()
    connection.sendall(b"+PONG\\r\\n")
"""


@pytest.mark.parametrize("how", ["busy", "asleep"])
def test_probe_does_not_take_the_servers_own_stalls_for_the_hosts(tmp_path, how):
    """Some twenty of 5 ms: the host cannot have been there each time."""
    class Server:
        unix_path = str(tmp_path / "s")

    process = subprocess.Popen([sys.executable, "-c", STALLING, Server.unix_path, how])
    Server.pid = process.pid
    try:
        wait_until(lambda: os.path.exists(Server.unix_path))
        with start_probe(Server, seconds=1.5) as probe:
            values = probe.finish(stop=False)
    finally:
        process.kill()
        process.wait()
    assert values["witnesses"] >= values["realtime"], values
    assert values["own_longest"] > 4_500 and values["own_long"] >= 5, values


def test_probe_real_time_threads_of_others_are_not_the_hosts(make_redis):
    """Who keeps a witness off half of the time, and lets the interrupts through. The host itself may take a tenth."""
    server = make_redis(unix=True)
    hog = ("import os, time\n"
           f"os.sched_setaffinity(0, {{{min(os.sched_getaffinity(0))}}})\n"
           "os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(50))\n"
           "while True:\n"
           "    until = time.monotonic() + 0.04\n"
           "    while time.monotonic() < until:\n"
           "        pass\n"
           "    time.sleep(0.04)\n")
    process = subprocess.Popen([sys.executable, "-c", hog], stderr=subprocess.DEVNULL)

    def few_gaps():
        """The host may have a bad second."""
        with start_probe(server, seconds=1.0) as probe:
            values = probe.finish(stop=False)
        if process.poll() is not None:
            pytest.skip("no real-time priority")
        assert values["gaps_total"] < 300_000, values
        return True

    try:
        wait_until(few_gaps)
    finally:
        process.kill()
        process.wait()


def test_probe_server_that_goes_away_ends_it_with_a_reason(make_redis):
    server = make_redis(unix=True)
    with start_probe(server) as probe:
        server.kill()
        with pytest.raises(programs.ProgramError, match="the server"):
            probe.finish(stop=False)


# ---- beside a busy file tier ----


class LoadLab:
    """As much of a lab as beside.py asks for."""

    ENDLESS = 4_000_000_000

    def load_argv(self, _kind, server, *options):
        return [program("load"), "-p", str(server.port), *map(str, options)]

    def load(self, kind, server, *options, wrapper=()):
        subprocess.run([*wrapper, *self.load_argv(kind, server, *options)], check=True, capture_output=True)


def where(pid):
    return {thread.tid: os.sched_getaffinity(thread.tid) for thread in account.threads(pid)}


@pytest.mark.skipif(beside.processors() is None, reason="one processor")
def test_hit_beside_files_is_counted_on_a_thread_that_shares_with_nobody(make_harcad):
    server, lab = make_harcad(beside.options("on", 2)), LoadLab()
    lab.load(HARCAD, server, "-o", "fill", "-n", beside.KEYS, "-K", "hot")

    before = beside.worker_ns(server.pid)
    assert 50 < beside.hit_ns(lab, server, 100 * beside.DEPTH, apart=True) < 100_000
    spent = {tid: ns - before[tid] for tid, ns in beside.worker_ns(server.pid).items()}

    last = {int(beside.processors()[1])}
    alone = [tid for tid, processors in where(server.pid).items() if processors == last]
    assert alone == [min(spent, key=spent.get)]
    assert all(not processors & last for tid, processors in where(server.pid).items() if tid not in alone)
    beside.place(server.pid, None)
    assert set(map(frozenset, where(server.pid).values())) == {beside.EVERYWHERE}


# ---- a run ----


@pytest.fixture
def short_tmp():
    """A path that leaves room for that of a Unix socket below it."""
    with tempfile.TemporaryDirectory(prefix="hc-", dir="/tmp") as directory:
        yield directory


def run_bench(directory, *arguments):
    argv = [sys.executable, "-B", os.path.join(SCRIPTS, "bench.py"), "--harcad", Harcad.binary(), "--quick", *arguments]
    return subprocess.Popen(argv, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
                            env={**os.environ, "TMPDIR": directory})


def test_bench_quick_run_measures_and_leaves_nothing_behind(short_tmp, tmp_path):
    path = tmp_path / "out.json"
    process = run_bench(short_tmp, "--only", "^(equal-get-1|stall-rest|hits-oltp-1)$", "--rounds", "1", "--json", str(path))
    out, err = process.communicate(timeout=50 * SLOW)

    assert process.returncode == 0, err
    rows = {r["key"]: r for r in json.loads(path.read_text())["rows"]}
    assert set(rows) == {"equal-get-1", "stall-rest", "hits-oltp-1"}
    assert rows["equal-get-1"]["rounds"][HARCAD][0] > 100 and rows["equal-get-1"]["rounds"][REDIS][0] > 100
    assert rows["stall-rest"]["rounds"][HARCAD][0] > 0
    assert rows["hits-oltp-1"]["verdict"] == "skipped"
    assert "load average" in out and "GET 64 B, TCP, pipeline 1, equal load" in out
    assert os.listdir(short_tmp) == []


def test_bench_interrupted_ends_what_it_started(short_tmp):
    process = run_bench(short_tmp, "--only", "^idle-rss$")
    wait_until(lambda: os.listdir(short_tmp), message="it has begun")

    process.send_signal(signal.SIGTERM)
    process.communicate(timeout=30 * SLOW)

    assert process.returncode == 143
    assert os.listdir(short_tmp) == []
