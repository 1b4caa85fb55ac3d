"""The daemon as a process: how it starts, is told to reload, tells its service manager, and ends."""

import os
import re
import shutil
import signal
import socket
import threading
import time

import pytest

from harcad_harness import Harcad, RawConn, RespError, SANITIZER_ROOM, SLOW, TIMEOUT, free_port, wait_until

encode = RawConn.encode

# ---- ending ----


class Traffic:
    """Clients that pipeline SETs and GETs until they are cut off; each must get whole replies, in order, up to the end."""

    def __init__(self, harcad, clients=4):
        self.harcad = harcad
        self.rounds = 0
        self.faults = []
        self.threads = [threading.Thread(target=self._run, args=(i,), daemon=True) for i in range(clients)]
        for thread in self.threads:
            thread.start()

    def _run(self, number):
        key = f"k:{number}"
        conn = self.harcad.raw()
        try:
            for i in range(1 << 30):
                conn.send(b"".join(encode("SET", key, f"{i}.{j}") + encode("GET", key) for j in range(50)))
                for j in range(50):
                    replies = conn.read_reply(), conn.read_reply()
                    if replies != ("OK", f"{i}.{j}".encode()):
                        self.faults.append(replies)
                        return
                self.rounds += 1
        except ConnectionResetError:
            pass  # it had sent more when the daemon closed
        except BrokenPipeError:
            pass
        except ConnectionError as error:
            # Closed in good order: between replies, not in the middle of one.
            if "with b''" not in str(error) and "bytearray(b'')" not in str(error):
                self.faults.append(str(error))
        except OSError as error:
            self.faults.append(repr(error))
        finally:
            conn.close()

    def check(self):
        for thread in self.threads:
            thread.join(TIMEOUT)
            assert not thread.is_alive()
        assert not self.faults


@pytest.mark.tsan
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
@pytest.mark.parametrize("mode", ["embedded", "fleet"])
def test_lifecycle_signal_during_traffic_ends_in_good_order(make_redis, make_harcad, mode, number):
    upstream = make_redis() if mode == "fleet" else None
    harcad = make_harcad({"server.workers": "2", "upstream.timeout": "30s"}, upstream=upstream)
    traffic = Traffic(harcad)
    wait_until(lambda: traffic.rounds > 20)
    begin = time.monotonic()
    harcad.signal(number)
    assert harcad.wait() == 0
    assert time.monotonic() - begin < 5 * SLOW  # shutdown.timeout is 10 s: nobody was waited for
    traffic.check()
    log = harcad.log()
    assert f"stopping signal={int(number)}" in log and log.rstrip().endswith("info stopped")
    assert "shutdown_late" not in log


def test_lifecycle_what_was_asked_is_answered_before_the_end(redis_server, make_proxy, make_harcad):
    """Commands that wait for the upstream when SIGTERM comes, those held behind them too."""
    proxy = make_proxy(redis_server.address)
    harcad = make_harcad({"upstream.timeout": "30s"}, upstream=proxy)
    harcad.wait_info(upstream_state="up", event_link="up")
    redis_server.client().set("harca:far", "away")
    with harcad.raw() as conn:
        proxy.pause("down")
        conn.send(b"GET far\r\nSET k 1\r\nCLIENT SETNAME x\r\nCLIENT GETNAME\r\nPING\r\n")
        wait_until(lambda: harcad.info()["total_commands_processed"] > 0)
        harcad.signal(signal.SIGTERM)
        wait_until(lambda: "stopping" in harcad.log())
        proxy.resume()
        assert conn.recv_until_closed() == b"$4\r\naway\r\n+OK\r\n+OK\r\n$1\r\nx\r\n+PONG\r\n"
    assert harcad.wait() == 0


