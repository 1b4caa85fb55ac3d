"""The C programs of tests/sim: each prints lines of `name value unit`."""

import os
import signal
import subprocess

from kit.processes import ROOT

from .row import Skip

TIMEOUT_S = 600


class ProgramError(Exception):
    """It failed, or said what nobody expects."""


def parse(text):
    """The values by name. Other lines than `name value unit` are left out."""
    values = {}
    for line in text.splitlines():
        words = line.split()
        try:
            values[words[0]] = float(words[1])
        except (IndexError, ValueError):
            continue
    return values


def relative(path):
    """As seen from the tree, where it is in it."""
    return os.path.relpath(path, ROOT) if path.startswith(ROOT + os.sep) else path


def run(argv, stdin=subprocess.DEVNULL, timeout=TIMEOUT_S):
    """Its standard output."""
    done = subprocess.run(argv, stdin=stdin, capture_output=True, text=True, check=False, timeout=timeout)
    if done.returncode != 0:
        raise ProgramError(f"{os.path.basename(argv[0])}: {(done.stderr or done.stdout).strip()[-500:]}")
    return done.stdout


def need(path, how):
    """Skips the row while a program is not there."""
    if not os.access(path, os.R_OK):
        raise Skip(f"{relative(path)} is not there{how}")
    return path


class Endless:
    """A program that goes on until the end of the block, and says nothing."""

    def __init__(self, argv):
        self._process = subprocess.Popen(argv, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL)

    def __enter__(self):
        return self

    def __exit__(self, *exc):
        self._process.kill()
        self._process.wait()


class Background:
    """A program that says `ready` and goes on until it is told to stop, or has ended by itself."""

    def __init__(self, argv):
        self._name = os.path.basename(argv[0])
        self._process = subprocess.Popen(argv, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                                         text=True)

    def __enter__(self):
        if not self._process.stdout.readline().startswith("ready "):
            self._fail()
        return self

    def __exit__(self, *exc):
        if self._process.poll() is None:
            self._process.kill()
        self._process.communicate()

    def finish(self, stop=True):
        """Its values. Without `stop` it ends by itself."""
        if stop:
            self._process.send_signal(signal.SIGTERM)
        out, _ = self._process.communicate(timeout=TIMEOUT_S)
        if self._process.returncode != 0:
            self._fail()
        return parse(out)

    def _fail(self):
        self._process.kill()
        _, err = self._process.communicate()
        raise ProgramError(f"{self._name}: {err.strip()[-500:]}")
