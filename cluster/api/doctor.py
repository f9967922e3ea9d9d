"""What is wrong with the folder of a run or a sweep, told or mended."""

from dataclasses import dataclass

from cluster.storage.finding import Finding
from cluster.storage.lease import Lease
from cluster.storage.lease_record import Launch
from cluster.storage.leftovers import find_stale_lease, holder
from cluster.storage.run_checkup import check_run
from cluster.storage.storage import Storage
from cluster.sweeps.store import TRIALS
from cluster.sweeps.sweep_checkup import check_sweep
from cluster.sweeps.sweep_place import PLAN
from cluster.tracking.wandb_checkup import check_wandb
from multitask.errors import UserError

_OF_RUNS = ("config.yaml", "run.json", "checkpoints", "lease")
_OF_SWEEPS = (PLAN, TRIALS)


@dataclass(frozen=True)
class Diagnosis:
    """`place`: folder or URI; `kind`: `run` or `sweep`; `busy`: who is at it; `findings`, of which `mended` were."""

    place: str
    kind: str
    busy: str | None
    findings: tuple[Finding, ...]
    mended: tuple[Finding, ...] = ()

    @property
    def left(self) -> tuple[Finding, ...]:
        """What is still wrong."""
        return tuple(finding for finding in self.findings if finding not in self.mended)


def examine(name: str, storage: str = "runs", *, fix: bool = False) -> Diagnosis:
    """Look at the run or sweep called `name` in `storage`, or whose folder or URI it is; with `fix`, mend what can be.

    Nothing that a resume needs is removed. Without `fix` nothing is written. Somebody who is at the folder is left alone.

    Raises:
        UserError: there is no such folder.
        LeaseHeldError: with `fix`, another process is at it.
    """
    place, kind = _find(name, storage)
    location = place.path("") if place.is_local else place.location
    stale, busy = tuple(find_stale_lease(place)), holder(place)
    if not fix:
        # What a process writes just now is unfinished, and not damaged.
        found = () if busy is not None and busy.process.is_running else (*stale, *_check(place, kind))
        return Diagnosis(location, kind, busy.describe() if busy else None, found)
    with Lease.acquire(place, Launch.here()) as lease:
        findings = (*stale, *_check(place, kind))
        mended = tuple(finding for finding in findings if _mends(finding, lease.storage))
    return Diagnosis(location, kind, None, findings, mended)


def _mends(finding: Finding, storage: Storage) -> bool:
    """Whether the finding can be mended, which it then is."""
    if finding.mend is None:
        return False
    finding.mend(storage)
    return True


def _find(name: str, storage: str) -> tuple[Storage, str]:
    for location in (name, f"{storage.rstrip('/')}/{name}"):
        place = Storage(location)
        names = {*place.folders(), *place.files()}
        if names & set(_OF_SWEEPS):
            return place, "sweep"
        if names & set(_OF_RUNS):
            return place, "run"
    raise UserError(f"{name}: there is no folder of a run or a sweep, here or in {storage}")


def _check(place: Storage, kind: str) -> list[Finding]:
    if kind == "run":
        return [*check_run(place), *check_wandb(place)]
    trials = ((f"{TRIALS}/{name}", place.below(f"{TRIALS}/{name}")) for name in place.folders(TRIALS))
    tracked = [finding.below(path) for path, own in trials for finding in check_wandb(own)]
    return [*check_sweep(place), *check_wandb(place), *tracked]
