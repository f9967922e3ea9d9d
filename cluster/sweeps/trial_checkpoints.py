"""Which checkpoints a sweep keeps when trials have ended, and which a population's trial takes over from a better one."""

from dataclasses import dataclass, field

import pyarrow as pa

from cluster.storage.checkpoint import FOLDER, checkpoint_name, find_checkpoint, read_state, verify
from cluster.storage.lease import Lease
from cluster.storage.lease_record import Launch
from cluster.storage.run_folder import INHERITED, RunFolder
from cluster.storage.storage import Storage
from cluster.sweeps.records import Report, Trial
from cluster.sweeps.standing import Standing, standings
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
    """Remove the checkpoints of ended trials but for the best seed's best one of the best `options.keep` configurations.

    A configuration of which a seed is still to come keeps each seed's best one, for it may yet become one of them. Baselines
    keep none: their mean is of one task, and nobody exports them. A donor keeps all until its heir has them.
    `known` is of earlier calls: a folder that needs no change since then is not looked at.
    """
    known = known or KnownFolders()
    donors = {trial.generations[-1].donor for trial in ledger.trials if _waits_for_donor(ledger, trial, known)}
    kept = {report.run: frozenset({checkpoint_name(report.step)}) for report in _kept_reports(ledger)}
    for trial in (trial for trial in ledger.trials if trial.has_ended):
        for run in {trial.run, *(generation.run for generation in trial.generations)} - donors:
            _leave_only(ledger, run, kept.get(run, frozenset()), known)


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
    if not trial.generations or trial.has_ended or trial.current_run in known.begun:
        return False
    if not ledger.run_folder(trial).has_begun:
        return True
    known.begun.add(trial.current_run)
    return False


def _kept_reports(ledger: TrialLedger) -> list[Report]:
    """The reports whose checkpoints stay; with several metrics each one's best come in turn."""
    if ledger.keeps_all:
        return [own for trial in ledger.trials if (own := trial.best(ledger.options.selection)) is not None]
    options, ranked = ledger.options, list[Standing]()
    orders = [standings(ledger.trials, options.selection, metric) for metric in options.metrics]
    for equal in zip(*orders, strict=True):
        ranked += [standing for standing in equal if standing.has_ended and standing not in ranked]
    best = [max(own.best.values(), key=lambda report: report.scores[options.selection]) for own in ranked]
    unsettled = (own for own in orders[0] if not own.has_ended)
    return best[: options.keep] + [report for own in unsettled for report in own.best.values()]


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
                if (inherited := _copy_checkpoints(source, folder.storage)) is not None:
                    folder.write_json(INHERITED, inherited)
                    folder.continue_as(config, RunFolder(storage.below(previous)))
                    return
            except (OSError, pa.ArrowException, KeyError):
                continue
    raise UserError(f"{source.location} holds no whole checkpoint to go on from")


def _copy_checkpoints(source: Storage, target: Storage) -> dict[str, int] | None:
    """Copy them; gives the evaluations, step, rows and tokens of the newest, None where it is not whole."""
    newest, _ = find_checkpoint(source)
    if newest is None:
        return None
    progress = read_state(source, newest)["progress"]
    best = progress["best_step"]
    wanted = {newest} | ({f"{FOLDER}/{checkpoint_name(best)}"} if best is not None else set())
    for path in wanted:
        target.copy_folder(source, path)
    if any(verify(target, path) is not None for path in wanted):
        return None
    return {"iteration": len(progress["history"])} | {unit: progress[unit] for unit in ("step", "rows", "tokens")}
