"""redis-cli and redis-benchmark, from Debian's redis-tools."""

import os
import pty
import re
import select
import subprocess
import time

import pytest

from conftest import PASSWORD
from harcad_harness import RawConn, SLOW, TIMEOUT
from values import vector


class Cli:
    """redis-cli, told where the daemon is."""

    def __init__(self, *where, env=None):
        self.argv = ["redis-cli", *where]
        self.env = {**os.environ, "HOME": "/nonexistent", **(env or {})}

    def __call__(self, *args, given=b"", code=0):
        """What it prints, once it has ended with that code."""
        done = subprocess.run([*self.argv, *args], input=given, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, env=self.env,
                              timeout=30 * SLOW, check=False)
        text = done.stdout.decode("utf-8", "replace")
        assert done.returncode == code, f"{args}: {done.returncode}\n{text}"
        return text

    def for_a_while(self, *args, until):
        """Starts it, ends it once what it printed matches the pattern. What it prints to a terminal, it prints at once."""
        master, slave = pty.openpty()
        with subprocess.Popen([*self.argv, *args], stdin=slave, stdout=slave, stderr=slave, env={**self.env, "TERM": "dumb"}) as process:
            os.close(slave)
            text, deadline = "", time.monotonic() + TIMEOUT
            while not re.search(until, text) and time.monotonic() < deadline:
                if select.select([master], [], [], 0.1)[0]:
                    text += os.read(master, 65536).decode("utf-8", "replace")
            process.terminate()
        os.close(master)
        assert re.search(until, text), text
        return text


@pytest.fixture
def cli(scene):
    return Cli("-p", str(scene.daemon.port))


def fill(scene, n):
    with RawConn(scene.daemon.address) as conn:
        conn.send(b"".join(conn.encode("SET", f"key:{i}", "x" * (i % 100)) for i in range(n)))
        assert [conn.read_reply() for _ in range(n)] == ["OK"] * n


@pytest.mark.parametrize("protocol", [[], ["-3"]], ids=["resp2", "resp3"])
def test_redis_cli_asks_and_is_answered(scene, cli, tmp_path, protocol):
    assert cli(*protocol, "PING") == "PONG\n"
    assert cli(*protocol, "SET", "a", "1", "EX", "100") == "OK\n"
    assert cli(*protocol, "--no-raw", "INCR", "a") == "(integer) 2\n"
    assert cli(*protocol, "--no-raw", "GET", "none") == "(nil)\n"
    assert cli(*protocol, "--no-raw", "MGET", "a", "none") == '1) "2"\n2) (nil)\n'
    assert cli(*protocol, "NOSUCH", code=0) == "ERR unknown command 'NOSUCH', with args beginning with: \n\n"
    assert cli(*protocol, "-e", "GET", code=1) == "ERR wrong number of arguments for 'get' command\n"
    assert cli(*protocol, "-x", "SET", "vector", given=vector(1)) == "OK\n"
    assert subprocess.check_output([*cli.argv, *protocol, "GET", "vector"]) == vector(1) + b"\n"
    assert cli(*protocol, "--json", "-3", "CONFIG", "GET", "databases").strip() in ('{"databases":"1"}', '{"databases":"16"}')
    assert cli(*protocol, given=b"SET b 1\nINCR b\nMULTI\nGET b\nEXEC\n\"GE\\x54\" b\n") == "OK\n2\nOK\nQUEUED\n2\n2\n"
    assert cli(*protocol, "-r", "3", "INCR", "b") == "3\n4\n5\n"
    assert "redis_version:7" in cli(*protocol, "INFO", "server")


def test_redis_cli_pipe_loads_a_file_of_commands(scene, cli):
    """--pipe sends an ECHO last, and waits for it."""
    given = b"".join(RawConn.encode("SET", f"pipe:{i}", vector(i)) for i in range(2000)) + RawConn.encode("INCR", "pipe:1")
    said = cli("--pipe", given=given, code=1)
    assert "ERR value is not an integer" in said and "errors: 1, replies: 2001" in said
    assert cli("DBSIZE") == "2000\n"


def test_redis_cli_walks_the_keys(scene, cli):
    fill(scene, 1000)
    assert set(cli("--scan").split()) == {f"key:{i}" for i in range(1000)}
    assert set(cli("--scan", "--pattern", "key:99*").split()) == {f"key:{i}" for i in [99, *range(990, 1000)]}
    said = cli("--bigkeys")
    assert "Sampled 1000 keys in the keyspace!" in said and "Biggest string found" in said and "has 99 bytes" in said
    assert "Sampled 1000 keys" in cli("--memkeys")


def test_redis_cli_hotkeys_wants_a_policy_that_counts(scene, cli):
    fill(scene, 10)
    for _ in range(5):
        cli("GET", "key:7")
    if scene.on_redis:
        return
    assert "key:7" in cli("--hotkeys")


