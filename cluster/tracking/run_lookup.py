"""From what a user names, a sweep or a run, to folders of runs on this disk."""

from pathlib import Path

from cluster.storage.run_folder import RunFolder
from cluster.storage.storage import Storage
from cluster.sweeps.store import TRIALS, SweepStore
from multitask.errors import UserError


def run_folders(name: str, storage: str) -> list[Path]:
    """The run folders of sweep `name`, or the one run that `name` stands for: a name in `storage`, or a folder.

    Raises:
        UserError: there is neither, or it does not lie on this disk.
    """
    run = find_run(name, storage)
    if run is not None:
        return [local_folder(run.storage)]
    trials = local_folder(SweepStore.find(name, storage).storage.below(TRIALS))
    return sorted(folder for folder in trials.iterdir() if folder.is_dir()) if trials.is_dir() else []


def find_run(name: str, storage: str) -> RunFolder | None:
    """The run that `name` stands for; None where there is none."""
    for place in (name, f"{storage.rstrip('/')}/{name}"):
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
