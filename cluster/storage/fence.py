"""What is written only as long as its writer owns the folder."""

import time
from dataclasses import dataclass
from typing import Any

from cluster.storage.lease_record import LeaseRecord, read_newest
from cluster.storage.storage import Data, Storage
from multitask.errors import UserError

# For how long an owner that has looked believes that it still is.
CHECK_S = 1.0


class LeaseLostError(UserError):
    """Another process has taken the folder over, and what this one writes is refused."""


@dataclass
class Fence:
    """What every rank of an owner knows of its lease; `check` before anything is written."""

    storage: Storage
    number: int
    attempt: str
    _checked: float = float("-inf")

    def check(self) -> None:
        """Raises:
        LeaseLostError: the folder has another owner by now.
        OSError, pyarrow.ArrowException: the storage does not answer.
        """
        if time.monotonic() - self._checked < CHECK_S:
            return
        newest, data = read_newest(self.storage)
        if newest != self.number:
            self.forget()
            holder = LeaseRecord.decode(data) if newest else None
            owner = f"is held by {holder.describe()}" if holder else "has lost its lease/ folder"
            raise LeaseLostError(
                f"{self.storage.location} {owner}; this process no longer owns it and writes nothing more"
            )
        self._checked = time.monotonic()

    def forget(self) -> None:
        """Look again at the next check, however recent the last one is."""
        self._checked = float("-inf")


class FencedStorage(Storage):
    """A storage that is written only as long as its fence holds."""

    fence: Fence

    @classmethod
    def over(cls, storage: Storage, fence: Fence) -> "FencedStorage":
        """`storage`, with its connection."""
        fenced = cls.__new__(cls)
        fenced.__dict__ |= storage.__dict__ | {"fence": fence}
        return fenced

    def below(self, path: str) -> Storage:
        return FencedStorage.over(super().below(path), self.fence)

    def check_owner(self) -> None:
        """Raises:
        LeaseLostError: the folder has another owner by now.
        """
        self.fence.forget()
        self.fence.check()

    def write(self, path: str, data: Data) -> None:
        self.fence.check()
        super().write(path, data)

    def rename_file(self, path: str, name: str) -> None:
        self.fence.check()
        super().rename_file(path, name)

    def delete_file(self, path: str) -> None:
        self.fence.check()
        super().delete_file(path)

    def delete_folder(self, path: str) -> None:
        self.fence.check()
        super().delete_folder(path)

    def copy_folder(self, source: Storage, path: str) -> None:
        self.fence.check()
        super().copy_folder(source, path)

    def upload_folder(self, folder: Any, path: str) -> None:
        self.fence.check()
        super().upload_folder(folder, path)


def written_by(storage: Storage) -> dict[str, str]:
    """What a manifest, a result or a state says of the attempt that wrote it; nothing where nobody owns the folder."""
    return {"attempt": storage.fence.attempt} if isinstance(storage, FencedStorage) else {}
