"""The choice as tables that fit into 80 columns."""

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

from cluster.analysis.configurations import Configuration
from cluster.analysis.importance import importance_remarks
from cluster.analysis.ranking import Ranked, Ranking
from cluster.analysis.rules import MEAN
from cluster.analysis.summary import SweepSummary
from cluster.analysis.value_text import value_text
from cluster.terminal.confirmation_display import show_confirmation
from cluster.terminal.narrow_tables import plain_table, tables_within

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table

SHOWN = 5


def show_summary(choice: SweepSummary, console: "Console") -> None:
    """Print the winner beside the recipe, the runner-up, what matters and what to try next."""
    ranking = choice.ranking
    sweep, winner = ranking.sweep, ranking.winner.configuration
    _print(console, f"{sweep.name}: {len(ranking.ranked)} configurations by {ranking.rule.about}\n")
    leads = "Winner so far" if choice.verdict.status == "provisional" else "Winner of the search"
    _print(console, f"{leads}: {_title(winner)}")
    _print(console, score_table(ranking))
    if winner.sample:
        _print(console, _parameter_table(ranking))
    for table in tables_within(console.width, _ranking_columns(ranking, console.width), kept=2):
        _print(console, table)
    for table in tables_within(console.width, _front_columns(ranking, console.width), kept=1) if ranking.front else ():
        _print(console, table)
    if ranking.others:
        names = ", ".join(own.name for own in ranking.others)
        _print(console, f"Not admitted by the rule, or without a score for it: {names}\n")
    if ranking.runner_up is not None:
        _print(console, f"Runner-up: {_title(ranking.runner_up.configuration)}")
    if choice.verdict.confirmed is not None:
        show_confirmation(choice.verdict.confirmed, sweep.name, console)
    _print(console, choice.verdict.words)
    for refit in choice.refits:
        _print(console, refit_words(refit, ranking))
    for note in choice.notes:
        _print(console, note)
    _show_importance(choice, console)
    _show_advice(choice, console)
    show_failures(choice.failures, console)


def score_table(ranking: Ranking, winner: Ranked | None = None, heading: str = "winner") -> "Table":
    """The scores of `winner` beside those of the recipe, and the difference of the means."""
    winner = winner or ranking.winner
    recipe = ranking.judge(ranking.recipe) if ranking.recipe else None
    headings = [f"{heading}, {_seeds(winner)}", f"recipe, {_seeds(recipe)}" if recipe else "recipe"]
    table = plain_table("score", *headings, "difference", *(["single task"] if ranking.baselines else []))
    names = [key for key in (MEAN, *ranking.keys.values()) if key != ranking.rule.name]
    rows = [(ranking.rule.name, _pair(winner), _pair(recipe))]
    for name in names:
        rows.append((name, _reported(winner.configuration, name), _reported(ranking.recipe, name)))
    single = {ranking.keys[task]: f"{score:.4f}" for task, score in ranking.baselines.items()}
    for name, own, other in rows:
        difference = own[0] - other[0]
        cells = [_both(*own), _both(*other), f"{difference:+.4f}" if math.isfinite(difference) else "–"]
        table.add_row(_short(name), *cells, *([single.get(name, "")] if ranking.baselines else []))
    return table


def _pair(ranked: Ranked | None) -> tuple[float, float | None]:
    """What the rule says of the mean scores, and the spread of what it says of each seed."""
    return (math.nan, None) if ranked is None else (ranked.score, ranked.values.spread)


def _reported(configuration: Configuration | None, name: str) -> tuple[float, float | None]:
    if configuration is None:
        return math.nan, None
    values = configuration.reported(name)
    return values.mean, values.spread


def _seeds(ranked: Ranked) -> str:
    count = len(ranked.configuration.scored_trials)
    return "1 seed" if count == 1 else f"{count} seeds"


def _short(name: str) -> str:
    return name.removeprefix("dev/").replace("/", " ") if name != MEAN else name


def _both(mean: float, spread: float | None) -> str:
    if not math.isfinite(mean):
        return "–"
    return f"{mean:.4f}" + (f" ± {spread:.4f}" if spread is not None else "")


def refit_words(refit: Ranked, ranking: Ranking) -> str:
    """What a refit tells, with the number of its seeds."""
    values, own = refit.values, refit.configuration
    names = (
        own.name
        if len(own.scored_trials) == 1
        else f"{own.name} … {own.scored_trials[-1].trial.run.rsplit('-', 1)[-1]}"
    )
    if values.spread is None:
        return (
            f"Refit {names}: {ranking.rule.name} {_both(*_pair(refit))}, one seed, so nothing is known of the spread."
        )
    low, high = min(values.each), max(values.each)
    few = "; two seeds say little of the spread" if len(values.each) == 2 else ""
    return (
        f"Refit {names}: {ranking.rule.name} {_both(*_pair(refit))} over {len(values.each)} seeds "
        f"({low:.4f} … {high:.4f}){few}."
    )


