"""The numbers of a sweep's page, against sums and means made by hand."""

from dataclasses import replace
from typing import Any

import pytest

from cluster.report.sweep.cost import cost_sentence, spent_by_status
from cluster.report.sweep.effects import effect_figures
from cluster.report.sweep.fronts import front, front_figures
from cluster.report.sweep.grid import grid_cells, grid_figure
from cluster.report.sweep.scale import scale_of
from cluster.report.sweep.stopping import rungs, stopping_figure
from cluster.report.sweep.trial_table import trial_table
from cluster.report.sweep.view import View, view_sweep
from cluster.sweeps.records import Generation, Options, Report, Sweep, Trial
from tests.unit.report.fake_sweep import PARAMETERS, recipe_tree


def _trial(number: int, scores: list[tuple[float, float, float]], status: Any = "finished", **changes: Any) -> Trial:
    """A trial of 4 evaluations in 400 rows; its scores are (sst, quora, sts) of each evaluation made."""
    reports = tuple(
        Report(i, i * 10, i * 100, i * 5000, i * 2.0, _scores(*own)) for i, own in enumerate(scores, start=1)
    )
    values: dict[str, Any] = {
        "number": number,
        "repeat": 0,
        "role": "sample" if number else "recipe",
        "run": f"s-{number:03d}",
        "sample": {"sampling.name": "annealed", "combination.name": "sum"},
        "status": status,
        "reports": reports,
        "planned_rows": 400,
        "planned_iterations": 4,
        "seconds": 2.0 * len(scores) + 1,
    }
    return Trial(**(values | changes))


def _scores(sst: float, quora: float, sts: float) -> dict[str, float]:
    scores = {"dev/sst/accuracy": sst, "dev/quora/accuracy": quora, "dev/sts/pearson": sts}
    return scores | {"dev/mean": (sst + quora + sts) / 3}


def _view(*trials: Trial, parameters: dict[str, Any] = PARAMETERS, **options: Any) -> View:
    space = {"name": "default", "about": "", "identity": "", "spec": "default", "fixed": {}, "parameters": parameters}
    base = recipe_tree()
    return view_sweep(Sweep("s", "runs/s", "main", base, space, Options(len(trials), **options), trials))


ONE, TWO = (0.5, 0.5, 0.5), (0.8, 0.7, 0.6)


def test_stopping_saves_what_stopped_trials_did_not_train() -> None:
    view = _view(
        _trial(0, [ONE] * 4),
        _trial(1, [ONE], "stopped"),
        _trial(2, [ONE] * 2, "stopped"),
        _trial(3, [ONE], "failed"),
        _trial(4, [], "waiting"),
        _trial(0, [ONE] * 4, role="baseline", run="s-base-sst"),
    )
    parts = spent_by_status(view)
    assert {s: (p.trials, p.rows, p.planned_rows, p.left_out) for s, p in parts.items()} == {
        "finished": (1, 400, 400, 0),
        "stopped": (2, 300, 800, 500),
        "failed": (1, 100, 400, 300),
    }
    assert parts["stopped"].tokens == 15_000
    assert parts["stopped"].seconds == 8.0
    told = cost_sentence(view)
    assert "800 of the 1,600 training rows that all 4 trials in full would take (50%)" in told
    assert "Stopping 2 early saved 500 rows, 31% of the whole" in told


def test_cells_hold_mean_spread_and_number_of_their_trials() -> None:
    cell = {"sampling.name": "proportional", "combination.name": "pcgrad"}
    view = _view(
        _trial(0, [ONE]),
        _trial(1, [(0.6, 0.6, 0.6)], sample=cell),
        _trial(2, [(0.6, 0.6, 0.6), (0.8, 0.8, 0.8), (0.7, 0.7, 0.7)], sample=cell),
        _trial(3, [], "failed", sample=cell | {"combination.name": "sum"}),
    )
    cells = grid_cells(view)
    assert len(cells) == 5 * 4
    own = cells["proportional", "pcgrad"]
    # Their best checkpoints have 0.6 and 0.8; the standard deviation of a sample of two is their distance / √2.
    assert (own.trials, own.scores.each, own.scores.mean) == (2, pytest.approx((0.8, 0.6)), pytest.approx(0.7))
    assert own.scores.spread == pytest.approx(0.2 / 2**0.5)
    assert own.text() == "0.700\n± 0.141 (2)"
    assert cells["annealed", "sum"].text() == "0.500\n(1)"
    assert cells["proportional", "sum"].text() == "no score\n(1)"
    assert cells["temperature", "loss_weights"].text() == "–"
    figure = grid_figure(view)
    assert figure is not None
    assert "17 of 20 cells were not tried" in figure.caption
    assert "Highest here: proportional with pcgrad" in figure.caption


def test_grid_needs_both_choices() -> None:
    only = {name: about for name, about in PARAMETERS.items() if name != "combination.name"}
    assert grid_figure(_view(_trial(0, [ONE]), parameters=only)) is None


