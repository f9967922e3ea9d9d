"""Folders of one process in the system's temporary folder. What a killed process left behind, the next one removes."""

import os
import re
import shutil
import signal
import tempfile
import time
from contextlib import suppress
from pathlib import Path
from typing import Literal

_ENDING_S = 5.0
_NAME = re.compile(r"concord-(?:ray|tune|wandb)-(\d+)-\w+")


def create_scratch(kind: Literal["ray", "tune", "wandb"]) -> str:
    """A new folder, to be removed by who asked for it. Its path is short, as sockets below it need (107 characters)."""
    _remove_remains(Path(tempfile.gettempdir()))
    return tempfile.mkdtemp(prefix=f"concord-{kind}-{os.getpid()}-")


def _remove_remains(place: Path) -> None:
    if not Path("/proc").is_dir():
        return
    for folder in place.glob("concord-*"):
        named = _NAME.fullmatch(folder.name)
        if named and not Path(f"/proc/{named[1]}").exists():
            remove_scratch(str(folder))


def remove_scratch(folder: str) -> None:
    """Remove a folder, and end all processes that have files open below it, as those of a Ray whose session lies there."""
    deadline = time.monotonic() + _ENDING_S
    while (users := _users_of(folder)) and time.monotonic() < deadline:
        for pid in users:
            with suppress(ProcessLookupError, PermissionError):
                os.kill(pid, signal.SIGKILL)
        time.sleep(0.1)
    shutil.rmtree(folder, ignore_errors=True)


def _users_of(folder: str) -> list[int]:
    """Process ids but our own; none where the system does not tell."""
    pids = [int(entry.name) for entry in Path("/proc").glob("[0-9]*") if entry.name != str(os.getpid())]
    return [pid for pid in pids if any(path.startswith(f"{folder}/") for path in _open_files(pid))]


def _open_files(pid: int) -> list[str]:
    try:
        return [os.readlink(entry) for entry in Path(f"/proc/{pid}/fd").iterdir()]
    except OSError:
        return []
