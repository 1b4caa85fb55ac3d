"""CLEAR MODEL of a model with many values in Redis: how long its answer takes, and how long until they are gone from there."""

import dataclasses
import time

from kit.processes import wait_until

from . import account
from .lab import need_memory
from .row import HARCAD, REDIS, Reading, Section

KEYS = 1_000_000
VALUE_BYTES = 64
CLEARS = 5
UP_WITHIN_S = 20.0
PATIENCE = 4.0  # times what the throttle asks for
FRAMED = {"upstream.frame": "always", "memory.max_bytes": "64M"}

SWEPT = Section(
    "What a CLEAR MODEL left in Redis",
    "Swept by one of two daemons at the default upstream.sweep_rate. CPU time is redis-server's, and the main thread's of the\n"
    "daemon that sweeps, in that time.",
    ("values", "answer ms", "gone after s", "keys a second", "Redis CPU s", "daemon CPU s"))


@dataclasses.dataclass(frozen=True)
class Swept:
    keys: int
    answers_ms: list
    seconds: float
    redis_cpu_s: float
    daemon_cpu_s: float


def start_daemon(lab, name, redis):
    server = lab.start(HARCAD, name, {"upstream.url": f"redis://127.0.0.1:{redis.port}", **FRAMED})
    client = server.client()
    wait_until(lambda: client.info()["event_link"] == "up", UP_WITHIN_S, "the daemon is up")
    return server


def clear_ms(client):
    began = time.perf_counter()
    client.call("CLEAR", "MODEL", "default")
    return (time.perf_counter() - began) * 1e3


def main_ns(pid):
    return int(account.read(f"/proc/{pid}/task/{pid}/schedstat").split()[0])


def observe(lab):
    need_memory(1 << 30)
    keys = lab.scaled(KEYS)
    redis = lab.start(REDIS, "swept-redis")
    one, other = (start_daemon(lab, f"swept-{name}", redis) for name in ("one", "other"))
    lab.fill(HARCAD, one, keys, "-d", VALUE_BYTES)
    client, upstream = one.client(), redis.client()
    rate = int(client.call("CONFIG", "GET", "upstream.sweep_rate")[1])
    spent = [account.cpu_ns(redis.pid), main_ns(one.pid), main_ns(other.pid)]
    answers = [clear_ms(client) for _ in range(CLEARS)]
    began = time.monotonic()
    wait_until(lambda: upstream.call("DBSIZE") < 100, PATIENCE * (keys / rate + 1), "all is gone", pause=0.05)
    seconds = time.monotonic() - began
    used = [account.cpu_ns(redis.pid) - spent[0], main_ns(one.pid) - spent[1], main_ns(other.pid) - spent[2]]
    for server in (other, one, redis):
        server.stop()
    return Swept(keys, answers, seconds, used[0] / 1e9, max(used[1:]) / 1e9)


def method(lab):
    return (f"`build/load -o fill -n {lab.scaled(KEYS)} -c 4 -P 16 -d {VALUE_BYTES}` at one of two daemons with upstream.frame=always, "
            f"then {CLEARS} times CLEAR MODEL.")


def answer(lab):
    swept = lab.once(observe)
    return Reading({HARCAD: swept.answers_ms}, method(lab), f"the first {swept.answers_ms[0]:.2f} ms")


def gone(lab):
    swept = lab.once(observe)
    line = (f"{swept.keys:,}", f"{swept.answers_ms[0]:.2f}", f"{swept.seconds:.1f}", f"{swept.keys / swept.seconds:,.0f}",
            f"{swept.redis_cpu_s:.2f}", f"{swept.daemon_cpu_s:.2f}")
    return Reading({HARCAD: [swept.seconds]}, "As above: until DBSIZE is that of the fleet's own keys.", details=[(SWEPT, line)])
