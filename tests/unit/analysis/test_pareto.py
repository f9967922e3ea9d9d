"""The Pareto front against brute force, and the knee by hand."""

import math

import numpy as np
import pytest

from cluster.analysis.pareto import FrontScale, knee, pareto_front


def _brute_force(points: np.ndarray) -> list[int]:
    ge = (points[:, None, :] >= points[None, :, :]).all(-1)
    gt = (points[:, None, :] > points[None, :, :]).any(-1)
    return [int(i) for i in np.flatnonzero(~(ge & gt).any(0))]


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("dimensions", [1, 2, 3, 5])
def test_front_is_that_of_brute_force(seed: int, dimensions: int) -> None:
    # On a coarse grid, so that there are ties and duplicates.
    points = np.random.default_rng(seed).integers(0, 5, (40, dimensions)) / 4
    assert pareto_front(points.tolist()) == _brute_force(points)


def test_duplicates_stay_and_points_without_a_value_do_not() -> None:
    assert pareto_front([(1, 0), (0, 1), (1, 0), (math.nan, 9), (0, 0), (math.inf, 0)]) == [0, 1, 2]
    assert pareto_front([]) == []


def test_knee_bulges_towards_the_ideal() -> None:
    assert knee([(0.0, 1.0), (0.8, 0.8), (1.0, 0.0), (0.7, 0.7)]) == 1


def test_knee_does_not_depend_on_the_scale_of_a_task() -> None:
    assert knee([(0.0, 100.0), (0.8, 80.0), (1.0, 0.0)]) == 1


def test_point_that_surpasses_all_others_is_the_knee() -> None:
    points = [(0.1, 0.2), (0.5, 0.5), (0.5, 0.1)]
    assert knee(points) == 1
    assert FrontScale(points).distance(points[1]) == 0
    assert FrontScale(points).distance(points[0]) == pytest.approx(math.hypot(1, 0.75))


def test_first_of_equals_is_the_knee() -> None:
    assert knee([(math.nan, 1.0), (0.0, 1.0), (1.0, 0.0)]) == 1


def test_no_knee_without_values() -> None:
    with pytest.raises(ValueError, match="finite"):
        knee([(math.nan, 1.0)])
