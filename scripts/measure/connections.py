"""Many connections: what an idle one takes, and how many can be made a second. By scripts/kit/connections.py."""

import os
import sys

from kit.processes import ROOT

from . import programs
from .row import HARCAD, Reading

SCRIPT = os.path.join(ROOT, "scripts", "kit", "connections.py")


def values_of(lab):
    programs.need(SCRIPT, "")
    return programs.parse(programs.run([sys.executable, SCRIPT, "--harcad", lab.servers.harcad_program]))


def value(name):
    """A measurement: the value of that name which the script prints."""
    def measure(lab):
        values = lab.once(values_of)
        if name not in values:
            raise programs.ProgramError(f"connections.py printed no {name}")
        return Reading({HARCAD: [values[name]]}, f"`scripts/kit/connections.py --harcad build/harcad`, its line `{name}`.")

    return measure
