"""The checkpoints behind the scores: where they are, and the export of the winner's."""

from collections.abc import Iterable
from dataclasses import dataclass

from cluster.analysis.configurations import Attempt, Configuration, configurations
from cluster.analysis.ranking import Ranking
from cluster.storage.checkpoint import FOLDER, checkpoint_name
from cluster.storage.export_checkpoint import export_run
from cluster.storage.run_folder import RunFolder
from cluster.sweeps.store import SweepFolder
from multitask.errors import UserError

SHOWN = 3


@dataclass(frozen=True)
class Kept:
    """An attempt whose best checkpoint is there: after `attempt.best.step` steps, in `run`. `score` is the rule's."""

    attempt: Attempt
    run: RunFolder
    score: float


def export_winner(folder: SweepFolder, ranking: Ranking, target: str) -> tuple[str, str]:
    """Export the winner's best checkpoint to the folder `target`; gives the run that it is of, and the export's place.

    Of several seeds and of its refits, the one with the highest score by the rule whose checkpoint is kept.

    Raises:
        UserError: none is kept.
    """
    winner = ranking.winner.configuration
    kept = _kept(folder, ranking, [winner, *refits_of(ranking, winner)])
    if not kept:
        raise UserError(_not_kept(folder, ranking))
    best = max(kept, key=lambda own: own.score)
    step = best.attempt.best.step
    return best.attempt.trial.run, export_run(best.run.location, target, str(step))


def refits_of(ranking: Ranking, configuration: Configuration) -> list[Configuration]:
    """The refits of `configuration` that have a score; of those with another length each is one of its own."""
    return [own for own in configurations(ranking.sweep, ("refit",)) if own.sample == configuration.sample]


def kept_run(folder: SweepFolder, attempt: Attempt, selection: str) -> RunFolder | None:
    """The run folder with the checkpoint that made `attempt.best`; None where it is not kept.

    A trial of a population has several folders, and steps of the same number with other weights: the score tells them apart.
    """
    trial, best = attempt.trial, attempt.best
    for name in (*(own.run for own in reversed(trial.generations)), trial.run):
        run = folder.run(name)
        if not run.storage.exists(f"{FOLDER}/{checkpoint_name(best.step)}"):
            continue
        history = (run.result() or {}).get("history", [])
        if any(own["step"] == best.step and own.get(selection) == best.scores[selection] for own in history):
            return run
    return None


def _kept(folder: SweepFolder, ranking: Ranking, wanted: Iterable[Configuration]) -> list[Kept]:
    selection, found = ranking.sweep.options.selection, []
    for configuration in wanted:
        for attempt in configuration.attempts:
            run = kept_run(folder, attempt, selection)
            if run is not None:
                found.append(Kept(attempt, run, ranking.rule.score(attempt.best.scores)))
    return found


def _not_kept(folder: SweepFolder, ranking: Ranking) -> str:
    others = _kept(folder, ranking, (own.configuration for own in ranking.ranked[1:]))[:SHOWN]
    listed = ", ".join(f"{own.attempt.trial.run} ({own.score:.4f})" for own in others)
    next_ones = (
        f"kept ones that come next by {ranking.rule.name}: {listed}; concord export {others[0].run.location} exports one"
        if others
        else "no other one is kept either"
    )
    return (
        f"--export: the checkpoint of {ranking.winner.configuration.name} was not kept "
        f"(the sweep keeps {ranking.sweep.options.keep}); {next_ones}; "
        f"concord best {ranking.sweep.name} --refit makes the model again"
    )
