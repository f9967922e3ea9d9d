"""Which configurations are to be trained again to tell the winner from luck, and with which seeds."""

import itertools
import time
from collections.abc import Iterator

from cluster.analysis.ranking import Ranking
from cluster.sweeps.confirmation import Confirmation, Finalist
from cluster.sweeps.records import Sweep
from cluster.sweeps.store import SweepStore
from multitask.errors import UserError

TOP, SEEDS = 3, 5


def plan_confirmation(
    store: SweepStore, ranking: Ranking, top: int | None = None, seeds: int | None = None
) -> Confirmation:
    """The best `top` configurations and the recipe with `seeds` fresh seeds each; for what is not given see `usual_numbers`.

    One that was begun and not ended goes on, and one that has ended and asks the same is given as it is.

    Raises:
        UserError: a number is out of range, there is nothing to confirm, or another one has begun and not ended.
    """
    if top is not None and top < 1:
        raise UserError(f"--top must be at least 1, got {top}")
    if seeds is not None and seeds < 2:
        raise UserError(f"--seeds must be at least 2 with --confirm: one says nothing of the spread, got {seeds}")
    sweep = ranking.sweep
    last = sweep.confirmations[-1] if sweep.confirmations else None
    if last is not None and not has_ended(sweep, last):
        _check_same(ranking, last, top, seeds)
        return last
    candidates = [entry.configuration for entry in ranking.ranked if entry.configuration.role == "sample"]
    if not candidates:
        raise UserError(f"--confirm: {sweep.name} has no configuration with a score beside the recipe")
    usual_top, usual_seeds = usual_numbers(ranking)
    finalists = tuple(Finalist(own.number, own.sample) for own in candidates[: top or usual_top])
    number = seeds or usual_seeds
    if last is not None and (last.question, last.finalists, len(last.seeds)) == (ranking.question, finalists, number):
        return last
    recipe = Finalist(0, ranking.recipe.sample if ranking.recipe else {})
    fresh = tuple(itertools.islice(_fresh_seeds(store, sweep), number))
    place = len(sweep.confirmations) + 1
    return Confirmation(place, ranking.question, recipe, finalists, fresh, len(candidates), time.time())


def usual_numbers(ranking: Ranking) -> tuple[int, int]:
    """How many finalists and seeds there are where nobody says: as in the last confirmation by the same rule, else 3 and 5."""
    same = [own for own in ranking.sweep.confirmations if own.question == ranking.question]
    return (len(same[-1].finalists), len(same[-1].seeds)) if same else (TOP, SEEDS)


def has_ended(sweep: Sweep, confirmation: Confirmation) -> bool:
    """Whether all its trials have."""
    ended = {trial.run for trial in sweep.trials if trial.role == "confirm" and trial.has_ended}
    return ended.issuperset(confirmation.runs(sweep.name))


def _check_same(ranking: Ranking, last: Confirmation, top: int | None, seeds: int | None) -> None:
    """Refuse to begin another one before `last` has ended."""
    same = top in (None, len(last.finalists)) and seeds in (None, len(last.seeds))
    if not same or last.question != ranking.question:
        raise UserError(
            f"--confirm: one of the best {len(last.finalists)} by {last.question.by} with {len(last.seeds)} seeds has "
            "begun and not ended; go on with it under the same options"
        )


def _fresh_seeds(store: SweepStore, sweep: Sweep) -> Iterator[int]:
    """Seeds after the recipe's that no trial of the search, refit or confirmation has."""
    first: int = sweep.base["seed"]
    used = {first + trial.repeat for trial in sweep.trials if trial.role != "confirm"}
    used |= {seed for confirmation in sweep.confirmations for seed in confirmation.seeds}
    for trial in sweep.trials:
        if trial.role == "refit" and (folder := store.run(trial.run)).storage.exists("config.yaml"):
            used.add(folder.config().seed)
    return (seed for seed in itertools.count(first) if seed not in used)
