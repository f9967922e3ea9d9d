"""Plan a new sweep and write the plan down, or open a planned one to go on with it."""

import itertools
import re
import secrets
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

from cluster.storage.lease import Lease, clear_folder
from cluster.storage.lease_record import Launch
from cluster.storage.run_folder import differences
from cluster.storage.storage import Storage
from cluster.sweeps.confirmation import Confirmation
from cluster.sweeps.options import check_options
from cluster.sweeps.plan import plain_sample
from cluster.sweeps.records import Options, Sweep
from cluster.sweeps.search import Search, reopen_search
from cluster.sweeps.store import SweepStore
from multitask.config.cluster import MOST_CHARACTERS
from multitask.errors import UserError
from tune_spaces import Space

# Characters that the longest name of a trial may have behind that of its sweep.
_ROOM = 32


@dataclass(frozen=True)
class OpenedSweep:
    """A sweep that is ready to run: its files, its plan with the trials so far, and what it searches.

    Its folder is this process's own until `lease` is released. `confirms`: its last confirmation is what runs, not the search.
    """

    lease: Lease
    store: SweepStore
    sweep: Sweep
    search: Search
    confirms: bool = False


def check_name(name: str, tasks: Iterable[str] = ()) -> None:
    """`tasks`: those of which it trains baselines.

    Raises:
        UserError: `name` cannot name a folder, or its trials would have names that W&B does not take.
    """
    most = MOST_CHARACTERS - max([_ROOM, *(len(f"-base-{task}-r99") for task in tasks)])
    if len(name) > most:
        raise UserError(
            f"--name may have {most} characters at most, as its trials' names are longer and W&B takes {MOST_CHARACTERS}, "
            f"got {len(name)}: {name}"
        )
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9_.-]*", name):
        raise UserError(
            f"--name may hold letters, digits, '.', '_' and '-' and starts with a letter or digit, got {name!r}"
        )


def create_sweep(search: Search, name: str, options: Options, store: SweepStore) -> Sweep:
    """Write a new sweep's plan.

    Raises:
        UserError: options that cannot work.
    """
    from multitask.export.versions import installed_versions

    check_options(options, search)
    _refuse_secrets(search)
    about = search.space.describe() | {"spec": search.spec, "fixed": search.fixed}
    sweep = Sweep(
        name=name,
        location=store.location,
        recipe=search.recipe,
        base=search.base.to_dict(),
        space=about,
        options=options,
        created=time.time(),
        versions=installed_versions(),
        id=f"{name}-{secrets.token_hex(4)}",
    )
    store.write_plan(sweep)
    return sweep


def open_sweep(
    search: Search, options: Options, name: str, storage: str, *, resume: bool = False, new: bool = False
) -> OpenedSweep:
    """The sweep `name` in `storage`: a new one, or the one that lies there with the same plan.

    The folder is this process's from here on. `resume`: also where its plan is another one, which then holds. `new`: a new one, under the next free name.

    Raises:
        LeaseHeldError: another process is at the sweep.
        UserError: the name cannot be a folder's, it is another plan's, or the options cannot work.
    """
    check_name(name, search.base.tasks if options.baselines else ())
    if not resume:
        check_options(options, search)
    if new:
        name = _free_name(name, storage)
    with _owned(Storage(storage).below(name)) as lease:
        store = SweepStore(lease.storage)
        if not store.exists():
            return OpenedSweep(lease, store, create_sweep(search, name, options, store), search)
        planned = store.read()
        if resume or _is_same_plan(planned, search, options):
            return OpenedSweep(lease, store, planned, reopen_search(planned))
        if not any(trial.attempts for trial in planned.trials):
            # What was refused before a trial began, for want of CPUs perhaps, may be planned anew under its name.
            clear_folder(store.storage)
            return OpenedSweep(lease, store, create_sweep(search, name, options, store), search)
        raise UserError(
            f"--name {name}: {store.location} holds a sweep over {planned.space['name']} with another plan; "
            "go on with that one by --resume, or begin another by --new or --name"
        )


