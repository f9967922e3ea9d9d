"""Folders of one process in the system's temporary folder. What a killed process left behind, the next one removes."""

import os
import re
import shutil
import tempfile
from pathlib import Path
from typing import Literal

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
            shutil.rmtree(folder, ignore_errors=True)
