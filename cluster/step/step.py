"""One optimizer step over several tasks, exact on any number of ranks.

Read `MultitaskStep.run`: task gradients, Gramian over all ranks, weights, combined gradient, engine.
"""

import math
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import torch
import torch.distributed as dist
from torch import Tensor

from cluster.step.exchange import GradientBuffer, buffer_size, exchange_gradients
from cluster.step.gradient_writer import GradientWriter
from cluster.step.layout import Place, StepLayout
from cluster.step.stopwatch import Stopwatch
from cluster.step.task_gradients import LocalSums, TaskGradients
from cluster.step.token_exchange import OwnedTokens
from cluster.zero.engine import Engine
from cluster.zero.partition import Fragment
from multitask.combination import Combination, GroupWeights, gramian
from multitask.config import RunConfig
from multitask.model import EmbeddingTap, TokenGradient
from multitask.objectives import RowObjective
from multitask.trainer.result import StepResult
from multitask.work import RoundWork


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
        tasks, layout = work.round.tasks, self._layout
        groups = self.combination.groups(tasks)
        group_of = [next(g for g, group in enumerate(groups) if task in group) for task in tasks]
        loss_weights = self.combination.loss_weights(tasks)
        holders = [tuple(sorted({group_of[k] for k in held})) for held in work.holders]
        with self.watch("forward/backward"):
            buffer = self._buffer(len(holders[self.rank]))
            writer = GradientWriter(layout.trained, buffer, holders[self.rank])
            sums = self.gradients.run(work, group_of, loss_weights, writer)
            token_gradients = writer.token_gradients()
        with self.watch("communicate"):
            shards, head = exchange_gradients(buffer, layout.shared, layout.heads, holders, len(groups))
            tokens = self._exchange_tokens(token_gradients, len(groups))
        with self.watch("combine"):
            inner = gramian(shards) + (tokens.gramian() if tokens else 0)
            inner, totals = self._over_all_ranks(inner, sums, self._head_squares(head, groups))
            weights = self.combination.group_weights(inner, groups, work.round.step)
            written = self._combine(weights, groups, shards, head, tokens)
            norm = self._norm(inner, totals, written)
            culprits = _not_finite(tasks, group_of, totals.losses, inner, norm)
            if not culprits:
                self._clip(norm, written)
        if not culprits:
            self._optimize(tasks, lr, lowest_layer)
        return StepResult(
            losses=dict(zip(tasks, totals.losses.tolist(), strict=True)),
            terms=self._named_terms(tasks, totals.terms),
            weights=_used_weights(tasks, group_of, weights.shared, loss_weights),
            groups=groups,
            gramian=inner if len(groups) > 1 else None,
            norm=norm,
            tokens=totals.tokens,
            slots=totals.slots,
            extra_tokens=totals.extra_tokens,
            applied=not culprits,
            culprits=culprits,
        )

    def _head_squares(self, head: Tensor, groups: Sequence[Sequence[str]]) -> Tensor:
        """Squares of the norms of the heads' gradients, this rank's part: of each group where the Gramian takes them, else of all."""
        if len(groups) == 1 or not self.combination.takes_heads:
            return head.double().square().sum().reshape(1)
        squares = torch.zeros(len(groups), dtype=torch.float64, device=self.device)
        for g, group in enumerate(groups):
            for place in self._owned_heads(group):
                squares[g] += head[place.position : place.position + place.fragment.size].double().square().sum()
        return squares

    def _owned_heads(self, tasks: Sequence[str]) -> list[Place]:
        """The parts of the heads of `tasks` that this rank owns."""
        return [place for task in tasks for place in self._layout.head_places[task] if place.owner == self.rank]

    def _optimize(self, tasks: Sequence[str], lr: float, lowest_layer: int) -> None:
        with self.watch("optimizer"):
            moments_of = tasks[0] if self.config.optimizer.per_task else None
            self.engine.step(lr, tasks, lowest_layer, moments_of)

    def _exchange_tokens(self, local: Mapping[int, TokenGradient], groups: int) -> OwnedTokens | None:
        exchange = self._layout.tokens
        return exchange.exchange(local, groups, self.device) if exchange else None

    def _freeze_below(self, lowest_layer: int) -> None:
        if lowest_layer == self._lowest_layer:
            return
        self._layout = StepLayout(self.engine, self._shared, self.tap, lowest_layer)
        self._lowest_layer = lowest_layer
        self._buffers: dict[int, GradientBuffer] = {}

    def _named_terms(self, tasks: Sequence[str], terms: Tensor) -> dict[str, float]:
        return {
            f"{name}/{task}": terms[k, number].item()
            for number, name in enumerate(self.gradients.terms)
            for k, task in enumerate(tasks)
            if not self.config.tasks[task].compares_rows
        }

    def _over_all_ranks(self, inner: Tensor, sums: LocalSums, squares: Tensor) -> tuple[Tensor, "_Totals"]:
        """Sum over ranks in one go: Gramian, losses, regularization, `squares` of the heads' norms, and tokens."""
        counts = torch.tensor([sums.tokens, sums.slots, sums.extra_tokens], dtype=torch.float64, device=self.device)
        parts = [inner.double().reshape(-1), sums.losses, sums.terms.reshape(-1), squares, counts]
        packed = torch.cat(parts)
        if dist.get_world_size() > 1:
            dist.all_reduce(packed)
        inner_sum, losses, terms, squares, counts = packed.cpu().split([part.numel() for part in parts])
        tokens, slots, extra_tokens = (int(count) for count in counts)
        totals = _Totals(losses, terms.reshape(sums.terms.shape), squares.float(), tokens, slots, extra_tokens)
        inner = inner_sum.float().reshape(inner.shape)
        return inner + torch.diag(totals.head_squares) if len(totals.head_squares) > 1 else inner, totals

    def _norm(self, inner: Tensor, totals: "_Totals", written: Sequence[Tensor]) -> float:
        """Norm of the combined gradient. That of several is taken from itself: √(wᵀGw) loses its digits where they cancel."""
        if len(inner) == 1:
            return math.sqrt(float(inner) + float(totals.head_squares))
        zero = torch.zeros((), dtype=torch.float64, device=self.device)
        square = sum((torch.dot(part, part).double() for part in written), start=zero)
        if dist.get_world_size() > 1:
            dist.all_reduce(square)
        return math.sqrt(square.item())

    def _clip(self, norm: float, written: Sequence[Tensor]) -> None:
        limit = self.config.training.clip_norm
        if limit is not None and (factor := limit / (norm + 1e-6)) < 1:
            for part in written:
                part.mul_(factor)

    def _combine(
        self,
        weights: GroupWeights,
        groups: Sequence[Sequence[str]],
        shards: Sequence[Tensor],
        head: Tensor,
        tokens: OwnedTokens | None,
    ) -> list[Tensor]:
        """Write Σ wₖ gₖ of the shared parameters, and the heads' own gradient, into the engine's shards; gives what it wrote."""
        factors, written = weights.shared.tolist(), []
        for _, fragment, at in self._layout.shared.owned_by(self.rank):
            out = self._out(fragment)
            torch.mul(shards[0][at : at + fragment.size], factors[0], out=out)
            for shard, factor in zip(shards[1:], factors[1:], strict=True):
                out.add_(shard[at : at + fragment.size], alpha=factor)
            written.append(out)
        of_task = {task: factor for group, factor in zip(groups, weights.heads.tolist(), strict=True) for task in group}
        for task in self._layout.head_places:
            for _, fragment, at in self._owned_heads([task]):
                out = self._out(fragment)
                written.append(torch.mul(head[at : at + fragment.size], of_task.get(task, 1.0), out=out))
        embedding = self._layout.embedding
        mine = self.engine.partition.owned[self.rank].get(embedding) if embedding else None
        if tokens is not None and mine is not None:
            tokens.write(factors, mine, self._out(mine))
            written.append(self._out(mine))
        return written

    def _out(self, fragment: Fragment) -> Tensor:
        return self.engine.shards[fragment.group][fragment.offset : fragment.offset + fragment.size]

    def _buffer(self, groups: int) -> GradientBuffer:
        """The buffer for so many group gradients, on memory that is kept from step to step."""
        layout = self._layout
        size = buffer_size(layout.shared, layout.heads, groups)
        if size > self._storage.numel():
            self._storage = torch.zeros(size, dtype=torch.float32, device=self.device)
            self._buffers.clear()
        if groups not in self._buffers:
            self._buffers[groups] = GradientBuffer(layout.shared, layout.heads, groups, self._storage)
        self._buffers[groups].clear()
        return self._buffers[groups]


class _Totals(NamedTuple):
    """`LocalSums` over all ranks; `head_squares`: of the norm of the heads' gradient, of each group or of all (1,)."""

    losses: Tensor
    terms: Tensor
    head_squares: Tensor
    tokens: int
    slots: int
    extra_tokens: int


def _used_weights(
    tasks: Sequence[str], group_of: Sequence[int], weights: Tensor, loss_weights: Tensor
) -> dict[str, float]:
    """Task to the factor of its gradient in the update."""
    used = [float(weights[group]) * float(weight) for group, weight in zip(group_of, loss_weights, strict=True)]
    return dict(zip(tasks, used, strict=True))


def _not_finite(
    tasks: Sequence[str], group_of: Sequence[int], losses: Tensor, inner: Tensor, norm: float
) -> tuple[str, ...]:
    """The tasks whose loss or gradient is not finite; all of them where it cannot be told."""
    if torch.isfinite(losses).all() and torch.isfinite(inner).all() and math.isfinite(norm):
        return ()
    bad = ~torch.isfinite(losses)
    if len(inner) > 1:
        bad |= ~torch.isfinite(inner.diagonal())[list(group_of)]
    return tuple(t for t, b in zip(tasks, bad.tolist(), strict=True) if b) or tuple(tasks)
