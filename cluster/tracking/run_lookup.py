"""From what a user names, a sweep or a run, to folders in which W&B runs were recorded."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from cluster.storage.location import places
from cluster.storage.run_folder import RunFolder
from cluster.storage.storage import Storage
from cluster.sweeps.store import TRIALS, SweepStore
from cluster.tracking.mirror import Mirror
from multitask.errors import UserError


@contextmanager
def tracked_folders(names: Sequence[str], storage: str) -> Iterator[list[Path]]:
    """The folders in which the sweeps and runs called `names` were tracked; of those at a URI a copy, whose changes are taken back.

    Raises:
        UserError: a name is neither a sweep nor a run.
    """
    places = {place.location: place for name in names for place in _tracked_at(name, storage)}
    mirrors = [Mirror(place.location) for place in places.values() if not place.is_local]
    try:
        for mirror in mirrors:
            mirror.fetch()
        local = [Path(place.path("")) for place in places.values() if place.is_local]
        yield [*local, *(mirror.folder for mirror in mirrors)]
        for mirror in mirrors:
            mirror.copy()
    finally:
        for mirror in mirrors:
            mirror.close()


def _tracked_at(name: str, storage: str) -> list[Storage]:
    """The run that `name` stands for, or the sweep and all of its trials."""
    run = find_run(name, storage)
    if run is not None:
        return [run.storage]
    sweep = SweepStore.find(name, storage).storage
    return [sweep, *(sweep.below(f"{TRIALS}/{folder}") for folder in sweep.folders(TRIALS))]


def find_run(name: str, storage: str) -> RunFolder | None:
    """The run that `name` stands for; None where there is none."""
    for place in places(name, storage):
        folder = RunFolder(Storage(place))
        if folder.storage.exists("run.json") or folder.storage.exists("config.yaml"):
            return folder
    return None


def local_folder(storage: Storage) -> Path:
    """The folder of `storage`.

    Raises:
        UserError: it lies elsewhere; W&B writes to disks only.
    """
    if not storage.is_local:
        raise UserError(f"{storage.location} is no folder on this disk; W&B's files lie where the run was tracked")
    return Path(storage.path(""))
