"""Ray on the hosts of a lab, started as on real ones: `ray start` on each, a token, jobs to the head's job API."""

import os
import secrets
import subprocess
import sys
import time
from collections.abc import Callable, Iterable
from pathlib import Path

from tests.hosts.lab import Host, Lab
from tests.integration.commands import ROOT

RAY = [sys.executable, "-m", "ray.scripts.scripts"]
API = "http://127.0.0.1:8265"
HEAD = 1
# A host that is gone is noticed in seconds; Ray's own defaults take a minute.
HEALTH_CHECKS = {
    "RAY_health_check_initial_delay_ms": "2000",
    "RAY_health_check_period_ms": "1000",
    "RAY_health_check_timeout_ms": "2000",
    "RAY_health_check_failure_threshold": "3",
}
_OBJECT_STORE_BYTES = 80_000_000
_START_S = 240.0


class RayCluster:
    """A head without CPUs on host 1, and `cpus` on each other host.

    `rocksdb`: the head keeps what it knows on its disk and is the same one when it is started again.
    """

    def __init__(self, lab: Lab, cpus: float = 1, *, rocksdb: bool = False) -> None:
        self.lab, self._cpus = lab, cpus
        token = lab.folder / "token"
        token.write_text(secrets.token_hex(32))
        token.chmod(0o600)
        binaries = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
        self.environment = {
            "RAY_AUTH_MODE": "token",
            "RAY_AUTH_TOKEN_PATH": str(token),
            "RAY_USAGE_STATS_ENABLED": "0",
            "PATH": binaries,
            "PYTHONPATH": str(ROOT),
            "PYTHONUNBUFFERED": "1",
            **HEALTH_CHECKS,
        }
        if rocksdb:
            kept = {"RAY_gcs_storage": "rocksdb", "RAY_gcs_storage_path": str(lab.unshared / "gcs")}
            self.environment |= kept

    @property
    def head(self) -> Host:
        """The head's host."""
        return self.lab.host(HEAD)

    def start(self) -> None:
        """Start the head, then the others."""
        self.start_on([self.head])
        self.start_on(self.lab.hosts[1:])

    def start_on(self, hosts: Iterable[Host]) -> None:
        """`ray start` on all of `hosts` at once.

        Raises:
            AssertionError: it failed on one; with what it said.
        """
        started = [(host, host.popen(*self._start_command(host), environment=self.environment)) for host in hosts]
        for host, process in started:
            out, _ = process.communicate(timeout=_START_S)
            assert process.returncode == 0, f"ray start on {host.name}: {out[-3000:]}"

    def _start_command(self, host: Host) -> list[str]:
        common = [f"--node-ip-address={host.address}", f"--object-store-memory={_OBJECT_STORE_BYTES}"]
        common += ["--disable-usage-stats", "--include-log-monitor=false"]
        if host is self.head:
            own = ["--head", "--port=6379", "--num-cpus=0", "--dashboard-host=127.0.0.1"]
        else:
            own = [f"--address={self.head.address}:6379", f"--num-cpus={self._cpus:g}"]
        return [*RAY, "start", *own, *common]

    def run(self, *arguments: str, host: int = HEAD, timeout: float = 300) -> subprocess.CompletedProcess[str]:
        """A command on a host that knows the token."""
        return self.lab.host(host).run(*arguments, environment=self.environment, timeout=timeout)

    def submit(self, *entrypoint: str, options: Iterable[str] = ()) -> "subprocess.Popen[str]":
        """`ray job submit` on the head; ends when the job does, with its output."""
        command = [*RAY, "job", "submit", "--address", API, *options, "--", *entrypoint]
        return self.head.popen(*command, environment=self.environment)


def wait_until(reached: Callable[[], object], what: str, seconds: float = 300) -> None:
    """Wait for a condition.

    Raises:
        AssertionError: it did not come; with `what`.
    """
    ends = time.monotonic() + seconds
    while not reached():
        assert time.monotonic() < ends, f"{what} did not come in {seconds:g} s"
        time.sleep(0.1)


def saved_step(run: Path) -> int:
    """The step of a run's newest whole checkpoint; 0 without one."""
    manifests = (run / "checkpoints").glob("step-*/manifest.json")
    return max((int(path.parent.name.removeprefix("step-")) for path in manifests), default=0)
