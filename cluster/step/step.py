"""One optimizer step over several tasks, exact on any number of ranks.

Read `MultitaskStep.run`: task gradients, Gramian over all ranks, weights, combined gradient, engine.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace

import torch
import torch.distributed as dist
from torch import Tensor

from cluster.step.buckets import bucket_elements
from cluster.step.combined_gradient import CombinedGradient
from cluster.step.exchange import GradientExchange
from cluster.step.gradient_writer import GradientWriter, SharedFactors
from cluster.step.layout import StepLayout
from cluster.step.passed import Passed, UnseenStep
from cluster.step.shard_sums import ShardSums
from cluster.step.stages import Holders
from cluster.step.stopwatch import Stopwatch
from cluster.step.task_gradients import TaskGradients
from cluster.step.token_exchange import OwnedTokens
from cluster.step.totals import Totals, bound, facts_of, not_finite, over_all_ranks
from cluster.step.wire import Wire
from cluster.zero.engine import Engine
from multitask.combination import Combination, CoordinateCombination, Factors, Facts, Layers, Plan
from multitask.combination.base import ones, used_weights
from multitask.combination.blocks import Blocks
from multitask.config import RunConfig
from multitask.device import to_host
from multitask.model import EmbeddingTap, TokenGradient
from multitask.objectives import RowObjective
from multitask.trainer.loss_scale import LossScale
from multitask.trainer.result import StepResult
from multitask.work import RoundWork

# Squares of what is smaller are finite in fp32, and so is what is added up on the way to it.
_SAFE_NORM = 1e15
_WIRE = {"fp32": torch.float32, "bf16": torch.bfloat16}


class MultitaskStep:
    """The step of a run; holds the buffers that are kept from step to step.

    `block`: ranks whose gradients are summed before they cross to others, None for all at once (`cluster.step.wire`).
    """

    def __init__(
        self,
        engine: Engine,
        combination: Combination,
        config: RunConfig,
        tap: EmbeddingTap | None,
        objective: RowObjective,
        watch: Stopwatch,
        block: int | None = None,
    ) -> None:
        self.engine, self.combination, self.config, self.tap, self.watch = engine, combination, config, tap, watch
        self.rank = dist.get_rank()
        self.device = engine.shards[0].device
        self.loss_scale = LossScale(config.precision)
        self.gradients = TaskGradients(engine.model, config, objective, self.loss_scale, self.device)
        self._shared = engine.model.shared_parameters()
        self.blocks = Blocks(list(self._shared), combination.granularity, engine.model.layer_of)
        every = config.training.layer_conflicts_every
        self.layers = Layers(self._shared, engine.model.layer_of, engine.model.number_of_layers, every)
        self._wire = Wire(_WIRE[config.cluster.wire], config.cluster.collective_timeout, block)
        self._lowest_layer = -1

    def run(self, work: RoundWork, lr: float, lowest_layer: int = 0) -> StepResult:
        """Train on `work`, this rank's share of a round; shared layers below `lowest_layer` stay as they are."""
        passed = self._pass(work, lowest_layer)
        plan, tasks = passed.plan, work.round.tasks
        with self.watch("combine"):
            # Here the host waits for the device, once a step.
            totals = passed.totals.on_host(to_host(passed.totals.packed))
            facts = facts_of(work.round, plan, totals)
            culprits = not_finite(facts)
            factors = ones(facts) if culprits else self.combination.factors(facts)
            written = self._update.write(factors, work.round, passed.shards, passed.head, passed.tokens)
            norm = self._norm(totals, factors, written)
            if not culprits and isinstance(norm, float) and not math.isfinite(norm):
                culprits = tuple(tasks)
            if not culprits:
                self._clip(norm, written)
        if not culprits:
            self._optimize(tasks, lr, lowest_layer)
            self.combination.learn(facts)
        result = self._result(plan, facts, factors, totals, norm, culprits)
        scale = self.loss_scale.shown
        return replace(result, loss_scale=scale, overflowed=self.loss_scale.follow(finite=not culprits))

    def run_ahead(self, work: RoundWork, lr: float, lowest_layer: int = 0) -> UnseenStep:
        """As `run`, where all weights are known before: nothing is waited for, and what is not finite is not left out.

        `see` tells what the step did.
        """
        passed = self._pass(work, lowest_layer)
        with self.watch("combine"):
            factors = Factors(torch.ones(self.blocks.number, 1), torch.ones(len(work.round.tasks)))
            written = self._update.write(factors, work.round, passed.shards, passed.head, passed.tokens)
            self._clip(passed.totals.norm(), written)
        self._optimize(work.round.tasks, lr, lowest_layer)
        return UnseenStep(work.round, passed.plan, passed.totals)

    def see(self, steps: Sequence[UnseenStep]) -> list[StepResult]:
        """What these steps did; the host waits for the device once. One that was not finite is `applied=False`, but was applied."""
        packed = to_host(torch.cat([own.totals.packed for own in steps]))
        parts = packed.split([len(own.totals.packed) for own in steps])
        return [self._seen(own, part) for own, part in zip(steps, parts, strict=True)]

    def _seen(self, unseen: UnseenStep, packed: Tensor) -> StepResult:
        totals = unseen.totals.on_host(packed)
        facts = facts_of(unseen.round, unseen.plan, totals)
        factors, norm = ones(facts), self._norm(totals, ones(facts), [])
        culprits = not_finite(facts) or (() if math.isfinite(norm) else facts.tasks)
        return self._result(unseen.plan, facts, factors, totals, norm, culprits)

    def _pass(self, work: RoundWork, lowest_layer: int) -> Passed:
        """Forward and backward, and what of it all ranks know together."""
        self._freeze_below(lowest_layer)
        tasks, layout = work.round.tasks, self._layout
        plan = self.combination.plan(tasks, work.round.step)
        group_of = [next(g for g, group in enumerate(plan.groups) if task in group) for task in tasks]
        with self.watch("forward/backward"):
            self._exchange.begin(Holders.of(work, group_of), len(plan.groups))
            factors_of, tf32 = self._shared_factors(plan, tasks), self.config.training.tf32
            writer = GradientWriter(layout.trained, self._exchange, factors_of, tf32)
            sums = self.gradients.run(work, group_of, plan.losses, writer)
            token_gradients = writer.token_gradients()
        with self.watch("communicate"):
            shards, head = self._exchange.finish()
            tokens = self._exchange_tokens(token_gradients, len(plan.groups))
        with self.watch("combine"):
            self._unscale([*shards, head, *([tokens.rows] if tokens else ())])
            inner = self._gramian(work.round.step, shards, tokens)
            own_heads = layout.own_heads(self.rank, tasks)
            totals = over_all_ranks(inner, self.blocks.number, sums, head, own_heads)
        return Passed(plan, shards, head, tokens, totals)

    def _unscale(self, gradients: Sequence[Tensor]) -> None:
        """Divide sums of gradients by the loss scale, in fp32 and before anything reads them."""
        if self.loss_scale.value != 1:
            for gradient in gradients:
                gradient.div_(self.loss_scale.value)

    def _result(
        self,
        plan: Plan,
        facts: Facts,
        factors: Factors,
        totals: Totals,
        norm: float | Tensor,
        culprits: tuple[str, ...],
    ) -> StepResult:
        return StepResult(
            losses=dict(zip(facts.tasks, totals.losses.tolist(), strict=True)),
            terms=self._named_terms(facts.tasks, totals.terms),
            weights=used_weights(plan, facts, factors),
            groups=plan.groups,
            gramian=facts.gramian.sum(0).float() if len(plan.groups) > 1 else None,
            norm=norm,
            tokens=totals.tokens,
            slots=totals.slots,
            extra_tokens=totals.extra_tokens,
            applied=not culprits,
            culprits=culprits,
            fell_back=factors.fell_back,
            layers=self.layers.named(totals.layers),
        )

    def _shared_factors(self, plan: Plan, tasks: Sequence[str]) -> SharedFactors | None:
        if plan.shared is None:
            return None
        return {
            task: {name: float(plan.shared[block, k]) for name, block in self.blocks.of.items()}
            for k, task in enumerate(tasks)
        }

    def _gramian(self, step: int, shards: Sequence[Tensor], tokens: OwnedTokens | None) -> Tensor:
        """This rank's part of the inner products (B, G, G); where the step looks at layers those of each (L, G, G) come after."""
        wanted = [self.blocks, self.layers.blocks] if self.layers.are_due(step, len(shards)) else [self.blocks]
        parts, found = self._layout.shared.parts_of(self.rank), []
        of_tokens = tokens.gramian() if tokens else None
        for blocks in wanted:
            inner = blocks.gramian(shards, parts)
            if of_tokens is not None:
                assert self._layout.embedding is not None
                inner[blocks.of[self._layout.embedding]] += of_tokens
            found.append(inner)
        return torch.cat(found)

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
        self._update = CombinedGradient(self.engine, self._layout, self.combination, self.blocks)
        self._lowest_layer = lowest_layer
        shared, heads = self._layout.shared, self._layout.heads
        sums = ShardSums(shared, heads, self._wire, self.device, self.watch)
        most = bucket_elements(self.config.cluster.bucket_mb)
        self._exchange = GradientExchange(shared, heads, self._layout.trained.heads, sums, most)

    def _named_terms(self, tasks: Sequence[str], terms: Tensor) -> dict[str, float]:
        return {
            f"{name}/{task}": terms[k, number].item()
            for number, name in enumerate(self.gradients.terms)
            for k, task in enumerate(tasks)
            if not self.config.tasks[task].compares_rows
        }

    def _norm(self, totals: Totals, factors: Factors, written: Sequence[Tensor]) -> float | Tensor:
        """Norm of the combined gradient. That of several is taken from itself: √(wᵀGw) loses its digits where they cancel.

        It stays on the device where it is known to be finite.
        """
        if totals.gramian.shape[1] == 1:
            return math.sqrt(float(totals.gramian.sum().float()) + float(totals.head_square))
        zero = torch.zeros((), dtype=torch.float64, device=self.device)
        square = sum((torch.dot(part, part).double() for part in written), start=zero)
        if dist.get_world_size() > 1:
            dist.all_reduce(square)
        norm = square.sqrt()
        bounded = not isinstance(self.combination, CoordinateCombination) and bound(totals, factors) < _SAFE_NORM
        return norm if bounded else float(to_host(norm))

    def _clip(self, norm: float | Tensor, written: Sequence[Tensor]) -> None:
        limit = self.config.training.clip_norm
        if limit is None or (isinstance(norm, float) and limit / (norm + 1e-6) >= 1):
            return
        factor = limit / (norm + 1e-6)
        for part in written:
            part.mul_(factor.clamp(max=1) if isinstance(factor, Tensor) else factor)