def test_lifecycle_pipeline_that_was_read_is_answered_to_its_last_command(make_harcad):
    """Its replies fill the socket over and over, so that most of it has not been looked at when SIGTERM comes."""
    harcad = make_harcad({"client.output_pause": "4K", "shutdown.timeout": "60s"})
    with harcad.raw(unix=True) as conn:
        assert conn.command("SET", "k", b"v" * 6000) == "OK"
        before = harcad.info()["total_net_input_bytes"]
        request = encode("GET", "k") * 1500  # of one piece
        conn.send(request)
        wait_until(lambda: harcad.info()["total_net_input_bytes"] >= before + len(request))
        harcad.signal(signal.SIGTERM)
        wait_until(lambda: "stopping" in harcad.log())
        for i in range(1500):
            assert len(conn.read_reply()) == 6000, i
        assert conn.recv_until_closed() == b""
    assert harcad.wait() == 0


def test_lifecycle_no_new_connections_while_ending(make_harcad):
    harcad = make_harcad({"shutdown.timeout": "30s"})
    with harcad.raw() as holds:
        assert holds.command("SET", "big", b"v" * (1 << 20)) == "OK"
        holds.send(encode("GET", "big") * 50)  # replies nobody reads yet keep the daemon
        wait_until(lambda: harcad.info()["total_net_output_bytes"] > 1 << 20)
        harcad.signal(signal.SIGTERM)
        wait_until(lambda: refused(harcad))
        assert harcad.running()
        for _ in range(50):
            assert len(holds.read_reply()) == 1 << 20
        assert holds.recv_until_closed() == b""
    assert harcad.wait() == 0


def refused(harcad):
    try:
        harcad.raw().close()
    except ConnectionRefusedError:
        return True
    return False


@pytest.mark.parametrize("timeout_s", [0, 1])
def test_lifecycle_client_that_never_reads_holds_it_up_no_longer_than_the_timeout(make_harcad, timeout_s):
    harcad = make_harcad({"shutdown.timeout": f"{timeout_s}s"})
    with harcad.raw() as conn, harcad.raw() as other:
        assert conn.command("SET", "big", b"v" * (4 << 20)) == "OK"
        conn.send(encode("GET", "big") * 20)
        wait_until(lambda: other.command("PING") == "PONG" and harcad.info()["total_net_output_bytes"] > 1 << 16)
        begin = time.monotonic()
        harcad.signal(signal.SIGTERM)
        assert harcad.wait() == 0
        assert time.monotonic() - begin < timeout_s + 4 * SLOW
    assert "shutdown_late" in harcad.log()


def test_lifecycle_second_signal_changes_nothing(make_harcad):
    harcad = make_harcad({"shutdown.timeout": "1s"})
    with harcad.raw() as conn:
        assert conn.command("SET", "big", b"v" * (4 << 20)) == "OK"
        conn.send(encode("GET", "big") * 20)
        wait_until(lambda: harcad.info()["total_net_output_bytes"] > 1 << 16)
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            harcad.signal(number)
        assert harcad.wait() == 0


# ---- reloading ----


def test_lifecycle_sighup_applies_what_may_change_and_names_what_may_not(make_harcad):
    harcad = make_harcad(ini="[client]\nvalue_max = 1M\n[server]\nworkers = 1\n")
    with harcad.raw() as conn:
        assert conn.command("CONFIG", "GET", "client.value_max") == [b"client.value_max", b"1M"]
        harcad.write_ini("[client]\nvalue_max = 2K\n[server]\nworkers = 2\n")
        harcad.reload()
        wait_until(lambda: "reloaded" in harcad.log())
        assert conn.command("CONFIG", "GET", "client.value_max") == [b"client.value_max", b"2K"]
        assert re.search(r"setting_changed name=client\.value_max value=\S*2K", harcad.log())
        assert "setting_needs_restart name=server.workers" in harcad.log()

        def takes_effect():
            with harcad.raw() as each:
                return isinstance(each.command("SET", "k", "v" * 3000), RespError)

        wait_until(takes_effect)
        assert conn.command("PING") == "PONG"


