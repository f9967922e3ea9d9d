"""Losses of raw outputs, as their papers define them."""

import torch
from torch import Tensor
from torch.nn import functional


def focal_loss(logits: Tensor, labels: Tensor, gamma: float, class_weights: Tensor | None = None) -> Tensor:
    """−w (1 − p)^γ log p of each row's class, (B,), from logits (B, C) and labels (B,) (Lin et al. 2017, equation 5)."""
    cross_entropy = functional.cross_entropy(logits, labels, reduction="none")
    weighted = cross_entropy if class_weights is None else cross_entropy * class_weights[labels]
    # Not 0, where the slope of a power below 1 is infinite.
    missing = (-torch.expm1(-cross_entropy)).clamp(min=torch.finfo(cross_entropy.dtype).tiny)
    return weighted * missing**gamma


def corn_log_probabilities(logits: Tensor) -> Tensor:
    """Log P(y = k), (B, C), from logits (B, C − 1) of P(y > k | y ≥ k) (Shi et al. 2023).

    P(y = k) = P(y > 0) · … · P(y > k − 1 | y ≥ k − 1) · P(y ≤ k | y ≥ k): a row's −log P is the sum of the binary
    cross-entropies of all conditional problems that it belongs to.
    """
    reached = functional.pad(functional.logsigmoid(logits).cumsum(-1), (1, 0))
    return reached + functional.pad(functional.logsigmoid(-logits), (0, 1))


def cumulative_log_probabilities(logits: Tensor) -> Tensor:
    """Log P(y = k), (B, C), from logits (B, C − 1) of P(y > k), falling in k (McCullagh 1980).

    σ(a) − σ(b) = σ(a) · σ(−b) · (1 − e^(b − a)) keeps the digits where both are near 0 or 1.
    """
    above = functional.pad(functional.logsigmoid(logits), (1, 0))
    below = functional.pad(functional.logsigmoid(-logits), (0, 1))
    between = torch.log(-torch.expm1(logits[:, 1:] - logits[:, :-1]))
    return above + below + functional.pad(between, (1, 1))


def ranking_loss(scores: Tensor, labels: Tensor, scale: float) -> Tensor:
    """log(1 + Σ exp(λ (s_j − s_i))) over all i, j with label y_i > y_j, one number, from scores and labels (B,) (Su 2022, CoSENT)."""
    differences = scale * (scores[None, :] - scores[:, None])
    wrong = differences.masked_fill(labels[:, None] <= labels[None, :], float("-inf")).flatten()
    return torch.cat([wrong.new_zeros(1), wrong]).logsumexp(0)