def show_refit(
    refit: Ranked | None, ranking: Ranking, failures: list[tuple[str, list[str]]], console: "Console"
) -> None:
    """Print what the refits reached, beside the recipe."""
    if refit is not None:
        _print(console, score_table(ranking, refit, "refit"))
        _print(console, refit_words(refit, ranking))
        if ranking.recipe is not None and len(ranking.recipe.scored_trials) == 1:
            _print(console, "The recipe has one seed: its own spread is not known (concord sweep … --repeats 3).")
    show_failures(failures, console)


def _title(configuration: Configuration) -> str:
    steps = dict.fromkeys(str(scored.best.step) for scored in configuration.scored_trials)
    what = "the recipe" if configuration.role == "recipe" else ""
    return ", ".join(filter(None, [configuration.name, what, configuration.mark, f"best after step {'/'.join(steps)}"]))


def _parameter_table(ranking: Ranking) -> "Table":
    table = plain_table("parameter", "winner", "recipe", right=False)
    recipe = ranking.recipe.sample if ranking.recipe else {}
    own = ranking.winner.configuration.sample
    for name in dict.fromkeys([*own, *recipe]):
        cells = [value_text(sample[name]) if name in sample else "–" for sample in (own, recipe)]
        table.add_row(name, *cells)
    return table


def _front_columns(ranking: Ranking, width: int) -> list[list[str]]:
    """The Pareto front, the best in the first metric first."""
    metrics = ranking.sweep.options.metrics
    front = sorted(ranking.front, key=lambda own: -own.scores[metrics[0]])
    columns = [["Pareto front", *_names(ranking, [own.name for own in front], width)]]
    return columns + [[_short(metric), *(f"{own.scores[metric]:.4f}" for own in front)] for metric in metrics]


def _ranking_columns(ranking: Ranking, width: int) -> list[list[str]]:
    shown = list(enumerate(ranking.ranked, start=1))
    shown = shown[:SHOWN] + [own for own in shown[SHOWN:] if own[1].configuration.role == "recipe"]
    rows = [(own, own.configuration) for _, own in shown]
    columns = [
        ["place", *(str(place) for place, _ in shown)],
        ["trial", *_names(ranking, [own.name for _, own in rows], width)],
        [ranking.rule.name, *(f"{ranked.score:.4f}" for ranked, _ in rows)],
    ]
    for task, key in ranking.keys.items():
        columns.append([task, *(f"{own.scores.get(key, math.nan):.4f}" for _, own in rows)])
    marks = [", ".join(filter(None, ["recipe" if own.role == "recipe" else "", own.mark])) for _, own in rows]
    return [*columns, ["", *marks]]


def _names(ranking: Ranking, names: Sequence[str], width: int) -> list[str]:
    """The names of trials, all without the sweep's where one would take the room of scores."""
    if all(len(own.configuration.name) <= width // 4 for own in ranking.ranked):
        return list(names)
    return [name.removeprefix(f"{ranking.sweep.name}-") for name in names]


def _show_importance(choice: SweepSummary, console: "Console") -> None:
    importance = choice.importance
    for is_conditional, heading in ((False, "importance"), (True, "where it is used")):
        names = [name for name in importance.values if (name in importance.conditions) is is_conditional]
        table = plain_table(heading, "share", "95 %", "of configurations")
        for name in names:
            low, high = importance.intervals[name]
            cells = [f"{importance.values[name]:.0%}", f"{low:.0%} … {high:.0%}", str(importance.trials[name])]
            table.add_row(f"{name} ({importance.conditions[name]})" if is_conditional else name, *cells)
        if names:
            _print(console, table)
    if not importance.values:
        _print(console, "\nImportance of the parameters: none can be told from noise.")
    for line in importance_remarks(importance):
        _print(console, line)


def _show_advice(choice: SweepSummary, console: "Console") -> None:
    advice = choice.advice
    _print(console, "\nWhat to try next")
    for line in (*advice.widen, *advice.hold):
        _print(console, f"- {line}")
    if advice.reason:
        _print(console, f"- {advice.reason}")
    if advice.commands:
        _print(console, "- Configurations that Optuna's TPE proposes, each with what tries it in this sweep:")
    for command in advice.commands:
        # Not wrapped: it can be copied as it stands.
        console.print(f"  {command}", markup=False, highlight=False, soft_wrap=True)


def show_failures(failures: list[tuple[str, list[str]]], console: "Console") -> None:
    """Print each reason with its trials."""
    if failures:
        _print(console, "\nFailed")
    for reason, runs in failures:
        _print(console, f"- {len(runs)} trial{'s' if len(runs) > 1 else ''}: {reason} ({', '.join(runs)})")


def _print(console: "Console", what: "str | Table") -> None:
    console.print(what, markup=False, highlight=False)
