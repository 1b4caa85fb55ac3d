"""scripts/demo: what it shows holds, it says so when it does not, and it leaves nothing behind."""

import array
import json
import os
import signal
import subprocess
import sys

import pytest

from harcad_harness import Harcad, ROOT, SLOW, wait_until

SCRIPTS = os.path.join(ROOT, "scripts")
STEPS = ("Loaded through daemon A", "Read everywhere", "A change at A shows at B", "CLEAR MODEL at A", "Redis hangs",
         "Redis is killed", "Each daemon's INFO at the end", "What was claimed, and whether it held")


@pytest.fixture
def start_demo(tmp_path):
    """Starts the demo with its temporary files below tmp_path/tmp. It can be interrupted, also by tests run in the background."""
    processes = []
    (tmp_path / "tmp").mkdir()
    before = signal.signal(signal.SIGINT, signal.default_int_handler)

    def start(*arguments):
        argv = [sys.executable, "-B", "-u", os.path.join(SCRIPTS, "demo.py"), "--harcad", Harcad.binary(), *arguments]
        process = subprocess.Popen(argv, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
                                   env={**os.environ, "TMPDIR": str(tmp_path / "tmp")})
        processes.append(process)
        return process

    yield start
    signal.signal(signal.SIGINT, before)
    for process in processes:
        if process.poll() is None:
            process.terminate()
            process.communicate()


def finish(process):
    out, err = process.communicate(timeout=50 * SLOW)
    return process.returncode, out, err


def processes_in(directory):
    """Ids of the processes whose working directory is below."""
    found = []
    for pid in filter(str.isdigit, os.listdir("/proc")):
        try:
            if os.readlink(f"/proc/{pid}/cwd").startswith(str(directory)):
                found.append(int(pid))
        except OSError:
            continue
    return found


def left_behind(tmp_path):
    return os.listdir(tmp_path / "tmp"), processes_in(tmp_path / "tmp")


def test_demo_made_up_vectors_every_claim_holds(start_demo, tmp_path):
    status, out, err = finish(start_demo("--rows", "6", "--trials", "12"))

    assert (status, err) == (0, ""), out
    positions = [out.find(step) for step in STEPS]
    assert -1 not in positions and positions == sorted(positions), out
    claims = [line for line in out.splitlines() if line.startswith("   held  ")]
    assert len(claims) > 20 and f"{len(claims)} of {len(claims)} held" in out
    assert "FAILED" not in out
    assert left_behind(tmp_path) == ([], [])


def test_demo_directory_loads_vectors_json_and_texts(start_demo, tmp_path):
    data = tmp_path / "data"
    (data / "docs").mkdir(parents=True)
    (data / "tiny-8.f32").write_bytes(array.array("f", range(24)).tobytes())
    (data / "tiny-8.double.jsonl").write_text("".join(json.dumps([row, 0.5]) + "\n" for row in range(5)))
    for name in ("one.md", "two.md"):
        (data / "docs" / name).write_text(f"text of {name}")

    status, out, err = finish(start_demo(str(data), "--trials", "5"))

    assert (status, err) == (0, ""), out
    loaded = out[:out.index(STEPS[1])]
    table = {row[0]: row for row in map(str.split, loaded.splitlines()) if row}
    assert table["tiny-8"][1:7] == ["8", "x", "f32", "3", "96", "B"]
    assert table["tiny-8.double"][1:5] == ["2", "x", "JSON", "5"]
    assert table["documents"][1:3] == ["text", "2"]
    assert table["3"][1:3] == ["models", "10"]


@pytest.mark.parametrize("number, status", [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_demo_interrupted_ends_what_it_started(start_demo, tmp_path, number, status):
    process = start_demo("--rows", "6", "--trials", "100000")
    wait_until(lambda: "A change at A" in process.stdout.readline(), message="the trials have begun", interval=0)
    assert len(processes_in(tmp_path / "tmp")) == 4

    process.send_signal(number)

    assert finish(process)[0] == status
    assert left_behind(tmp_path) == ([], [])


@pytest.mark.parametrize("name, content, complaint", [
    ("nodims.f32", b"1234", "does not end with the number of dimensions"),
    ("some-2.f32", b"1234", "are not rows of 2 float32"),
    ("notes.txt", b"", "no *.f32"),
])
def test_demo_directory_unusable_is_refused(start_demo, tmp_path, name, content, complaint):
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / name).write_bytes(content)

    status, _, err = finish(start_demo(str(tmp_path / "data")))

    assert status == 1 and complaint in err
    assert left_behind(tmp_path) == ([], [])


def test_demo_claim_that_fails_is_named_and_sets_the_exit_status(monkeypatch, capsys):
    monkeypatch.syspath_prepend(SCRIPTS)
    from kit.scene import Report

    report = Report()
    report.claim("the first", True)
    report.claim("the second", False, "found so")

    assert report.verdict() is False
    out = capsys.readouterr().out
    assert "held    the first" in out
    assert "FAILED  the second (found: found so)" in out
    assert "1 of 2 held" in out
