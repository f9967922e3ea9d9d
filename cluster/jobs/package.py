"""What a job takes along: the files that its command names, and nothing else."""

import os
import re
import shutil
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from multitask.config import recipe_files
from multitask.config.loading import RECIPES
from multitask.errors import UserError

# What Ray's job server takes.
LIMIT_BYTES = 100 * 2**20
_MIB = 2**20
SETTINGS = (".yaml", ".yml", ".json")
_NEVER = {".git", ".venv", "venv", "__pycache__", "runs", "wandb", "node_modules", ".mypy_cache", ".ruff_cache"}
_FUNCTION = re.compile(r"(?:.*=)?([\w.]+):\w+")


def package_files(words: Sequence[str], included: Iterable[str] = ()) -> dict[str, Path]:
    """Place in the package to file: YAML and JSON files that the command's `words` name, what recipes among them extend,
    the modules of `package.module:function`, and all below `included`. Places are relative to the working folder.

    Raises:
        UserError: a file lies outside of the working folder, is not there, or all are together too large.
    """
    found: dict[str, Path] = {}
    for path in [*_named(words), *(file for own in included for file in _below(Path(own)))]:
        found[_place(path)] = path.resolve()
    _check_size(found)
    return found


def relative_words(words: Sequence[str]) -> list[str]:
    """The words, with absolute names of files inside the working folder made relative to it: there is none of its name there."""
    here = f"{Path.cwd()}/"
    return [
        word.removeprefix(here) if Path(word).suffix in SETTINGS and Path(word).is_file() else word for word in words
    ]


def copy_files(files: dict[str, Path], folder: Path) -> None:
    """Lay the files into `folder`."""
    for place, path in files.items():
        target = folder / place
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(path, target)


def _named(words: Sequence[str]) -> Iterator[Path]:
    for word in words:
        value = word.rpartition("=")[2].removeprefix("+")
        path = Path(value).expanduser()
        if path.suffix in SETTINGS and path.is_file():
            is_recipe = path.suffix != ".json"
            chain = recipe_files(value) if is_recipe else (path,)
            yield from (own for own in chain if not own.resolve().is_relative_to(RECIPES))
        elif (named := _FUNCTION.fullmatch(word)) and (module := Path(f"{named[1].replace('.', '/')}.py")).is_file():
            yield module


def _below(path: Path) -> Iterator[Path]:
    if not path.exists():
        raise UserError(f"--include: there is no {path}")
    if path.is_file():
        yield path
        return
    for parent, folders, files in os.walk(path):
        folders[:] = sorted(set(folders) - _NEVER)
        yield from (Path(parent) / name for name in sorted(files))


def _place(path: Path) -> str:
    place = os.path.relpath(path.absolute(), Path.cwd())
    if place.startswith(".."):
        raise UserError(
            f"{path} lies outside of the working folder, and so of the job's: submit from a folder above it"
        )
    return place


def _check_size(files: dict[str, Path]) -> None:
    sizes = {place: path.stat().st_size for place, path in files.items()}
    if (total := sum(sizes.values())) > LIMIT_BYTES:
        largest = sorted(sizes.items(), key=lambda own: -own[1])[:5]
        told = ", ".join(f"{place} {size / _MIB:.1f} MiB" for place, size in largest)
        raise UserError(
            f"the job's files have {total / _MIB:.1f} MiB, Ray takes {LIMIT_BYTES / _MIB:.0f} MiB; "
            f"put data where the cluster's hosts see them. Largest: {told}"
        )