@pytest.mark.parametrize("ini, line, text", [
    ("[client]\nvalue_max = 2K\nno_such_key = 1\n", 3, "no_such_key"),
    ("[client]\nvalue_max = 2K\n\nargs_max = many\n", 4, "args_max"),
    ("[client]\nvalue_max = 2K\n[nosuchsection]\nx = 1\n", 3, "nosuchsection"),
    ("[client]\nvalue_max = 2K\nnonsense\n", 3, ""),
])
def test_lifecycle_sighup_with_a_bad_file_says_where_and_changes_nothing(make_harcad, ini, line, text):
    harcad = make_harcad(ini="[client]\nvalue_max = 1M\n")
    with harcad.raw() as conn:
        harcad.write_ini(ini)
        harcad.reload()
        wait_until(lambda: "reload_failed" in harcad.log())
        said = next(each for each in harcad.log().splitlines() if "reload_failed" in each)
        assert " error " in said and f"harcad.ini:{line}" in said and text in said
        assert conn.command("CONFIG", "GET", "client.value_max") == [b"client.value_max", b"1M"]
        harcad.write_ini("[client]\nvalue_max = 3K\n")
        harcad.reload()
        wait_until(lambda: conn.command("CONFIG", "GET", "client.value_max")[1] == b"3K")


def test_lifecycle_sighup_with_the_file_gone_changes_nothing(make_harcad):
    harcad = make_harcad(ini="[client]\nvalue_max = 1M\n")
    os.unlink(harcad.ini_path)
    harcad.reload()
    wait_until(lambda: "reload_failed" in harcad.log())
    assert harcad.client().config_get("client.value_max") == {"client.value_max": "1M"}


# ---- the command line ----


@pytest.fixture
def program():
    harcad = Harcad()
    yield harcad
    harcad.close()


def test_lifecycle_t_checks_the_settings(program):
    program.write_ini("[memory]\nmax_bytes = 10M\n")
    done = program.run("-t", "-c", program.ini_path)
    assert (done.returncode, done.stdout, done.stderr) == (0, b"harcad: the settings are valid\n", b"")
    program.write_ini("[memory]\nmax_bytes = 10X\n")
    done = program.run("-t", "-c", program.ini_path)
    assert done.returncode == 1
    assert b"harcad.ini:2" in done.stderr and b"memory.max_bytes" in done.stderr
    # Nothing was opened: no socket, no cache directory.
    assert sorted(os.listdir(program.dir)) == ["harcad.ini"]


@pytest.mark.parametrize("args, words", [
    (["--set", "nonsense"], [b"--set", b"section.key=value"]),
    (["--set", "memory.max_bytes=lots"], [b"memory.max_bytes", b"lots"]),
    (["--set", "no.such=1"], [b"no.such"]),
    (["--set", "server.workers=0"], [b"server.workers"]),
    (["--set", "client.output_pause=1M", "--set", "client.output_max=64K"], [b"client.output_pause", b"client.output_max"]),
    (["--set", "upstream.url=gopher://x"], [b"upstream.url"]),
    (["--set", "model.templates=nothing"], [b"model.templates"]),
    (["-c", "/no/such/file"], [b"/no/such/file", b"No such file"]),
    (["-c"], [b"requires an argument", b"usage:"]),
    (["--no-such-option"], [b"no-such-option", b"usage:"]),
    (["stray"], [b"stray", b"usage:"]),
    (["--describe=everything"], [b"--describe"]),
])
def test_lifecycle_bad_command_line_is_explained_and_exits_1(program, args, words):
    done = program.run(*args)
    assert done.returncode == 1
    assert done.stdout == b""
    for word in words:
        assert word in done.stderr


def test_lifecycle_bad_environment_is_explained(program):
    program.env = {"HARCA_MEMORY_MAX_BYTES": "lots"}
    done = program.run("-t")
    assert done.returncode == 1 and b"HARCA_MEMORY_MAX_BYTES" in done.stderr


