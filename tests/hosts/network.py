"""The switch of a lab and the cables to its hosts: network namespaces, veth pairs, a bridge."""

import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
from contextlib import suppress
from pathlib import Path

from cluster.storage.process_identity import start_time

_NAME = re.compile(r"(concord-lab-(\d+)-(\d+)-\d+)-\w+")
_WIRE = Path(__file__).with_name("wire.py")


def command(*arguments: object, check: bool = True) -> str:
    """Run a command and give its output.

    Raises:
        RuntimeError: it failed; with what it said.
    """
    done = subprocess.run([str(part) for part in arguments], capture_output=True, text=True)
    if check and done.returncode != 0:
        raise RuntimeError(f"{' '.join(map(str, arguments))}: {done.stderr.strip()}")
    return done.stdout


def why_not_here() -> str | None:
    """Why no lab can be made on this machine; None where one can."""
    if os.geteuid() != 0:
        return "hosts in network namespaces need root"
    if missing := [tool for tool in ("ip", "tc", "nsenter", "unshare", "mount", "hostname") if not shutil.which(tool)]:
        return f"hosts in network namespaces need {', '.join(missing)} (`make hosts`)"
    trial = f"concord-lab-{os.getpid()}-{start_time(os.getpid())}-0-try"
    try:
        command("ip", "netns", "add", trial)
        command("ip", "-n", trial, "link", "add", "name", "a", "type", "veth", "peer", "name", "b")
        command("ip", "-n", trial, "link", "add", "br0", "type", "bridge")
        command("ip", "netns", "exec", trial, "unshare", "-m", "-p", "-u", "-i", "-f", "--mount-proc", "true")
    except RuntimeError as error:
        return f"hosts in network namespaces are not allowed here: {error}"
    finally:
        command("ip", "netns", "del", trial, check=False)
    return None


def remove_stale() -> None:
    """Remove what labs left whose process has been killed: their own processes died with it."""
    labs = {}
    listed = command("ip", "netns", "list").split()
    for name in [*listed, *(path.name + "-folder" for path in Path(tempfile.gettempdir()).glob("concord-lab-*"))]:
        if (match := _NAME.fullmatch(name)) and not _is_running(int(match[2]), match[3]):
            labs[match[1]] = None
    for lab in labs:
        remove_folder(Path(tempfile.gettempdir()) / lab)
        for name in listed:
            if name.startswith(f"{lab}-"):
                command("ip", "netns", "del", name, check=False)


def _is_running(pid: int, started: str) -> bool:
    return str(start_time(pid)) == started


def remove_folder(folder: Path) -> None:
    """Remove a lab's folder and the file system of a size that may be mounted in it."""
    if os.path.ismount(folder / "shared"):
        command("umount", "-l", folder / "shared", check=False)
    shutil.rmtree(folder, ignore_errors=True)


class Switch:
    """A bridge in a namespace of its own; hosts are numbered from 1 and have the address 10.77.0.I."""

    def __init__(self, lab: str) -> None:
        self._lab, self._namespace = lab, f"{lab}-sw"
        self._wires: dict[int, subprocess.Popen[bytes]] = {}
        command("ip", "netns", "add", self._namespace)
        self._ip("link", "add", "br0", "type", "bridge")
        self._ip("link", "set", "br0", "up")

    def namespace(self, host: int) -> str:
        """The name of a host's network namespace."""
        return f"{self._lab}-{host}"

    def plug(self, host: int) -> None:
        """Give a host a network namespace with a cable to the switch."""
        own = self.namespace(host)
        command("ip", "netns", "add", own)
        peer = ("type", "veth", "peer", "name", f"h{host}", "netns", self._namespace)
        command("ip", "link", "add", "name", "eth0", "netns", own, *peer)
        command("ip", "-n", own, "addr", "add", f"10.77.0.{host}/24", "dev", "eth0")
        command("ip", "-n", own, "link", "set", "lo", "up")
        command("ip", "-n", own, "link", "set", "eth0", "up")
        if shutil.which("ethtool"):
            # A wire that holds frames carries whole ones, with their checksums.
            off = "tx off gso off tso off gro off".split()
            command("ip", "netns", "exec", own, "ethtool", "-K", "eth0", *off, check=False)
        self._ip("link", "set", f"h{host}", "master", "br0")
        self._ip("link", "set", f"h{host}", "up")

    def unplug(self, host: int) -> None:
        """Take the cable away, with what is on its way, and the namespace."""
        self.delay(host, 0)
        # Its other end goes at once, that in a removed namespace some time later.
        command("ip", "-n", self._namespace, "link", "del", f"h{host}", check=False)
        command("ip", "netns", "del", self.namespace(host), check=False)

    def cut(self, host: int) -> None:
        """Take the cable's link down: nothing passes, nobody is told."""
        self._ip("link", "set", f"h{host}", "down")

    def mend(self, host: int) -> None:
        """Take it up again."""
        self._ip("link", "set", f"h{host}", "up")

    def rate(self, host: int, rate: str | None) -> None:
        """Hold the cable to `rate`, as `8mbit`, in both directions; None: no longer."""
        for namespace, device in ((self._namespace, f"h{host}"), (self.namespace(host), "eth0")):
            command("tc", "-n", namespace, "qdisc", "del", "dev", device, "root", check=False)
            if rate:
                shape = ("tbf", "rate", rate, "burst", "64kb", "latency", "400ms")
                command("tc", "-n", namespace, "qdisc", "add", "dev", device, "root", *shape)

    def loss(self, host: int, percent: int) -> None:
        """Drop so many percent of what comes to a host; 0: none."""
        inside = ("ip", "netns", "exec", self.namespace(host), "nft")
        command(*inside, "flush", "ruleset")
        if percent:
            hook = "add chain inet lab in { type filter hook input priority 0; }"
            drop = f"add rule inet lab in iifname eth0 numgen random mod 1000 < {10 * percent - 1} drop"
            command(*inside, f"add table inet lab; {hook}; {drop}")

    def delay(self, host: int, milliseconds: float) -> None:
        """Hold every frame from and to a host for so long; 0: no longer."""
        if wire := self._wires.pop(host, None):
            wire.send_signal(signal.SIGTERM)
            with suppress(subprocess.TimeoutExpired):
                wire.wait(10)
            wire.kill()
            wire.wait()
        if milliseconds:
            inside = ("ip", "netns", "exec", self._namespace, sys.executable, "-S", str(_WIRE))
            wire = subprocess.Popen([*inside, str(host), str(milliseconds)], stdout=subprocess.PIPE)
            self._wires[host] = wire
            assert wire.stdout is not None
            if not wire.stdout.readline():
                raise RuntimeError(f"the wire to host {host} did not begin")

    def close(self) -> None:
        """Remove the switch; its hosts have gone."""
        for host in list(self._wires):
            self.delay(host, 0)
        command("ip", "netns", "del", self._namespace, check=False)

    def _ip(self, *arguments: str) -> None:
        command("ip", "-n", self._namespace, *arguments)
