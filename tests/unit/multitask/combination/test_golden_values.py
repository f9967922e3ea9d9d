"""The values that torchjd publishes of each method (tests/unit/aggregation/test_values.py of its repository)."""

from typing import Any

import pytest
import torch

from multitask.combination import CoordinateCombination
from multitask.combination.gradients.krum import KrumWeights
from multitask.combination.gradients.weighting import Round
from multitask.config.combination import Krum
from tests.unit.multitask.combination.methods import TASKS, ask, build

TWO = TASKS[:2]
ROWS = torch.tensor([[-4.0, 1.0, 1.0], [6.0, 1.0, 1.0]], dtype=torch.float64)
# torchjd adds 1e-4 to the diagonal before it projects.
NEAR = {"upgrad": 1e-3, "dualproj": 1e-3}
# Weights of the two rows, and what they make of them.
WEIGHTS: list[tuple[str, dict[str, Any], list[float]]] = [
    ("aligned_mtl", {}, [0.5591, 0.4083]),
    ("cagrad", {"c": 0.5}, [0.7041, 0.5000]),
    ("dualproj", {}, [0.6109, 0.5000]),
    ("gradvac", {}, [2.2222, 1.5789]),
    ("imtl_g", {}, [0.5923, 0.4077]),
    ("mean", {}, [0.5000, 0.5000]),
    ("mgda", {}, [0.6000, 0.4000]),
    ("pcgrad", {}, [2.2222, 1.5789]),
    ("sum", {}, [1.0000, 1.0000]),
    ("upgrad", {}, [1.1109, 0.7894]),
]
UPDATES: list[tuple[str, dict[str, Any], list[float]]] = [
    ("aligned_mtl", {}, [0.2133, 0.9673, 0.9673]),
    ("cagrad", {"c": 0.5}, [0.1835, 1.2041, 1.2041]),
    ("config", {}, [0.1588, 2.0706, 2.0706]),
    ("dualproj", {}, [0.5563, 1.1109, 1.1109]),
    ("imtl_g", {}, [0.0767, 1.0000, 1.0000]),
    ("mgda", {}, [0.0000, 1.0000, 1.0000]),
    ("nash_mtl", {}, [0.0542, 0.7061, 0.7061]),
    ("upgrad", {}, [0.2929, 1.9004, 1.9004]),
]


@pytest.mark.parametrize(("name", "keys", "wanted"), WEIGHTS)
def test_published_weights(tiny_tasks: dict[str, Any], name: str, keys: dict[str, Any], wanted: list[float]) -> None:
    found = ask(build(tiny_tasks, name, **keys), ROWS, (1.0, 1.0), 0, TWO)
    torch.testing.assert_close(found, torch.tensor(wanted).double(), rtol=0, atol=NEAR.get(name, 1e-4))


@pytest.mark.parametrize(("name", "keys", "wanted"), UPDATES)
def test_published_updates(tiny_tasks: dict[str, Any], name: str, keys: dict[str, Any], wanted: list[float]) -> None:
    found = ask(build(tiny_tasks, name, **keys), ROWS, (1.0, 1.0), 0, TWO) @ ROWS
    torch.testing.assert_close(found, torch.tensor(wanted).double(), rtol=0, atol=NEAR.get(name, 1e-4))


def test_published_krum() -> None:
    rows = torch.tensor([[1, 1, 1], [1, 0, 1], [75, -666, 23], [1, 2, 3], [2, 0, 1]]).double()
    now = Round(tuple((str(n),) for n in range(5)), range(5), torch.ones(5), 0)
    weights = KrumWeights(Krum(outliers=1, selected=4))(rows @ rows.T, now)
    assert weights.tolist() == [0.25, 0.25, 0, 0.25, 0.25]
    assert (weights @ rows).tolist() == [1.25, 0.75, 1.5]


def test_published_trimmed_mean(tiny_tasks: dict[str, Any]) -> None:
    own = build(tiny_tasks, "trimmed_mean")
    assert isinstance(own, CoordinateCombination)
    rows = torch.tensor([[1e11, 3], [1, -1e11], [-1e10, 1e10], [2, 2]])
    assert own.merge("weight", torch.arange(2), list(rows), 0).tolist() == [1.5, 2.5]


def test_published_graddrop(tiny_tasks: dict[str, Any]) -> None:
    """The first coordinate by chance, the others have one sign."""
    own = build(tiny_tasks, "graddrop")
    assert isinstance(own, CoordinateCombination)
    found = {tuple(own.merge("weight", torch.arange(3), list(ROWS.float()), step).tolist()) for step in range(40)}
    assert found == {(6.0, 2.0, 2.0), (-4.0, 2.0, 2.0)}
