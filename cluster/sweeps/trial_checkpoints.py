"""Which checkpoints a sweep keeps when trials have ended, and which a population's trial takes over from a better one."""

from dataclasses import dataclass, field

import pyarrow as pa

from cluster.storage.checkpoint import FOLDER, checkpoint_name, find_checkpoint, read_state, verify
from cluster.storage.lease import Lease
from cluster.storage.lease_record import Launch
from cluster.storage.run_folder import RunFolder
from cluster.storage.storage import Storage
from cluster.sweeps.records import Trial
from cluster.sweeps.trials import TrialLedger
from multitask.config import RunConfig
from multitask.errors import UserError

_COPY_ATTEMPTS = 20


@dataclass
class KnownFolders:
    """What a driver knows of its run folders, so that it need not ask the storage again after each trial.

    `left`: ended run to the checkpoints that it has yet. `begun`: generations that have taken over their donor's.
    """

    left: dict[str, frozenset[str]] = field(default_factory=dict)
    begun: set[str] = field(default_factory=set)


def keep_best_checkpoints(ledger: TrialLedger, known: KnownFolders | None = None) -> None:
    """Remove the checkpoints of ended trials beyond the best `options.keep`, and of those all but the best one.

    Baselines keep none: their mean is of one task, and nobody exports them. A donor keeps all until its heir has them.
    `known` is of earlier calls: a folder that needs no change since then is not looked at.
    """
    known = known or KnownFolders()
    donors = {trial.generations[-1].donor for trial in ledger.trials if _waits_for_donor(ledger, trial, known)}
    ended = [trial for trial in ledger.trials if trial.has_ended]
    rivals = [trial for trial in ended if trial.role != "baseline"]
    kept = {trial.run for trial in _by_score(rivals, ledger)[: ledger.options.keep]}
    for trial in ended:
        current = ledger.current_run(trial)
        best = trial.best(ledger.options.selection)
        best_names = {checkpoint_name(best.step)} if best is not None and trial.run in kept else set()
        for run in {trial.run, *(generation.run for generation in trial.generations)} - donors:
            _leave_only(ledger, run, frozenset(best_names if run == current else ()), known)


def _leave_only(ledger: TrialLedger, run: str, names: frozenset[str], known: KnownFolders) -> None:
    """Remove all checkpoints of `run` but those called `names`."""
    if known.left.get(run) == names:
        return
    storage = ledger.store.run(run).storage
    for other in storage.folders(FOLDER):
        if other not in names:
            storage.delete_folder(f"{FOLDER}/{other}")
    known.left[run] = names


def _waits_for_donor(ledger: TrialLedger, trial: Trial, known: KnownFolders) -> bool:
    if not trial.generations or trial.has_ended or ledger.current_run(trial) in known.begun:
        return False
    if not ledger.run_folder(trial).has_begun:
        return True
    known.begun.add(ledger.current_run(trial))
    return False


def _by_score(trials: list[Trial], ledger: TrialLedger) -> list[Trial]:
    """The best first; with several metrics each one's best come in turn."""
    ranked: list[Trial] = []
    orders = [_ordered(trials, metric, ledger.options.selection) for metric in ledger.options.metrics]
    for place in range(len(trials)):
        for order in orders:
            if place < len(order) and order[place] not in ranked:
                ranked.append(order[place])
    return ranked


def _ordered(trials: list[Trial], metric: str, selection: str) -> list[Trial]:
    known = [(best.scores.get(metric, -2.0), trial) for trial in trials if (best := trial.best(selection)) is not None]
    return [trial for _, trial in sorted(known, key=lambda pair: -pair[0])]


def take_over_checkpoints(config: RunConfig, donor: str, previous: str, launch: Launch) -> None:
    """Give the run of `config`, if it has not begun, the newest and the best checkpoint of the run `donor`.

    It stays the W&B run that the trial's `previous` run was. `donor` and `previous` lie beside the run's folder, which
    `launch` takes for it.

    Raises:
        UserError: the donor holds no whole checkpoint.
    """
    storage = Storage(config.cluster.storage)
    source = storage.below(donor)
    with Lease.acquire(storage.below(config.name), launch) as lease:
        folder = RunFolder(lease.storage)
        if folder.has_begun:
            return
        for _ in range(_COPY_ATTEMPTS):
            folder.storage.delete_folder(FOLDER)
            # The donor trains on and may remove a checkpoint while it is read.
            try:
                if _copy_checkpoints(source, folder.storage):
                    folder.continue_as(config, RunFolder(storage.below(previous)))
                    return
            except (OSError, pa.ArrowException, KeyError):
                continue
    raise UserError(f"{source.location} holds no whole checkpoint to go on from")


def _copy_checkpoints(source: Storage, target: Storage) -> bool:
    newest, _ = find_checkpoint(source)
    if newest is None:
        return False
    best = read_state(source, newest)["progress"]["best_step"]
    wanted = {newest} | ({f"{FOLDER}/{checkpoint_name(best)}"} if best is not None else set())
    for path in wanted:
        target.copy_folder(source, path)
    return all(verify(target, path) is None for path in wanted)
