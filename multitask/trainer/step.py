"""One step over several tasks in one process: what `cluster/step` must equal on any number of ranks.

Read `Step.run`: task gradients, Gramian, weights, combined gradient, optimizer.
"""

import math
from collections.abc import Mapping, Sequence
from itertools import accumulate

import torch
from torch import Tensor, nn

from multitask.autocast import autocast
from multitask.combination import Combination, CoordinateCombination, Factors, Facts, Layers, Plan
from multitask.combination.base import ones, used_weights
from multitask.combination.blocks import Blocks, Part
from multitask.config import RunConfig
from multitask.data import Batch
from multitask.keys import generator_key
from multitask.model import MultitaskModel
from multitask.objectives import (
    RowObjective,
    compared_facts,
    compared_losses,
    compared_outputs,
    passes_per_row,
    row_dropout,
)
from multitask.trainer.loss_scale import LossScale
from multitask.trainer.result import StepResult
from multitask.trainer.task_gradient import TaskGradient, sum_of, unflatten
from multitask.trainer.weights import Weights
from multitask.work import MicroBatch, RoundWork


class Step:
    """The step of a training."""

    def __init__(
        self, model: MultitaskModel, config: RunConfig, combination: Combination, objective: RowObjective
    ) -> None:
        self.model, self.config, self.combination, self.objective = model, config, combination, objective
        self.weights = Weights(model, config)
        self.loss_scale = LossScale(config.precision)
        self._every_shared = model.shared_parameters()
        self.blocks = Blocks(list(self._every_shared), combination.granularity, model.layer_of)
        every = config.training.layer_conflicts_every
        self.layers = Layers(self._every_shared, model.layer_of, model.number_of_layers, every)
        self._device = next(model.parameters()).device

    def run(self, work: RoundWork, lr: float, lowest_layer: int = 0) -> StepResult:
        """Train on the whole round at rate `lr`; shared layers below `lowest_layer` stay as they are."""
        tasks, step = work.round.tasks, work.round.step
        plan = self.combination.plan(tasks, step)
        shared = self._freeze_below(lowest_layer)

        found = self._task_gradients(work, plan.losses.tolist(), shared)
        gradients = self._group_gradients(plan, tasks, found, shared)
        facts = self._facts(plan, work, found, gradients, shared)
        culprits = not_finite(found, facts)
        factors = ones(facts) if culprits else self.combination.factors(facts)
        looked = self._in_layers(step, gradients, shared)
        update = self._combined(factors, facts, found, gradients, shared)
        norm = sum_of([g.double().square().sum() for g in update.values()]).sqrt().item()
        culprits = culprits or (() if math.isfinite(norm) else tuple(found))
        if not culprits:
            limit = self.config.training.clip_norm
            clip = 1.0 if limit is None else min(1.0, limit / (norm + 1e-6))
            self.weights.step({name: g * clip for name, g in update.items()}, lr, tasks, lowest_layer)
            self.combination.learn(facts)

        batches = [micro.batch for micros in work.batches.values() for micro in micros]
        return StepResult(
            losses={task: own.loss for task, own in found.items()},
            terms={f"{name}/{task}": value for task, own in found.items() for name, value in own.terms.items()},
            weights=used_weights(plan, facts, factors),
            groups=plan.groups,
            gramian=facts.gramian.sum(0).float() if len(plan.groups) > 1 else None,
            norm=norm,
            tokens=sum(batch.tokens for batch in batches),
            slots=sum(batch.slots for batch in batches),
            extra_tokens=self._extra_tokens(work),
            applied=not culprits,
            culprits=culprits,
            fell_back=factors.fell_back,
            loss_scale=self.loss_scale.shown,
            overflowed=self.loss_scale.follow(finite=not culprits),
            layers=looked,
        )

    def _group_gradients(
        self, plan: Plan, tasks: Sequence[str], found: Mapping[str, TaskGradient], shared: Mapping[str, nn.Parameter]
    ) -> Tensor:
        """The groups' gradients (G, P)."""
        if plan.shared is not None:
            for k, task in enumerate(tasks):
                found[task].shared *= self._spread(plan.shared[:, k], shared)
        return torch.stack([sum_of([found[task].shared for task in group]) for group in plan.groups])

    def _facts(
        self,
        plan: Plan,
        work: RoundWork,
        found: Mapping[str, TaskGradient],
        gradients: Tensor,
        shared: Mapping[str, nn.Parameter],
    ) -> Facts:
        gramian = self.blocks.gramian(list(gradients), parts_of(shared))
        squares = [
            sum((g.double().square().sum().item() for g in own.head.values()), start=0.0) for own in found.values()
        ]
        losses = [own.loss for own in found.values()]
        return Facts(
            step=work.round.step,
            tasks=tuple(found),
            groups=plan.groups,
            losses=torch.tensor(losses, dtype=torch.float64),
            gramian=gramian.double().cpu(),
            heads=torch.tensor(squares, dtype=torch.float64),
        )

    def _in_layers(self, step: int, gradients: Tensor, shared: Mapping[str, nn.Parameter]) -> dict[str, Tensor]:
        """The Gramian of each layer, where this step looks at them."""
        if not self.layers.are_due(step, len(gradients)):
            return {}
        return self.layers.named(self.layers.blocks.gramian(list(gradients), parts_of(shared)).cpu())

    def _combined(
        self,
        factors: Factors,
        facts: Facts,
        found: Mapping[str, TaskGradient],
        gradients: Tensor,
        shared: Mapping[str, nn.Parameter],
    ) -> dict[str, Tensor]:
        """The update by name."""
        if isinstance(self.combination, CoordinateCombination):
            merged = [
                self.combination.merge(
                    name, torch.arange(size, device=self._device), list(gradients[:, at : at + size]), facts.step
                )
                for name, at, size in parts_of(shared)
            ]
            combined = torch.cat(merged) if merged else gradients.sum(0)
        elif self.blocks.number == 1:
            combined = factors.shared[0].to(gradients) @ gradients
        else:
            combined = sum_of(
                [self._spread(own, shared) * g for own, g in zip(factors.shared.T, gradients, strict=True)]
            )
        update = unflatten(combined, shared)
        for own, factor in zip(found.values(), factors.heads.tolist(), strict=True):
            update |= {name: g if factor == 1 else g * factor for name, g in own.head.items()}
        return update

    def _spread(self, of_blocks: Tensor, shared: Mapping[str, nn.Parameter]) -> Tensor:
        """Numbers (B,) of the blocks for each shared element (P,)."""
        blocks = torch.tensor([self.blocks.of[name] for name in shared], dtype=torch.int64)
        sizes = torch.tensor([p.numel() for p in shared.values()], dtype=torch.int64)
        return of_blocks[blocks].repeat_interleave(sizes).to(self._device)

    def _task_gradients(
        self, work: RoundWork, loss_weights: Sequence[float], shared: Mapping[str, nn.Parameter]
    ) -> dict[str, TaskGradient]:
        tasks, step = work.round.tasks, work.round.step
        with torch.random.fork_rng([self._device] if self._device.type == "cuda" else []):
            torch.manual_seed(generator_key(self.config.seed, "dropout", step, 0))
            return {
                task: self.task_gradient(task, work.batches[task], weight, shared, step)
                for task, weight in zip(tasks, loss_weights, strict=True)
            }

    def task_gradient(
        self, task: str, micros: Sequence[MicroBatch], weight: float, shared: Mapping[str, nn.Parameter], step: int
    ) -> TaskGradient:
        """The gradient of `weight` times the mean loss of `task` over its whole batch, which comes in micro-batches."""
        parameters = dict(shared) | self.model.head_parameters(task)
        total = TaskGradient(parameters, len(shared), self._device, self.config.training.tf32)
        scale = self.loss_scale.value
        if (own := self.config.tasks[task]).compares_rows:
            batches = [micro.batch.to(self._device) for micro in micros]
            outputs = torch.cat([self._compared(task, batch, step) for batch in batches], dim=1)
            facts = torch.cat([compared_facts(self.model, task, batch) for batch in batches], dim=1)
            loss = compared_losses(self.model, task, own, outputs, facts).mean()
            total.add(loss * (weight * scale))
            total.divide(scale)
            total.loss = loss.item()
            return total
        for micro in micros:
            with self._autocast():
                losses = self.objective(task, micro.batch.to(self._device), step, scale)
            total.add(losses.total.sum() * (micro.scale * weight * scale))
            total.loss += losses.task.detach().double().sum().item() * micro.scale
            for name, term in losses.terms.items():
                total.terms[name] = total.terms.get(name, 0.0) + term.detach().double().sum().item() * micro.scale
        total.divide(scale)
        return total

    def _compared(self, task: str, batch: Batch, step: int) -> Tensor:
        with self._autocast(), row_dropout(self.config, task, batch, step):
            return compared_outputs(self.model, task, batch).float()

    def trained_shared(self) -> dict[str, nn.Parameter]:
        """The shared parameters that take a gradient now."""
        return {name: p for name, p in self._every_shared.items() if p.requires_grad}

    def _freeze_below(self, lowest_layer: int) -> dict[str, nn.Parameter]:
        """The shared parameters that are trained."""
        for name, parameter in self._every_shared.items():
            parameter.requires_grad_(self.model.layer_of(name) >= lowest_layer)
        return self.trained_shared()

    def _autocast(self) -> torch.autocast:
        return autocast(self._device, self.config.precision)

    def _extra_tokens(self, work: RoundWork) -> int:
        """Real tokens of the passes that regularization adds."""
        passes = passes_per_row(self.config.regularization) - 1
        by_rows = [task for task in work.batches if not self.config.tasks[task].compares_rows]
        return passes * sum(micro.batch.tokens for task in by_rows for micro in work.batches[task])


def parts_of(shared: Mapping[str, nn.Parameter]) -> list[Part]:
    """Where each parameter lies in their flat vector (P,)."""
    sizes = [p.numel() for p in shared.values()]
    return [(name, at - size, size) for name, at, size in zip(shared, accumulate(sizes), sizes, strict=True)]


def not_finite(found: Mapping[str, TaskGradient], facts: Facts) -> tuple[str, ...]:
    """The tasks whose loss or gradient is not finite; all of them where it cannot be told."""
    own_numbers = facts.losses.isfinite() & facts.heads.isfinite()
    if own_numbers.all() and facts.gramian.isfinite().all():
        return ()
    finite = zip(found.items(), own_numbers.tolist(), strict=True)
    bad = [task for (task, gradient), own in finite if not (own and gradient.shared.isfinite().all())]
    return tuple(bad) or tuple(found)