def test_lifecycle_version_help_and_describe(program):
    done = program.run("--version")
    assert done.returncode == 0 and re.fullmatch(rb"harcad \d+\.\d+\.\d+\n", done.stdout)
    done = program.run("--help")
    assert done.returncode == 0 and done.stdout.startswith(b"usage: harcad") and done.stderr == b""
    for what, word in (("", b"memory.max_bytes"), ("=text", b"memory.max_bytes"), ("=settings", b"max_bytes"),
                       ("=commands", b"# Commands"), ("=ini", b"[memory]")):
        done = program.run("--describe" + what)
        assert done.returncode == 0 and word in done.stdout and done.stderr == b"", what


def test_lifecycle_described_ini_is_a_valid_file_of_the_defaults(program):
    program.write_ini(program.run("--describe=ini").stdout.decode())
    done = program.run("-t", "-c", program.ini_path)
    assert (done.returncode, done.stderr) == (0, b"")


# ---- the service manager ----


class Manager:
    """The service manager's end of sd_notify."""

    def __init__(self, path):
        self.path = path
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.sock.bind(path)
        self.sock.settimeout(TIMEOUT)

    def next(self, skip="WATCHDOG=1"):
        """The next datagram's assignments as a dictionary; pings are passed over."""
        while True:
            text = self.sock.recv(4096).decode()
            if text.strip() != skip:
                return dict(line.split("=", 1) for line in text.splitlines() if line)


@pytest.fixture
def manager(tmp_path):
    manager = Manager(str(tmp_path / "notify"))
    yield manager
    manager.sock.close()


def test_lifecycle_tells_the_manager_ready_reloading_stopping(make_harcad, manager):
    harcad = make_harcad(env={"NOTIFY_SOCKET": manager.path})
    ready = manager.next()
    assert ready["READY"] == "1" and "embedded" in ready["STATUS"]
    harcad.reload()
    reloading = manager.next()
    assert reloading["RELOADING"] == "1"
    assert 0 < int(reloading["MONOTONIC_USEC"]) <= time.clock_gettime_ns(time.CLOCK_MONOTONIC) // 1000
    assert manager.next()["READY"] == "1"
    harcad.signal(signal.SIGTERM)
    assert manager.next()["STOPPING"] == "1"
    assert harcad.wait() == 0


def test_lifecycle_is_ready_once_it_accepts(_started, redis_server, manager):
    """Whoever waits for READY=1 can connect, and is told that it is in a fleet."""
    harcad = Harcad(env={"NOTIFY_SOCKET": manager.path}, upstream=redis_server)
    _started.append(harcad)
    port = free_port()
    harcad._spawn(harcad.argv(port), harcad.environment())
    assert "fleet" in manager.next()["STATUS"]
    with RawConn(("127.0.0.1", port)) as conn:
        assert conn.command("PING") == "PONG"


