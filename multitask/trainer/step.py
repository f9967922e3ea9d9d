"""One step over several tasks in one process: what `cluster/step` must equal on any number of ranks.

Read `Step.run`: task gradients, Gramian, weights, combined gradient, optimizer.
"""

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn

from multitask.combination import Combination
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
from multitask.trainer.result import StepResult
from multitask.trainer.task_gradient import TaskGradient, head_squares, sum_of, unflatten
from multitask.trainer.weights import Weights
from multitask.work import MicroBatch, RoundWork


class Step:
    """The step of a training."""

    def __init__(
        self, model: MultitaskModel, config: RunConfig, combination: Combination, objective: RowObjective
    ) -> None:
        self.model, self.config, self.combination, self.objective = model, config, combination, objective
        self.weights = Weights(model, config)
        self._every_shared = model.shared_parameters()
        self._device = next(model.parameters()).device

    def run(self, work: RoundWork, lr: float, lowest_layer: int = 0) -> StepResult:
        """Train on the whole round at rate `lr`; shared layers below `lowest_layer` stay as they are."""
        tasks, step = work.round.tasks, work.round.step
        groups, loss_weights = self.combination.groups(tasks), self.combination.loss_weights(tasks).tolist()
        shared = self._freeze_below(lowest_layer)

        found = self._task_gradients(work, loss_weights, shared)
        gradients = torch.stack([sum_of([found[task].shared for task in group]) for group in groups])
        gramian = (gradients @ gradients.T).cpu()
        if len(groups) > 1 and self.combination.takes_heads:
            gramian += torch.diag(head_squares(found, groups))
        weights = self.combination.group_weights(gramian, groups, step)
        update = unflatten(weights.shared.to(gradients) @ gradients, shared)
        of_task = {task: number for number, group in enumerate(groups) for task in group}
        for task, own in found.items():
            update |= {name: g * float(weights.heads[of_task[task]]) for name, g in own.head.items()}

        norm = sum_of([g.double().square().sum() for g in update.values()]).sqrt().item()
        culprits = not_finite(found, gramian, norm)
        if not culprits:
            limit = self.config.training.clip_norm
            clip = 1.0 if limit is None else min(1.0, limit / (norm + 1e-6))
            self.weights.step({name: g * clip for name, g in update.items()}, lr, tasks, lowest_layer)

        batches = [micro.batch for micros in work.batches.values() for micro in micros]
        return StepResult(
            losses={task: own.loss for task, own in found.items()},
            terms={f"{name}/{task}": value for task, own in found.items() for name, value in own.terms.items()},
            weights={t: float(weights.shared[of_task[t]]) * w for t, w in zip(tasks, loss_weights, strict=True)},
            groups=groups,
            gramian=gramian if len(groups) > 1 else None,
            norm=norm,
            tokens=sum(batch.tokens for batch in batches),
            slots=sum(batch.slots for batch in batches),
            extra_tokens=self._extra_tokens(work),
            applied=not culprits,
            culprits=culprits,
        )

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
        total = TaskGradient(parameters, len(shared), self._device)
        if (own := self.config.tasks[task]).compares_rows:
            batches = [micro.batch.to(self._device) for micro in micros]
            outputs = torch.cat([self._compared(task, batch, step) for batch in batches], dim=1)
            facts = torch.cat([compared_facts(self.model, task, batch) for batch in batches], dim=1)
            loss = compared_losses(self.model, task, own, outputs, facts).mean()
            total.add(loss * weight)
            total.loss = loss.item()
            return total
        for micro in micros:
            with self._autocast():
                losses = self.objective(task, micro.batch.to(self._device), step)
            total.add(losses.total.sum() * (micro.scale * weight))
            total.loss += losses.task.detach().double().sum().item() * micro.scale
            for name, term in losses.terms.items():
                total.terms[name] = total.terms.get(name, 0.0) + term.detach().double().sum().item() * micro.scale
        return total

    def _compared(self, task: str, batch: Batch, step: int) -> Tensor:
        with self._autocast(), row_dropout(self.config, task, batch, step):
            return compared_outputs(self.model, task, batch).float()

    def _freeze_below(self, lowest_layer: int) -> dict[str, nn.Parameter]:
        """The shared parameters that are trained."""
        for name, parameter in self._every_shared.items():
            parameter.requires_grad_(self.model.layer_of(name) >= lowest_layer)
        return {name: p for name, p in self._every_shared.items() if p.requires_grad}

    def _autocast(self) -> torch.autocast:
        return torch.autocast(self._device.type, torch.bfloat16, enabled=self.config.precision == "autocast")

    def _extra_tokens(self, work: RoundWork) -> int:
        """Real tokens of the passes that regularization adds."""
        passes = passes_per_row(self.config.regularization) - 1
        by_rows = [task for task in work.batches if not self.config.tasks[task].compares_rows]
        return passes * sum(micro.batch.tokens for task in by_rows for micro in work.batches[task])


def not_finite(found: Mapping[str, TaskGradient], gramian: Tensor, norm: float) -> tuple[str, ...]:
    """The tasks whose loss or gradient is not finite; all of them where it cannot be told."""
    numbers = torch.tensor([norm, *(own.loss for own in found.values()), *gramian.flatten()])
    if numbers.isfinite().all():
        return ()
    bad = [t for t, own in found.items() if not (own.shared.isfinite().all() and torch.tensor(own.loss).isfinite())]
    return tuple(bad) or tuple(found)
