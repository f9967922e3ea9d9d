"""Which process it is, so that its end can be told later, also where its number has been given to another."""

import os
import socket
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class ProcessIdentity:
    """A process of some host.

    `boot`: what tells this start of the host's kernel and this set of process numbers from any other; `started`: the process's
    start in the kernel's ticks. Both are empty where the system does not tell, and then nothing is known of its end.
    """

    host: str
    boot: str
    pid: int
    started: str

    @classmethod
    def of(cls, pid: int | None = None) -> "ProcessIdentity":
        """Process `pid` of this host; this one if not given."""
        number = os.getpid() if pid is None else pid
        return cls(socket.gethostname(), _boot(), number, start_time(number))

    @property
    def is_here(self) -> bool:
        """Whether this host can tell whether it runs."""
        return bool(self.boot and self.started) and (self.host, self.boot) == (socket.gethostname(), _boot())

    @property
    def is_gone(self) -> bool:
        """Whether it has ended for certain."""
        return self.is_here and start_time(self.pid) != self.started

    @property
    def is_running(self) -> bool:
        """Whether it runs for certain."""
        return self.is_here and start_time(self.pid) == self.started


def start_time(pid: int) -> str:
    """When process `pid` began, in ticks since the kernel's start; empty where none of that number runs.

    One that has ended, and whose parent has not asked for its exit code, does not run.
    """
    try:
        fields = Path(f"/proc/{pid}/stat").read_text("utf-8", "replace").rpartition(")")[2].split()
    except OSError:
        return ""
    return "" if fields[0] in "ZX" else fields[19]


def _boot() -> str:
    try:
        return (
            f"{Path('/proc/sys/kernel/random/boot_id').read_text('utf-8').strip()} {os.readlink('/proc/self/ns/pid')}"
        )
    except OSError:
        return ""
