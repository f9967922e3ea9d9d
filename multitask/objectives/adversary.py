"""The noise that changes a row's predictions most, as SMART seeks it."""

from collections.abc import Callable

import torch
from torch import Tensor

from multitask.config.regularization import Smart
from multitask.model.head import Head

# MT-DNN's guard against zeros.
_EPSILON = 1e-6


def worst_noise(
    start: Tensor,
    clean: Tensor,
    perturbed: Callable[[Tensor], Tensor],
    head: Head,
    smart: Smart,
    loss_scale: float = 1.0,
) -> Tensor:
    """Noise (S, L, D) after the adversary's steps from `start`.

    `perturbed`: noise to the raw outputs (B, outputs) under it; `clean`: those without noise. `loss_scale` keeps gradients in range on their way. With `ascent` (Jiang et al.
    2020, algorithm 1) a step is δ ← Π(δ + η ∇ℓ / ‖∇ℓ‖∞), with ℓ the symmetric divergence and Π the projection into |δ| ≤ ε;
    the paper divides by the norm of a row (`norm_level`). With `mt_dnn` (MT-DNN's `mt_dnn/perturbation.py`) it is the noise
    itself that is divided: δ ← (δ + η ∇ℓ) / (‖δ + η ∇ℓ‖∞ + 1e-6), so that its largest element is near 1, and ℓ is
    2 Σ p (logit p − logit q) with constant logits, or the squared error of numbers.
    """
    noise, rows = start, len(clean)
    for _ in range(smart.steps):
        noise.requires_grad_()
        raw = perturbed(noise)
        if smart.adversary == "ascent":
            gradient = _gradient(head.divergence(raw, clean), noise, loss_scale)
            largest = _largest(gradient, smart, rows).clamp(min=torch.finfo(gradient.dtype).tiny)
            noise = noise.detach() + smart.step_size * gradient / largest
            if smart.radius is not None:
                noise = noise.clamp(-smart.radius, smart.radius)
        else:
            gradient = _gradient(_stable_divergence(head, raw, clean), noise, loss_scale)
            moved = noise.detach() + smart.step_size * gradient
            noise = moved / (_largest(moved, smart, rows) + _EPSILON)
    return noise


def smoothness(head: Head, clean: Tensor, moved: Tensor, smart: Smart) -> Tensor:
    """The divergence (B,) that is trained; MT-DNN's takes either distribution as a constant where it is the target."""
    p, q = head.probabilities(clean), head.probabilities(moved)
    if smart.adversary == "ascent" or p is None or q is None:
        return head.divergence(moved, clean)
    tiny = torch.finfo(p.dtype).tiny
    return ((p - q).detach() * (p.clamp(min=tiny).log() - q.clamp(min=tiny).log())).sum(-1)


def _gradient(divergence: Tensor, noise: Tensor, loss_scale: float) -> Tensor:
    (gradient,) = torch.autograd.grad(divergence.sum() * loss_scale, noise)
    return gradient / loss_scale


def _largest(noise: Tensor, smart: Smart, rows: int) -> Tensor:
    """The largest element of each token, or of all texts of each row; broadcasts to (S, L, D)."""
    if smart.norm_level == "token":
        return noise.abs().amax(-1, keepdim=True)
    by_row = noise.abs().unflatten(0, (-1, rows)).amax((0, 2, 3))
    return by_row.repeat(len(noise) // rows)[:, None, None]


def _stable_divergence(head: Head, raw: Tensor, target: Tensor) -> Tensor:
    p, q = head.probabilities(raw), head.probabilities(target)
    if p is None or q is None:
        return head.divergence(raw, target)
    return (2 * p * (_logit(p) - _logit(q)).detach()).sum(-1)


def _logit(p: Tensor) -> Tensor:
    return -(1 / (p + _EPSILON) - 1 + _EPSILON).log()
