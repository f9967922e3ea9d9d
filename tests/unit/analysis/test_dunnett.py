"""Comparisons with the recipe: published critical values, and how often a sweep of equals calls one of them better."""

import numpy as np
import pytest
from scipy.stats import multivariate_t, ttest_rel

from cluster.analysis.dunnett import critical_value, differences_to_control

LEVEL = 0.95
CONFIGURATIONS, SWEEPS = 20, 2000


@pytest.mark.parametrize(
    ("k", "freedom", "published"),
    [(1, 10, 2.23), (2, 10, 2.57), (3, 12, 2.68), (3, 20, 2.54), (5, 20, 2.73), (2, 10**6, 2.21), (5, 10**6, 2.51)],
)
def test_critical_values_are_those_of_dunnetts_table(k: int, freedom: int, published: float) -> None:
    """Two-sided, 5 %: Dunnett, Biometrics 20, 1964, pp. 482-491."""
    assert critical_value(k, freedom, LEVEL) == pytest.approx(published, abs=0.006)


def test_critical_value_is_that_of_the_multivariate_t() -> None:
    bound = critical_value(4, 16, 0.9)
    shape = np.full((4, 4), 0.5) + 0.5 * np.eye(4)
    inside = multivariate_t(shape=shape, df=16, seed=0).cdf(
        np.full(4, bound), lower_limit=np.full(4, -bound), maxpts=10**6
    )
    assert inside == pytest.approx(0.9, abs=2e-3)


def test_one_configuration_is_the_paired_t_test() -> None:
    scores = np.random.default_rng(0).normal(size=(2, 6))
    found = differences_to_control(scores, LEVEL)
    expected = ttest_rel(scores[1], scores[0]).confidence_interval(LEVEL)
    assert (found.low[0], found.high[0]) == pytest.approx((expected.low, expected.high), abs=2e-3)


def test_what_a_seed_does_to_all_alike_is_no_noise() -> None:
    scores = np.random.default_rng(0).normal(size=(3, 6))
    moved = scores + 100 * np.arange(6)
    plain, shifted = differences_to_control(scores, LEVEL), differences_to_control(moved, LEVEL)
    assert shifted.low == pytest.approx(plain.low)
    assert shifted.high == pytest.approx(plain.high)


def _simulate(top: int, seeds: int, better_by: float = 0.0, spread: np.ndarray | None = None) -> tuple[float, float]:
    """Shares of sweeps in which something is called better, and in which the best one is.

    A sweep has the recipe and 19 others, one seed each with a standard deviation of 1 and nothing shared between them;
    number 7 is better by `better_by`. The best `top` beside the recipe are confirmed with `seeds` fresh seeds.
    """
    generator = np.random.default_rng(0)
    gain, deviation = np.zeros(CONFIGURATIONS), np.ones(CONFIGURATIONS) if spread is None else spread
    gain[7] = better_by
    first = gain + deviation * generator.normal(size=(SWEEPS, CONFIGURATIONS))
    finalists = 1 + np.argsort(-first[:, 1:], axis=1)[:, :top]
    chosen = np.concatenate([np.zeros((SWEEPS, 1), int), finalists], axis=1)
    fresh = gain[chosen][..., None] + deviation[chosen][..., None] * generator.normal(size=(SWEEPS, top + 1, seeds))
    better = differences_to_control(fresh, LEVEL).low > 0
    return better.any(1).mean(), (better & (finalists == 7)).any(1).mean()


@pytest.mark.parametrize(("top", "seeds"), [(3, 5), (5, 10), (1, 2)])
def test_of_20_equal_configurations_none_is_called_better(top: int, seeds: int) -> None:
    assert _simulate(top, seeds)[0] <= 0.05


@pytest.mark.parametrize("noisy", [slice(0, 1), slice(10, 20), slice(10, 11)], ids=["recipe", "half", "one"])
def test_none_is_called_better_where_some_vary_five_times_as_much(noisy: slice) -> None:
    spread = np.ones(CONFIGURATIONS)
    spread[noisy] = 5
    assert _simulate(5, 8, spread=spread)[0] <= 0.05


def test_one_of_20_that_is_better_by_two_deviations_is_seen_with_five_finalists_and_ten_seeds() -> None:
    assert _simulate(5, 10, better_by=2)[1] >= 0.8
