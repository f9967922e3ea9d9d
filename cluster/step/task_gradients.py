"""This rank's part of the task gradients of a round: forward and backward of its micro-batches."""

from collections.abc import Sequence

import torch
import torch.distributed as dist
from torch import Tensor

from cluster.step.gradient_writer import GradientWriter
from cluster.step.out_of_memory import in_memory
from cluster.step.place import HERE
from multitask.autocast import autocast
from multitask.config import RunConfig
from multitask.data import Batch
from multitask.device import to_device
from multitask.keys import generator_key
from multitask.model import MultitaskModel
from multitask.objectives import (
    RowObjective,
    compared_facts,
    compared_losses,
    compared_outputs,
    no_rows,
    passes_per_row,
    row_dropout,
)
from multitask.trainer.loss_scale import LossScale
from multitask.work import MicroBatch, RoundWork


class LocalSums:
    """This rank's sums over its micro-batches.

    `losses` (K,): each task's own loss. `terms` (K, R): the regularization in it, R terms. `tokens`, `slots`: real and
    padded tokens of the data; `extra_tokens`: real tokens of the passes that regularization adds.
    """

    def __init__(self, tasks: int, terms: int, device: torch.device) -> None:
        self.losses = torch.zeros(tasks, dtype=torch.float64, device=device)
        self.terms = torch.zeros(tasks, terms, dtype=torch.float64, device=device)
        self.tokens = self.slots = self.extra_tokens = 0

    def count(self, micro: MicroBatch, extra_passes: int) -> None:
        """Count the tokens of a micro-batch; one that only keeps the ranks together has scale 0."""
        if micro.scale:
            self.tokens += micro.batch.tokens
            self.slots += micro.batch.slots
            self.extra_tokens += micro.batch.tokens * extra_passes


