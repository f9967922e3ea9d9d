"""The gradient of one task, as a vector."""

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn

from multitask.device import tf32_products


class TaskGradient:
    """The gradient of a task's weighted mean loss, summed up over micro-batches.

    `shared` (P,): of the P shared elements, flat fp32; `head`: of its head's parameters by name. `loss`: the mean of the
    task's own loss; `terms`: regularization to the mean of what it adds.
    """

    def __init__(
        self, parameters: Mapping[str, nn.Parameter], shared: int, device: torch.device, tf32: bool = False
    ) -> None:
        """`parameters`: the `shared` shared ones first, then the head's; `tf32`: in what gradients flow back on a GPU."""
        self._parameters, self._shared, self._tf32 = parameters, shared, tf32
        own = list(parameters.items())
        self.shared = torch.zeros(sum(p.numel() for _, p in own[:shared]), device=device)
        self.head = {name: torch.zeros(p.shape, device=device) for name, p in own[shared:]}
        self.loss, self.terms = 0.0, dict[str, float]()

    def add(self, loss: Tensor) -> None:
        """Add the gradient of `loss`; of what it does not depend on that is zero."""
        if not loss.requires_grad:
            return
        parameters = list(self._parameters.values())
        with tf32_products(self._tf32):
            found = torch.autograd.grad(loss, parameters, allow_unused=True)
        whole = [torch.zeros_like(p) if g is None else g for g, p in zip(found, parameters, strict=True)]
        if self._shared:
            self.shared += torch.cat([g.reshape(-1).float() for g in whole[: self._shared]])
        for own, gradient in zip(self.head.values(), whole[self._shared :], strict=True):
            own += gradient

    def divide(self, loss_scale: float) -> None:
        """Divide what was added by the factor that the losses had been multiplied with."""
        if loss_scale != 1:
            for own in (self.shared, *self.head.values()):
                own /= loss_scale


def unflatten(vector: Tensor, parameters: Mapping[str, nn.Parameter]) -> dict[str, Tensor]:
    """The parts of a vector (P,) by name, each in its parameter's shape."""
    parts = vector.split([p.numel() for p in parameters.values()])
    return {name: part.view_as(p) for (name, p), part in zip(parameters.items(), parts, strict=False)}


def sum_of(tensors: Sequence[Tensor]) -> Tensor:
    """Their sum."""
    return torch.stack(list(tensors)).sum(0) if len(tensors) > 1 else tensors[0]
