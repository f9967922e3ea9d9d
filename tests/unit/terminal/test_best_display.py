"""The best of a sweep on a screen of 80 columns."""

import io
from dataclasses import replace
from statistics import fmean

import pytest
from rich.console import Console

from cluster.analysis.ranking import rank
from cluster.analysis.summary import summarise
from cluster.sweeps.records import Options, Sweep
from cluster.terminal.best_display import show_summary
from cluster.terminal.sweep_display import sweep_view
from tests.unit.report.fake_sweep import PARAMETERS, key_of, make_trials, recipe_tree

FEW = ("sst", "quora", "sts")
MANY = (*FEW, "paraphrases_of_questions", "mnli", "linguistic_acceptability", "news", "intents", "emotions", "toxicity")
NAMES = ("fake", "main-default-annealed-2", "extra-tasks-with-a-name-that-a-user-gave-it-in-the-afternoon-of-a-friday")


def _sweep(name: str, tasks: tuple[str, ...]) -> Sweep:
    trials = [replace(own, run=own.run.replace("fake", name)) for own in make_trials(12, tasks)]
    space = {"name": "default", "about": "", "identity": "", "spec": "default", "fixed": {}, "parameters": PARAMETERS}
    options = Options(len(trials), metrics=tuple(key_of(task) for task in tasks))
    return Sweep(name, f"runs/{name}", "main", recipe_tree(tasks), space, options, tuple(trials), status="finished")


def _lines(sweep: Sweep) -> list[str]:
    console = Console(file=io.StringIO(), width=80)
    show_summary(summarise(rank(sweep, sweep.options.selection)), console)
    return console.file.getvalue().splitlines()  # type: ignore[attr-defined, no-any-return]


@pytest.mark.parametrize("tasks", [FEW, MANY], ids=["few", "many"])
@pytest.mark.parametrize("name", NAMES)
def test_every_trial_s_name_stands_whole_on_one_line_of_each_table(name: str, tasks: tuple[str, ...]) -> None:
    sweep = _sweep(name, tasks)
    ranking, lines = rank(sweep, sweep.options.selection), _lines(sweep)
    assert max(map(len, lines)) <= 80
    best = [own.configuration.name for own in ranking.ranked[:5]]
    front = sorted((own.name for own in ranking.front), key=lambda run: -_score(sweep, run, key_of("sst")))
    for heading, column, runs in (("place", 1, best), ("Pareto", 0, front)):
        tables = _tables(lines, heading)
        assert tables
        for table in tables:
            names = [row[column] for row in table]
            assert names in (runs, [run.removeprefix(f"{name}-") for run in runs])
    for table in _tables(lines, "place"):
        assert all(len(word) == len("0.1234") for row in table for word in row if word.startswith("0."))
    words = {word for line in lines for word in line.split()}
    assert {f"{_score(sweep, run, key_of(task)):.4f}" for run in front for task in tasks} <= words


def _score(sweep: Sweep, run: str, key: str) -> float:
    """The mean over the seeds of the configuration that began with `run`."""
    number = next(own.number for own in sweep.trials if own.run == run)
    same = [own.best("dev/mean") for own in sweep.trials if own.number == number and own.role in ("recipe", "sample")]
    return fmean(report.scores[key] for report in same if report is not None)


def _tables(lines: list[str], heading: str) -> list[list[list[str]]]:
    """The rows of the tables whose headings begin so, in words."""
    tables = []
    for place, line in enumerate(lines):
        if line.split()[:1] == [heading]:
            start = next(at for at in range(place, len(lines)) if "──" in lines[at]) + 1
            end = next(at for at in range(start, len(lines)) if not lines[at].strip())
            tables.append([row.split() for row in lines[start:end]])
    return tables


@pytest.mark.parametrize("tasks", [FEW, MANY], ids=["few", "many"])
def test_the_state_of_a_sweep_names_each_trial_on_one_line(tasks: tuple[str, ...]) -> None:
    sweep = _sweep(NAMES[1], tasks)
    console = Console(file=io.StringIO(), width=80)
    console.print(sweep_view(sweep, limit=1000))
    starts = [line.split()[0] for line in console.file.getvalue().splitlines() if line.strip()]  # type: ignore[attr-defined]
    assert {own.run.removeprefix(f"{sweep.name}-") for own in sweep.trials if own.reports} <= set(starts)
