"""A disk that fails or dawdles as a test says: failing_disk.c, compiled and loaded into a daemon.

    disk = FailingDisk(directory)
    harcad = make_harcad(settings, env=disk.env)
    disk.fail("write", errno.EIO, after=3)      the fourth from now on, and all after it; times=1: only that
    disk.delay("read", 60_000)                  each takes so many ms more; those that wait go on at heal()
    disk.fail("mark", errno.EIO)                of the file `tier` in the directory, which "write" leaves alone
    disk.calls("sync"), disk.done("sync")       begun, and come to an end
    disk.heal()
"""

import mmap
import os
import struct
import subprocess

from harcad_harness import ROOT

KINDS = ("write", "mark", "read", "read_cached", "sync")
RULE = struct.Struct("<QQqqii")  # as struct rule: calls, done, skip, fail, err, delay_ms
SKIP_AT, ERR_AT, DELAY_AT = 16, 32, 36
ALWAYS = 1 << 40


class FailingDisk:
    def __init__(self, directory):
        library = os.path.join(directory, "failing_disk.so")
        source = os.path.join(ROOT, "tests", "support", "failing_disk.c")
        subprocess.run([os.environ.get("CC", "gcc"), "-std=c17", "-D_GNU_SOURCE", "-O1", "-fPIC", "-shared", "-o", library, source,
                        "-ldl"], check=True)
        path = os.path.join(directory, "failing_disk.rules")
        with open(path, "w+b") as file:
            file.truncate(RULE.size * len(KINDS))
            self._map = mmap.mmap(file.fileno(), RULE.size * len(KINDS))
        self.env = {"LD_PRELOAD": library, "FAILING_DISK": path,
                    "ASAN_OPTIONS": f"{os.environ.get('ASAN_OPTIONS', '')}:verify_asan_link_order=0"}

    def _at(self, kind):
        return KINDS.index(kind) * RULE.size

    def fail(self, kind, err, *, after=0, times=ALWAYS):
        struct.pack_into("<i", self._map, self._at(kind) + ERR_AT, err)
        struct.pack_into("<qq", self._map, self._at(kind) + SKIP_AT, after, times)

    def delay(self, kind, delay_ms):
        struct.pack_into("<i", self._map, self._at(kind) + DELAY_AT, delay_ms)

    def heal(self):
        for kind in KINDS:
            self.fail(kind, 0, times=0)
            self.delay(kind, 0)

    def calls(self, kind):
        return RULE.unpack_from(self._map, self._at(kind))[0]

    def done(self, kind):
        return RULE.unpack_from(self._map, self._at(kind))[1]
