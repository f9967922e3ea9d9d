"""A file that one of several processes creates, and the others find there."""

import errno
import os
import time

from pyarrow import fs

from cluster.storage.conditional_put import STORES, put_once
from cluster.storage.written_aside import written_aside

# Longer than two writers, of whom each saw no file, take to write it.
_SETTLE_S = 1.0
_NO_LINKS = (errno.EPERM, errno.EOPNOTSUPP, errno.ENOSYS)


def create_exclusively(filesystem: fs.FileSystem, location: str, target: str, data: bytes) -> bool:
    """Write the file `target`, and the folders above it, if it is not there; gives whether this process has done so.

    On a disk the whole file appears by a link, in a store by a put on a condition. Where there is neither, as on HDFS, the last
    of several writers at the same moment is the one. `location`: the storage's URI; `data`: this process's alone.

    Raises:
        OSError, pyarrow.ArrowException: it cannot be written.
    """
    if filesystem.type_name in STORES:
        return put_once(filesystem, location, target, data)
    filesystem.create_dir(os.path.dirname(target), recursive=True)
    if isinstance(filesystem, fs.LocalFileSystem):
        return _link(target, data)
    if isinstance(filesystem, fs.PyFileSystem) and isinstance(filesystem.handler, fs.FSSpecHandler):
        try:
            filesystem.handler.fs.pipe_file(target, data, mode="create")
        except FileExistsError:
            return False
        return True
    if filesystem.get_file_info(target).type != fs.FileType.NotFound:
        return False
    with filesystem.open_output_stream(target) as stream:
        stream.write(data)
    time.sleep(_SETTLE_S)
    with filesystem.open_input_stream(target) as stream:
        return bool(stream.read() == data)


def _link(target: str, data: bytes) -> bool:
    try:
        with written_aside(target, data) as aside:
            os.link(aside, target)
    except FileExistsError:
        return False
    except OSError as error:
        if error.errno not in _NO_LINKS:
            raise
        return _open(target, data)
    return True


def _open(target: str, data: bytes) -> bool:
    """As `_link`, on a file system without links: the file may be seen before its content."""
    try:
        with open(target, "xb") as file:
            file.write(data)
    except FileExistsError:
        return False
    return True
