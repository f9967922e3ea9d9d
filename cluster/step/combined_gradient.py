"""The combined gradient, written where the optimizer wants it."""

from collections.abc import Sequence

import torch
import torch.distributed as dist
from torch import Tensor

from cluster.step.layout import StepLayout
from cluster.step.token_exchange import OwnedTokens
from cluster.zero.engine import Engine
from cluster.zero.partition import Fragment
from multitask.combination import Combination, CoordinateCombination, Factors
from multitask.combination.blocks import Blocks
from multitask.combination.gramian import as_matrix
from multitask.device import to_device
from multitask.sampling import Round

# Rows from which on a matrix by a vector is measurably faster than one addition after the other.
_MANY = 4


class CombinedGradient:
    """Makes this rank's shards of the combined gradient from its shards of the groups' gradients."""

    def __init__(self, engine: Engine, layout: StepLayout, combination: Combination, blocks: Blocks) -> None:
        self.engine, self.layout, self.combination, self.blocks = engine, layout, combination, blocks
        self.rank = dist.get_rank()

    def write(
        self, factors: Factors, round: Round, shards: Sequence[Tensor], head: Tensor, tokens: OwnedTokens | None
    ) -> list[Tensor]:
        """Write Σ wₖ gₖ of the shared parameters, and the heads' own gradients, into the engine's shards; gives what it wrote."""
        self._there, written = to_device(factors.shared.float(), head.device), []
        for name, (_, fragment, at) in self.layout.shared.owned_by(self.rank):
            rows, out = [shard[at : at + fragment.size] for shard in shards], self._out(fragment)
            self._combine(name, fragment.start, rows, factors, round.step, out)
            written.append(out)
        written += self._write_heads(factors, round.tasks, head)
        embedding = self.layout.embedding
        mine = self.engine.partition.owned[self.rank].get(embedding) if embedding else None
        if tokens is not None and embedding is not None and mine is not None:
            combined, out = torch.empty_like(tokens.rows[0]), self._out(mine)
            rows = list(tokens.rows.flatten(1))
            self._combine(embedding, tokens.places(), rows, factors, round.step, combined.view(-1))
            tokens.write(combined, mine, out)
            written.append(out)
        return written

    def _combine(
        self, name: str, places: Tensor | int, rows: Sequence[Tensor], factors: Factors, step: int, out: Tensor
    ) -> None:
        """Combine the elements `places` of the parameter, or those from `places` on."""
        if not isinstance(self.combination, CoordinateCombination):
            weigh(rows, factors.shared[self.blocks.of[name]], self._there[self.blocks.of[name]], out)
            return
        if isinstance(places, int):
            places = torch.arange(places, places + len(out), device=out.device)
        out.copy_(self.combination.merge(name, places, rows, step))

    def _write_heads(self, factors: Factors, tasks: Sequence[str], head: Tensor) -> list[Tensor]:
        by_parameter = self.layout.head_factors(dict(zip(tasks, factors.heads.tolist(), strict=True)))
        written = []
        for name, (_, fragment, at) in self.layout.heads.owned_by(self.rank):
            out = self._out(fragment).copy_(head[at : at + fragment.size])
            if by_parameter.get(name, 1.0) != 1:
                out.mul_(by_parameter[name])
            written.append(out)
        return written

    def _out(self, fragment: Fragment) -> Tensor:
        return self.engine.shards[fragment.group][fragment.offset : fragment.offset + fragment.size]


def weigh(rows: Sequence[Tensor], weights: Tensor, there: Tensor, out: Tensor) -> None:
    """Write Σ wᵢ rowᵢ into `out`; `weights` (K,) on the host, and `there`, the same in fp32 where the rows are."""
    matrix = as_matrix(rows) if len(rows) >= _MANY else None
    if matrix is not None:
        torch.mv(matrix.T, there, out=out)
        return
    first, *others = weights.tolist()
    torch.mul(rows[0], first, out=out)
    for row, weight in zip(rows[1:], others, strict=True):
        out.add_(row, alpha=weight)
