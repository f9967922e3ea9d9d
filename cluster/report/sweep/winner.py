"""The winner beside the recipe and the runner-up."""

from dataclasses import dataclass

from cluster.analysis.advice import advise
from cluster.analysis.configurations import Configuration
from cluster.analysis.importance import Importance
from cluster.analysis.ranking import Ranking
from cluster.analysis.value_text import value_text
from cluster.analysis.verdict import judge_gap
from cluster.report.run_comparison import Row, best_places
from cluster.report.sweep.view import View, score_name


@dataclass(frozen=True)
class Winner:
    """`name` is that of the best configuration, `trial` that of its best seed, whose checkpoint lies in run folder `run`. Each of `scores` has a value for each of `columns`, each of
    `parameters` one for each of `settings`. `advice`: sentences about what to try next, and new samples as `KEY=VALUE` texts.
    """

    name: str
    trial: str
    run: str
    sentences: list[str]
    columns: list[str]
    scores: list[Row]
    settings: list[str]
    parameters: list[tuple[str, list[str]]]
    advice: list[str]
    proposals: list[str]


def winner_of(view: View, importance: Importance) -> Winner | None:
    """Who won, and how sure it is; None where no trial has a score."""
    best, ranking = view.winner, view.ranking
    if best is None or ranking is None:
        return None
    shown = _shown(ranking)
    advice = advise(ranking, importance)
    return Winner(
        name=ranking.winner.configuration.name,
        trial=best.trial.run,
        run=best.run,
        sentences=_sentences(view, ranking),
        columns=[f"{name}{_seeds(own)}" for name, own in shown.items()] + (["task alone"] if ranking.baselines else []),
        scores=_rows(view, ranking, list(shown.values())),
        settings=list(shown),
        parameters=_settings(view, list(shown.values())),
        advice=[*advice.widen, *advice.hold],
        proposals=["  ".join(own) for own in advice.proposals],
    )


def _shown(ranking: Ranking) -> dict[str, Configuration]:
    """The configurations of the tables."""
    winner, recipe, second = ranking.winner.configuration, ranking.recipe, ranking.runner_up
    shown = {"recipe": recipe} if recipe is not None and recipe is not winner else {}
    shown["recipe, the winner" if recipe is winner else "winner"] = winner
    if second is not None and second.configuration is not recipe:
        shown["runner-up"] = second.configuration
    return shown


def _seeds(own: Configuration) -> str:
    return f" (mean of {len(own.scored_trials)} seeds)" if len(own.scored_trials) > 1 else ""


def _rows(view: View, ranking: Ranking, shown: list[Configuration]) -> list[Row]:
    tasks = {key: task for task, key in view.task_keys.items()}
    found = []
    for key in view.score_keys:
        values = [own.scores.get(key) for own in shown]
        if ranking.baselines:
            values.append(ranking.baselines.get(tasks.get(key, "")))
        found.append(Row(score_name(key), values, best_places(values)))
    return found


def _settings(view: View, shown: list[Configuration]) -> list[tuple[str, list[str]]]:
    """Parameter to its value in each of them; parameters that none uses are left out."""
    samples = [own.sample for own in shown]
    return [
        (name, [value_text(sample[name]) if name in sample else "not used" for sample in samples])
        for name in view.parameters
        if any(name in sample for sample in samples)
    ]


def _sentences(view: View, ranking: Ranking) -> list[str]:
    winner, recipe, second = ranking.winner, ranking.recipe, ranking.runner_up
    name = score_name(view.selection)
    if winner.configuration is recipe:
        first = (
            f"The recipe itself is the best: no other configuration has a higher {name} than its {winner.score:.4f}."
        )
    else:
        first = f"{winner.configuration.name} has the highest {name}: {winner.score:.4f}."
        if recipe is not None:
            before = ranking.judge(recipe).score
            first += f" That is {winner.score - before:.4f} more than the recipe ({before:.4f})."
    if winner.configuration.mark:
        first += f" It was {winner.configuration.mark}."
    beside = f"The runner-up is {second.configuration.name} with {second.score:.4f}. " if second else ""
    found = [first, beside + judge_gap(ranking).words]
    if len(winner.configuration.scored_trials) > 1 and view.winner is not None:
        found.append(f"The best of its seeds is {view.winner.trial.run}.")
    return found
