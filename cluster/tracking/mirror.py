"""W&B's files of a run whose folder is no folder of a disk."""

import os
import shutil
import time
from pathlib import Path

from cluster.launch.scratch import create_scratch
from cluster.storage.relative_path import checked_path
from cluster.storage.storage import Storage
from cluster.training.history import FILE

COPY_EVERY_S = 60.0
WANDB = "wandb"
# Of W&B's own working, and of no use elsewhere.
_LEFT_OUT = {"logs", "tmp"}


class Mirror:
    """A folder on this disk for the W&B files of the run, or sweep, at `location`: fetched from there, and copied back as they grow.

    W&B writes to disks only. What a process records reaches `location` within a minute of its last row.
    """

    def __init__(self, location: str) -> None:
        self.folder = Path(create_scratch("wandb"))
        self._storage = Storage(location)
        self._known: dict[str, tuple[int, int]] = {}
        self._copied = float("-inf")

    def fetch(self) -> None:
        """Take what was recorded before, with the times at which it was written, and the run's history."""
        for path, written in self._storage.tree(WANDB).items():
            target = self.folder / WANDB / checked_path(path)
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(self._storage.read(f"{WANDB}/{path}"))
            os.utime(target, (written, written))
        self._known = self._state()
        if self._storage.exists(FILE):
            (self.folder / FILE).write_bytes(self._storage.read(FILE))

    def copy_now_and_then(self) -> None:
        """`copy`, at most once a minute."""
        if time.monotonic() - self._copied >= COPY_EVERY_S:
            self.copy()

    def copy(self) -> None:
        """Copy what is new or has grown."""
        self._copied, state = time.monotonic(), self._state()
        for path, stamp in state.items():
            if self._known.get(path) != stamp:
                self._storage.write(f"{WANDB}/{path}", (self.folder / WANDB / path).read_bytes())
        self._known = state

    def close(self) -> None:
        """Remove the folder on this disk."""
        shutil.rmtree(self.folder, ignore_errors=True)

    def _state(self) -> dict[str, tuple[int, int]]:
        """Each file to copy with its size and the time of its last change."""
        state = {}
        for file in (self.folder / WANDB).rglob("*"):
            path = file.relative_to(self.folder / WANDB)
            if file.is_file() and not file.is_symlink() and not _LEFT_OUT & set(path.parts) and file.suffix != ".part":
                found = file.stat()
                if not any(parent.is_symlink() for parent in list(file.parents)[: len(path.parts) - 1]):
                    state[path.as_posix()] = (found.st_size, found.st_mtime_ns)
        return state
