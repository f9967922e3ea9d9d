"""How far dev scores would move with other rows of the same kind: the bootstrap over rows (Efron 1979)."""

from collections.abc import Iterator, Mapping, Sequence

import numpy as np
from scipy.stats import rankdata

from cluster.storage.dev_predictions import TaskPredictions

DRAWS = 1000
_CHUNK = 50


def resampled_scores(
    metric: str, labels: np.ndarray, predictions: np.ndarray, draws: int = DRAWS, seed: int = 0
) -> np.ndarray:
    """A score of each of M models on `draws` samples of R rows, drawn with replacement, the same for all models: (draws, M).

    `labels` (R,), `predictions` (M, R). Spearman's ranks are those among all rows.

    Raises:
        KeyError: there is no metric of this name.
    """
    score, rows = _SCORES[metric], len(labels)
    generator = np.random.default_rng([seed, rows])
    parts = [score(counts, labels, predictions) for counts in _counts(generator, rows, draws)]
    return np.concatenate(parts)


def is_resampled(metric: str) -> bool:
    """Whether `resampled_scores` knows the metric: it sees predictions and no probabilities."""
    return metric in _SCORES


def same_rows(models: Sequence[Mapping[str, TaskPredictions]]) -> bool:
    """Whether all models were scored on the same labelled rows."""
    first = models[0]
    return all(
        own.keys() == first.keys() and all(np.array_equal(own[task].labels, first[task].labels) for task in first)
        for own in models
    )


def _counts(generator: np.random.Generator, rows: int, draws: int) -> Iterator[np.ndarray]:
    """How often each row is in each draw, (chunk, R), chunk by chunk."""
    for start in range(0, draws, _CHUNK):
        size = min(_CHUNK, draws - start)
        drawn = generator.integers(rows, size=(size, rows)) + rows * np.arange(size)[:, None]
        yield np.bincount(drawn.ravel(), minlength=size * rows).reshape(size, rows).astype(np.float64)


def _accuracy(counts: np.ndarray, labels: np.ndarray, predictions: np.ndarray) -> np.ndarray:
    right: np.ndarray = (predictions == labels).astype(np.float64)
    return counts @ right.T / len(labels)


def _macro_f1(counts: np.ndarray, labels: np.ndarray, predictions: np.ndarray) -> np.ndarray:
    """Over the classes that occur among the rows or the predictions."""
    found = []
    for own in np.union1d(labels, predictions):
        true, said = (labels == own).astype(np.float64), (predictions == own).astype(np.float64)
        both, total = counts @ (said * true).T, (counts @ true)[:, None] + counts @ said.T
        found.append(np.divide(2 * both, total, out=np.zeros_like(both), where=total > 0))
    return np.mean(found, axis=0)


def _pearson(counts: np.ndarray, labels: np.ndarray, predictions: np.ndarray) -> np.ndarray:
    share = counts / counts.sum(1, keepdims=True)
    y, x = labels - labels.mean(), predictions - predictions.mean(1, keepdims=True)
    mean_y, mean_x = (share @ y)[:, None], share @ x.T
    cross = share @ (x * y).T - mean_x * mean_y
    scale = (share @ y**2)[:, None] - mean_y**2, share @ (x**2).T - mean_x**2
    product = np.sqrt(np.maximum(scale[0] * scale[1], 0.0))
    return np.divide(cross, product, out=np.zeros_like(cross), where=product > 0)


def _spearman(counts: np.ndarray, labels: np.ndarray, predictions: np.ndarray) -> np.ndarray:
    return _pearson(counts, rankdata(labels), rankdata(predictions, axis=1))


def _negative_mae(counts: np.ndarray, labels: np.ndarray, predictions: np.ndarray) -> np.ndarray:
    off: np.ndarray = np.abs(predictions - labels)
    return -(counts @ off.T) / len(labels)


def _retrieval_accuracy(counts: np.ndarray, labels: np.ndarray, predictions: np.ndarray) -> np.ndarray:
    """Predictions are ranks."""
    return _accuracy(counts, np.ones_like(labels), predictions)


def _mrr(counts: np.ndarray, labels: np.ndarray, predictions: np.ndarray) -> np.ndarray:
    found: np.ndarray = counts @ (1 / predictions).T / len(labels)
    return found


def _matthews(counts: np.ndarray, labels: np.ndarray, predictions: np.ndarray) -> np.ndarray:
    """R_K of Gorodkin 2004 from how often each class occurs, is said, and both."""
    classes, rows = np.union1d(labels, predictions), len(labels)
    true = np.stack([(labels == own).astype(np.float64) for own in classes])
    occurs = counts @ true.T
    said = np.stack([counts @ (predictions == own).astype(np.float64).T for own in classes], axis=-1)
    right = _accuracy(counts, labels, predictions) * rows
    covariance = right * rows - (occurs[:, None, :] * said).sum(-1)
    spread = (rows**2 - (occurs**2).sum(-1))[:, None] * (rows**2 - (said**2).sum(-1))
    product = np.sqrt(np.maximum(spread, 0.0))
    return np.divide(covariance, product, out=np.zeros_like(covariance), where=product > 0)


def _quadratic_kappa(counts: np.ndarray, labels: np.ndarray, predictions: np.ndarray) -> np.ndarray:
    """1 − E (y − x)² over what it would be if labels y and predictions x were drawn apart."""
    share = counts / counts.sum(1, keepdims=True)
    observed = share @ ((predictions - labels) ** 2).T
    mean_y, mean_x = (share @ labels)[:, None], share @ predictions.T
    expected = (share @ labels**2)[:, None] + share @ (predictions**2).T - 2 * mean_y * mean_x
    return np.divide(expected - observed, expected, out=np.zeros_like(expected), where=expected > 0)


_SCORES = {
    "accuracy": _accuracy,
    "exact_match": _accuracy,
    "macro_f1": _macro_f1,
    "matthews": _matthews,
    "quadratic_kappa": _quadratic_kappa,
    "negative_mae": _negative_mae,
    "retrieval_accuracy": _retrieval_accuracy,
    "mrr": _mrr,
    "pearson": _pearson,
    "spearman": _spearman,
}
