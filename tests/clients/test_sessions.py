"""Sessions of clients for other languages, from Debian, each in a folder beside this file."""

import os
import shutil
import subprocess

import pytest

SESSIONS = {
    "phpredis": ["php", "php/session.php"],
    "perl-redis": ["perl", "perl/session.pl"],
    "ruby-redis": ["ruby", "ruby/session.rb"],
    "lua-redis": ["lua5.1", "lua/session.lua"],
}


@pytest.mark.parametrize("session", SESSIONS)
def test_client_holds_a_session(scene, sources, session):
    program, source = SESSIONS[session]
    if shutil.which(program) is None:
        pytest.skip(f"there is no {program}")
    scene.hold(program, os.path.join(sources, source))


def test_hiredis_holds_a_session(scene, sources, tmp_path):
    program = tmp_path / "session"
    subprocess.run(["cc", "-O1", "-Wall", "-Wextra", "-Werror", "-o", program, os.path.join(sources, "hiredis", "session.c"), "-lhiredis"], check=True)
    scene.hold(program)
