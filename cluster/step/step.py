"""One optimizer step over several tasks, exact on any number of ranks.

Read `MultitaskStep.run`: task gradients, Gramian over all ranks, weights, combined gradient, engine.
"""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import torch
import torch.distributed as dist
from torch import Tensor, nn

from cluster.step.exchange import GradientBuffer, Layout, buffer_size, exchange_rows
from cluster.step.gradient_writer import Collector, Trained
from cluster.step.stopwatch import Stopwatch
from cluster.step.task_gradients import LocalSums, TaskGradients
from cluster.step.token_exchange import OwnedTokens, TokenExchange
from cluster.zero.engine import Engine
from cluster.zero.partition import Fragment
from multitask.combination import Combination, combined_norm, gramian
from multitask.config import RunConfig
from multitask.model import EmbeddingTap, TokenGradient
from multitask.objectives import RowObjective
from multitask.trainer.result import StepResult
from multitask.work import RoundWork


class _Layouts:
    """Where the gradients of what is trained lie; changes only where layers are frozen or unfrozen."""

    def __init__(
        self, engine: Engine, shared: Mapping[str, nn.Parameter], tap: EmbeddingTap | None, lowest_layer: int
    ) -> None:
        model = engine.model
        for name, parameter in shared.items():
            parameter.requires_grad_(model.layer_of(name) >= lowest_layer)
        embedding = model.token_embedding() if tap else None
        self.word = embedding[0] if embedding else None
        trained = {n: p for n, p in shared.items() if p.requires_grad and n != self.word}
        heads = {task: model.head_parameters(task) for task in model.heads}
        self.trained = Trained(trained, heads, tap if embedding else None)
        self.shared = Layout(list(trained), engine.partition)
        self.head = Layout([n for head in heads.values() for n in head], engine.partition)
        self.tokens = (
            TokenExchange([rank.get(embedding[0]) for rank in engine.partition.owned], embedding[1].embedding_dim)
            if embedding
            else None
        )


