"""One owner of a folder: a lease, renewed while its owner lives, by which what was thought dead is fenced off.

A lease is the file `lease/<number>.json` with the highest number. To take a folder over is to create the next number, which a
storage lets one process do alone; the one before sees it and writes no more. The last file stays when its owner has ended, so
that no number comes twice.
"""

import secrets
import threading
import time
from dataclasses import replace
from typing import Any

import pyarrow as pa

from cluster.storage.fence import Fence, FencedStorage
from cluster.storage.lease_record import FOLDER, Launch, LeaseRecord, lease_path, newest_number, read_newest
from cluster.storage.process_identity import ProcessIdentity
from cluster.storage.storage import Storage
from cluster.storage.store_error import StoreError
from multitask.errors import UserError

# An owner renews every RENEW_S; who has not for LEASE_S, by the clock of the one who waits, may be taken over.
RENEW_S, LEASE_S = 10.0, 60.0
# How often one that waits looks.
WATCH_S = 1.0


class LeaseHeldError(UserError):
    """Another process is at the folder."""


class Lease:
    """The lease of a folder, renewed by a thread until `release`, or the end of a `with`."""

    def __init__(self, storage: Storage, number: int, launch: Launch) -> None:
        attempt = f"{number}-{secrets.token_hex(4)}"
        self.fence = Fence(storage, number, attempt)
        self._record = LeaseRecord(attempt, launch, ProcessIdentity.of(), time.time())
        self._storage, self._path = storage, lease_path(number)
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
            storage.delete_file(lease_path(number - 1))
        except StoreError:
            raise
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
            if newest_number(self._storage) == self.fence.number:
                self._storage.write(self._path, record.encode())
                self._record = record
        except (OSError, pa.ArrowException):
            return


def clear_folder(storage: Storage) -> None:
    """Remove all that lies in a folder but its lease."""
    for name in storage.files():
        storage.delete_file(name)
    for name in storage.folders():
        if name != FOLDER:
            storage.delete_folder(name)


def _free_number(storage: Storage, launch: Launch) -> int:
    """The number that `launch` may try to create, once the newest lease is free or has run out.

    Clocks of other hosts are not trusted: a lease has run out when it has not changed for as long as it lasts here.
    """
    number, data = read_newest(storage)
    first, changed = LeaseRecord.decode(data), time.monotonic()
    while number:
        holder = LeaseRecord.decode(data)
        if (holder and holder.is_free_for(launch)) or time.monotonic() - changed >= LEASE_S:
            break
        if holder and (holder.launch.process.is_running or (first and holder.renewals >= first.renewals + 2)):
            raise LeaseHeldError(
                f"{storage.location} is held by {holder.describe()}; end that process, or wait for its end"
            )
        time.sleep(WATCH_S)
        asked = time.monotonic()
        newest = read_newest(storage)
        # While the storage was away nobody could renew.
        changed += time.monotonic() - asked
        if newest[0] != number:
            first = LeaseRecord.decode(newest[1])
        if newest != (number, data):
            changed = time.monotonic()
        number, data = newest
    return number + 1
