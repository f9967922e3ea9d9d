"""Checkpoints: everything that the next step depends on, with checksums.

A checkpoint is a folder `checkpoints/step-00000120`. Each rank writes its shard of weights and optimizer state
(`shard_file`); rank 0 adds `state.json` and, after every rank is through, `manifest.json` with the checksum of each file
(`checkpoint_save`). A folder without a manifest, or with a file that differs from it, does not count, and the one before is
used. Shards name the fragment of each parameter that they hold, so that they can be read on any number of ranks and under
another ZeRO stage (`checkpoint_restore`).
"""

import hashlib
import json
from collections.abc import Collection, Mapping
from typing import Any

from cluster.storage.relative_path import stays_inside
from cluster.storage.signed import problem_of_signature
from cluster.storage.storage import Storage
from multitask.signature import signature_key

FOLDER = "checkpoints"
FORMAT = 2
UNREADABLE, OTHER_FORMAT = "its manifest cannot be read", ", this version reads"
STATE, EXTRA, MANIFEST = "state.json", "extra.safetensors", "manifest.json"
# Of the best evaluation: in the run's folder, and in its checkpoint's, should the run's be lost.
BEST_TABLES, PREDICTIONS = "best_tables.json", "dev_predictions.safetensors"


def checkpoint_name(step: int) -> str:
    """The folder name of the checkpoint after `step` steps."""
    return f"step-{step:08d}"


def is_read(file: str) -> bool:
    """Whether a file of this name would be read with a checkpoint that it lies in."""
    return file in (STATE, EXTRA) or (file.startswith("shard-") and file.endswith(".safetensors"))


def read_state(storage: Storage, folder: str) -> dict[str, Any]:
    """The JSON state of a checkpoint."""
    state: dict[str, Any] = json.loads(storage.read(f"{folder}/{STATE}"))
    return state


def find_checkpoint(storage: Storage) -> tuple[str | None, dict[str, str]]:
    """The newest checkpoint that is whole, and name to what was wrong with each newer one."""
    problems: dict[str, str] = {}
    for name in reversed(storage.folders(FOLDER)):
        folder = f"{FOLDER}/{name}"
        problem = verify(storage, folder)
        if problem is None:
            return folder, problems
        problems[name] = problem
    return None, problems


def verify(storage: Storage, folder: str) -> str | None:
    """What is wrong with a checkpoint; None where every file is as its manifest says.

    Raises:
        OSError, pyarrow.ArrowException: the storage does not answer, which says nothing of the checkpoint.
    """
    files, problem = read_manifest(storage, folder)
    return problem or next((found for file in files if (found := read_checked(storage, folder, file, files)[1])), None)


def read_manifest(storage: Storage, folder: str) -> tuple[dict[str, str], str | None]:
    """Name to checksum of all that belongs to a checkpoint, and what is wrong with that; raises as `verify`."""
    try:
        data = storage.read(f"{folder}/{MANIFEST}")
        manifest = json.loads(data)
        if manifest["format"] != FORMAT:
            return {}, f"format {manifest['format']}{OTHER_FORMAT} {FORMAT}"
        files = dict(manifest["files"])
    except FileNotFoundError:
        return {}, "no manifest: it was not finished"
    except (ValueError, KeyError, TypeError):
        return {}, UNREADABLE
    return files, _problem_of_manifest(storage, folder, data) or _problem_of_names(storage, folder, files)


def read_checked(storage: Storage, folder: str, file: str, files: Mapping[str, str]) -> tuple[bytes, str | None]:
    """A file of a checkpoint, and in what it differs from what its manifest says of `files`; raises as `verify`."""
    try:
        data = storage.read(f"{folder}/{file}")
    except FileNotFoundError:
        return b"", f"{file} is missing"
    return data, None if hashlib.sha256(data).hexdigest() == files[file] else f"{file} differs from its checksum"


def _problem_of_manifest(storage: Storage, folder: str, data: bytes) -> str | None:
    """A signature is that of this step's checkpoint, not of another one that was put in its place."""
    if problem := problem_of_signature(storage, f"{folder}/{MANIFEST}", data):
        return problem
    step = json.loads(data).get("step")
    if signature_key() is not None and (
        not isinstance(step, int) or checkpoint_name(step) != folder.rpartition("/")[2]
    ):
        return f"its manifest is that of step {step}"
    return None


def _problem_of_names(storage: Storage, folder: str, files: Mapping[str, str]) -> str | None:
    if not all(stays_inside(file) and "/" not in file for file in files):
        return UNREADABLE
    strange = [file for file in storage.files(folder) if is_read(file) and file not in files]
    return f"{strange[0]} is not in its manifest" if strange else None


def prune(storage: Storage, step: int, best: int | None, damaged: Collection[str] = (), keep_last: int = 2) -> None:
    """Remove checkpoints up to step `step`, the newest one, but for the `keep_last` newest that are whole and that of step `best`.

    `damaged`: names of those that are known not to be whole; those without a manifest are not, either. What lies beyond
    `step` is of no use, but stays until training comes by: it is no reason to remove what is good.
    """
    names = [name for name in storage.folders(FOLDER) if name <= checkpoint_name(step)]
    whole = [name for name in names if name not in damaged and storage.exists(f"{FOLDER}/{name}/{MANIFEST}")]
    wanted = set(whole[-keep_last:]) | ({checkpoint_name(best)} if best is not None else set())
    for name in names:
        if name not in wanted:
            storage.delete_folder(f"{FOLDER}/{name}")
