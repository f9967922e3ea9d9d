"""Which checkpoints a sweep keeps when trials have ended, and which a population's trial takes over from a better one."""

import pyarrow as pa

from cluster.storage.checkpoint import FOLDER, checkpoint_name, find_checkpoint, read_state, verify
from cluster.storage.run_folder import INHERITED, RunFolder
from cluster.storage.storage import Storage
from cluster.sweeps.records import Report, Trial
from cluster.sweeps.standing import Standing, standings
from cluster.sweeps.trials import TrialLedger
from multitask.config import RunConfig
from multitask.errors import UserError

_COPY_ATTEMPTS = 20


def keep_best_checkpoints(ledger: TrialLedger) -> None:
    """Remove the checkpoints of ended trials but for the best seed's best one of the best `options.keep` configurations.

    A configuration of which a seed is still to come keeps each seed's best one, for it may yet become one of them. Baselines
    keep none: their mean is of one task, and nobody exports them. A donor keeps all until its heir has them.
    """
    donors = {trial.generations[-1].donor for trial in ledger.trials if _waits_for_donor(ledger, trial)}
    kept = {(report.run, checkpoint_name(report.step)) for report in _kept_reports(ledger)}
    for trial in (trial for trial in ledger.trials if trial.has_ended):
        for run in {trial.run, *(generation.run for generation in trial.generations)} - donors:
            storage = ledger.store.run(run).storage
            for name in storage.folders(FOLDER):
                if (run, name) not in kept:
                    storage.delete_folder(f"{FOLDER}/{name}")


def _waits_for_donor(ledger: TrialLedger, trial: Trial) -> bool:
    return bool(trial.generations) and not trial.has_ended and not ledger.run_folder(trial).has_begun


def _kept_reports(ledger: TrialLedger) -> list[Report]:
    """The reports whose checkpoints stay; with several metrics each one's best come in turn."""
    options, ranked = ledger.options, list[Standing]()
    orders = [standings(ledger.trials, options.selection, metric) for metric in options.metrics]
    for equal in zip(*orders, strict=True):
        ranked += [standing for standing in equal if standing.has_ended and standing not in ranked]
    best = [max(own.best.values(), key=lambda report: report.scores[options.selection]) for own in ranked]
    unsettled = (own for own in orders[0] if not own.has_ended)
    return best[: options.keep] + [report for own in unsettled for report in own.best.values()]


def take_over_checkpoints(config: RunConfig, donor: str, previous: str) -> None:
    """Give the run of `config`, if it has not begun, the newest and the best checkpoint of the run `donor`.

    It stays the W&B run that the trial's `previous` run was. `donor` and `previous` lie beside the run's folder.

    Raises:
        UserError: the donor holds no whole checkpoint.
    """
    storage = Storage(config.cluster.storage)
    folder = RunFolder.of(config)
    if folder.has_begun:
        return
    source = storage.below(donor)
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
