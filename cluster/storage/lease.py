"""One owner of a folder: a lease, renewed while its owner lives, by which what was thought dead is fenced off.

A lease is the file `lease/<number>.json` with the highest number. To take a folder over is to create the next number, which a
storage lets one process do alone; the one before sees it and writes no more. The last file stays when its owner has ended, so
that no number comes twice.
"""

import json
import re
import secrets
import threading
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any

import pyarrow as pa

from cluster.storage.process_identity import ProcessIdentity
from cluster.storage.storage import Storage
from multitask.errors import UserError

FOLDER = "lease"
# An owner renews every RENEW_S; who has not for LEASE_S, by the clock of the one who waits, may be taken over.
RENEW_S, LEASE_S = 10.0, 60.0
# How often one that waits looks, and for how long the owner believes that it still is.
WATCH_S, CHECK_S = 1.0, 1.0
_NAME = re.compile(r"(\d{8})\.json")


class LeaseHeldError(UserError):
    """Another process is at the folder."""


class LeaseLostError(UserError):
    """Another process has taken the folder over, and what this one writes is refused."""


@dataclass(frozen=True)
class Launch:
    """One start by a command. Workers that are started again in it share it, and take over from each other at once.

    `process` is the one to end where somebody else wants the folder.
    """

    id: str
    process: ProcessIdentity

    @classmethod
    def here(cls) -> "Launch":
        """A new one, by this process."""
        return cls(secrets.token_hex(8), ProcessIdentity.of())

    @classmethod
    def by(cls, pid: int) -> "Launch":
        """All that process `pid` of this host starts."""
        process = ProcessIdentity.of(pid)
        return cls(f"{process.host} {process.boot} {pid} {process.started}", process)

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON values."""
        return asdict(self)

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> "Launch":
        """What `to_dict` gave."""
        return cls(values["id"], ProcessIdentity(**values["process"]))


@dataclass(frozen=True)
class _Record:
    """A lease as its file holds it: who has it, since when (Unix seconds), and how often it was renewed."""

    attempt: str
    launch: Launch
    process: ProcessIdentity
    since: float
    renewals: int = 0
    released: bool = False

    def encode(self) -> bytes:
        return (json.dumps(asdict(self), indent=1) + "\n").encode()

    @classmethod
    def decode(cls, data: bytes) -> "_Record | None":
        """None where the file is damaged."""
        try:
            values = json.loads(data)
            nested = {"launch": Launch.from_dict(values["launch"]), "process": ProcessIdentity(**values["process"])}
            return cls(**values | nested)
        except (ValueError, TypeError, KeyError):
            return None

    def is_free_for(self, launch: Launch) -> bool:
        """Whether its owner is known to be through, or is `launch`'s own."""
        return self.released or self.launch.id == launch.id or self.process.is_gone

    def describe(self) -> str:
        """The process to end, its host, and since when."""
        since = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(self.since))
        process = self.process if self.launch.process.is_gone else self.launch.process
        return f"process {process.pid} on {process.host} since {since}"


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
            holder = _Record.decode(data) if newest else None
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

    def write(self, path: str, data: bytes) -> None:
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


class Lease:
    """The lease of a folder, renewed by a thread until `release`, or the end of a `with`."""

    def __init__(self, storage: Storage, number: int, launch: Launch) -> None:
        attempt = f"{number}-{secrets.token_hex(4)}"
        self.fence = Fence(storage, number, attempt)
        self._record = _Record(attempt, launch, ProcessIdentity.of(), time.time())
        self._storage, self._path = storage, f"{FOLDER}/{number:08d}.json"
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._renew, name="lease", daemon=True)

    @classmethod
    def acquire(cls, storage: Storage, launch: Launch) -> "Lease":
        """The lease of the folder `storage` for `launch`; waits where it must be seen whether the owner is alive.

        Raises:
            LeaseHeldError: it is.
            UserError: the storage cannot be written.
        """
        try:
            while True:
                number = _free_number(storage, launch)
                lease = cls(storage, number, launch)
                if storage.create(lease._path, lease._record.encode()):
                    break
            storage.delete_file(f"{FOLDER}/{number - 1:08d}.json")
        except (OSError, pa.ArrowException) as error:
            raise UserError(f"cluster.storage: cannot write to {storage.location}: {error}") from None
        lease._thread.start()
        return lease

    @property
    def storage(self) -> FencedStorage:
        """The folder, to be written as long as the lease is held."""
        return FencedStorage.over(self._storage, self.fence)

    def release(self) -> None:
        """Give the folder up; the next owner need not wait."""
        if self._ended.is_set():
            return
        self._ended.set()
        self._thread.join(RENEW_S)
        self.fence.forget()
        self._write(released=True)

    def __enter__(self) -> "Lease":
        return self

    def __exit__(self, *error: object) -> None:
        self.release()

    def _renew(self) -> None:
        while not self._ended.wait(RENEW_S):
            self._write(renewals=self._record.renewals + 1)

    def _write(self, **changes: Any) -> None:
        """Replace the file, if it is still the newest; a storage that does not answer is asked again the next time."""
        record = replace(self._record, **changes)
        try:
            if _newest_number(self._storage) == self.fence.number:
                self._storage.write(self._path, record.encode())
                self._record = record
        except (OSError, pa.ArrowException):
            return


def written_by(storage: Storage) -> dict[str, str]:
    """What a manifest, a result or a state says of the attempt that wrote it; nothing where nobody owns the folder."""
    return {"attempt": storage.fence.attempt} if isinstance(storage, FencedStorage) else {}


def clear_folder(storage: Storage) -> None:
    """Remove all that lies in a folder but its lease."""
    for name in storage.files():
        storage.delete_file(name)
    for name in storage.folders():
        if name != FOLDER:
            storage.delete_folder(name)


def read_newest(storage: Storage) -> tuple[int, bytes]:
    """Number and content of the newest lease; 0 where the folder has had no owner yet."""
    while number := _newest_number(storage):
        try:
            return number, storage.read(f"{FOLDER}/{number:08d}.json")
        except FileNotFoundError:
            # The next owner has removed it since.
            continue
    return 0, b""


def _newest_number(storage: Storage) -> int:
    return max((int(named[1]) for name in storage.files(FOLDER) if (named := _NAME.fullmatch(name))), default=0)


def _free_number(storage: Storage, launch: Launch) -> int:
    """The number that `launch` may try to create, once the newest lease is free or has run out.

    Clocks of other hosts are not trusted: a lease has run out when it has not changed for as long as it lasts here.
    """
    number, data = read_newest(storage)
    first, changed = _Record.decode(data), time.monotonic()
    while number:
        holder = _Record.decode(data)
        if (holder and holder.is_free_for(launch)) or time.monotonic() - changed >= LEASE_S:
            break
        if holder and (holder.launch.process.is_running or (first and holder.renewals >= first.renewals + 2)):
            raise LeaseHeldError(
                f"{storage.location} is held by {holder.describe()}; end that process, or wait for its end"
            )
        time.sleep(WATCH_S)
        newest = read_newest(storage)
        if newest[0] != number:
            first = _Record.decode(newest[1])
        if newest != (number, data):
            changed = time.monotonic()
        number, data = newest
    return number + 1
