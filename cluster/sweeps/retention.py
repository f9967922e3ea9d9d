"""Which checkpoints of a sweep are kept: trials are many, disks are not."""

from cluster.sweeps.records import Trial
from cluster.sweeps.trials import Book

CHECKPOINTS = "checkpoints"


def keep_best(book: Book) -> None:
    """Remove the checkpoints of ended trials beyond the best `options.keep`, and of those all but the best one.

    Baselines keep none: their mean is of one task, and nobody exports them. A donor keeps all until its heir has them.
    """
    donors = {trial.generations[-1].donor for trial in book.trials if _waits_for_donor(book, trial)}
    ended = [trial for trial in book.trials if trial.has_ended]
    rivals = [trial for trial in ended if trial.role != "baseline"]
    kept = {trial.run for trial in _by_score(rivals, book)[: book.options.keep]}
    for trial in ended:
        current = book.current_run(trial)
        for run in {trial.run, *(own.run for own in trial.generations)} - donors:
            storage = book.folder.run(run).storage
            best = trial.best(book.options.selection)
            for name in storage.folders(CHECKPOINTS):
                if trial.run not in kept or run != current or best is None or name != f"step-{best.step:08d}":
                    storage.delete_folder(f"{CHECKPOINTS}/{name}")


def _waits_for_donor(book: Book, trial: Trial) -> bool:
    return bool(trial.generations) and not trial.has_ended and not book.run_folder(trial).has_begun


def _by_score(trials: list[Trial], book: Book) -> list[Trial]:
    """The best first; with several metrics each one's best come in turn."""
    ranked: list[Trial] = []
    orders = [_ordered(trials, metric, book.options.selection) for metric in book.options.metrics]
    for place in range(len(trials)):
        for order in orders:
            if place < len(order) and order[place] not in ranked:
                ranked.append(order[place])
    return ranked


def _ordered(trials: list[Trial], metric: str, selection: str) -> list[Trial]:
    known = [(best.scores.get(metric, -2.0), trial) for trial in trials if (best := trial.best(selection)) is not None]
    return [trial for _, trial in sorted(known, key=lambda own: -own[0])]
