"""INFO: sections, names that scripts and dashboards rely on, and that nothing a client chose breaks its lines."""

import os
import re

import pytest

from harcad_harness import ROOT, wait_until
from wire import WireConn

SECTIONS = ["Server", "Clients", "Memory", "Persistence", "Stats", "Replication", "CPU", "Tiers", "Upstream", "Fleet", "Models", "Cluster", "Keyspace"]
ALL_SECTIONS = SECTIONS[:7] + ["Commandstats"] + SECTIONS[7:]


def text(harcad, *sections):
    with harcad.raw() as conn:
        return conn.command("INFO", *sections).decode()


def titles(info):
    return re.findall(r"^# (\w+)\r$", info, re.M)


@pytest.mark.parametrize("arguments", [[], ["default"], ["default", "server"]])
def test_info_gives_the_usual_sections(harcad, arguments):
    assert titles(text(harcad, *arguments)) == SECTIONS


@pytest.mark.parametrize("arguments", [["all"], ["EVERYTHING"], ["server", "all"], ["default", "commandstats"]])
def test_info_gives_all_sections(harcad, arguments):
    assert titles(text(harcad, *arguments)) == ALL_SECTIONS


def test_info_gives_the_sections_asked_for_once(harcad):
    assert titles(text(harcad, "memory", "SERVER", "memory")) == ["Server", "Memory"]
    assert text(harcad, "nope") == ""
    assert titles(text(harcad, "nope", "fleet")) == ["Fleet"]


COUNTED = {"Memory": "used_memory_dataset", "Stats": "expired_keys", "Tiers": "memory_entries", "Models": "model_0", "Keyspace": "db0"}


@pytest.mark.parametrize("section", COUNTED)
def test_info_counts_for_a_section_alone_as_for_all(harcad, section):
    with harcad.raw() as conn:
        conn.command("SET", "gone", "v", "PX", "1")
        for n in range(100):
            conn.command("SET", f"k{n}", "v", "MODEL", "m")
        wait_until(lambda: conn.command("GET", "gone") is None)

    def counted(info):
        return re.search(rf"^{COUNTED[section]}:.*", info, re.M)[0]

    assert counted(text(harcad, section)) == counted(text(harcad))
    assert "0" not in counted(text(harcad)).split(":")[1:]


@pytest.mark.parametrize("resp", [2, 3])
def test_info_has_the_form_redis_gives_it(redis_server, harcad, resp):
    with WireConn(redis_server.address, resp) as theirs, WireConn(harcad.address, resp) as ours:
        for command in (["INFO", "nope"], ["INFO", "keyspace"]):
            expected, _ = theirs.ask(*command)
            assert ours.ask(*command)[0] == expected
        wire, _ = ours.ask("INFO")
        assert wire[:1] == (b"$" if resp == 2 else b"=")
    for block in text(harcad).split("\r\n\r\n"):
        lines = block.rstrip("\r\n").split("\r\n")
        assert lines[0].startswith("# ")
        assert all(re.fullmatch(r"[a-z0-9_]+:[^\r\n]*", line) for line in lines[1:]), block


def test_info_has_every_name_once(harcad):
    with harcad.raw() as conn:
        conn.command("SET", "a", "1")
    names = [line.split(":")[0] for line in text(harcad).split("\r\n") if ":" in line]
    assert len(names) == len(set(names))


def test_info_has_the_names_of_the_contract_and_of_dashboards(harcad):
    info = harcad.info()
    for name in ("memory_hits upstream_hits misses memory_entries memory_bytes upstream_state event_link fleet_siblings invalidations_in "
                 "invalidations_out queued_writes redis_version harcad_version process_id run_id tcp_port uptime_in_seconds connected_clients "
                 "maxclients used_memory used_memory_rss total_connections_received total_commands_processed keyspace_hits keyspace_misses "
                 "evicted_keys expired_keys used_memory_human maxmemory role connected_slaves loading used_cpu_user mem_fragmentation_ratio cluster_enabled").split():
        assert name in info, name
    assert (info["process_id"], info["tcp_port"]) == (harcad.pid, harcad.port)
    assert (info["upstream_state"], info["event_link"], info["fleet_siblings"]) == ("off", "off", 0)
    assert info["redis_version"] == "7.0.15"
    assert re.fullmatch(r"[0-9a-f]{40}", str(info["run_id"]))
    assert info["maxmemory"] == 256 << 20
    assert 0.5 < info["used_memory_rss"] / harcad.rss() < 2


def test_info_has_every_counter_of_the_table(harcad):
    with open(os.path.join(ROOT, "daemon", "stats.def"), encoding="utf-8") as rows:
        counters = re.findall(r"^HC_STAT\((\w+),", rows.read(), re.M)
    assert counters
    assert set(counters) <= set(harcad.info("stats"))


def test_info_counts(harcad):
    with harcad.raw() as conn:
        before = harcad.info()
        conn.command("SET", "a", "x" * 1000)
        conn.command("GET", "a")
        conn.command("GET", "a")
        conn.command("GET", "absent")
        conn.command("SET", "a")
        after = harcad.info()
    grown = {name: after[name] - before[name] for name in after if isinstance(after[name], int)}
    assert (grown["memory_hits"], grown["misses"], grown["keyspace_hits"], grown["keyspace_misses"]) == (2, 1, 2, 1)
    assert grown["errors_replied"] == 1
    assert grown["memory_entries"] == 1
    assert grown["memory_bytes"] > 1000
    assert grown["total_commands_processed"] >= 5
    assert grown["total_connections_received"] == 1
    assert after["db0"].startswith("keys=1,")
    assert after["connected_clients"] == 2


# ---- models ----


