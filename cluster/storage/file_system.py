"""The file system behind a folder or URI."""

from pathlib import Path

import pyarrow as pa
from pyarrow import fs

from multitask.errors import UserError

# Where Ray unpacks the working folder of a job.
_JOB_FOLDER = "/runtime_resources/working_dir_files/"


def open_location(location: str) -> tuple[fs.FileSystem, str]:
    """The file system of `location`, and the path that it has there; raises as `cluster.storage.storage.Storage`, or what the driver does."""
    return _from_uri(location) if "://" in location else (fs.LocalFileSystem(), _own_path(location))


def _own_path(location: str) -> str:
    """The absolute path of a folder.

    Raises:
        UserError: it lies in the folder into which Ray unpacks what came with a job, on each node its own, and gone with the job.
    """
    path = str(Path(location).expanduser().absolute())
    if _JOB_FOLDER in path:
        raise UserError(
            f"cluster.storage: {location!r} lies in the job's own folder, which is removed with it; "
            "set it to a folder or URI that all hosts of the cluster see"
        )
    return path


def _from_uri(location: str) -> tuple[fs.FileSystem, str]:
    try:
        return fs.FileSystem.from_uri(location)
    except pa.ArrowInvalid:
        import fsspec

        filesystem, path = fsspec.core.url_to_fs(location)
        return fs.PyFileSystem(fs.FSSpecHandler(filesystem)), path