class TaskGradients:
    """Computes task gradients, times `loss_scale`; `terms`: names of the regularization terms."""

    def __init__(
        self,
        model: MultitaskModel,
        config: RunConfig,
        objective: RowObjective,
        loss_scale: LossScale,
        device: torch.device,
    ) -> None:
        self.model, self.config, self.objective, self.device = model, config, objective, device
        self.loss_scale = loss_scale
        regularization = config.regularization
        self.terms = tuple(name for name in type(regularization).model_fields if getattr(regularization, name))
        self._extra_passes = passes_per_row(regularization) - 1

    def run(self, work: RoundWork, group_of: Sequence[int], weights: Tensor, writer: GradientWriter) -> LocalSums:
        """The gradient of task k, times `weights[k]` and the loss scale, is added to that of group `group_of[k]`."""
        tasks, step = work.round.tasks, work.round.step
        sums = LocalSums(len(tasks), len(self.terms), self.device)
        torch.manual_seed(generator_key(self.config.seed, "dropout", step, dist.get_rank()))
        for k, task in enumerate(tasks):
            train = self._between_rows if self.config.tasks[task].compares_rows else self._row_by_row
            HERE.move(task=task)
            train(k, task, group_of[k], float(weights[k]) * self.loss_scale.value, work, writer, sums)
        HERE.move(task="")
        return sums

    def _row_by_row(
        self, k: int, task: str, group: int, weight: float, work: RoundWork, writer: GradientWriter, sums: LocalSums
    ) -> None:
        """A task whose rows have each a loss of its own."""
        for micro in work.batches.get(task, ()):
            with in_memory(task, micro.batch, self.config.training):
                with writer.recording(self._ids(micro)) as tokens, self._autocast():
                    losses = self.objective(task, micro.batch.to(self.device), work.round.step, self.loss_scale.value)
                writer.backward(task, group, losses.total.sum() * (micro.scale * weight), None, tokens)
            sums.losses[k] += losses.task.detach().double().sum() * micro.scale
            for number, name in enumerate(self.terms):
                sums.terms[k, number] += losses.terms[name].detach().double().sum() * micro.scale
            sums.count(micro, self._extra_passes)

    def _between_rows(
        self, k: int, task: str, group: int, weight: float, work: RoundWork, writer: GradientWriter, sums: LocalSums
    ) -> None:
        """A task whose loss runs between all rows of its global batch; every rank takes part, with or without rows.

        Each rank works the whole loss out from everybody's outputs and keeps the gradient of its own ones, so that the
        sum over ranks is exact. A share of several micro-batches is passed twice, with the same dropout, and only one
        micro-batch is held at a time (GradCache, L. Gao et al. 2021).
        """
        step = work.round.step
        micros = work.batches.get(task, ())
        cached = len(micros) > 1
        passes = []
        for micro in micros:
            state = self._random_state()
            in_it = in_memory(task, micro.batch, self.config.training)
            with in_it, torch.set_grad_enabled(not cached), writer.recording(self._ids(micro)) as tokens:
                passes.append((micro, state, self._compared(task, micro.batch, step), tokens))
            sums.count(micro, 0)
        own = [(micro.batch, outputs.detach()) for micro, _, outputs, _ in passes if micro.scale]
        everyone, facts, mine = self._gather(task, own)
        losses = compared_losses(self.model, task, self.config.tasks[task], everyone.requires_grad_(), facts)
        (gradient,) = torch.autograd.grad(losses.mean() * weight, everyone)
        sums.losses[k] += losses[mine].detach().double().sum() / len(losses)
        position = mine.start
        for micro, state, outputs, tokens in passes:
            size = outputs.shape[1] if micro.scale else 0
            part = gradient[:, position : position + size] if size else torch.zeros_like(outputs)
            position += size
            with in_memory(task, micro.batch, self.config.training):
                if cached:
                    self._random_state(state)
                    with writer.recording(self._ids(micro)) as tokens:
                        outputs = self._compared(task, micro.batch, step)
                writer.backward(task, group, outputs, part.to(outputs.dtype), tokens)

    def _gather(self, task: str, own: Sequence[tuple[Batch, Tensor]]) -> tuple[Tensor, Tensor, slice]:
        """Everybody's outputs (T, B, D) in fp32 and facts (T, B), and which of the B rows are this rank's `own`."""
        outputs, facts = no_rows(self.model, task, self.config.tasks[task])
        outputs = torch.cat([outputs.to(self.device), *(part.float() for _, part in own)], dim=1)
        facts = torch.cat([facts, *(compared_facts(self.model, task, batch.on_host) for batch, _ in own)], dim=1)
        everyone, mine = gather_rows(outputs)
        return everyone, to_device(gather_rows(facts)[0], self.device), mine

    def _compared(self, task: str, batch: Batch, step: int) -> Tensor:
        """What the loss reads of the rows, (T, B, D)."""
        batch = batch.to(self.device)
        with self._autocast(), row_dropout(self.config, task, batch, step):
            return compared_outputs(self.model, task, batch)

    def _ids(self, micro: MicroBatch) -> Tensor:
        host = micro.batch.on_host
        return self.model.encoder.embedded_ids(host.input_ids, host.attention_mask)

    def _autocast(self) -> torch.autocast:
        return autocast(self.device, self.config.precision)

    def _random_state(self, state: Tensor | None = None) -> Tensor:
        """The state of the generator that draws dropout; set to `state` where that is given."""
        generator = torch.cuda if self.device.type == "cuda" else torch
        if state is not None:
            generator.set_rng_state(state)
            return state
        return generator.get_rng_state()


def gather_rows(local: Tensor) -> tuple[Tensor, slice]:
    """Everybody's rows (T, B, …) in the order of the ranks, and which of the B are this rank's `local` (T, b, …), b ≥ 0.

    All ranks take part.
    """
    rank, world = dist.get_rank(), dist.get_world_size()
    if world == 1:
        return local, slice(0, local.shape[1])
    counts = torch.zeros(world, dtype=torch.int64)
    counts[rank] = local.shape[1]
    dist.all_reduce(counts)
    sizes = counts.tolist()
    padded = local.new_zeros(len(local), max(sizes), *local.shape[2:])
    padded[:, : sizes[rank]] = local
    everyone = [torch.empty_like(padded) for _ in sizes]
    dist.all_gather(everyone, padded)
    start = sum(sizes[:rank])
    return torch.cat([p[:, :n] for p, n in zip(everyone, sizes, strict=True)], dim=1), slice(start, start + sizes[rank])
