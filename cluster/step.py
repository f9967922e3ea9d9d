"""One optimizer step over several tasks, exact on any number of ranks.

Read `MultitaskStep.run`: task gradients, Gramian over all ranks, weights, combined gradient, engine.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field

import torch
import torch.distributed as dist
from torch import Tensor

from cluster.engine import Engine
from cluster.exchange import GradientBuffer, Layout, buffer_size, exchange_rows
from cluster.partition import Fragment
from cluster.stopwatch import Stopwatch
from cluster.token_exchange import OwnedTokens, TokenExchange
from cluster.work import MicroBatch, RoundWork
from multitask.combination import Combination, combined_norm, gramian
from multitask.config import RunConfig
from multitask.keys import generator_key
from multitask.model import EmbeddingTap, TokenGradient
from multitask.optimization import SHARED


@dataclass(frozen=True)
class StepResult:
    """What a step did, the same on every rank. `gramian` is that of the task gradients, None where none was formed.

    `losses`: task to mean over its global batch. `applied`: False where a loss or gradient was not finite; then
    `culprits` names the tasks.
    """

    losses: dict[str, float]
    weights: dict[str, float]
    gramian: Tensor | None
    norm: float
    tokens: int
    slots: int
    applied: bool
    culprits: tuple[str, ...] = ()


@dataclass
class _Local:
    """This rank's sums over its micro-batches."""

    losses: Tensor
    words: dict[int, TokenGradient] = field(default_factory=dict)
    tokens: int = 0
    slots: int = 0


