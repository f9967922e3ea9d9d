"""The folder of a run, on a disk or in an object store."""

import copy
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import pyarrow as pa
from pyarrow import fs

from cluster.storage.conditional_put import STORES
from cluster.storage.exclusive import create_exclusively
from cluster.storage.file_system import open_location
from cluster.storage.location import inside
from cluster.storage.relative_path import checked_path
from cluster.storage.retry import FIRST_PAUSES_S, STORE_PAUSES_S, may_pass, retried
from cluster.storage.store_error import is_final, store_error
from cluster.storage.written_aside import written_aside
from multitask.config.uris import without_secret
from multitask.errors import UserError

T = TypeVar("T")
Data = bytes | memoryview


@dataclass
class _Contact:
    """Whether a store has answered, and not fallen silent since: then it is waited for longer."""

    made: bool = False


class Storage:
    """Files below one location: a folder, or a URI that pyarrow or fsspec knows. Paths are relative, with `/`.

    Methods raise `OSError` where a disk refuses, and `StoreError`, one line for the user, where a store does. What may pass by
    itself is tried again first: for seconds on a disk, for about a minute where a store has answered before.

    Raises:
        UserError: the location cannot be used at all.
    """

    def __init__(self, location: str) -> None:
        try:
            self.location, self._contact = without_secret(location), _Contact()
        except ValueError as error:
            raise UserError(f"cluster.storage: {error}") from None
        try:
            self._fs, self._root = open_location(location)
        except (pa.ArrowException, OSError, ValueError, ImportError) as error:
            raise UserError(f"cluster.storage: cannot use {location!r}: {error}") from None

    def below(self, path: str) -> "Storage":
        """The storage of a folder inside this one, by the same file system: an object store's is no small thing to open."""
        inner = copy.copy(self)
        inner.location, inner._root = inside(self.location, path), self.path(path)
        return inner

    @property
    def is_local(self) -> bool:
        """Whether files are plain files of this host (or of a file system mounted on it)."""
        return isinstance(self._fs, fs.LocalFileSystem)

    def path(self, path: str) -> str:
        """`path` as pyarrow's file system wants it; for local storage an absolute file name."""
        return f"{self._root}/{checked_path(path)}" if path else self._root

    def place(self, path: str = "") -> str:
        """`path` as people and commands name it: an absolute file name, or a URI."""
        return self.path(path) if self.is_local else inside(self.location, path)

    def check_owner(self) -> None:
        """Nothing: whoever has this storage may write to it. See `cluster.storage.fence`."""

    def write(self, path: str, data: Data) -> None:
        """Write a whole file, and the folders above it; on a disk it appears at once or not at all.

        Raises:
            OSError, pyarrow.ArrowException: it cannot be written.
        """
        self._retried(lambda: self._write(self.path(path), data))

    def _retried(self, action: Callable[[], T]) -> T:
        if self.is_local:
            return retried(action, is_local=True)
        try:
            result = retried(action, is_local=False, pauses=STORE_PAUSES_S if self._contact.made else FIRST_PAUSES_S)
        except Exception as error:
            if not (may_pass(error, False) or is_final(error)) or isinstance(error, UserError):
                raise
            self._contact.made = False
            raise store_error(self.location, error) from error
        self._contact.made = True
        return result

    def _create_folder(self, target: str) -> None:
        """Stores of objects have none, and are not asked for one."""
        if self._fs.type_name not in STORES:
            self._fs.create_dir(target, recursive=True)

    def _write(self, target: str, data: Data) -> None:
        self._create_folder(os.path.dirname(target))
        if not self.is_local:
            with self._fs.open_output_stream(target) as stream:
                stream.write(data)
            return
        with written_aside(target, data) as aside:
            os.replace(aside, target)

    def create(self, path: str, data: bytes) -> bool:
        """Write a file that nobody has written yet; False where it is there already.

        Of several processes one alone succeeds, on disks and in stores that put on a condition. No two may write the same `data`.

        Raises:
            OSError, pyarrow.ArrowException: it cannot be written.
        """
        return self._retried(lambda: create_exclusively(self._fs, self.location, self.path(path), data))

    def read(self, path: str) -> bytes:
        """A whole file.

        Raises:
            FileNotFoundError: there is none.
        """
        return self._retried(lambda: self._read(self.path(path)))

    def _read(self, target: str) -> bytes:
        with self._fs.open_input_stream(target) as stream:
            return stream.read()

    def read_ranges(self, path: str, ranges: Sequence[tuple[int, int]]) -> list[bytes]:
        """Of a file the bytes `start … stop` of each range, and no others.

        Raises:
            FileNotFoundError: there is none.
            OSError: it ends before a range does.
        """
        return self._retried(lambda: self._read_ranges(self.path(path), ranges))

    def _read_ranges(self, target: str, ranges: Sequence[tuple[int, int]]) -> list[bytes]:
        with self._fs.open_input_file(target) as file:
            parts = [file.read_at(stop - start, start) for start, stop in ranges]
        if any(len(part) < stop - start for part, (start, stop) in zip(parts, ranges, strict=True)):
            raise OSError(f"{target} is shorter than it was")
        return parts

    def exists(self, path: str) -> bool:
        """Whether there is such a file or folder."""
        return self._retried(lambda: self._fs.get_file_info(self.path(path))).type != fs.FileType.NotFound

    def folders(self, path: str = "") -> list[str]:
        """Names of the folders directly below `path`, sorted; none where there is no such folder."""
        return self._names(path, fs.FileType.Directory)

    def files(self, path: str = "") -> list[str]:
        """Names of the files directly below `path`, sorted; none where there is no such folder."""
        return self._names(path, fs.FileType.File)

    def _names(self, path: str, kind: fs.FileType) -> list[str]:
        selector = fs.FileSelector(self.path(path), allow_not_found=True)
        return sorted(
            info.base_name for info in self._retried(lambda: self._fs.get_file_info(selector)) if info.type == kind
        )

    def rename_file(self, path: str, name: str) -> None:
        """Give the file `path` another name, in the same folder.

        Raises:
            FileNotFoundError: there is none.
        """
        self._retried(lambda: self._fs.move(self.path(path), self.path(str(Path(path).with_name(name)))))

    def tree(self, path: str) -> dict[str, float]:
        """All files below the folder `path`, by their path in it: when each was written, in Unix seconds, 0 where the store
        does not tell; none where there is no such folder.
        """
        selector = fs.FileSelector(self.path(path), recursive=True, allow_not_found=True)
        found = self._retried(lambda: self._fs.get_file_info(selector))
        files = [info for info in found if info.type == fs.FileType.File]
        start = len(self.path(path).lstrip("/")) + 1
        return {info.path.lstrip("/")[start:]: (info.mtime_ns or 0) / 1e9 for info in files}

    def delete_file(self, path: str) -> None:
        """Remove a file, if it is there."""
        if self.exists(path):
            self._retried(lambda: self._fs.delete_file(self.path(path)))

    def delete_folder(self, path: str) -> None:
        """Remove a folder with all that is in it, if it is there."""
        if self.exists(path):
            self._retried(lambda: self._fs.delete_dir(self.path(path)))

    def copy_folder(self, source: "Storage", path: str) -> None:
        """Copy the folder `path` of `source` to the same place here.

        Raises:
            FileNotFoundError: `source` has no such folder.
        """
        self._retried(lambda: self._create_folder(self.path(path)))
        self._copy(source._fs, source.path(path), path)

    def _copy(self, source: fs.FileSystem, folder: str, path: str) -> None:
        target = {"destination_filesystem": self._fs}
        self._retried(lambda: fs.copy_files(folder, self.path(path), source_filesystem=source, **target))

    def upload_file(self, file: Path, path: str) -> None:
        """Copy a local file to `path`; others may see it before it is whole.

        Raises:
            FileNotFoundError: there is no such file.
        """
        self._retried(lambda: self._create_folder(os.path.dirname(self.path(path))))
        self._copy(fs.LocalFileSystem(), str(file), path)

    def download_file(self, path: str, file: Path) -> None:
        """Copy the file `path` to a local one.

        Raises:
            FileNotFoundError: there is none.
        """
        source = {"source_filesystem": self._fs}
        self._retried(lambda: fs.copy_files(self.path(path), str(file), **source))

    def upload_folder(self, folder: Path, path: str) -> None:
        """Copy a local folder to `path`.

        Raises:
            FileNotFoundError: there is no such folder.
        """
        self._copy(fs.LocalFileSystem(), str(folder), path)
