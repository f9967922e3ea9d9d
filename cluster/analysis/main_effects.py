"""How much of a score's variance goes with one parameter alone, and how much would without any effect."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.stats import norm, rankdata

PERMUTATIONS, RESAMPLES = 1000, 1000
# Residual degrees of freedom below which a share is not worth its name.
_FREEDOM = 4


def design(values: Sequence[object], scale: Sequence[float] | None) -> np.ndarray | None:
    """Columns (n, m) of what one parameter may do: a curve of degree 2 over `scale`, or a level for each value.

    `scale` is the parameter between 0 and 1, None for a choice. None where it does not vary, or has too many values for n.
    """
    levels = sorted(map(repr, {repr(value): value for value in values}.values()))
    if len(levels) < 2:
        return None
    if scale is None:
        columns = np.array([[repr(value) == level for level in levels[1:]] for value in values], np.float64)
    else:
        x = np.asarray(scale, np.float64)
        columns = np.stack([x, x**2][: len(levels) - 1], axis=1)
    return columns if len(values) - 1 - columns.shape[1] >= _FREEDOM else None


def shares(columns: np.ndarray, scores: np.ndarray) -> np.ndarray:
    """Adjusted R² of each row of `scores` (B, n) regressed on `columns`, (n, m) or (B, n, m): (B,); 0 where y is constant."""
    centred = scores - scores.mean(-1, keepdims=True)
    left, singular, _ = np.linalg.svd(columns - columns.mean(-2, keepdims=True), full_matrices=False)
    # What a sample of the trials does not vary explains nothing.
    kept = singular > 1e-9 * np.maximum(singular.max(-1, keepdims=True), 1e-300)
    projected = centred @ left if left.ndim == 2 else np.einsum("bn,bnm->bm", centred, left)
    total, explained = (centred**2).sum(-1), (projected**2 * kept).sum(-1)
    ratio = np.divide(explained, total, out=np.zeros_like(total), where=total > 0)
    n, m = columns.shape[-2], kept.sum(-1)
    return np.asarray(np.where(total > 0, 1 - (1 - ratio) * (n - 1) / (n - 1 - m), 0.0))


@dataclass(frozen=True)
class Permuted:
    """Shares of P parameters beside those for permuted scores.

    `shares` (P,). `p` (P,): how often noise alone gives any of them as surprising a share. `floors` (P,): the share from which
    on p is at most `alpha`.
    """

    shares: np.ndarray
    p: np.ndarray
    floors: np.ndarray


def permute(designs: Sequence[np.ndarray], scores: np.ndarray, alpha: float, seed: int = 0) -> Permuted:
    """Compare each parameter's share with those of permuted scores, corrected for the number of parameters.

    The smallest p of all parameters in each permutation is the measure (min-P: Westfall & Young, Resampling-Based Multiple
    Testing, 1993), so that a choice of many values has no advantage over a number.
    """
    generator = np.random.default_rng([seed, len(scores)])
    order = generator.permuted(np.tile(np.arange(len(scores)), (PERMUTATIONS, 1)), axis=1)
    rows = np.concatenate([scores[None], scores[order]])
    found = np.stack([shares(columns, rows) for columns in designs], axis=1)
    p = rankdata(-found.round(12), method="max", axis=0) / len(rows)
    smallest = np.sort(p.min(1))
    corrected = np.searchsorted(smallest, p, side="right") / len(rows)
    floors = np.where(corrected <= alpha, found, np.inf).min(0)
    return Permuted(found[0], corrected[0], np.minimum(floors, 1.0))


def interval(columns: np.ndarray, scores: np.ndarray, level: float = 0.95, seed: int = 0) -> tuple[float, float]:
    """Bias-corrected bootstrap interval (Efron 1981) of the share, over the trials; between 0 and 1."""
    generator, n = np.random.default_rng([seed, len(scores), 1]), len(scores)
    own = float(shares(columns, scores[None])[0])
    rows = generator.integers(n, size=(RESAMPLES, n))
    values = shares(columns[rows], scores[rows])
    bias = norm.ppf(np.clip((values < own).mean(), 1 / n**2, 1 - 1 / n**2))
    ends = norm.cdf(2 * bias + norm.ppf([(1 - level) / 2, (1 + level) / 2]))
    low, high = np.clip(np.quantile(values, ends), 0.0, 1.0)
    return float(low), float(high)
