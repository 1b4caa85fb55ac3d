"""Sessions of clients from npm, in tests/clients/npm. tests/clients/npm/install has put them into build/clients/npm; where
it could not, HARCAD_NPM_SKIP says why."""

import json
import os

import pytest

from harcad_harness import ROOT

INSTALLED = os.path.join(ROOT, "build", "clients", "npm")

SESSIONS = {
    "ioredis": ["ioredis.mjs"],
    "node-redis-resp2": ["node-redis.mjs", "2"],
    "node-redis-resp3": ["node-redis.mjs", "3"],
    "keyv": ["keyv.mjs"],
    "cache-manager": ["cache-manager.mjs"],
    "bentocache": ["bentocache.mjs"],
}


@pytest.mark.parametrize("session", SESSIONS)
def test_npm_client_holds_a_session(scene, session):
    why = os.environ.get("HARCAD_NPM_SKIP")
    if why or not os.path.exists(os.path.join(INSTALLED, "installed")):
        pytest.skip(f"npm clients: {why or 'tests/clients/npm/install has not been run'}")
    # The sources are links there: the packages beside the links are meant.
    scene.hold("node", "--preserve-symlinks", "--preserve-symlinks-main", *SESSIONS[session], cwd=INSTALLED)


def test_npm_versions_are_those_the_guide_names(sources):
    with open(os.path.join(sources, "npm", "package.json"), encoding="utf-8") as package, open(os.path.join(ROOT, "docs", "guide.md"), encoding="utf-8") as guide:
        versions = json.load(package)["dependencies"]
        rows = [line.split("|") for line in guide if line.startswith("| `")]
    named = {name.strip(" `"): version.strip() for row in rows for name, version in zip(row[1].split(","), row[2].split(","))}
    assert versions == {name: named.get(name) for name in versions}
