"""The fp32 weights that are trained, and the optimizers that step them."""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from multitask.config import RunConfig
from multitask.model import MultitaskModel
from multitask.optimization import build_optimizer, parameter_groups, set_rates

Number = float | int


class Weights:
    """A model's trained weights by name, in fp32; a bf16 model gets them rounded after each step.

    With `optimizer.per_task` each task has an optimizer of its own over the same weights, otherwise all share one.
    """

    def __init__(self, model: MultitaskModel, config: RunConfig) -> None:
        self._parameters = {name: p for name, p in model.named_parameters() if p.requires_grad}
        self.values: dict[str, nn.Parameter] = {
            name: p if p.dtype == torch.float32 else nn.Parameter(p.detach().float())
            for name, p in self._parameters.items()
        }
        groups = [
            {**group, "params": [self.values[name] for name in group["names"]]}
            for group in parameter_groups(model, config)
        ]
        owners: list[str | None] = list(config.tasks) if config.optimizer.per_task else [None]
        self._optimizers = {
            owner: build_optimizer([dict(group) for group in groups], config.optimizer) for owner in owners
        }
        self._settings = {
            owner: [frozenset(group) | {"idle"} for group in optimizer.param_groups]
            for owner, optimizer in self._optimizers.items()
        }

    def step(self, gradients: Mapping[str, Tensor], lr: float, tasks: Sequence[str], lowest_layer: int = 0) -> None:
        """One update along `gradients`; other tasks' heads and shared layers below `lowest_layer` stay as they are."""
        optimizer = self._optimizers[tasks[0] if tasks[0] in self._optimizers else None]
        set_rates(optimizer.param_groups, lr, tasks, lowest_layer)
        for name, gradient in gradients.items():
            self.values[name].grad = gradient
        optimizer.step()
        for value in self.values.values():
            value.grad = None
        self._show()

    def copy(self) -> dict[str, Tensor]:
        """A copy of the weights as they are."""
        return {name: value.detach().clone() for name, value in self.values.items()}

    @torch.no_grad()
    def load(self, values: Mapping[str, Tensor]) -> None:
        """Take over the weights of an earlier `copy`."""
        for name, value in self.values.items():
            value.copy_(values[name])
        self._show()

    def moments(self) -> tuple[dict[str, Tensor], dict[str, Number]]:
        """What the optimizers remember: tensors of weights, and numbers of weights and groups (`#`), by name."""
        tensors: dict[str, Tensor] = {}
        numbers: dict[str, Number] = {}
        for owner, optimizer in self._optimizers.items():
            for name, value in self.values.items():
                for key, kept in optimizer.state.get(value, {}).items():
                    (tensors if isinstance(kept, Tensor) else numbers)[f"{owner or ''}/{name}/{key}"] = kept
            for number, group in enumerate(optimizer.param_groups):
                counters = {key: v for key, v in group.items() if key not in self._settings[owner][number]}
                numbers |= {f"{owner or ''}#{number}/{key}": count for key, count in counters.items()}
        return tensors, numbers

    def load_moments(self, tensors: Mapping[str, Tensor], numbers: Mapping[str, Number]) -> None:
        """Take over the `moments` of an earlier run."""
        kept: dict[str, Any] = {**tensors, **numbers}
        for place, found in kept.items():
            where, _, key = place.rpartition("/")
            owner, counter, number = where.partition("#")
            if counter:
                self._optimizers[owner or None].param_groups[int(number)][key] = found
                continue
            owner, _, name = where.partition("/")
            optimizer, value = self._optimizers[owner or None], self.values[name]
            # Step counts stay on the CPU but for fused kernels.
            fused = any(group.get("fused") for group in optimizer.param_groups)
            moves = isinstance(found, Tensor) and (found.dim() or fused)
            optimizer.state[value][key] = found.to(value.device) if moves else found

    @torch.no_grad()
    def _show(self) -> None:
        for name, parameter in self._parameters.items():
            if parameter is not self.values[name]:
                parameter.copy_(self.values[name])
