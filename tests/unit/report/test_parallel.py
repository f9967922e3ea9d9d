"""The names in the plot of parallel coordinates can be read."""

import itertools
from typing import Any

import pytest
from matplotlib.figure import Figure as Canvas
from matplotlib.text import Text

from cluster.report.drawing import Figure
from cluster.report.sweep.parallel import parallel_figure
from cluster.report.sweep.view import view_sweep
from cluster.sweeps.records import Options, Sweep
from tests.unit.report.fake_sweep import PARAMETERS, make_trials, recipe_tree


def _choice(*values: str) -> dict[str, Any]:
    return {"kind": "choice", "low": None, "high": None, "log": False, "values": list(values), "when": {}}


SAMPLINGS = _choice(
    *("round_robin", "proportional", "scaled_batch_sizes", "square_root", "annealed", "temperature"),
    *("uniform", "draw_weights", "sequential"),
)
COMBINATIONS = _choice(
    *("sum", "size_weighted", "loss_weights", "pcgrad", "gradient_vaccine", "conflict_averse_gradient_descent"),
    *("uncertainty_weighting", "dynamic_weight_average", "random_loss_weighting", "nash_multi_task_learning"),
    *("aligned_multi_task_learning", "impartial_multi_task_learning"),
)
LARGEST = {"kind": "int", "low": 8, "high": 64, "log": True, "values": None}
MANY = {
    "sampling.name": SAMPLINGS,
    "combination.name": COMBINATIONS,
    "sampling.scaled_batch_sizes.largest": LARGEST | {"when": {"sampling.name": ["scaled_batch_sizes"]}},
    "optimizer.lr": PARAMETERS["optimizer.lr"],
    "encoding.quora": _choice("cross_encoder", "concat", "concat_difference_product", "cosine", "pearson"),
    "encoder.dropout": PARAMETERS["encoder.dropout"],
}
FEW = {name: MANY[name] for name in ("optimizer.lr", "sampling.name", "combination.name")}


@pytest.fixture
def texts(monkeypatch: pytest.MonkeyPatch) -> list[Text]:
    """The texts of the figure that is drawn, as they stand when it is saved."""
    drawn: list[Text] = []
    save = Canvas.savefig

    def saved(canvas: Canvas, *arguments: Any, **options: Any) -> None:
        save(canvas, *arguments, **options)
        canvas.draw_without_rendering()
        drawn.extend(canvas.axes[0].texts)

    monkeypatch.setattr(Canvas, "savefig", saved)
    return drawn


def _draw(parameters: dict[str, Any]) -> Figure:
    space = {"name": "default", "about": "", "identity": "", "spec": "default", "fixed": {}, "parameters": parameters}
    trials = tuple(make_trials(60, parameters=parameters))
    return parallel_figure(view_sweep(Sweep("s", "runs/s", "main", recipe_tree(), space, Options(60), trials)))


@pytest.mark.parametrize("parameters", [FEW, MANY, PARAMETERS], ids=["few", "many", "plain"])
def test_no_two_texts_overlap(texts: list[Text], parameters: dict[str, Any]) -> None:
    _draw(parameters)
    boxes = [(text.get_text(), text.get_window_extent()) for text in texts]
    assert len(boxes) > len(parameters)
    overlapping = [
        (one, other)
        for (one, first), (other, second) in itertools.combinations(boxes, 2)
        if first.x0 < second.x1 and second.x0 < first.x1 and first.y0 < second.y1 and second.y0 < first.y1
    ]
    assert not overlapping


@pytest.mark.parametrize("parameters", [FEW, MANY], ids=["few", "many"])
def test_names_are_whole_and_end_before_the_axis_to_their_left(texts: list[Text], parameters: dict[str, Any]) -> None:
    _draw(parameters)
    shown = {text.get_text().replace("\n", "") for text in texts}
    assert {*SAMPLINGS["values"], *COMBINATIONS["values"]} <= shown
    axes = texts[0].axes
    assert axes is not None
    for text in texts:
        # Every tick's name stands 0.05 to the left of its axis, and the axes are 1 apart.
        place = round(text.get_position()[0] + 0.05)
        left = axes.transData.transform((place - 1, 0))[0]
        assert text.get_window_extent().x0 > left
