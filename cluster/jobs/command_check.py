"""What a command would miss as a job: folders that are named relative to a working folder which the cluster does not have."""

import fnmatch
import os
import re
from collections.abc import Collection, Iterator, Sequence
from itertools import pairwise
from pathlib import Path

from multitask.config import RunConfig, load_recipe
from multitask.errors import UserError

# Commands that are about another host's jobs or this host's screen.
_NOT_AS_A_JOB = ("submit", "jobs", "logs", "stop")
_CHANGE = re.compile(r"\+[^=]+|[A-Za-z_][\w.]*=.*", re.DOTALL)
_SET_STORAGE = "a folder or URI that all hosts of the cluster see"


def run_config(words: Sequence[str]) -> RunConfig | None:
    """The config that `train …` would train, None for other commands.

    Raises:
        UserError: it is not valid, or the command is none for a job.
    """
    if not words or words[0] in _NOT_AS_A_JOB:
        raise UserError(f"a job's command is one such as train RECIPE, after --, got {' '.join(words) or 'none'}")
    plain = [word for word in words[1:] if not word.startswith("-")]
    if words[0] != "train" or not plain:
        return None
    return load_recipe(plain[0], [word for word in plain[1:] if _CHANGE.fullmatch(word)])


def check_folders(words: Sequence[str], config: RunConfig | None, packed: Collection[str]) -> None:
    """Refuse what would be looked for, or written, in the job's own folder, which goes with it. `packed`: places in the package.

    Raises:
        UserError: with what to set.
    """
    if config is None:
        _check_storage_option(words)
        return
    if _is_relative(config.cluster.storage):
        raise UserError(
            f"cluster.storage: {config.cluster.storage!r} would lie in the job's own folder, which is removed; "
            f"set it to {_SET_STORAGE}"
        )
    for key, path in _data_files(config):
        if not _is_sent(os.path.normpath(path), packed):
            raise UserError(
                f"{key}: {path} is not sent along; set data.root to {_SET_STORAGE}, or say --include {path} where it is small"
            )
    encoder = config.encoder.name
    if _is_relative(encoder) and Path(encoder).is_dir() and f"{os.path.normpath(encoder)}/config.json" not in packed:
        raise UserError(
            f"encoder.name: {encoder} is not sent along; set it to {_SET_STORAGE}, or say --include {encoder}"
        )


def _check_storage_option(words: Sequence[str]) -> None:
    """Of sweeps, whose runs lie in `runs` if not said otherwise."""
    if words[0] not in ("sweep", "best") or {"spaces", "--help", "--dry-run"} & set(words):
        return
    given = [word.partition("=")[2] for word in words if word.startswith("--storage=")]
    given += [after for word, after in pairwise(words) if word == "--storage"]
    if not given or _is_relative(given[-1]):
        where = given[-1] if given else "runs"
        raise UserError(
            f"--storage: {where!r} would lie in the job's own folder, which is removed; set it to {_SET_STORAGE}"
        )


def _data_files(config: RunConfig) -> Iterator[tuple[str, str]]:
    """Key and relative path of each data file that is named relative to the working folder."""
    for task, own in config.tasks.items():
        for split, files in own.files.items():
            for file in files if isinstance(files, list | tuple) else ():
                path = str(file) if not _is_relative(str(file)) else os.path.join(config.data.root, str(file))
                if _is_relative(path):
                    yield f"tasks.{task}.files.{split}", path


def _is_sent(path: str, packed: Collection[str]) -> bool:
    """Whether a file, or one in a folder or that fits a pattern, is among what is sent along."""
    return path in packed or any(name.startswith(f"{path}/") or fnmatch.fnmatchcase(name, path) for name in packed)


def _is_relative(location: str) -> bool:
    return not ("://" in location or location.startswith(("package:", "/", "~")))
