"""What sessions of real clients run against.

    scene       a daemon with models by key, and one that wants a password; each test once with both embedded, once
                before a redis-server of their own

Sessions that are programs of their own learn from their environment where those are (tests/clients/npm/steps.mjs has
the list), print a line "ok STEP" or "FAILED STEP: why" for each thing they try, and exit with 0 when all went well.

    HARCAD_CLIENTS_REDIS=1      every session is also held with a real redis-server instead, as far as it can be: to see
                                that what it expects is right
"""

import os
import subprocess

import pytest

from fleet import PATIENT, in_step
from harcad_harness import ROOT, SLOW

PASSWORD = "s3cret"
SETTINGS = {"model.templates": "emb:{model}:{id}"}
KINDS = ["embedded", "fleet"] + (["redis"] if os.environ.get("HARCAD_CLIENTS_REDIS") else [])


class Scene:
    """The servers a session is held with, and how it is."""

    def __init__(self, kind, daemon, locked, upstream):
        self.kind = kind
        self.daemon = daemon
        self.locked = locked  # wants PASSWORD
        self.upstream = upstream  # of both, or None
        self.on_redis = kind == "redis"
        self.can_watch = kind != "fleet"

    def environment(self):
        upstream = {"HARCAD_UPSTREAM_PORT": str(self.upstream.port)} if self.upstream else {}
        return {**os.environ, **upstream, "HARCAD_KIND": self.kind, "HARCAD_PORT": str(self.daemon.port),
                "HARCAD_SOCKET": self.daemon.unix_path, "HARCAD_AUTH_PORT": str(self.locked.port), "HARCAD_PASSWORD": PASSWORD}

    def hold(self, *argv, cwd=None):
        """A session of that program; what it printed."""
        done = subprocess.run(argv, cwd=cwd or self.daemon.dir, env=self.environment(), stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                              stderr=subprocess.STDOUT, timeout=50 * SLOW, check=False)
        text = done.stdout.decode("utf-8", "replace")
        steps = [line for line in text.splitlines() if line.startswith(("ok ", "FAILED "))]
        assert done.returncode == 0 and steps and "FAILED" not in text, f"{argv} ended with {done.returncode}:\n{text}"
        return text


@pytest.fixture(params=KINDS)
def scene(request, make_redis, make_harcad):
    if request.param == "redis":
        return Scene("redis", make_redis(unix=True), make_redis(requirepass=PASSWORD), None)
    upstream = make_redis() if request.param == "fleet" else None
    settings = {**SETTINGS, **(PATIENT if upstream else {})}
    daemon, locked = (make_harcad({**settings, **more}, upstream=upstream) for more in ({}, {"server.password": PASSWORD}))
    if upstream:
        in_step(daemon)
    return Scene(request.param, daemon, locked, upstream)


@pytest.fixture
def sources():
    return os.path.join(ROOT, "tests", "clients")