def test_lifecycle_watchdog_is_fed_in_time(make_harcad, manager):
    harcad = make_harcad(env={"NOTIFY_SOCKET": manager.path, "WATCHDOG_USEC": "400000"})
    assert manager.next()["READY"] == "1"
    times = []
    while len(times) < 6:
        text = manager.sock.recv(4096).decode()
        if "WATCHDOG=1" in text:
            times.append(time.monotonic())
    gaps = sorted(b - a for a, b in zip(times, times[1:]))
    assert 0.1 < gaps[len(gaps) // 2] < 0.4
    assert harcad.client().ping()


def test_lifecycle_notify_socket_that_is_gone_does_no_harm(make_harcad, tmp_path):
    harcad = make_harcad(env={"NOTIFY_SOCKET": str(tmp_path / "nobody"), "WATCHDOG_USEC": "50000"})
    assert harcad.client().ping()
    harcad.reload()
    wait_until(lambda: "reloaded" in harcad.log())


# ---- leaks ----

INSTRUMENTED = any(word in Harcad.binary() for word in ("asan", "tsan"))


class Valgrind(Harcad):
    """The daemon under memcheck; exit code 99 when that finds something."""

    def argv(self, port):
        return ["valgrind", "--quiet", "--leak-check=full", "--show-leak-kinds=definite,indirect,possible",
                "--errors-for-leak-kinds=definite,indirect,possible", "--error-exitcode=99", "--num-callers=30",
                *super().argv(port)]


def exercise(harcad):
    """Some of everything that allocates."""
    for unix in (False, True):
        with harcad.raw(unix=unix) as conn:
            conn.send(b"".join(encode("SET", f"k:{i}", "v" * (i * 37)) + encode("GET", f"k:{i}") for i in range(100)))
            for i in range(100):
                assert [conn.read_reply(), conn.read_reply()] == ["OK", b"v" * (i * 37)]
            keys = [f"k:{i}" for i in range(1500)]
            assert len(conn.command("MGET", *keys)) == 1500
            assert conn.command("SET", "big", b"b" * 300000, "EX", "100", "MODEL", "m") == "OK"
            assert len(conn.command("GET", "big")) == 300000
            conn.send(b"MULTI\r\nSET a 1\r\nGET a\r\nMGET a b\r\nEXEC\r\nMULTI\r\nSET a 2\r\nDISCARD\r\nMULTI\r\nNOSUCH\r\nEXEC\r\n")
            assert [conn.read_reply() for _ in range(11)][4] == ["OK", b"1", [b"1", None]]
            conn.command("CLIENT", "SETNAME", "x" * 100)
            conn.command("CLIENT", "LIST")
            conn.command("INFO")
            conn.command("COMMAND", "DOCS")
            conn.command("CLEAR", "MODEL", "m")
            conn.command("SCAN", "0", "COUNT", "1000")
            conn.command("DEL", *keys)
            conn.send(b"MULTI\r\nSET left behind\r\nGET half\r\n*3\r\n$3\r\nSET\r\n$100\r\nhalf")
    with harcad.raw() as conn:
        conn.send(b"PING\r\n*1\r\n:1\r\n")
        conn.recv_until_closed()
    with harcad.raw() as conn:  # gone while its commands wait
        conn.send(b"".join(encode("GET", f"absent:{i}") for i in range(100)) + encode("CLIENT", "LIST") + encode("SET", "z", 1))


@pytest.mark.limit(180)
@pytest.mark.skipif(INSTRUMENTED or shutil.which("valgrind") is None, reason="once, with valgrind, on the plain program")
@pytest.mark.parametrize("mode", ["embedded", "fleet"])
def test_lifecycle_valgrind_finds_no_leak_and_no_error(_started, make_redis, mode, monkeypatch):
    monkeypatch.setattr("harcad_harness.TIMEOUT", 6 * TIMEOUT)
    harcad = Valgrind({"upstream.timeout": "30s", "server.workers": "2"}, upstream=make_redis() if mode == "fleet" else None)
    _started.append(harcad)
    harcad.start()
    exercise(harcad)
    harcad.reload()
    wait_until(lambda: "reloaded" in harcad.log(), 60)
    with harcad.raw() as conn:  # there when it ends
        conn.send(b"GET absent\r\nSET k v\r\nMULTI\r\nSET k w\r\n")
        assert conn.read_reply() is None
        harcad.signal(signal.SIGTERM)
        conn.recv_until_closed()
    code = harcad.wait(60)
    assert code == 0, harcad.log()
    assert "==" not in harcad.log()


def test_lifecycle_memory_comes_to_rest(make_harcad):
    """Connections and commands that come and go leave nothing behind: the same again needs no more memory."""
    harcad = make_harcad()

    def rounds(n):
        for _ in range(n):
            exercise(harcad)
        return harcad.rss()

    first = rounds(5)
    assert rounds(10) - first < (8 << 20) + SANITIZER_ROOM
