"""Folders and patterns to the files that they stand for."""

import glob
import json
from pathlib import Path

from fsspec.core import url_to_fs

from multitask.config.files import FORMATS, suffix_format
from multitask.errors import UserError

_STATE, _INFO = "state.json", "dataset_info.json"


def expand(location: str, any_suffix: bool) -> tuple[str, ...]:
    """The files of a path or URI: itself, those in it if it is a folder, or those that fit its `*`, `?` and `[…]`, in order of name.

    Of a folder, and all below it, those files are taken whose suffix tells a format, or all with `any_suffix`; hidden ones and
    those that begin with `_` are not. A folder that `datasets.Dataset.save_to_disk` wrote stands for its Arrow files. Of URIs
    `*` and a `/` at the end are looked at.

    Raises:
        UserError: there are none.
    """
    if "://" in location:
        return _at_uri(location, any_suffix)
    path = Path(location)
    if path.is_dir():
        return _in_folder(path, any_suffix)
    if not glob.has_magic(location) or path.exists():
        return (location,)
    found = sorted(name for name in glob.glob(location, recursive=True) if Path(name).is_file())
    if not found:
        raise UserError(f"no file fits {location}")
    return tuple(found)


def _in_folder(folder: Path, any_suffix: bool) -> tuple[str, ...]:
    if (folder / "dataset_dict.json").is_file():
        raise UserError(f"{folder} is a data set with several splits: name the folder of one, as {folder / 'train'}")
    if (folder / _STATE).is_file() and (folder / _INFO).is_file():
        saved = json.loads((folder / _STATE).read_text(encoding="utf-8"))["_data_files"]
        return tuple(str(folder / file["filename"]) for file in saved)
    inside = sorted(path.relative_to(folder) for path in folder.rglob("*") if path.is_file())
    return _taken(str(folder), [str(folder / path) for path in inside if _is_data(path.parts)], any_suffix)


def _at_uri(uri: str, any_suffix: bool) -> tuple[str, ...]:
    if "*" not in uri and not uri.endswith("/"):
        return (uri,)
    try:
        filesystem, path = url_to_fs(uri)
        names = filesystem.glob(path) if "*" in uri else filesystem.find(path)
    except (ImportError, ValueError, OSError) as error:
        raise UserError(f"cannot list {uri}: {' '.join(str(error).split())}") from None
    full = sorted(filesystem.unstrip_protocol(name) for name in names)
    if "*" not in uri:
        return _taken(uri, [name for name in full if _is_data(name.removeprefix(uri).split("/"))], any_suffix)
    if not full:
        raise UserError(f"no file fits {uri}")
    return tuple(full)


def _is_data(parts: tuple[str, ...] | list[str]) -> bool:
    return not any(part.startswith((".", "_")) for part in parts)


def _taken(folder: str, files: list[str], any_suffix: bool) -> tuple[str, ...]:
    found = tuple(file for file in files if any_suffix or suffix_format(file))
    if not found:
        raise UserError(f"the folder {folder} holds no file of a suffix that tells a format ({', '.join(FORMATS)})")
    return found