class MultitaskStep:
    """The step of a run; holds the buffers that are kept from step to step."""

    def __init__(
        self, engine: Engine, combination: Combination, config: RunConfig, tap: EmbeddingTap | None, watch: Stopwatch
    ) -> None:
        self.engine, self.combination, self.config, self.tap, self.watch = engine, combination, config, tap, watch
        self.rank = dist.get_rank()
        self.device = engine.shards[0].device
        model = engine.model
        embedding = model.token_embedding() if tap else None
        self._word = embedding[0] if embedding else None
        self._shared = {n: p for n, p in model.shared_parameters().items() if n != self._word}
        self._heads = {task: model.head_parameters(task) for task in model.heads}
        owned = engine.partition.owned
        self._shared_layout = Layout(list(self._shared), engine.partition)
        self._head_layout = Layout([n for head in self._heads.values() for n in head], engine.partition)
        self._tokens = (
            TokenExchange([rank.get(embedding[0]) for rank in owned], embedding[1].embedding_dim) if embedding else None
        )
        self._storage = torch.empty(0)
        self._buffers: dict[int, GradientBuffer] = {}

    def run(self, work: RoundWork, lr: float) -> StepResult:
        """Train on `work`, this rank's share of a round."""
        tasks, step = work.round.tasks, work.round.step
        apart = self.combination.needs_gramian and len(tasks) > 1
        loss_weights = self.combination.loss_weights(tasks)
        with self.watch("forward/backward"):
            buffer, local = self._task_gradients(work, loss_weights, apart)
        with self.watch("communicate"):
            holders = work.holders if apart else [(0,) if held else () for held in work.holders]
            rows = len(tasks) if apart else 1
            shards, head = exchange_rows(buffer, self._shared_layout, self._head_layout, holders, rows)
            words = self._tokens.exchange(local.words, rows, self.device) if self._tokens else None
        with self.watch("combine"):
            inner = gramian(shards) + (words.gramian() if words else 0)
            inner, losses, head_square, counts = self._over_all_ranks(inner, local, head)
            weights = self.combination.gradient_weights(inner, tasks, step) if apart else torch.ones(1)
            norm = (combined_norm(inner, weights) ** 2 + head_square).sqrt().item()
            culprits = _not_finite(tasks, losses, inner, norm)
            if not culprits:
                self._combine(weights * self._clip(norm), self._clip(norm), shards, head, words)
        if not culprits:
            with self.watch("optimizer"):
                self.engine.step(lr, frozenset({SHARED, *tasks}))
        used = weights if apart else loss_weights
        return StepResult(
            losses=dict(zip(tasks, losses.tolist(), strict=True)),
            weights=dict(zip(tasks, used.tolist(), strict=True)),
            gramian=inner if apart else None,
            norm=norm,
            tokens=int(counts[0]),
            slots=int(counts[1]),
            applied=not culprits,
            culprits=culprits,
        )

    def _task_gradients(self, work: RoundWork, weights: Tensor, apart: bool) -> tuple[GradientBuffer, _Local]:
        """Forward and backward of every micro-batch; gradients go to one row per task, or all to one row."""
        tasks = work.round.tasks
        held = work.holders[self.rank] if apart else ((0,) if work.holders[self.rank] else ())
        buffer = self._buffer(len(held))
        local = _Local(torch.zeros(len(tasks), dtype=torch.float64, device=self.device))
        torch.manual_seed(generator_key(self.config.seed, "dropout", work.round.step, self.rank))
        words: dict[int, list[tuple[Tensor, Tensor]]] = {}
        for k, task in enumerate(tasks):
            row = k if apart else 0
            for micro in work.batches.get(task, ()):
                loss, taken = self._backward(task, micro, float(weights[k]), buffer, held.index(row))
                local.losses[k] += loss * micro.scale
                local.tokens += micro.batch.tokens if micro.scale else 0
                local.slots += micro.batch.slots if micro.scale else 0
                words.setdefault(row, []).extend(taken)
        if self.tap:
            for row, taken in words.items():
                local.words[row] = self.tap.gradient([ids for ids, _ in taken], [g for _, g in taken])
        return buffer, local

    def _backward(
        self, task: str, micro: MicroBatch, weight: float, buffer: GradientBuffer, row: int
    ) -> tuple[Tensor, list[tuple[Tensor, Tensor]]]:
        """One micro-batch: gradients into `buffer`; returns its summed loss, and ids and gradients of its words."""
        batch = micro.batch.to(self.device)
        model, heads = self.engine.model, self._heads[task]
        with torch.autocast(self.device.type, torch.bfloat16, enabled=self.config.precision == "autocast"):
            if self.tap:
                with self.tap.record() as words:
                    losses = model.row_losses(task, batch)
            else:
                words, losses = [], model.row_losses(task, batch)
        total = losses.sum()
        inputs = [leaf for _, leaf in words] + list(self._shared.values()) + list(heads.values())
        gradients = torch.autograd.grad(total * (micro.scale * weight), inputs, allow_unused=True)
        buffer.add(row, dict(zip(self._shared, gradients[len(words) :], strict=False)))
        buffer.add_heads(dict(zip(heads, gradients[len(words) + len(self._shared) :], strict=True)))
        taken = [(ids, g) for (ids, _), g in zip(words, gradients, strict=False) if g is not None]
        return total.detach().double(), taken

    def _over_all_ranks(self, inner: Tensor, local: _Local, head: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Sum over ranks in one go: Gramian, losses, square of the heads' norm, tokens and slots."""
        counts = torch.tensor([local.tokens, local.slots], dtype=torch.float64)
        square = head.double().square().sum().reshape(1)
        packed = torch.cat([inner.double().reshape(-1), *(t.to(self.device) for t in (local.losses, square, counts))])
        if dist.get_world_size() > 1:
            dist.all_reduce(packed)
        inner_sum, losses, square, counts = packed.cpu().split([inner.numel(), len(local.losses), 1, 2])
        return inner_sum.float().reshape(inner.shape), losses, square.float()[0], counts

    def _clip(self, norm: float) -> float:
        limit = self.config.training.clip_norm
        return 1.0 if limit is None else min(1.0, limit / (norm + 1e-6))

    def _combine(
        self, weights: Tensor, clip: float, shards: Sequence[Tensor], head: Tensor, words: OwnedTokens | None
    ) -> None:
        """Write Σ wₖ gₖ of the shared parameters, and the heads' own gradient, into the engine's shards."""
        factors = weights.tolist()
        for fragment, at in self._shared_layout.pieces(self.rank):
            out = self._out(fragment)
            torch.mul(shards[0][at : at + fragment.size], factors[0], out=out)
            for shard, factor in zip(shards[1:], factors[1:], strict=True):
                out.add_(shard[at : at + fragment.size], alpha=factor)
        for fragment, at in self._head_layout.pieces(self.rank):
            torch.mul(head[at : at + fragment.size], clip, out=self._out(fragment))
        mine = self.engine.partition.owned[self.rank].get(self._word) if self._word else None
        if words is not None and mine is not None:
            words.write(weights.to(self.device), mine, self._out(mine))

    def _out(self, fragment: Fragment) -> Tensor:
        return self.engine.shards[fragment.group][fragment.offset : fragment.offset + fragment.size]

    def _buffer(self, rows: int) -> GradientBuffer:
        size = buffer_size(self._shared_layout, self._head_layout, rows)
        if size > self._storage.numel():
            self._storage = torch.zeros(size, dtype=torch.float32, device=self.device)
            self._buffers.clear()
        if rows not in self._buffers:
            self._buffers[rows] = GradientBuffer(self._shared_layout, self._head_layout, rows, self._storage)
        self._buffers[rows].clear()
        return self._buffers[rows]


def _not_finite(tasks: Sequence[str], losses: Tensor, inner: Tensor, norm: float) -> tuple[str, ...]:
    """The tasks whose loss or gradient is not finite; all of them where it cannot be told."""
    if torch.isfinite(losses).all() and torch.isfinite(inner).all() and norm == norm and abs(norm) != float("inf"):
        return ()
    bad = ~torch.isfinite(losses)
    if len(inner) == len(tasks):
        bad |= ~torch.isfinite(inner.diagonal())
    return tuple(t for t, b in zip(tasks, bad.tolist(), strict=True) if b) or tuple(tasks)