def test_front_is_what_no_other_trial_surpasses() -> None:
    # 3 loses to 1 in both; 4 equals 2 in sst and loses in quora.
    made = [(0, (0.5, 0.5)), (1, (0.9, 0.6)), (2, (0.7, 0.8)), (3, (0.8, 0.5)), (4, (0.7, 0.7)), (5, (0.6, 0.9))]
    view = _view(*(_trial(number, [(sst, quora, 0.5)]) for number, (sst, quora) in made))
    found = front(view.points, ["dev/sst/accuracy", "dev/quora/accuracy"])
    assert {point.trial.number for point in found} == {1, 2, 5}
    figures = {figure.title: figure for figure in front_figures(view)}
    assert len(figures) == 3
    caption = figures["sst accuracy against quora accuracy"].caption
    assert "Here 3 of 6 are on it: from s-005 to s-001, 0.300 more sst accuracy costs 0.300 quora accuracy" in caption
    # sst and quora are at odds, sts is the same for all.
    assert front_figures(view)[0].title == "sst accuracy against quora accuracy"


def test_trials_count_with_their_best_checkpoint() -> None:
    nan = float("nan")
    view = _view(_trial(0, [TWO, ONE]), _trial(1, [(nan, 0.9, 0.9), ONE]), _trial(2, [(nan, nan, nan)]))
    assert [point.trial.number for point in view.points] == [0, 1]
    assert view.points[0].score("dev/sst/accuracy") == 0.8
    rows = trial_table(view).rows
    assert [row.run for row in rows] == ["s-000", "s-001", "s-002"]
    assert rows[0].scores == [pytest.approx(0.7), 0.8, 0.7, 0.6]
    assert rows[0].rows == "200 of 400"
    assert rows[2].scores == [None] * 4


def test_population_counts_with_the_sample_of_its_best_checkpoint() -> None:
    early, late = {"optimizer.lr": 1e-5}, {"optimizer.lr": 1e-4}
    generation = Generation("s-001-g1", 2, 20, "s-000", late, rows=200, tokens=2000)
    made = _trial(1, [ONE, ONE, TWO], sample=early, generations=(generation,))
    last = replace(made.reports[2], run=generation.run, sample=late)
    view = _view(replace(made, reports=(made.reports[0], last)))
    assert (view.points[0].sample, view.points[0].run) == (late, "s-001-g1")
    # The second 100 of its 300 rows are the donor's.
    assert spent_by_status(view)["finished"].rows == 200
    course = stopping_figure(view)
    assert course is not None
    assert "took over the weights of a better one" in course.caption
    view = _view(_trial(1, [ONE, TWO, ONE], sample=early, generations=(generation,)))
    assert (view.points[0].sample, view.points[0].run) == (early, "s-001")


@pytest.mark.parametrize(
    ("options", "wanted"),
    [
        ({"scheduler": "asha", "grace": 1, "reduction": 3}, [100, 300]),
        ({"scheduler": "asha", "grace": 1, "reduction": 2}, [100, 200]),
        ({"scheduler": "fifo"}, []),
    ],
)
def test_rungs_are_grace_times_powers_of_the_reduction(options: dict[str, Any], wanted: list[int]) -> None:
    assert rungs(_view(_trial(0, [ONE] * 4), **options)) == wanted


def test_places_on_an_axis() -> None:
    rate = scale_of("optimizer.lr", PARAMETERS["optimizer.lr"], [1e-5])
    assert [rate.place(value) for value in (1e-6, 1e-4, 1e-3)] == pytest.approx([0, 2 / 3, 1])
    assert [label for _, label in rate.ticks()] == ["1e-6", "1e-5", "1e-4", "0.001"]
    wider = scale_of("encoder.dropout", PARAMETERS["encoder.dropout"], [0.1, 0.8])
    assert wider.place(0.8) == 1
    odd = scale_of("sampling.name", PARAMETERS["sampling.name"], ["annealed", "a new one", None])
    assert odd.categories[-2:] == ("a new one", "null")
    assert odd.place("round_robin") == pytest.approx(0.5 / 7)


def test_caption_tells_the_trend_and_the_best_choice() -> None:
    samples = [
        {"optimizer.lr": 10.0**-n, "sampling.name": "annealed" if n < 7 else "temperature"} for n in range(3, 10)
    ]
    trials = [_trial(n, [(0.9 - n / 20, 0.5, 0.5)], sample=sample) for n, sample in enumerate(samples)]
    captions = {figure.title: figure.caption for figure in effect_figures(_view(*trials))}
    assert "Higher values go with a higher mean dev score (rank correlation +1.00)" in captions["optimizer.lr"]
    assert "The best third of the trials have 1e-4 to 0.001." in captions["optimizer.lr"]
    assert "No trial with a score has round_robin, proportional and square_root" in captions["sampling.name"]
    assert (
        "the highest row is annealed (0.608, 4 trials), the lowest temperature (0.550, 3 trials)"
        in captions["sampling.name"]
    )
    assert "encoder.dropout" not in captions
