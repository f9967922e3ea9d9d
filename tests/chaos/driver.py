"""A command of concord on the head of a lab's Ray, whose JSON lines are followed while it runs."""

import json
import os
import signal
import sys
import threading
import time
from contextlib import suppress

from tests.hosts.ray_cluster import RayCluster

# One report may be on its way when something happens.
_UNDERWAY = 10


class Driver:
    """`concord …` with `--json`, begun on the head; `step` is the last that was reported, over all starts."""

    def __init__(self, cluster: RayCluster, *arguments: str) -> None:
        self._cluster = cluster
        self._command = [sys.executable, "-m", "cluster.cli", *arguments]
        self.step, self.reports = 0, 0
        # When workers began, and from which step.
        self.starts: list[tuple[float, int]] = []
        self.last_lines: list[str] = []
        self.begun = 0

    def start(self) -> None:
        """Begin it, or begin it again."""
        environment = self._cluster.environment | {"RAY_ADDRESS": f"{self._cluster.head.address}:6379"}
        self._process = self._cluster.head.popen(*self._command, environment=environment)
        self.begun += 1
        self._reader = threading.Thread(target=self._read, args=(self._process,), daemon=True)
        self._reader.start()

    def _read(self, process: object) -> None:
        for line in process.stdout:  # type: ignore[attr-defined]
            self.last_lines = [*self.last_lines[-60:], line]
            with suppress(ValueError):
                if isinstance(event := json.loads(line), dict):
                    self._take(event)

    def _take(self, event: dict[str, object]) -> None:
        if event.get("event") == "start":
            self.starts.append((time.monotonic(), int(str(event["resumed_step"]))))
        elif event.get("event") == "report":
            self.step, self.reports = int(str(event["step"])), self.reports + 1

    @property
    def code(self) -> int | None:
        """Its exit code, None while it runs."""
        return self._process.poll()

    def kill(self) -> None:
        """Kill -9 of the command, wherever on the head it is."""
        for pid, title in self._cluster.head.processes().items():
            if "cluster.cli" in title:
                with suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
        with suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()

    def keep_up(self) -> bool:
        """Begin it again where it has failed; False where it is through."""
        if self.code == 0:
            self._reader.join(20)
            return False
        if self.code is not None and self._cluster.head.is_up:
            time.sleep(1)
            self.start()
        return True

    def is_beyond(self, step: int) -> bool:
        """Whether it has come further than `step` was when something happened."""
        return self.step > step + _UNDERWAY
