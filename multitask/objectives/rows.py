"""The loss of a row: the task's own, and the terms that keep the model smooth."""

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from multitask.config import RunConfig
from multitask.config.regularization import RegularizationConfig, Smart
from multitask.data import Batch
from multitask.model import MultitaskModel
from multitask.objectives.noise import row_noise
from multitask.objectives.row_dropout import row_dropout
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

    def __call__(self, task: str, batch: Batch, step: int) -> RowLosses:
        """Losses of the rows of `batch` in optimizer step `step`."""
        with row_dropout(self._config, task, batch, step):
            return self._losses(task, batch, step)

    def _losses(self, task: str, batch: Batch, step: int) -> RowLosses:
        head = self.model.head(task)
        raw = self.model(task, batch)
        losses = head.loss(raw, batch.labels)
        terms: dict[str, Tensor] = {}
        if passes_per_row(self._terms) == 1:
            return RowLosses(losses)
        with self.timed():
            if (r_drop := self._terms.r_drop) is not None:
                again = self.model(task, batch)
                losses = (losses + head.loss(again, batch.labels)) / 2
                terms["r_drop"] = r_drop.weight * head.divergence(raw, again) / 2
            if (smart := self._terms.smart) is not None:
                moved = self.model(task, batch, self._adversary(task, batch, raw.detach(), smart, step))
                terms["smart"] = smart.weight * head.divergence(moved, raw)
            if (bregman := self._terms.bregman) is not None and self.teacher is not None:
                with torch.no_grad():
                    taught = self.teacher.model(task, batch)
                terms["bregman"] = bregman.weight * head.divergence(raw, taught)
        return RowLosses(losses, terms)

    def _adversary(self, task: str, batch: Batch, raw: Tensor, smart: Smart, step: int) -> Tensor:
        """Noise (S, L, D) after its adversarial steps: each goes η along the gradient, over its largest element per token."""
        embedding = self.model.encoder.model.get_input_embeddings()
        assert isinstance(embedding, nn.Embedding)
        width = embedding.embedding_dim
        noise = row_noise(batch, width, smart.noise, self._config.seed, "smart", step, task)
        head = self.model.head(task)
        for _ in range(smart.steps):
            noise.requires_grad_()
            divergence = head.divergence(self.model(task, batch, noise), raw).sum()
            (gradient,) = torch.autograd.grad(divergence, noise)
            largest = gradient.abs().amax(-1, keepdim=True).clamp(min=torch.finfo(gradient.dtype).tiny)
            noise = noise.detach() + smart.step_size * gradient / largest
        return noise


def passes_per_row(terms: RegularizationConfig) -> int:
    """Forward passes over each row in a step: 1, and those that the regularization adds."""
    adversarial = terms.smart.steps + 1 if terms.smart else 0
    return 1 + (terms.r_drop is not None) + adversarial + (terms.bregman is not None)
