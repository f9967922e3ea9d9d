"""What befalls hosts: power, cables, processes, Ray's own, the network, the disk."""

import os
import random
import signal
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from tests.chaos.driver import Driver
from tests.chaos.faults import damage_something
from tests.hosts.lab import Host
from tests.hosts.ray_cluster import RAY, RayCluster, wait_until

NOTICE_S = 15
_FULL_S, _BAD_NETWORK_S = 8.0, 10.0


class HostFaults:
    """One method for each kind; each leaves the cluster as whole as it was, but for what runs on it."""

    def __init__(self, cluster: RayCluster, driver: Driver, run: Path, generator: random.Random) -> None:
        self._cluster, self._driver, self._run, self._generator = cluster, driver, run, generator

    def kinds(self) -> dict[str, Callable[[], None]]:
        """Kind to what does it."""
        return {
            "host without power": self.power,
            "cable cut and mended": self.cable,
            "worker killed": self.worker,
            "worker stopped": self.stopped,
            "raylet killed": self.raylet,
            "driver killed": self.driver,
            "head without power": self.head,
            "host drained with notice": self.drain,
            "8 Mbit/s": lambda: self._network(lambda host, on: host.rate("8mbit" if on else None)),
            "10 % loss": lambda: self._network(lambda host, on: host.loss(10 if on else 0)),
            "20 ms delay": lambda: self._network(lambda host, on: host.delay(20 if on else 0)),
            "disk full": self.full,
            "file torn": self.torn,
        }

    def power(self) -> None:
        host = self._busy_host()
        host.kill()
        host.start()
        self._cluster.start_on([host])

    def cable(self) -> None:
        host = self._busy_host()
        host.cut()
        time.sleep(self._generator.uniform(3, 15))
        host.mend()
        # A raylet that was given up ends when it hears so; one that was away for a moment stays.
        ends = time.monotonic() + 15
        while _has(host, "raylet") and time.monotonic() < ends:
            time.sleep(0.2)
        if not _has(host, "raylet"):
            self._cluster.start_on([host])

    def worker(self) -> None:
        self._signal_worker(signal.SIGKILL)

    def stopped(self) -> None:
        self._signal_worker(signal.SIGSTOP)

    def raylet(self) -> None:
        host = self._busy_host()
        for pid, title in host.processes().items():
            if title.split()[0].endswith("/raylet"):
                os.kill(pid, signal.SIGKILL)
        wait_until(lambda: not _has(host, "RayTrainWorker"), "the end of a raylet's workers", 60)
        self._cluster.start_on([host])

    def driver(self) -> None:
        self._driver.kill()
        self._driver.start()

    def head(self) -> None:
        self._cluster.head.kill()
        self._cluster.head.start()
        self._cluster.start_on([self._cluster.head])
        time.sleep(5)
        lost = [host for host in self._cluster.lab.hosts[1:] if not _has(host, "/raylet")]
        self._cluster.start_on(lost)

    def drain(self) -> None:
        host = self._busy_host()
        listed = self._cluster.run(*RAY, "list", "nodes", "--format=json", "--filter", "state=ALIVE").stdout
        node = _node_id(listed, host.address)
        notice = ["--reason", "DRAIN_NODE_REASON_PREEMPTION", "--reason-message", "spot"]
        notice += ["--deadline-remaining-seconds", str(NOTICE_S)]
        address = f"{self._cluster.head.address}:6379"
        done = self._cluster.run(*RAY, "drain-node", "--address", address, "--node-id", node, *notice)
        assert done.returncode == 0, done.stdout
        time.sleep(NOTICE_S)
        host.kill()
        host.start()
        self._cluster.start_on([host])

    def full(self) -> None:
        ballast = self._cluster.lab.shared / "ballast"
        with suppress(OSError), ballast.open("wb") as file:
            while True:
                file.write(bytes(1 << 20))
                file.flush()
        time.sleep(_FULL_S)
        ballast.unlink()

    def torn(self) -> None:
        self._driver.kill()
        damage_something(self._run, self._generator)
        self._driver.start()

    def _network(self, change: Callable[[Host, bool], None]) -> None:
        host = self._busy_host()
        change(host, True)
        time.sleep(_BAD_NETWORK_S)
        change(host, False)

    def _busy_host(self) -> Host:
        """A host where a worker trains, or any where none does."""
        others = self._cluster.lab.hosts[1:]
        return self._generator.choice([host for host in others if _has(host, "RayTrainWorker")] or others)

    def _signal_worker(self, number: signal.Signals) -> None:
        workers = [pid for pid, title in self._busy_host().processes().items() if "RayTrainWorker" in title]
        if workers:
            os.kill(self._generator.choice(workers), number)


def _has(host: Host, word: str) -> bool:
    return any(word in title for title in host.processes().values())


def _node_id(listed: str, address: str) -> str:
    import json

    nodes = json.loads(listed[listed.index("[") :])
    return str(next(node["node_id"] for node in nodes if node["node_ip"] == address))
