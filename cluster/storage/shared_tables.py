"""Tokenised tables in the storage of the runs: one host tokenises, the others take its files."""

import hashlib
import json
from pathlib import Path

from cluster.storage.storage import Storage
from multitask.plain_json import encode_json

# No run is called so.
FOLDER = ".tables"


class SharedTables:
    """The folder `.tables` of `cluster.storage`. Files are named by what they are made of, and may be deleted at any time.

    A table counts once its note lies beside it, with its checksum; what was torn, or changed since, does not.
    """

    def __init__(self, storage: Storage) -> None:
        self._storage = storage.below(FOLDER)

    def publish(self, file: Path) -> None:
        """Put a table there, unless one of its name lies there.

        Raises:
            OSError, pyarrow.ArrowException: it cannot be written.
        """
        if not self._storage.exists(_note(file.name)):
            self._storage.upload_file(file, file.name)
            self._storage.write(_note(file.name), encode_json({"sha256": _checksum(file)}))

    def fetch(self, name: str, file: Path) -> bool:
        """Copy the table `name` to the local `file`; False where there is none that is whole.

        Raises:
            OSError, pyarrow.ArrowException: the storage does not answer.
        """
        try:
            wanted = json.loads(self._storage.read(_note(name)))["sha256"]
            self._storage.download_file(name, file)
        except (FileNotFoundError, ValueError, KeyError, TypeError):
            return False
        return _checksum(file) == wanted


def _note(name: str) -> str:
    return f"{name}.json"


def _checksum(file: Path) -> str:
    with file.open("rb") as data:
        return hashlib.file_digest(data, "sha256").hexdigest()
