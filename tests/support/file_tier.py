"""What tests of the file tier share: where its files are, many entries at once, and what they hold."""

import os

from harcad_harness import wait_until

SMALL_MEMORY = {"memory.max_bytes": "2M", "file.max_bytes": "64M"}


def tier_dir(harcad):
    return harcad.settings.get("file.dir") or os.path.join(harcad.dir, ".cache", "harcad")


def loaded(harcad):
    """INFO, once all that is in the files is known."""
    return wait_until(lambda: harcad.info()["file_state"] == "on" and harcad.info(), message="the log is loaded")


def fill(harcad, prefix, count, size=4096):
    with harcad.raw() as conn:
        for start in range(0, count, 200):
            numbers = range(start, min(start + 200, count))
            conn.send(b"".join(conn.encode("SET", f"{prefix}:{i}", value(prefix, i, size)) for i in numbers))
            assert [conn.read_reply() for _ in numbers] == ["OK"] * len(numbers)


def value(prefix, number, size=4096):
    """A text that says whose it is, all over."""
    text = f"{prefix}-{number}-".encode()
    return (text * (size // len(text) + 1))[:size]
