"""Curves over the step: their style, what is not finite, and their running mean."""

import math
import re

import numpy as np

from cluster.report.line_chart import _running_mean, line_chart


def test_task_looks_the_same_in_every_chart() -> None:
    curve = ([1.0, 2.0], [0.5, 0.25])
    alone = line_chart("t", "c", {"b": curve}, "y", order=["a", "b"]).svg
    beside = line_chart("t", "c", {"b": curve, "a": curve}, "y", order=["a", "b"]).svg
    assert "--series-2" in alone
    assert "--series-1" not in alone
    assert re.findall(r"--series-\d", beside)[0] == "--series-1"


def test_curve_without_a_finite_number_says_so() -> None:
    nothing = line_chart("t", "c", {"a": ([1, 2], [math.nan, math.inf])}, "y").svg
    assert "none of the values is a finite number" in nothing
    assert "finite" not in line_chart("t", "c", {"a": ([1, 2], [math.nan, 1.0])}, "y").svg


def test_running_mean_is_that_of_the_numbers_around() -> None:
    values = np.random.default_rng(0).normal(size=100)
    values[[3, 40, 41]] = np.nan
    wanted = [np.nanmean(values[max(0, i - 2) : i + 3]) for i in range(100)]
    np.testing.assert_allclose(_running_mean(values), wanted)
    assert np.isnan(_running_mean(np.full(80, np.nan))).all()
