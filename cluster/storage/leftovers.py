"""What a killed process leaves in a folder, and nothing needs any more."""

import re
from collections.abc import Iterator

from cluster.storage.finding import Finding, remove_file, remove_folder
from cluster.storage.lease_record import FOLDER, LeaseRecord, lease_path, read_newest
from cluster.storage.storage import Storage

_SET_ASIDE = re.compile(r".+\.damaged-\d{8}T\d{6}Z")
# What only a start that goes on uses.
_OF_A_START = {
    "probe": "a start was ended while it looked at the storage",
    "ray": "Ray Train's own, of a start that was killed",
}
_CHECKED = ("", "wandb", "lease")


def find_leftovers(storage: Storage) -> Iterator[Finding]:
    """Files that were written aside or set aside, and folders of starts that have ended."""
    folders = set(storage.folders())
    for name, problem in _OF_A_START.items():
        if name in folders:
            yield remove_folder(name, problem)
    for name in sorted(folders):
        if name.startswith(".") and name.endswith(".part"):
            yield remove_folder(name, "an export that was not finished")
    for folder in _CHECKED:
        for name in storage.files(folder):
            path = f"{folder}/{name}" if folder else name
            if name.endswith(".part"):
                yield remove_file(path, "a file that was not finished")
            elif _SET_ASIDE.fullmatch(name):
                yield remove_file(path, "damaged, and set aside by an earlier start")


def find_stale_lease(storage: Storage) -> Iterator[Finding]:
    """A lease whose owner has ended without giving it up, and those before it."""
    number, data = read_newest(storage)
    record = LeaseRecord.decode(data)
    if number and record is None:
        # Whoever mends holds a lease of a higher number, and releases it.
        yield Finding(lease_path(number), "a lease that cannot be read", "take it over", lambda storage: None)
    elif record is not None and not record.released and record.process.is_gone:
        advice = "nothing hangs on it: the next start takes it over"
        yield Finding(lease_path(number), f"held by {record.describe()}, which is gone", advice, lambda storage: None)
    for name in storage.files(FOLDER):
        if name < lease_path(number).rpartition("/")[2] and name.endswith(".json"):
            yield remove_file(f"{FOLDER}/{name}", "a lease that another one has followed")


def holder(storage: Storage) -> LeaseRecord | None:
    """Who is at the folder, as far as can be told from here; None where nobody is."""
    record = LeaseRecord.decode(read_newest(storage)[1])
    return record if record and not record.released and not record.process.is_gone else None
