"""Real commands in processes of their own, watched by their JSON lines, and killed."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).parents[2]
CONCORD = [sys.executable, "-m", "cluster.cli"]
TORCHRUN = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", "2", "-m", "cluster.cli"]


def write_recipe(path: Path, tree: dict[str, Any]) -> Path:
    """Write a recipe tree as YAML."""
    path.write_text(yaml.safe_dump(tree, sort_keys=False), encoding="utf-8")
    return path


def environment(**changes: str) -> dict[str, str]:
    """The tests' environment, with the project importable from anywhere."""
    return os.environ | {"PYTHONPATH": str(ROOT), "PYTHONUNBUFFERED": "1"} | changes


class Command:
    """A command whose lines are read as they come; killed with all its descendants when the block ends."""

    def __init__(self, arguments: list[str], **changes: str) -> None:
        self._process = subprocess.Popen(
            arguments,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env=environment(**changes),
            start_new_session=True,
        )

    def __enter__(self) -> "Command":
        return self

    def __exit__(self, *error: object) -> None:
        self.kill()

    @property
    def pid(self) -> int:
        """Process id."""
        return self._process.pid

    def events(self) -> Iterator[dict[str, Any]]:
        """The JSON lines."""
        assert self._process.stdout is not None
        for line in self._process.stdout:
            if line.startswith("{"):
                yield json.loads(line)

    def wait_for_step(self, step: int) -> None:
        """Read until a report of step `step` or later has come."""
        for event in self.events():
            if event.get("event") == "report" and event.get("step", -1) >= step:
                return
        raise AssertionError(f"ended before step {step}: {self.finish()}")

    def finish(self, timeout: float = 500) -> tuple[int, str, str]:
        """Exit code, and what is left of stdout and stderr."""
        out, err = self._process.communicate(timeout=timeout)
        return self._process.returncode, out, err

    def kill(self) -> None:
        """Kill -9 of the command and everything it started."""
        pids = [self.pid, *descendants(self.pid)]
        for pid in pids:
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                continue
        self._process.communicate()


def run_concord(
    *arguments: str, timeout: float = 500, stdin: str = "", **changes: str
) -> subprocess.CompletedProcess[str]:
    """`concord …` in a process of its own, to its end."""
    return subprocess.run(
        [*CONCORD, *arguments], input=stdin, capture_output=True, text=True, env=environment(**changes), timeout=timeout
    )


def descendants(pid: int) -> list[int]:
    """Process ids of all children, their children, …"""
    parents: dict[int, list[int]] = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                parent = int((entry / "stat").read_text().rsplit(")", 1)[1].split()[1])
            except (OSError, IndexError):
                continue
            parents.setdefault(parent, []).append(int(entry.name))
    found, waiting = [], [pid]
    while waiting:
        children = parents.get(waiting.pop(), [])
        found += children
        waiting += children
    return found


def command_line(pid: int) -> str:
    """The process's title or command line; empty where it has gone."""
    try:
        return (Path("/proc") / str(pid) / "cmdline").read_text().replace("\0", " ")
    except OSError:
        return ""


def final_files(folder: Path) -> dict[str, str]:
    """File name to checksum of the newest checkpoint: weights, optimizer and state, bit for bit."""
    newest = sorted((folder / "checkpoints").iterdir())[-1]
    manifest: dict[str, Any] = json.loads((newest / "manifest.json").read_text())
    return {"step": str(manifest["step"]), **manifest["files"]}


def result(folder: Path) -> dict[str, Any]:
    """The run's `result.json`."""
    found: dict[str, Any] = json.loads((folder / "result.json").read_text())
    return found
