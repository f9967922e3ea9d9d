"""Scores of resampled rows, against the same metrics on rows that are really taken so often."""

from collections.abc import Callable

import numpy as np
import pytest
from scipy.stats import pearsonr, spearmanr
from sklearn.metrics import accuracy_score, cohen_kappa_score, f1_score, matthews_corrcoef, mean_absolute_error

from cluster.analysis.row_bootstrap import _counts, resampled_scores, same_rows
from cluster.storage.dev_predictions import TaskPredictions

ROWS, MODELS, DRAWS = 300, 3, 60
Score = Callable[[np.ndarray, np.ndarray], float]


def _macro_f1(labels: np.ndarray, predictions: np.ndarray) -> float:
    return float(f1_score(labels, predictions, labels=[0, 1, 2], average="macro", zero_division=0))


def _classes() -> tuple[np.ndarray, np.ndarray]:
    generator = np.random.default_rng(0)
    labels = generator.integers(3, size=ROWS).astype(float)
    wrong = generator.uniform(size=(MODELS, ROWS)) < 0.3
    return labels, np.where(wrong, generator.integers(3, size=(MODELS, ROWS)), labels).astype(float)


def _numbers() -> tuple[np.ndarray, np.ndarray]:
    generator = np.random.default_rng(0)
    labels = generator.uniform(0, 5, size=ROWS)
    return labels, labels + generator.normal(size=(MODELS, ROWS))


@pytest.mark.parametrize(
    ("metric", "score", "data", "tolerance"),
    [
        ("accuracy", accuracy_score, _classes, 1e-12),
        ("macro_f1", _macro_f1, _classes, 1e-12),
        ("matthews", matthews_corrcoef, _classes, 1e-12),
        ("quadratic_kappa", lambda y, x: cohen_kappa_score(y, x, weights="quadratic"), _classes, 1e-12),
        ("negative_mae", lambda y, x: -mean_absolute_error(y, x), _numbers, 1e-12),
        ("pearson", lambda y, x: pearsonr(y, x).statistic, _numbers, 1e-9),
        # The ranks are those among all rows.
        ("spearman", lambda y, x: spearmanr(y, x).statistic, _numbers, 0.02),
    ],
)
def test_a_draw_scores_as_its_rows_do(
    metric: str, score: Score, data: Callable[[], tuple[np.ndarray, np.ndarray]], tolerance: float
) -> None:
    labels, predictions = data()
    found = resampled_scores(metric, labels, predictions, draws=DRAWS)
    counts = np.concatenate(list(_counts(np.random.default_rng([0, ROWS]), ROWS, DRAWS)))
    assert counts.sum(1) == pytest.approx(ROWS)
    for draw in range(0, DRAWS, 7):
        rows = np.repeat(np.arange(ROWS), counts[draw].astype(int))
        expected = [score(labels[rows], own[rows]) for own in predictions]
        assert found[draw] == pytest.approx(expected, abs=tolerance)


def test_the_spread_of_a_difference_of_accuracies_is_the_paired_one() -> None:
    """Two models' rights differ by d, so that the mean of d has the standard error s(d) / √R."""
    labels, predictions = _classes()
    found = resampled_scores("accuracy", labels, predictions, draws=2000)
    right = (predictions == labels).astype(float)
    difference = right[1] - right[0]
    error = difference.std() / np.sqrt(ROWS)
    assert (found[:, 1] - found[:, 0]).std() == pytest.approx(error, rel=0.06)


def test_rows_are_the_same_only_where_their_labels_are() -> None:
    labels, predictions = _classes()
    one = {"sst": TaskPredictions(labels, predictions[0])}
    assert same_rows([one, {"sst": TaskPredictions(labels.copy(), predictions[1])}])
    assert not same_rows([one, {"sst": TaskPredictions(labels[1:], predictions[1][1:])}])
    assert not same_rows([one, {"quora": TaskPredictions(labels, predictions[0])}])
