"""The winner beside the recipe and the runner-up."""

from dataclasses import dataclass, field

from cluster.analysis.advice import advise
from cluster.analysis.configurations import Configuration
from cluster.analysis.confirmed import Confirmed
from cluster.analysis.importance import Importance
from cluster.analysis.ranking import Ranking
from cluster.analysis.value_text import value_text
from cluster.analysis.verdict import judge_winner
from cluster.report.run_comparison import Row, best_places
from cluster.report.sweep.view import View, score_name


@dataclass(frozen=True)
class Winner:
    """`name` is that of the best configuration, `trial` that of its best seed, whose checkpoint lies in run folder `run`. Each of `scores` has a value for each of `columns`, each of
    `parameters` one for each of `settings`. `advice`: sentences about what to try next, and commands that try new samples. `confirmation`:
    cells of a table of differences to the recipe, the headings first; empty before there is one.
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
    confirmation: list[list[str]] = field(default_factory=list)


def winner_of(view: View, importance: Importance) -> Winner | None:
    """Who won, and how sure it is; None where no trial has a score."""
    best, ranking = view.winner, view.ranking
    if best is None or ranking is None:
        return None
    shown = _shown(ranking)
    advice, verdict = advise(ranking, importance), judge_winner(ranking)
    return Winner(
        name=ranking.winner.configuration.name,
        trial=best.trial.run,
        run=best.run,
        sentences=_sentences(view, ranking, verdict.words),
        columns=[f"{name}{_seeds(own)}" for name, own in shown.items()] + (["task alone"] if ranking.baselines else []),
        scores=_rows(view, ranking, list(shown.values())),
        settings=list(shown),
        parameters=_settings(view, list(shown.values())),
        advice=[*advice.widen, *advice.hold, *([advice.reason] if advice.reason else [])],
        proposals=list(advice.commands),
        confirmation=_confirmation(verdict.confirmed),
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


def _confirmation(found: Confirmed | None) -> list[list[str]]:
    """Differences to the recipe over the fresh seeds, with intervals over seeds and, where they are known, over dev rows."""
    if found is None or not found.differences:
        return []
    percent = f"{found.level * 100:g} % interval"
    rows = [["confirmed", "score", "difference to the recipe", f"{percent} over seeds", f"{percent} over dev rows", ""]]
    rows.append(["the recipe", f"{found.recipe.mean:.4f}", "", "", "", ""])
    for own in found.differences:
        over_rows = "not known" if own.rows_low is None else f"{own.rows_low:+.4f} … {own.rows_high:+.4f}"
        cells = [own.name, f"{own.score.mean:.4f}", f"{own.mean:+.4f}", f"{own.low:+.4f} … {own.high:+.4f}", over_rows]
        rows.append([*cells, "better" if own.is_better else "not shown to be better"])
    return rows


def _settings(view: View, shown: list[Configuration]) -> list[tuple[str, list[str]]]:
    """Parameter to its value in each of them; parameters that none uses are left out."""
    samples = [own.sample for own in shown]
    return [
        (name, [value_text(sample[name]) if name in sample else "not used" for sample in samples])
        for name in view.parameters
        if any(name in sample for sample in samples)
    ]


def _sentences(view: View, ranking: Ranking, verdict: str) -> list[str]:
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
    found = [first, beside + verdict]
    if len(winner.configuration.scored_trials) > 1 and view.winner is not None:
        found.append(f"The best of its seeds is {view.winner.trial.run}.")
    return found