def test_redis_cli_watches(scene, cli):
    fill(scene, 100)
    keys = r"\d+" if scene.upstream else "100"  # before an upstream it tells of the copies kept
    cli.for_a_while("--stat", "-i", "0.1", until=keys + r" +\S+ +\d+ +\d+ +\d+ \(\+[1-9]\d*\) +\d+")
    cli.for_a_while("--latency", until=r"min: \d+, max: \d+, avg: [\d.]+ \(\d{2,} samples\)")
    cli.for_a_while("--latency-history", "-i", "1", until=r"seconds range")
    assert re.match(r"\d+ \d+ [\d.]+ \d+\n", cli("--raw", "--latency", "-i", "1"))


def test_redis_cli_prompts_with_help_from_the_daemon(scene, cli):
    """At a terminal it asks for COMMAND DOCS as it connects, and completes and hints with it."""
    for protocol in ([], ["-3"]):
        master, slave = pty.openpty()
        with subprocess.Popen([*cli.argv, *protocol], stdin=slave, stdout=slave, stderr=slave, env={**cli.env, "TERM": "dumb"}) as process:
            os.close(slave)
            os.write(master, b"help set\nGET none\nquit\n")
            text, deadline = b"", time.monotonic() + TIMEOUT
            while time.monotonic() < deadline:
                try:
                    text += os.read(master, 65536)
                except OSError:  # it has ended
                    break
            process.wait(TIMEOUT)
        os.close(master)
        text = re.sub(rb"\x1b\[\d+m", b"", text)  # colours
        assert b"(nil)" in text and b"SET key value [NX|XX] [GET] [EX seconds|PX milliseconds|" in text, text
        assert scene.on_redis or b"|KEEPTTL] [MODEL name]" in text, text


def test_redis_cli_authenticates_and_finds_the_socket(scene, cli):
    locked = ["-p", str(scene.locked.port)]
    assert "NOAUTH" in Cli(*locked)("GET", "a")
    assert "WRONGPASS" in Cli(*locked)("-a", "wrong", "GET", "a")
    assert Cli(*locked)("--no-auth-warning", "-a", PASSWORD, "SET", "a", "1") == "OK\n"
    assert Cli(*locked)("--no-auth-warning", "--user", "default", "--pass", PASSWORD, "GET", "a") == "1\n"
    assert Cli(*locked, env={"REDISCLI_AUTH": PASSWORD})("-3", "GET", "a") == "1\n"
    assert Cli("-u", f"redis://default:{PASSWORD}@127.0.0.1:{scene.locked.port}/0")("--no-auth-warning", "GET", "a") == "1\n"
    assert Cli("-s", scene.daemon.unix_path)("PING") == "PONG\n"


def test_redis_cli_names_models(scene, cli):
    if scene.on_redis:
        pytest.skip("Redis has no models")
    assert cli("SET", "m:1", "x", "MODEL", "minilm") == "OK\n"
    assert cli("MODEL", "OF", "m:1") == "minilm\n"
    assert cli(given=b"MODEL USE gte\nSET m:2 x\nMODEL OF m:2\n") == "OK\nOK\ngte\n"
    assert "minilm" in cli("MODEL", "LIST")
    assert "tier" in cli("-3", "EXPLAIN", "m:2")
    assert cli("CLEAR", "MODEL", "minilm") == "OK\n"
    assert cli("EXISTS", "m:1", "m:2") == "1\n"


@pytest.mark.parametrize("pipeline", [1, 16])
def test_redis_benchmark_runs_its_tests(scene, pipeline):
    """It asks for CONFIG GET save and appendonly first; an error in a reply ends it."""
    argv = ["redis-benchmark", "-p", str(scene.daemon.port), "-n", "3000", "-c", "20", "-P", str(pipeline), "-r", "1000", "-d", "64"]
    for more in (["-t", "ping,set,get,incr,mset", "--csv"], ["-t", "set,get", "-3", "--csv"], ["--csv", "GETRANGE", "key:__rand_int__", "0", "3"]):
        done = subprocess.run([*argv, *more], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=30 * SLOW, check=False)
        text = done.stdout.decode()
        assert done.returncode == 0 and "rror" not in text and "WARNING" not in text, text
        assert len(re.findall(r'^"[^"]+","[\d.]+"', text, re.M)) == {"ping,set,get,incr,mset": 6, "set,get": 2}.get(more[1], 1), text
    near = subprocess.run(["redis-benchmark", "-s", scene.daemon.unix_path, "-n", "1000", "-c", "5", "-t", "get", "-q"], stdout=subprocess.PIPE,
                          stderr=subprocess.STDOUT, timeout=30 * SLOW, check=False)
    assert near.returncode == 0 and b"rror" not in near.stdout, near.stdout