class MultitaskStep:
    """The step of a run; holds the buffers that are kept from step to step."""

    def __init__(
        self,
        engine: Engine,
        combination: Combination,
        config: RunConfig,
        tap: EmbeddingTap | None,
        objective: RowObjective,
        watch: Stopwatch,
    ) -> None:
        self.engine, self.combination, self.config, self.tap, self.watch = engine, combination, config, tap, watch
        self.rank = dist.get_rank()
        self.device = engine.shards[0].device
        self.gradients = TaskGradients(engine.model, config, objective, self.device)
        self._shared = engine.model.shared_parameters()
        self._storage = torch.empty(0)
        self._lowest_layer = -1

    def run(self, work: RoundWork, lr: float, lowest_layer: int = 0) -> StepResult:
        """Train on `work`, this rank's share of a round; shared layers below `lowest_layer` stay as they are."""
        self._freeze_below(lowest_layer)
        tasks, step = work.round.tasks, work.round.step
        groups = self.combination.groups(tasks)
        rows = [next(g for g, group in enumerate(groups) if task in group) for task in tasks]
        loss_weights = self.combination.loss_weights(tasks)
        holders = [tuple(sorted({rows[k] for k in held})) for held in work.holders]
        with self.watch("forward/backward"):
            buffer = self._buffer(len(holders[self.rank]))
            collector = Collector(self._layouts.trained, buffer, holders[self.rank])
            sums = self.gradients.run(work, rows, loss_weights, collector)
            local_words = collector.word_gradients()
        with self.watch("communicate"):
            shards, head = exchange_rows(buffer, self._layouts.shared, self._layouts.head, holders, len(groups))
            words = self._exchange_words(local_words, len(groups))
        with self.watch("combine"):
            inner = gramian(shards) + (words.gramian() if words else 0)
            inner, totals = self._over_all_ranks(inner, sums, head)
            apart = len(groups) > 1
            weights = self.combination.gradient_weights(inner, groups, step) if apart else torch.ones(1)
            norm = (combined_norm(inner, weights) ** 2 + totals.head_square).sqrt().item()
            culprits = _not_finite(tasks, rows, totals.losses, inner, norm)
            if not culprits:
                self._combine(weights * self._clip(norm), self._clip(norm), shards, head, words)
        if not culprits:
            self._optimize(tasks, lr, lowest_layer)
        return StepResult(
            losses=dict(zip(tasks, totals.losses.tolist(), strict=True)),
            terms=self._named_terms(tasks, totals.terms),
            weights=_used_weights(tasks, rows, weights, loss_weights),
            groups=groups,
            gramian=inner if apart else None,
            norm=norm,
            tokens=totals.tokens,
            slots=totals.slots,
            extra_tokens=totals.extra_tokens,
            applied=not culprits,
            culprits=culprits,
        )

    def _optimize(self, tasks: Sequence[str], lr: float, lowest_layer: int) -> None:
        with self.watch("optimizer"):
            memory = tasks[0] if self.config.optimizer.per_task else None
            self.engine.step(lr, tasks, lowest_layer, memory)

    def _exchange_words(self, local: Mapping[int, TokenGradient], groups: int) -> OwnedTokens | None:
        tokens = self._layouts.tokens
        return tokens.exchange(local, groups, self.device) if tokens else None

    def _freeze_below(self, lowest_layer: int) -> None:
        if lowest_layer == self._lowest_layer:
            return
        self._layouts = _Layouts(self.engine, self._shared, self.tap, lowest_layer)
        self._lowest_layer = lowest_layer
        self._buffers: dict[int, GradientBuffer] = {}

    def _named_terms(self, tasks: Sequence[str], terms: Tensor) -> dict[str, float]:
        return {
            f"{name}/{task}": terms[k, number].item()
            for number, name in enumerate(self.gradients.terms)
            for k, task in enumerate(tasks)
            if self.config.tasks[task].kind.name != "contrastive"
        }

    def _over_all_ranks(self, inner: Tensor, sums: LocalSums, head: Tensor) -> tuple[Tensor, "_Totals"]:
        """Sum over ranks in one go: Gramian, losses, regularization, square of the heads' norm, and tokens."""
        counts = torch.tensor([sums.tokens, sums.slots, sums.extra_tokens], dtype=torch.float64, device=self.device)
        square = head.double().square().sum().reshape(1)
        parts = [inner.double().reshape(-1), sums.losses, sums.terms.reshape(-1), square, counts]
        packed = torch.cat(parts)
        if dist.get_world_size() > 1:
            dist.all_reduce(packed)
        inner_sum, losses, terms, square, counts = packed.cpu().split([part.numel() for part in parts])
        tokens, slots, extra_tokens = (int(count) for count in counts)
        totals = _Totals(losses, terms.reshape(sums.terms.shape), square.float()[0], tokens, slots, extra_tokens)
        return inner_sum.float().reshape(inner.shape), totals

    def _clip(self, norm: float) -> float:
        limit = self.config.training.clip_norm
        return 1.0 if limit is None else min(1.0, limit / (norm + 1e-6))

    def _combine(
        self, weights: Tensor, clip: float, shards: Sequence[Tensor], head: Tensor, words: OwnedTokens | None
    ) -> None:
        """Write Σ wₖ gₖ of the shared parameters, and the heads' own gradient, into the engine's shards."""
        factors = weights.tolist()
        for fragment, at in self._layouts.shared.pieces(self.rank):
            out = self._out(fragment)
            torch.mul(shards[0][at : at + fragment.size], factors[0], out=out)
            for shard, factor in zip(shards[1:], factors[1:], strict=True):
                out.add_(shard[at : at + fragment.size], alpha=factor)
        for fragment, at in self._layouts.head.pieces(self.rank):
            torch.mul(head[at : at + fragment.size], clip, out=self._out(fragment))
        mine = self.engine.partition.owned[self.rank].get(self._layouts.word) if self._layouts.word else None
        if words is not None and mine is not None:
            words.write(weights.to(self.device), mine, self._out(mine))

    def _out(self, fragment: Fragment) -> Tensor:
        return self.engine.shards[fragment.group][fragment.offset : fragment.offset + fragment.size]

    def _buffer(self, rows: int) -> GradientBuffer:
        size = buffer_size(self._layouts.shared, self._layouts.head, rows)
        if size > self._storage.numel():
            self._storage = torch.zeros(size, dtype=torch.float32, device=self.device)
            self._buffers.clear()
        if rows not in self._buffers:
            self._buffers[rows] = GradientBuffer(self._layouts.shared, self._layouts.head, rows, self._storage)
        self._buffers[rows].clear()
        return self._buffers[rows]


class _Totals(NamedTuple):
    """`LocalSums` over all ranks; `head_square`: square of the norm of the heads' gradient."""

    losses: Tensor
    terms: Tensor
    head_square: Tensor
    tokens: int
    slots: int
    extra_tokens: int


def _used_weights(tasks: Sequence[str], rows: Sequence[int], weights: Tensor, loss_weights: Tensor) -> dict[str, float]:
    """Task to the factor of its gradient in the update."""
    used = [float(weights[row]) * float(weight) for row, weight in zip(rows, loss_weights, strict=True)]
    return dict(zip(tasks, used, strict=True))


def _not_finite(
    tasks: Sequence[str], rows: Sequence[int], losses: Tensor, inner: Tensor, norm: float
) -> tuple[str, ...]:
    """The tasks whose loss or gradient is not finite; all of them where it cannot be told."""
    if torch.isfinite(losses).all() and torch.isfinite(inner).all() and norm == norm and abs(norm) != float("inf"):
        return ()
    bad = ~torch.isfinite(losses)
    if len(inner) > 1:
        bad |= ~torch.isfinite(inner.diagonal())[list(rows)]
    return tuple(t for t, b in zip(tasks, bad.tolist(), strict=True) if b) or tuple(tasks)
