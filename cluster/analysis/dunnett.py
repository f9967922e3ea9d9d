"""Several configurations, each trained on the same seeds, against one of them: intervals that hold all at once."""

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from scipy.optimize import brentq
from scipy.stats import chi, norm

# Differences to one control share its error: correlation ½.
_CORRELATION = 0.5
_NODES, _QUANTILES = 64, 400


@dataclass(frozen=True)
class ControlDifferences:
    """Differences to the control: `mean`, and the ends of its interval, each (…, k)."""

    mean: np.ndarray
    low: np.ndarray
    high: np.ndarray


def differences_to_control(scores: np.ndarray, level: float, compared: int | None = None) -> ControlDifferences:
    """Mean differences of configurations to the first one, with two-sided simultaneous intervals at `level`.

    Dunnett's comparison with a control (J. Am. Stat. Assoc. 50, 1955, pp. 1096–1121) in blocks, which are the seeds: the
    critical value is that of max |tᵢ| over `compared` differences, on k (n − 1) degrees of freedom. Dunnett assumes equal
    variances; where a configuration varies more than the others, as one that diverges now and then, we take its difference's
    own standard error over the seeds in place of the pooled one, if it is larger.

    Args:
        scores: (…, 1 + k, n): configurations, the control first, by n ≥ 2 shared seeds.
        level: how surely all intervals hold together.
        compared: how many differences were planned, k or more; k if not given.
    """
    k, seeds = scores.shape[-2] - 1, scores.shape[-1]
    pairs = scores[..., 1:, :] - scores[..., :1, :]
    mean, own = pairs.mean(-1), pairs.std(-1, ddof=1) / np.sqrt(seeds)
    rows, columns = scores.mean(-1, keepdims=True), scores.mean(-2, keepdims=True)
    residuals = scores - rows - columns + scores.mean((-2, -1), keepdims=True)
    freedom = k * (seeds - 1)
    pooled = np.sqrt(2 * (residuals**2).sum((-2, -1)) / freedom / seeds)[..., None]
    error = np.maximum(own, pooled)
    number = k if compared is None else compared
    half = critical_value(number, freedom, level) * error
    return ControlDifferences(mean, mean - half, mean + half)


@lru_cache(maxsize=256)
def critical_value(k: int, freedom: int, level: float) -> float:
    """The c with P(max |tᵢ| ≤ c) = `level`, for k differences to one control on `freedom` degrees of freedom."""
    return float(brentq(lambda c: _all_within(c, k, freedom) - level, 1e-3, 1e4, xtol=1e-6))


def _all_within(bound: float, k: int, freedom: int) -> float:
    """P(max |tᵢ| ≤ bound): given the control's error z and the scale s, the k differences are independent."""
    z, weight, scale = _quadrature(freedom)
    reach, shift = bound * scale[:, None], np.sqrt(_CORRELATION) * z
    spread = np.sqrt(1 - _CORRELATION)
    inside = norm.cdf((reach + shift) / spread) - norm.cdf((shift - reach) / spread)
    return float(((inside**k) @ weight).mean())


@lru_cache(maxsize=64)
def _quadrature(freedom: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Nodes and weights of the normal z, and equally likely values of s = χ / √freedom."""
    z, weight = np.polynomial.hermite_e.hermegauss(_NODES)
    scale = chi.ppf((np.arange(_QUANTILES) + 0.5) / _QUANTILES, freedom) / np.sqrt(freedom)
    return z, weight / weight.sum(), scale
