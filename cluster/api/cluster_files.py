"""The files that start a cluster, made for a user's numbers."""

import os
import shlex
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cluster.api.cluster_settings import cluster_values
from cluster.api.locked_versions import locked_versions
from infra.kinds import KINDS, LOCK, is_executable, render
from multitask.errors import UserError


@dataclass(frozen=True)
class ClusterFiles:
    """What was written, in `folder`, and the commands that follow."""

    folder: Path
    files: tuple[str, ...]
    commands: tuple[str, ...]


def init_cluster(kind: str, out: Path | None = None, overwrite: bool = False, **given: Any) -> ClusterFiles:
    """Write the files of a cluster of `kind` to the folder `out`, `cluster-KIND` if not given: all of them, or none.

    `given`: the options of `concord cluster init`, by name; None takes the default.

    Raises:
        UserError: an option cannot be, a file is there already and `overwrite` is not given, or the folder cannot be written.
    """
    values = cluster_values(kind, given)
    folder = out or Path(f"cluster-{kind}")
    texts = render(kind, values)
    if KINDS[kind].has_image:
        texts[LOCK] = locked_versions()
    there = [name for name in texts if os.path.lexists(folder / name)]
    if there and not overwrite:
        raise UserError(f"{folder / there[0]} is there already; nothing was written; --overwrite replaces it")
    try:
        _write(folder, texts)
    except OSError as error:
        raise UserError(f"--out: cannot write {error.filename or folder}: {error.strerror}") from None
    return ClusterFiles(folder, tuple(texts), _commands(kind, folder, values))


def _write(folder: Path, texts: Mapping[str, str]) -> None:
    """All files aside first, on the same disk, and then to their places."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=f".{folder.name}-", dir=folder.parent) as temporary:
        aside = Path(temporary, "files")
        for name, text in texts.items():
            file = aside / name
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(text, encoding="utf-8")
            file.chmod(0o755 if is_executable(name) else 0o644)
        if not folder.exists():
            aside.rename(folder)
            return
        for name in texts:
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
        for name in texts:
            (aside / name).replace(folder / name)


def _commands(kind: str, folder: Path, values: Mapping[str, Any]) -> tuple[str, ...]:
    out = shlex.quote(str(folder))
    filled = {
        "out": shlex.quote(str(folder.absolute())) if kind == "local" else out,
        "image": values.get("image"),
        "command": values["command"],
        "storage_claim": "" if values["is_remote"] else f" -f {out}/kubernetes/storage.yaml",
    }
    return tuple(command.format(**filled) for command in KINDS[kind].commands)
