"""What the kernel says of a process and of the machine. Linux's /proc only."""

import dataclasses
import glob
import os
import re

TICKS = os.sysconf("SC_CLK_TCK")


@dataclasses.dataclass(frozen=True)
class Thread:
    tid: int
    name: str
    switches: int  # voluntary ones, since it began: each is followed by one wake-up


def read(path):
    with open(path, encoding="utf-8", errors="replace") as file:
        return file.read()


def field(text, name):
    """The number after `name:` at the start of a line, as in status files."""
    found = re.search(rf"^{name}:\s*(\d+)", text, re.MULTILINE)
    if not found:
        raise ValueError(f"no field {name}")
    return int(found.group(1))


def cpu_ns(pid):
    """CPU time of all threads so far. Exact while they sleep."""
    return sum(int(read(path).split()[0]) for path in glob.glob(f"/proc/{pid}/task/*/schedstat"))


def thread_ns(pid, tid):
    """The same of one thread."""
    return int(read(f"/proc/{pid}/task/{tid}/schedstat").split()[0])


def rss_bytes(pid):
    """Exact: what status files say may be some pages behind."""
    return 1024 * field(read(f"/proc/{pid}/smaps_rollup"), "Rss")


def threads(pid):
    found = []
    for path in sorted(glob.glob(f"/proc/{pid}/task/*"), key=lambda path: int(os.path.basename(path))):
        status = read(f"{path}/status")
        switches = field(status, "voluntary_ctxt_switches")
        found.append(Thread(int(os.path.basename(path)), read(f"{path}/comm").strip(), switches))
    return found


def available_bytes():
    """What programs may still take."""
    return 1024 * field(read("/proc/meminfo"), "MemAvailable")


@dataclasses.dataclass(frozen=True)
class MachineTime:
    """Seconds of all processors since the machine started."""

    busy: float
    idle: float
    stolen: float  # by other guests of the host

    def since(self, before):
        return MachineTime(self.busy - before.busy, self.idle - before.idle, self.stolen - before.stolen)


def parse_machine_time(stat):
    """Of the text of /proc/stat: user nice system idle iowait irq softirq steal."""
    numbers = [int(word) / TICKS for word in stat.split("\n", 1)[0].split()[1:9]]
    return MachineTime(busy=sum(numbers[:3]) + numbers[5] + numbers[6], idle=numbers[3] + numbers[4], stolen=numbers[7])


def machine_time():
    return parse_machine_time(read("/proc/stat"))
