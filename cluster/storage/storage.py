"""The folder of a run, on a disk or in an object store."""

import copy
import os
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

import pyarrow as pa
from pyarrow import fs

from cluster.storage.exclusive import create_exclusively
from cluster.storage.inside import inside
from cluster.storage.retry import retried
from cluster.storage.written_aside import written_aside
from multitask.errors import UserError

T = TypeVar("T")


class Storage:
    """Files below one location: a folder, or a URI that pyarrow or fsspec knows. Paths are relative, with `/`.

    Methods raise `OSError` where the disk or the store refuses; what a store's own library raises besides comes through as it
    is, pyarrow's as `pyarrow.ArrowException`. What may pass by itself is tried again for some seconds first.

    Raises:
        UserError: the location cannot be used at all.
    """

    def __init__(self, location: str) -> None:
        self.location = location
        try:
            if "://" in location:
                self._fs, self._root = _from_uri(location)
            else:
                self._fs, self._root = fs.LocalFileSystem(), str(Path(location).expanduser().absolute())
        except (pa.ArrowException, OSError, ValueError, ImportError) as error:
            raise UserError(f"cluster.storage: cannot use {location!r}: {error}") from None

    def below(self, path: str) -> "Storage":
        """The storage of a folder inside this one, by the same file system: an object store's is no small thing to open."""
        inner = copy.copy(self)
        inner.location, inner._root = f"{self.location.rstrip('/')}/{path}", self.path(path)
        return inner

    @property
    def is_local(self) -> bool:
        """Whether files are plain files of this host (or of a file system mounted on it)."""
        return isinstance(self._fs, fs.LocalFileSystem)

    def path(self, path: str) -> str:
        """`path` as pyarrow's file system wants it; for local storage an absolute file name."""
        return f"{self._root}/{inside(path)}" if path else self._root

    def write(self, path: str, data: bytes) -> None:
        """Write a whole file, and the folders above it; on a disk it appears at once or not at all.

        Raises:
            OSError, pyarrow.ArrowException: it cannot be written.
        """
        self._retried(lambda: self._write(self.path(path), data))

    def _retried(self, action: Callable[[], T]) -> T:
        return retried(action, is_local=self.is_local)

    def _write(self, target: str, data: bytes) -> None:
        self._fs.create_dir(os.path.dirname(target), recursive=True)
        if not self.is_local:
            with self._fs.open_output_stream(target) as stream:
                stream.write(data)
            return
        with written_aside(target, data) as aside:
            os.replace(aside, target)

    def create(self, path: str, data: bytes) -> bool:
        """Write a file that nobody has written yet; False where it is there already.

        Of several processes one alone succeeds, on disks and on stores of fsspec that put on a condition.

        Raises:
            OSError, pyarrow.ArrowException: it cannot be written.
        """
        return create_exclusively(self._fs, self.path(path), data)

    def read(self, path: str) -> bytes:
        """A whole file.

        Raises:
            FileNotFoundError: there is none.
        """
        return self._retried(lambda: self._read(self.path(path)))

    def _read(self, target: str) -> bytes:
        with self._fs.open_input_stream(target) as stream:
            return stream.read()

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
        files = [info for info in self._fs.get_file_info(selector) if info.type == fs.FileType.File]
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
        self._fs.create_dir(self.path(path), recursive=True)
        fs.copy_files(source.path(path), self.path(path), source_filesystem=source._fs, destination_filesystem=self._fs)

    def upload_folder(self, folder: Path, path: str) -> None:
        """Copy a local folder to `path`.

        Raises:
            FileNotFoundError: there is no such folder.
        """
        fs.copy_files(
            str(folder), self.path(path), source_filesystem=fs.LocalFileSystem(), destination_filesystem=self._fs
        )


def _from_uri(location: str) -> tuple[fs.FileSystem, str]:
    try:
        return fs.FileSystem.from_uri(location)
    except pa.ArrowInvalid:
        import fsspec

        filesystem, path = fsspec.core.url_to_fs(location)
        return fs.PyFileSystem(fs.FSSpecHandler(filesystem)), path
