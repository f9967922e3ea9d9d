"""Hosts on one machine: `with Lab(hosts=3) as lab: lab.host(2).kill()`.

Each host is a network namespace (10.77.0.I, on a bridge in a namespace of its own) with its own processes, `/proc`, host name,
`/dev/shm` and `/tmp/ray`. The disk is one: what lies in `lab.shared` is seen by all hosts, `lab.unshared` is another folder on
each. All processes of a lab die with the process that made it; what a kill -9 leaves of it is removed by the next one.
"""

import ctypes
import itertools
import os
import signal
import subprocess
import sys
import tempfile
import time
from contextlib import suppress
from pathlib import Path

from cluster.storage.process_identity import start_time
from tests.hosts.network import Switch, command, remove_folder, remove_stale

_FIRST_PROCESS = Path(__file__).with_name("first_process.py")
_DIES_WITH_PARENT = 1
_START_S = 60.0


class Host:
    """One host of a lab. What it keeps on its disk outlives its processes."""

    def __init__(self, number: int, folder: Path, switch: Switch, memory: str) -> None:
        self.number, self.name, self.address = number, f"host{number}", f"10.77.0.{number}"
        self.folder = folder / self.name
        self._lab, self._switch, self._memory = folder, switch, memory
        self._outside: subprocess.Popen[bytes] | None = None
        for part in ("ray", "unshared"):
            (self.folder / part).mkdir(parents=True)

    @property
    def is_up(self) -> bool:
        """Whether it has power."""
        return self._outside is not None

    def start(self) -> None:
        """Switch it on: it has a network and no process but its first."""
        self._switch.plug(self.number)
        (self.folder / "ready").unlink(missing_ok=True)
        isolated = ["unshare", "-m", "-p", "-u", "-i", "-f", "--kill-child", "--mount-proc"]
        own = [sys.executable, "-S", str(_FIRST_PROCESS), self.name, str(self._lab), self._memory]
        self._outside = subprocess.Popen(
            ["ip", "netns", "exec", self._switch.namespace(self.number), *isolated, *own],
            stdin=subprocess.DEVNULL,
            start_new_session=True,
            preexec_fn=_die_with_parent,
        )
        ends = time.monotonic() + _START_S
        while not (self.folder / "ready").exists():
            if self._outside.poll() is not None or time.monotonic() > ends:
                raise RuntimeError(f"{self.name} did not start")
            time.sleep(0.02)

    def kill(self) -> None:
        """Take its power: no process of it says another word, not even the kernel to the other end of a connection."""
        self._switch.unplug(self.number)
        if self._outside is not None:
            with suppress(ProcessLookupError):
                os.kill(self.first_process, signal.SIGKILL)
            self._outside.kill()
            self._outside.wait()
            self._outside = None

    @property
    def first_process(self) -> int:
        """Its first process, by its id outside."""
        assert self._outside is not None, f"{self.name} is switched off"
        children = Path(f"/proc/{self._outside.pid}/task/{self._outside.pid}/children").read_text().split()
        if not children:
            raise ProcessLookupError(self.name)
        return int(children[0])

    def cut(self) -> None:
        """Pull the network cable."""
        self._switch.cut(self.number)

    def mend(self) -> None:
        """Put it in again."""
        self._switch.mend(self.number)

    def rate(self, rate: str | None) -> None:
        """Hold the cable to `rate`, as `8mbit`; None: no longer."""
        self._switch.rate(self.number, rate)

    def loss(self, percent: int) -> None:
        """Lose so many percent of the packets that come in; 0: none."""
        self._switch.loss(self.number, percent)

    def delay(self, milliseconds: float) -> None:
        """Hold every packet for so long, each way; 0: no longer."""
        self._switch.delay(self.number, milliseconds)

    def processes(self) -> dict[int, str]:
        """Id outside to command line of every process of the host but the first."""
        if not self.is_up:
            return {}
        first = self.first_process
        space = os.stat(f"/proc/{first}/ns/pid").st_ino
        found = {}
        for entry in Path("/proc").glob("[0-9]*"):
            with suppress(OSError):
                if int(entry.name) != first and os.stat(entry / "ns/pid").st_ino == space:
                    if title := (entry / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace").strip():
                        found[int(entry.name)] = title
        return found

    def inside(self, *arguments: str) -> list[str]:
        """The command that runs `arguments` on this host, in the current folder."""
        spaces = ["nsenter", "-t", str(self.first_process), "-m", "-p", "-n", "-u", "-i"]
        return [*spaces, f"--wd={Path.cwd()}", "--", *arguments]

    def run(
        self, *arguments: str, environment: dict[str, str] | None = None, timeout: float = 300
    ) -> subprocess.CompletedProcess[str]:
        """Run a command on it to its end.

        Raises:
            subprocess.TimeoutExpired: it went on, and was killed.
        """
        process = self.popen(*arguments, environment=environment)
        try:
            out, _ = process.communicate(timeout=timeout)
        except subprocess.TimeoutExpired as late:
            os.killpg(process.pid, signal.SIGKILL)
            out, _ = process.communicate()
            raise subprocess.TimeoutExpired(arguments, timeout, out) from late
        return subprocess.CompletedProcess(arguments, process.returncode, out, "")

    def popen(self, *arguments: str, environment: dict[str, str] | None = None) -> "subprocess.Popen[str]":
        """Start a command on it; stdout and stderr come as one stream of text."""
        return subprocess.Popen(
            self.inside(*arguments),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            env=os.environ | (environment or {}),
            start_new_session=True,
        )


class Lab:
    """Hosts 1 to `hosts`, all switched on in a `with`, all removed at its end.

    `memory`: of each host's `/dev/shm`. `shared_size`, as `64m`: the shared folder is a file system of that size.
    """

    _numbers = itertools.count(1)

    def __init__(self, hosts: int, memory: str = "512m", shared_size: str | None = None) -> None:
        own = os.getpid()
        self.name = f"concord-lab-{own}-{start_time(own)}-{next(Lab._numbers)}"
        self.folder = Path(tempfile.gettempdir()) / self.name
        self.shared, self.unshared = self.folder / "shared", self.folder / "unshared"
        self._count, self._memory, self._shared_size = hosts, memory, shared_size
        self.hosts: list[Host] = []
        self._switch: Switch | None = None

    def __enter__(self) -> "Lab":
        remove_stale()
        try:
            self._build()
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def _build(self) -> None:
        self.shared.mkdir(parents=True)
        self.unshared.mkdir()
        # A place for each host to mount its own on.
        Path("/tmp/ray").mkdir(exist_ok=True)
        if self._shared_size:
            command("mount", "-t", "tmpfs", "-o", f"size={self._shared_size}", "tmpfs", self.shared)
        names = "".join(f"10.77.0.{number} host{number}\n" for number in range(1, self._count + 1))
        (self.folder / "etc_hosts").write_text(f"127.0.0.1 localhost\n{names}")
        self._switch = Switch(self.name)
        for number in range(1, self._count + 1):
            self.hosts.append(Host(number, self.folder, self._switch, self._memory))
            self.hosts[-1].start()

    def host(self, number: int) -> Host:
        """Host `number`, from 1."""
        return self.hosts[number - 1]

    def processes(self) -> dict[int, str]:
        """Id outside to command line of all hosts' processes."""
        return {pid: title for host in self.hosts for pid, title in host.processes().items()}

    def close(self) -> None:
        """Remove everything."""
        for host in self.hosts:
            host.kill()
        if self._switch is not None:
            self._switch.close()
        remove_folder(self.folder)


def _die_with_parent() -> None:
    ctypes.CDLL(None).prctl(_DIES_WITH_PARENT, signal.SIGKILL)