HOSTILE = [b"plain/model:7@b", b"comma,name", b"new\r\nline:1", b"equals=bytes=9", b"back\\slash", b"sp ace", b"\x00\xff", b"# Server"]


def test_info_models_cannot_be_broken_by_names(harcad):
    with harcad.raw() as conn:
        for i, name in enumerate(HOSTILE):
            assert conn.command("SET", f"k{i}", "v", "MODEL", name) == "OK"
        info = conn.command("INFO", "models").decode("ascii")
    lines = info.split("\r\n")
    shown = [line for line in lines if line.startswith("model_")]
    assert len(shown) == len(HOSTILE) + 1
    names = set()
    for line in shown:
        match = re.fullmatch(r"model_\d+:name=([^,= ]+),epoch=\d+,clears=\d+,entries=\d+,bytes=\d+", line)
        assert match, line
        names.add(match[1])
    assert re.sub(r"\s", "", "plain/model:7@b") in names
    unescaped = {re.sub(rb"\\x([0-9a-f]{2})", lambda m: bytes([int(m[1], 16)]), name.encode()) for name in names}
    assert unescaped == set(HOSTILE) | {b"default"}
    assert titles(info) == ["Models"]


def test_info_models_shows_the_largest_hundred(harcad):
    with harcad.raw() as conn:
        for i in range(350):
            size = (i * 7919) % 350  # every size once, in no order
            conn.send(conn.encode("SET", f"k{i}", "v" * (size * 64), "MODEL", f"m{size}"))
        for _ in range(350):
            assert conn.read_reply() == "OK"
    info = harcad.info("models")
    assert (info["models"], info["models_shown"]) == (351, 100)
    found = [info[f"model_{i}"].split(",")[0] for i in range(100)]
    # Neighbours may take the same room: which of them is shown is open.
    assert {f"name=m{size}" for size in range(260, 350)} <= set(found) <= {f"name=m{size}" for size in range(240, 350)}
    sizes = [int(info[f"model_{i}"].rsplit("=", 1)[1]) for i in range(100)]
    assert sizes == sorted(sizes, reverse=True)
    assert "model_100" not in info


def test_redis_py_reads_info(harcad):
    with harcad.client() as client:
        client.execute_command("SET", "a", "1", "MODEL", "m,=1")
        info = client.info()
        assert info["redis_version"] == "7.0.15"
        assert info["db0"]["keys"] == 1
        models = {info[f"model_{i}"]["name"]: info[f"model_{i}"] for i in range(info["models_shown"])}
        assert models["m\\x2c\\x3d1"]["entries"] == 1
        assert client.info("memory")["used_memory"] > 0


def test_info_of_a_fleet(make_redis, make_harcad):
    redis = make_redis(requirepass="up")
    url = f"redis://:up@127.0.0.1:{redis.port}/0"
    one, two = make_harcad(upstream=url), make_harcad(upstream=url)
    for harcad in (one, two):
        info = harcad.wait_info(upstream_state="up", event_link="up", fleet_siblings=1)
        assert str(redis.port) in info["upstream_url"]
        assert "up@" not in info["upstream_url"]
        assert info["queued_writes"] == 0
        assert info["fleet_name"] == "harca"
        assert info["fleet_instance"]


def command_stats(conn):
    """Lines of INFO commandstats by name, each a dict of its numbers as they are written."""
    lines = dict(line.split(":") for line in conn.command("INFO", "commandstats").decode().split("\r\n")[1:] if line)
    return {name: dict(pair.split("=") for pair in line.split(",")) for name, line in lines.items()}


STATS_SCRIPT = """
SET a b
GET a
GET a
GET nothing
get
GET
INCR a
OBJECT ENCODING a
OBJECT ENCODING nothing
OBJECT NOSUCH a
OBJECT
NOSUCH a
MGET a b
MULTI
SET c 1
GET
EXEC
MULTI
SET c 1
INCR a
EXEC
SET c 1 EX 0
CLIENT GETNAME
"""


def test_commandstats_count_as_redis_does(redis_server, harcad):
    """The same commands, the same names and counts; only the times are each server's own."""
    counts = []
    for server in (redis_server, harcad):
        with WireConn(server.address) as conn:
            conn.command("CONFIG", "RESETSTAT")
            for line in STATS_SCRIPT.split("\n"):
                if line:
                    conn.command(*line.split())
            stats = command_stats(conn)
        assert all(list(row) == ["calls", "usec", "usec_per_call", "rejected_calls", "failed_calls"] for row in stats.values())
        assert all(re.fullmatch(r"\d+\.\d\d", row["usec_per_call"]) for row in stats.values())
        counts.append({name: (row["calls"], row["rejected_calls"], row["failed_calls"]) for name, row in stats.items()
                       if name not in ("cmdstat_info", "cmdstat_config|resetstat")})
    assert counts[1] == counts[0]


@pytest.mark.parametrize("workers", [1, 3])
def test_commandstats_count_pipelines_of_all_workers(make_harcad, workers):
    harcad = make_harcad({"server.workers": workers})
    conns = [WireConn(harcad.address) for _ in range(6)]
    for conn in conns:
        conn.command("SET", "a", "1")
        conn.ask_all([("GET", "a")] * 100)
    stats = command_stats(conns[0])
    assert stats["cmdstat_get"]["calls"] == "600"
    assert stats["cmdstat_set"]["calls"] == "6"
    assert int(stats["cmdstat_get"]["usec"]) > 0
    conns[0].command("CONFIG", "RESETSTAT")
    assert "cmdstat_get" not in command_stats(conns[0])
    assert command_stats(conns[0])["cmdstat_info"]["calls"] in ("1", "2")
    for conn in conns:
        conn.close()
