"""How large batches must be for one of them to show whether two tasks are at odds."""

from collections.abc import Sequence

import numpy as np
from scipy import stats

from multitask.diagnosis.probe import Look

# The sign of a batch's cosine is to be the right one so often.
SURE = 0.95


def batches_apart(looks: Sequence[Look], places: Sequence[tuple[int, int]], inner: float) -> float | None:
    """How many times as large both tasks' batches must be for ⟨gᵢ, gⱼ⟩ to have the sign of `inner`, its mean, in 95 of 100.

    With batches m times as large it has the variance L / m + Q / m²: L is of one task's noise along the other's gradient, Q of both
    noises' product. Both are taken within looks from the products of halves, so that what changes in training is no noise: with x_st that
    of half s of i and half t of j, the interaction (x₁₁ − x₁₂ − x₂₁ + x₂₂) / 2 has the variance 4 Q, and (x₁₁ + x₁₂ − x₂₁ − x₂₂) / 2 and
    its like for j have together 4 L + 8 Q. None where `inner` is 0.
    """
    x = np.array([look.inner.sum(0)[:, :, i, j].numpy() for look, (i, j) in zip(looks, places, strict=True)])
    if inner == 0:
        return None
    both = float(np.mean(((x[:, 0, 0] - x[:, 0, 1] - x[:, 1, 0] + x[:, 1, 1]) / 2) ** 2))
    first = float(np.mean(((x[:, 0].sum(1) - x[:, 1].sum(1)) / 2) ** 2))
    second = float(np.mean(((x[:, :, 0].sum(1) - x[:, :, 1].sum(1)) / 2) ** 2))
    product, linear = both / 4, max(0.0, (first + second - 2 * both) / 4)
    z, signal = float(stats.norm.ppf(SURE)) ** 2, inner**2
    # signal · m² = z · (linear · m + product)
    return (z * linear + (z * z * linear**2 + 4 * signal * z * product) ** 0.5) / (2 * signal)
