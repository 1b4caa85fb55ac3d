"""The table: a line for each row that is measured, with its target. A new row is a line here, and a function of a lab that
gives a Reading."""

from . import beside, crowd, expiry, file, fleet, hits, idle, inprocess, inturn, instructions, memory, stalls, sweep
from .row import Row, at_least, at_most, of_redis

NS = "ns/op"


def in_turn(key, target, case):
    return Row(key, case.title, NS, target, case)


TABLE = (
    # CPU time of the server, redis-benchmark
    in_turn("get-tcp-1", of_redis(0.95), inturn.get(1, 40_000)),
    in_turn("get-tcp-16", of_redis(0.58), inturn.get(16, 320_000)),
    in_turn("get-tcp-64", of_redis(0.53), inturn.get(64, 640_000)),
    in_turn("get-unix-1", of_redis(0.92), inturn.get(1, 40_000, unix=True)),
    in_turn("get-unix-16", of_redis(0.50), inturn.get(16, 320_000, unix=True)),
    in_turn("get-unix-64", of_redis(0.50), inturn.get(64, 640_000, unix=True)),
    in_turn("get-4k-16", of_redis(0.80), inturn.get_large(16, 160_000)),
    in_turn("set-tcp-1", None, inturn.set_(1, 40_000)),
    in_turn("set-tcp-16", of_redis(0.65), inturn.set_(16, 320_000)),
    in_turn("set-tcp-64", of_redis(0.65), inturn.set_(64, 640_000)),
    in_turn("mget-100", of_redis(0.50), inturn.mget(20_000)),
    in_turn("get-256k", of_redis(1.0), inturn.huge("get", 4_000)),
    in_turn("set-256k", of_redis(1.2), inturn.huge("set", 4_000)),
    # the same of three servers, build/load
    in_turn("equal-get-1", None, inturn.equal("get", "key", 1, 40_000)),
    in_turn("equal-get-16", None, inturn.equal("get", "key", 16, 100_000)),
    in_turn("equal-get-4k-1", None, inturn.equal("get", "large", 1, 20_000)),
    in_turn("equal-get-4k-16", None, inturn.equal("get", "large", 16, 60_000)),
    in_turn("equal-set-1", None, inturn.equal("set", "key", 1, 40_000)),
    in_turn("equal-set-16", None, inturn.equal("set", "key", 16, 160_000)),
    in_turn("equal-set-4k-1", None, inturn.equal("set", "large", 1, 20_000)),
    in_turn("equal-set-4k-16", None, inturn.equal("set", "large", 16, 60_000)),
    in_turn("equal-mget-100", None, inturn.equal_mget(8_000)),
    # memory, and nothing to do
    Row("memory-entry", "memory of an entry beyond key and value", "B", at_most(48), memory.per_entry, 1),
    Row("idle-rss", "idle, default settings: resident size", "MB", at_most(6), idle.rss, 2),
    Row("idle-wakeups", "idle, default settings: wake-ups of all threads", "/s", at_most(1), idle.wake_ups, 1),
    Row("churn", "resident size of the budget, sizes changing", "x", at_most(1.08), inprocess.churn, 3),
    Row("churn-worst", "the same at its worst, not only after each size", "x", None, inprocess.churn_worst, 3),
    Row("connection-bytes", "10,000 idle connections: each", "B", at_most(3072), crowd.memory),
    Row("connects", "connects a second", "/s", at_least(1000), crowd.connects),
    # threads
    Row("two-uniform", "two threads against one, 95 % hits, uniform", "x", at_least(1.85),
        inprocess.two_threads("mixed.*uniform"), 2),
    Row("two-zipf", "two threads against one, 95 % hits, Zipf", "x", at_least(1.85), inprocess.two_threads("mixed.*zipf"), 2),
    # what others wait
    Row("stall-rest", "longest wait of a PING beside nothing", "ms", None, stalls.beside("rest"), 2),
    Row("stall-hits", "longest wait of a PING beside 10 M GET hits", "ms", None, stalls.beside("hits"), 2),
    Row("stall-growth", "longest wait of a PING beside 10 M inserts", "ms", at_most(2), stalls.beside("growth"), 2),
    Row("stall-eviction", "longest wait of a PING beside mass eviction", "ms", at_most(2), stalls.beside("eviction"), 2),
    Row("stall-shrink", "longest wait of a PING beside a budget set to a tenth", "ms", at_most(2), stalls.beside("shrink"), 2),
    Row("stall-expiry", "longest wait of a PING beside 1 M expiring at once", "ms", at_most(2), stalls.beside("expiry"), 2),
    Row("stall-clear", "longest wait of a PING beside CLEAR MODEL of 1 M", "ms", at_most(2), stalls.beside("clear"), 2),
    # what nobody reads any more
    Row("expiry-back", "1 M expired unread: memory back after", "s", at_most(2), expiry.memory_back, 2),
    Row("expiry-cpu", "1 M expired unread: CPU time of 2 s", "%", at_most(5), expiry.cpu_percent, 1),
    # what is kept
    Row("hits-orm-night-10", "hit ratio, orm-night, 10 % of the footprint", "", at_least(0.915),
        hits.on_trace("orm-night", 10), 3),
    Row("hits-orm-night-1", "hit ratio, orm-night, 1 % of the footprint", "", at_least(0.70), hits.on_trace("orm-night", 1), 3),
    Row("hits-oltp-10", "hit ratio, oltp, 10 % of the footprint", "", at_least(0.670), hits.on_trace("oltp", 10), 3),
    Row("hits-oltp-1", "hit ratio, oltp, 1 % of the footprint", "", at_least(0.45), hits.on_trace("oltp", 1), 3),
    Row("hits-daemon-orm-night-10", "hit ratio of a daemon, orm-night, 10 %", "", at_least(0.915), hits.on_daemon("orm-night", 10), 3),
    Row("hits-daemon-orm-night-1", "hit ratio of a daemon, orm-night, 1 %", "", at_least(0.70), hits.on_daemon("orm-night", 1), 3),
    Row("hits-daemon-oltp-10", "hit ratio of a daemon, oltp, 10 %", "", at_least(0.670), hits.on_daemon("oltp", 10), 3),
    Row("hits-daemon-oltp-1", "hit ratio of a daemon, oltp, 1 %", "", at_least(0.45), hits.on_daemon("oltp", 1), 3),
    # files
    Row("file-get-cpu", "GET 4 KiB from a file, of memcached's extstore", "x", at_most(0.9), file.get_cpu, 2),
    Row("file-get-p99", "p99 of a read from the log, of a bare pread", "x", at_most(2), file.read_p99, 2),
    Row("file-set-cpu", "SET 4 KiB through, without the write, of no file tier", "x", at_most(1.5), file.set_cpu, 2),
    Row("file-memory-hit", "GET hit in memory beside a busy file tier, of no file tier", "x", at_most(1.02), beside.hit_cpu, 2),
    Row("file-memory-hit-instructions", "instructions of the same hit, of no file tier", "x", at_most(1.02), beside.hit_instructions, 3),
    Row("file-index-bytes", "index of the file tier, an entry", "B", at_most(32), file.index_bytes, 1),
    Row("file-start-stop", "1 M entries of 4 KiB indexed after a clean stop", "s", at_most(1.5), file.start_after("stop"), 2),
    Row("file-start-kill", "1 M entries of 4 KiB indexed after a kill", "s", at_most(5), file.start_after("kill"), 2),
    Row("file-hits-orm-night", "memory + files, of memory of both budgets, orm-night", "x", at_least(0.95),
        file.two_tiers("orm-night"), 3),
    Row("file-hits-oltp", "memory + files, of memory of both budgets, oltp", "x", at_least(0.95), file.two_tiers("oltp"), 3),
    Row("file-writes-orm-night", "written for a byte of values, orm-night", "x", at_most(1.3), file.amplification("orm-night"), 2),
    Row("file-writes-oltp", "written for a byte of values, oltp", "x", at_most(1.3), file.amplification("oltp"), 2),
    # a fleet
    Row("fleet-seen-p50", "a SET seen at a sibling, of a bare PUBLISH, p50", "x", at_most(1.5), fleet.seen("p50"), 2),
    Row("fleet-seen-p99", "a SET seen at a sibling, of a bare PUBLISH, p99", "x", at_most(2), fleet.seen("p99"), 2),
    Row("fleet-seen-p999", "a SET seen at a sibling, of a bare PUBLISH, p999", "x", None, fleet.seen("p999"), 2),
    Row("fleet-staleness", "oldest value served in a silent cut, of the lease", "x", at_most(1), fleet.staleness, 2),
    Row("fleet-write-1", "Redis's CPU for a SET at a daemon, of a bare SET", "x", at_most(4), fleet.write_cost(1), 2),
    Row("fleet-write-16", "the same in pipelines of 16", "x", at_most(2), fleet.write_cost(16), 2),
    Row("fleet-write-1-foreign-no", "Redis's CPU for a SET with foreign_writes=no, of a bare SET", "x", None,
        fleet.write_cost(1, settings=fleet.NO_FOREIGN_WRITES), 2),
    Row("fleet-write-16-foreign-no", "the same in pipelines of 16", "x", None,
        fleet.write_cost(16, settings=fleet.NO_FOREIGN_WRITES), 2),
    Row("fleet-write-1-journal-0", "Redis's CPU for a SET with journal_len=0, of a bare SET", "x", None,
        fleet.write_cost(1, settings=fleet.NO_JOURNAL), 2),
    Row("fleet-write-16-journal-0", "the same in pipelines of 16", "x", None, fleet.write_cost(16, settings=fleet.NO_JOURNAL), 2),
    Row("fleet-write-4k-1", "Redis's CPU for a SET of 4 KiB of a model, of a bare SET", "x", None, fleet.write_cost(1, 4096), 2),
    Row("fleet-write-4k-16", "the same in pipelines of 16", "x", None, fleet.write_cost(16, 4096), 2),
    Row("fleet-events", "invalidations in a second of CPU time", "/s", at_least(300_000), fleet.event_rate),
    Row("fleet-events-lone", "the same, in events of one key each, which is in memory", "/s", None, fleet.lone_event_rate),
    Row("fleet-hit", "GET hit in memory while events pour in, of one without", "x", None, fleet.hit_beside_events, 2),
    Row("clear-upstream", "CLEAR MODEL of 1 M values in Redis: answered after", "ms", None, sweep.answer, 2),
    Row("sweep-upstream", "the same: gone from Redis after", "s", None, sweep.gone, 1),
    # where the instructions go
    Row("instructions-1", "instructions of a GET hit, pipeline 1", "", None, instructions.at_depth(1)),
    Row("instructions-16", "instructions of a GET hit, pipeline 16", "", None, instructions.at_depth(16)),
    Row("instructions-64", "instructions of a GET hit, pipeline 64", "", None, instructions.at_depth(64)),
)
