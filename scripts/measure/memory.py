"""What an entry takes of memory beyond the bytes of its key and its value, from the process's resident size. harcad's file
tier is off: what its index takes for an entry is a row of its own."""

from . import account
from .lab import KEY_BYTES, UNLIMITED, need_memory, settle
from .row import HARCAD, MEMCACHED, REDIS, Reading

ENTRIES = 1_000_000
VALUE_BYTES = 64


def overhead(lab, kind, entries):
    alone = {"file.enabled": "no"} if kind == HARCAD else {}
    server = lab.start(kind, "memory", {**UNLIMITED[kind], **alone})
    lab.fill(kind, server, 1)  # what the first connection and the first entry need is not an entry's
    settle(server.pid)
    before = account.rss_bytes(server.pid)
    lab.fill(kind, server, entries, "-d", VALUE_BYTES)
    settle(server.pid)
    grown = account.rss_bytes(server.pid) - before
    server.stop()
    return grown / entries - KEY_BYTES - VALUE_BYTES


def per_entry(lab):
    need_memory(1 << 30)
    entries = lab.scaled(ENTRIES)
    values = {kind: [overhead(lab, kind, entries)] for kind in lab.kinds(HARCAD, REDIS, MEMCACHED)}
    return Reading(values, f"Rss of `/proc/PID/smaps_rollup` before and after `build/load -o fill -n {entries} -c 4 -P 16 "
                           f"-d {VALUE_BYTES}`, the difference divided by {entries}, less {KEY_BYTES} bytes of key and "
                           f"{VALUE_BYTES} of value. Limits were set beyond reach; harcad had no "
                           "file tier.", "harcad without files: for each entry that is in one, their index takes "
                           "another 30 B or so, a row of its own")
