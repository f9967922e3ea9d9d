"""A file with its signature beside it, where there is a key."""

from cluster.storage.storage import Storage
from multitask.signature import SUFFIX, sign, signature_problem


def write_signed(storage: Storage, path: str, data: bytes) -> None:
    """Write a file, its signature before it: what makes a folder whole comes last.

    Raises:
        OSError, pyarrow.ArrowException: it cannot be written.
    """
    if (signature := sign(data)) is not None:
        storage.write(path + SUFFIX, signature)
    storage.write(path, data)


def problem_of_signature(storage: Storage, path: str, data: bytes) -> str | None:
    """What is wrong with the signature of file `path`, which holds `data`."""
    try:
        signature = storage.read(path + SUFFIX)
    except FileNotFoundError:
        signature = None
    return signature_problem(data, signature)
