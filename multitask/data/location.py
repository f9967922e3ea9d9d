"""Where files are: folders, installed packages and URIs."""

import importlib.util
import io
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO, cast

import pyarrow.fs
from fsspec.core import url_to_fs

from multitask.errors import UserError

_PACKAGE = "package:"


def resolve_location(name: str) -> str:
    """The path of `package:NAME[/SUB]` inside the installed package NAME; every other name unchanged.

    The package is found but not imported, so that looking up a file stays cheap.

    Raises:
        UserError: the package is not installed, or holds no such file or folder.
    """
    if not name.startswith(_PACKAGE):
        return name
    package, _, inside = name.removeprefix(_PACKAGE).partition("/")
    folders = _package_folders(package)
    if not folders:
        raise UserError(f"{name}: the Python package {package!r} is not installed")
    for folder in folders:
        if (folder / inside).exists():
            return str(folder / inside)
    raise UserError(f"{name}: the package {package!r} ({folders[0]}) holds no {inside!r}")


def locate(root: str, file: str) -> str:
    """The path or URI of `file`; a relative name is joined to `root` (a folder, `package:NAME[/SUB]` or a URI).

    Raises:
        UserError: a `package:` name that does not exist.
    """
    if file.startswith(_PACKAGE):
        return resolve_location(file)
    if "://" in file or Path(file).expanduser().is_absolute():
        return file if "://" in file else str(Path(file).expanduser())
    root = resolve_location(root)
    return f"{root.rstrip('/')}/{file}" if "://" in root else str(Path(root).expanduser() / file)


@contextmanager
def open_binary(name: str) -> Iterator[BinaryIO]:
    """Open a path or URI for reading bytes. URIs go to fsspec, or to pyarrow where fsspec lacks the driver.

    Raises:
        UserError: it does not exist, or cannot be opened or read to its end.
    """
    try:
        with _open_uri(name) if "://" in name else open(name, "rb") as stream:
            yield stream
    except FileNotFoundError:
        raise UserError(f"there is no file {name}") from None
    except OSError as error:
        raise UserError(f"cannot read {name}: {error.strerror or ' '.join(str(error).split())}") from None


def _package_folders(package: str) -> list[Path]:
    try:
        spec = importlib.util.find_spec(package)
    except (ImportError, ValueError):
        return []
    return [Path(folder) for folder in (spec.submodule_search_locations or ())] if spec else []


def _open_uri(uri: str) -> BinaryIO:
    try:
        filesystem, path = url_to_fs(uri)
    except (ImportError, ValueError) as error:
        return _open_with_arrow(uri, str(error))
    return cast(BinaryIO, filesystem.open(path, "rb"))


def _open_with_arrow(uri: str, reason: str) -> BinaryIO:
    try:
        filesystem, path = pyarrow.fs.FileSystem.from_uri(uri)
    except ValueError:
        raise UserError(f"cannot read {uri}: {reason}") from None
    return io.BufferedReader(filesystem.open_input_file(path))
