"""AdamW in the order of operations that its authors call more efficient."""

import math
from typing import Any

import torch
from torch import Tensor

from multitask.optimization.active import ActiveGroups


class _EpsilonHat(torch.optim.AdamW):
    @torch.no_grad()
    def step(self, closure: Any = None) -> Any:
        """One update of every parameter that has a gradient."""
        for group in self.param_groups:
            for parameter in group["params"]:
                if parameter.grad is not None:
                    self._update(parameter, parameter.grad, group)

    def _update(self, parameter: Tensor, gradient: Tensor, group: dict[str, Any]) -> None:
        state = self.state[parameter]
        if not state:
            state["step"] = torch.zeros(())
            state["exp_avg"], state["exp_avg_sq"] = torch.zeros_like(parameter), torch.zeros_like(parameter)
        state["step"] += 1
        t, (beta1, beta2) = int(state["step"]), group["betas"]
        mean = state["exp_avg"].lerp_(gradient, 1 - beta1)
        square = state["exp_avg_sq"].mul_(beta2).addcmul_(gradient, gradient, value=1 - beta2)
        rate = group["lr"] * math.sqrt(1 - beta2**t) / (1 - beta1**t)
        parameter.mul_(1 - group["lr"] * group["weight_decay"])
        parameter.addcdiv_(mean, square.sqrt().add_(group["eps"]), value=-rate)


class AdamWEpsilonHat(ActiveGroups, _EpsilonHat):
    """θ ← θ − α_t m / (√v + ε̂) with α_t = α √(1 − β₂ᵗ) / (1 − β₁ᵗ), on active groups (Kingma and Ba 2015, end of section 2).

    torch adds ε to √(v / (1 − β₂ᵗ)) instead, in which small gradients move further: ε̂ = ε √(1 − β₂ᵗ) would be the
    same. Weight decay is decoupled and comes first, as in torch. `state` has torch's names.
    """
