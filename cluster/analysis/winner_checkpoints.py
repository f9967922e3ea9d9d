"""Where the checkpoints behind the scores lie, and the export of the winner's."""

from collections.abc import Iterable
from dataclasses import dataclass

from cluster.analysis.configurations import Configuration, ScoredTrial, configurations
from cluster.analysis.ranking import Ranking
from cluster.analysis.verdict import judge_winner
from cluster.storage.checkpoint import FOLDER, checkpoint_name
from cluster.storage.export_checkpoint import export_run
from cluster.storage.run_folder import RunFolder
from cluster.sweeps.store import SweepStore
from cluster.sweeps.sweep_place import sweep_argument
from multitask.errors import UserError

SHOWN = 3


@dataclass(frozen=True)
class StoredCheckpoint:
    """a scored trial whose best checkpoint is there: after `scored.best.step` steps, in `run`. `score` is the rule's."""

    scored: ScoredTrial
    run: RunFolder
    score: float


def export_winner(store: SweepStore, ranking: Ranking, target: str) -> tuple[str, str]:
    """Export the winner's best checkpoint to the folder `target`; gives the run that it is of, and the export's place.

    After a confirmation the winner is the one with the highest mean over the fresh seeds. Of its seeds and refits, the one
    with the highest score by the rule whose checkpoint is kept.

    Raises:
        UserError: none is kept.
    """
    winner = confirmed_winner(ranking)
    fresh = [own for own in configurations(ranking.sweep, ("confirm",)) if own.number == winner.number]
    checkpoints = _stored_checkpoints(store, ranking, [winner, *fresh, *refits_of(ranking, winner)])
    if not checkpoints:
        raise UserError(_none_stored(store, ranking))
    best = max(checkpoints, key=lambda checkpoint: checkpoint.score)
    step = best.scored.best.step
    return best.scored.trial.run, export_run(best.run.location, target, str(step))


def confirmed_winner(ranking: Ranking) -> Configuration:
    """The configuration that leads the confirmation of the search's winner; without one the search's winner."""
    verdict = judge_winner(ranking)
    if verdict.status == "provisional" or verdict.confirmed is None:
        return ranking.winner.configuration
    number = verdict.confirmed.leader.number
    everything = [*(entry.configuration for entry in ranking.ranked), *ranking.others]
    return next((own for own in everything if own.number == number), ranking.winner.configuration)


def refits_of(ranking: Ranking, configuration: Configuration) -> list[Configuration]:
    """The refits of `configuration` that have a score; of those with another length each is one of its own."""
    runs = {scored.run for scored in configuration.scored_trials}
    found = configurations(ranking.sweep, ("refit",))
    return [refit for refit in found if _winner(refit) in runs or refit.sample == configuration.sample]


def _winner(refit: Configuration) -> str | None:
    return refit.scored_trials[0].trial.winner


def checkpoint_run(store: SweepStore, scored: ScoredTrial) -> RunFolder | None:
    """The run folder with the checkpoint that made `scored.best`; None where it is not kept."""
    run = store.run(scored.run)
    return run if run.storage.exists(f"{FOLDER}/{checkpoint_name(scored.best.step)}") else None


def _stored_checkpoints(store: SweepStore, ranking: Ranking, wanted: Iterable[Configuration]) -> list[StoredCheckpoint]:
    found = []
    for configuration in wanted:
        for scored in configuration.scored_trials:
            run = checkpoint_run(store, scored)
            if run is not None:
                found.append(StoredCheckpoint(scored, run, ranking.rule.score(scored.best.scores)))
    return found


def _none_stored(store: SweepStore, ranking: Ranking) -> str:
    others = _stored_checkpoints(store, ranking, (entry.configuration for entry in ranking.ranked[1:]))[:SHOWN]
    listed = ", ".join(f"{checkpoint.scored.trial.run} ({checkpoint.score:.4f})" for checkpoint in others)
    next_ones = (
        f"kept ones that come next by {ranking.rule.name}: {listed}; concord export {others[0].run.location} exports one"
        if others
        else "no other one is kept either"
    )
    return (
        f"--export: the checkpoint of {ranking.winner.configuration.name} was not kept "
        f"(the sweep keeps {ranking.sweep.options.keep}); {next_ones}; "
        f"concord best {sweep_argument(ranking.sweep)} --refit makes the model again"
    )
