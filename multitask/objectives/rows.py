"""The loss of a row: the task's own, and the terms that keep the model smooth."""

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from multitask.config import RunConfig
from multitask.config.regularization import RegularizationConfig, Smart
from multitask.data import Batch
from multitask.model import MultitaskModel
from multitask.objectives.adversary import smoothness, worst_noise
from multitask.objectives.noise import row_noise
from multitask.objectives.row_dropout import DropoutMasks, row_dropout
from multitask.objectives.teacher import Teacher


@dataclass(frozen=True)
class RowLosses:
    """Losses of B rows. `task` (B,): the task's own. `terms`: name of a regularization to its weighted term (B,)."""

    task: Tensor
    terms: dict[str, Tensor] = field(default_factory=dict)

    @property
    def total(self) -> Tensor:
        """What is trained (B,)."""
        return self.task + sum(self.terms.values()) if self.terms else self.task


class RowObjective:
    """Losses of a task's rows under the config's regularization.

    `timed`: a context in which the extra passes run, so that their cost can be told.
    """

    def __init__(
        self,
        config: RunConfig,
        model: MultitaskModel,
        teacher: Teacher | None,
        timed: Callable[[], AbstractContextManager[None]] = nullcontext,
    ) -> None:
        self.model, self.teacher, self.timed = model, teacher, timed
        self._config, self._terms = config, config.regularization

    def __call__(self, task: str, batch: Batch, step: int, loss_scale: float = 1.0) -> RowLosses:
        """Losses of the rows of `batch` in optimizer step `step`; `loss_scale`: of gradients that are taken on the way."""
        with row_dropout(self._config, task, batch, step) as masks:
            return self._losses(task, batch, step, masks, loss_scale)

    def _losses(self, task: str, batch: Batch, step: int, masks: DropoutMasks, loss_scale: float) -> RowLosses:
        head, first = self.model.head(task), masks.position()
        raw = self.model(task, batch)
        losses = head.loss(raw, batch.labels)
        terms: dict[str, Tensor] = {}
        if passes_per_row(self._terms) == 1:
            return RowLosses(losses)
        with self.timed():
            if (r_drop := self._terms.r_drop) is not None:
                again = self.model(task, batch)
                losses = losses + head.loss(again, batch.labels)
                losses = losses / 2 if r_drop.task_loss == "mean" else losses
                terms["r_drop"] = r_drop.weight * head.divergence(raw, again) / 2
            if (smart := self._terms.smart) is not None:
                start = self._first_noise(task, batch, smart, step)
                terms["smart"] = smart.weight * self._smart(task, batch, raw, start, smart, masks, first, loss_scale)
            if (bregman := self._terms.bregman) is not None and self.teacher is not None:
                with torch.no_grad():
                    taught = self.teacher.model(task, batch)
                terms["bregman"] = bregman.weight * head.divergence(raw, taught)
        return RowLosses(losses, terms)

    def _first_noise(self, task: str, batch: Batch, smart: Smart, step: int) -> Tensor:
        embedding = self.model.encoder.words
        assert isinstance(embedding, nn.Embedding)
        return row_noise(batch, embedding.embedding_dim, smart.noise, self._config.seed, "smart", step, task)

    def _smart(
        self,
        task: str,
        batch: Batch,
        raw: Tensor,
        start: Tensor,
        smart: Smart,
        masks: DropoutMasks,
        first: Any,
        loss_scale: float,
    ) -> Tensor:
        """Divergence (B,) of the predictions under the adversary's noise, from `start`, from `raw`; its dropout masks, from `first` on, in all."""
        head = self.model.head(task)
        last: Any = masks.position()

        def perturbed(noise: Tensor) -> Tensor:
            masks.rewind(first)
            outputs: Tensor = self.model(task, batch, noise)
            return outputs

        moved = perturbed(worst_noise(start, raw.detach(), perturbed, head, smart, loss_scale))
        masks.rewind(last)
        return smoothness(head, raw, moved, smart)


def passes_per_row(terms: RegularizationConfig) -> int:
    """Forward passes over each row in a step: 1, and those that the regularization adds."""
    adversarial = terms.smart.steps + 1 if terms.smart else 0
    return 1 + (terms.r_drop is not None) + adversarial + (terms.bregman is not None)
