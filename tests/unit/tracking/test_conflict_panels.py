"""Curves of few tasks, matrices of many and of layers."""

from itertools import combinations

import pytest

from cluster.tracking import conflict_panels
from cluster.tracking.conflict_panels import CONFLICTS, LAYERS, ConflictPanels, pair_curves, plotted


def _record(tasks: int) -> dict[str, float]:
    pairs = [f"t{i}-t{j}" for i, j in combinations(range(tasks), 2)]
    layers = {
        f"combination/layer_cosine/{pair}/{layer}": -0.5 for pair in pairs for layer in ("embeddings", "layer_01")
    }
    return {"combination/conflict_rate": 0.2} | {f"combination/cosine/{pair}": 0.1 for pair in pairs} | layers


def test_layers_are_no_curves_and_eight_tasks_neither() -> None:
    few, many = plotted(_record(7)), plotted(_record(8))
    assert len([key for key in few if key.startswith("combination/cosine/")]) == 21
    assert list(many) == ["combination/conflict_rate"]
    assert not any("layer_cosine" in key for key in few)
    assert (len(pair_curves("abcdefg")), pair_curves("abcdefgh")) == (21, [])


def test_matrices_hold_the_last_cosines_and_the_means_of_layers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(conflict_panels, "matrix_chart", lambda title, cells: cells)
    own = ConflictPanels()
    assert own.panels() == {}
    for cosine in (0.5, -0.25):
        own.take({"combination/cosine/a-b": cosine, "combination/layer_cosine/a-b/layer_01": cosine})
    own.take({"combination/cosine/a-b": -0.75, "train/loss/a": 1.0})
    found = own.panels()
    assert found[LAYERS] == [["a-b", "layer_01", 0.125]]  # type: ignore[comparison-overlap]
    assert ["a", "b", -0.75] in found[CONFLICTS]  # type: ignore[operator]
    assert ["b", "a", -0.75] in found[CONFLICTS]  # type: ignore[operator]