def _refuse_secrets(search: Search) -> None:
    """A sweep keeps its recipe in its folder, to go on with it from there.

    Raises:
        UserError: the recipe holds a secret.
    """
    if search.base.to_public() != search.base.to_dict():
        held = differences(search.base.to_dict(), search.base.to_public())
        raise UserError(
            f"{held[0]}: a sweep keeps its recipe in its folder, and this holds a secret; give it by the environment "
            "or a file that the storage's own library reads"
        )


@contextmanager
def _owned(storage: Storage) -> Iterator[Lease]:
    """The lease of a sweep's folder, released again where the sweep cannot be opened."""
    lease = Lease.acquire(storage, Launch.here())
    try:
        yield lease
    except BaseException:
        lease.release()
        raise


def _free_name(name: str, storage: str) -> str:
    """`name`, or the first of `name-2`, `name-3`, … that no sweep has or is about to have."""
    root = Storage(storage)
    names = itertools.chain([name], (f"{name}-{number}" for number in itertools.count(2)))
    return next(free for free in names if not root.below(free).exists(""))


def _is_same_plan(planned: Sweep, search: Search, options: Options) -> bool:
    same_space = planned.space["identity"] == search.space.describe()["identity"]
    return same_space and planned.base == search.base.to_dict() and planned.options == options


def reopen_sweep(name: str, storage: str, tries: Sequence[Mapping[str, Any]] = (), **bounds: Any) -> OpenedSweep:
    """The sweep `name` in `storage`, to go on with; for `tries` see `with_tries`, for `bounds` `with_bounds`.

    Raises:
        LeaseHeldError: another process is at the sweep.
        UserError: there is none, its space means something else by now, or one of `tries` cannot be tried.
    """
    with _owned(SweepStore.find(name, storage).storage) as lease:
        store = SweepStore(lease.storage)
        sweep = store.read()
        search = reopen_search(sweep)
        return OpenedSweep(lease, store, with_bounds(with_tries(sweep, search.space, tries), **bounds), search)


def open_confirmation(location: str, confirmation: Confirmation) -> OpenedSweep:
    """The sweep in the folder or URI `location`, to run `confirmation`, which is new or the last one.

    Raises:
        LeaseHeldError: another process is at the sweep.
        UserError: its space means something else by now.
    """
    with _owned(Storage(location)) as lease:
        store = SweepStore(lease.storage)
        sweep = store.read()
        earlier = tuple(own for own in sweep.confirmations if own.place != confirmation.place)
        options = confirmation_options(sweep.options, confirmation)
        planned = replace(sweep, options=options, confirmations=(*earlier, confirmation))
        return OpenedSweep(lease, store, planned, reopen_search(sweep), confirms=True)


def confirmation_options(options: Options, confirmation: Confirmation) -> Options:
    """The options under which its trials train: none is stopped early, every best checkpoint is kept, budgets were the search's."""
    trials = len(confirmation.everything) * len(confirmation.seeds)
    own: dict[str, Any] = {"trials": 0, "search": "random", "scheduler": "fifo", "repeats": 1, "baselines": False}
    return replace(options, **own, keep=trials, budget_seconds=None, budget_tokens=None)


def with_tries(sweep: Sweep, space: Space, samples: Sequence[Mapping[str, Any]]) -> Sweep:
    """The sweep with `samples` to try, each one trial more than it had; one that was tried or asked for before is none.

    Raises:
        UserError: a sample is not one of the space's, or no run can be trained so.
    """
    if samples and sweep.options.scheduler == "pbt":
        raise UserError("--try: a population is begun as a whole, a configuration cannot be added to it")
    known = [trial.sample for trial in sweep.trials if trial.role in ("recipe", "sample")]
    tries = list(sweep.tries)
    for sample in samples:
        active = plain_sample(space.active(sample))
        space.config(space.base, active)
        if active not in known and active not in tries:
            tries.append(active)
    more = len(tries) - len(sweep.tries)
    options = replace(sweep.options, trials=sweep.options.trials + more)
    return replace(sweep, options=options, tries=tuple(tries))


def with_bounds(sweep: Sweep, **changes: Any) -> Sweep:
    """The sweep with other bounds (`trials`, budgets, `concurrent`), where they are given."""
    given = {key: value for key, value in changes.items() if value is not None}
    return replace(sweep, options=replace(sweep.options, **given))
