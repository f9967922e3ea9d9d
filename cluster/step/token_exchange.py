"""The rows of the token embedding's gradient, sent to the ranks that own them.

Which rows those are is worked out and told on the host, which has the batches: a GPU is never waited for.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
import torch.distributed as dist
from torch import Tensor

from cluster.zero.partition import Fragment
from multitask.combination import gramian
from multitask.device import to_device
from multitask.model import TokenGradient


@dataclass(frozen=True)
class OwnedTokens:
    """This rank's part of the group gradients of the token embedding.

    `ids` (U,) ascending, on the host: the tokens that any group touched. `rows` (K, U, D): each group's gradient, zero in the
    elements of a first or last token that another rank owns.
    """

    ids: Tensor
    rows: Tensor

    def gramian(self) -> Tensor:
        """Inner products (K, K) over this rank's part, as exact as those of the dense gradients: no matrix product, no TF32."""
        return gramian(list(self.rows.flatten(1)))

    def places(self) -> Tensor:
        """The elements (U · D,) of the flat embedding that the rows are of."""
        width = self.rows.shape[2]
        ids = to_device(self.ids, self.rows.device)
        return (ids[:, None] * width + torch.arange(width, device=ids.device)).flatten()

    def write(self, combined: Tensor, fragment: Fragment, out: Tensor) -> None:
        """Write `combined` (U, D), made of the groups' rows, into `out`, the fragment's flat gradient."""
        width = self.rows.shape[2]
        out.zero_()
        first = -(-fragment.start // width)
        last = (fragment.start + fragment.size) // width
        begin, end = _places(self.ids, [first, max(first, last)])
        lead = first * width - fragment.start
        inner = max(0, last - first)
        body = out[lead : lead + inner * width].view(inner, width)
        body.index_copy_(0, to_device(self.ids[begin:end] - first, out.device), combined[begin:end])
        for place in (*range(begin), *range(end, len(self.ids))):
            row, token = combined[place], int(self.ids[place])
            low = max(fragment.start, token * width)
            high = min(fragment.start + fragment.size, (token + 1) * width)
            out[low - fragment.start : high - fragment.start] = row[low - token * width : high - token * width]


class TokenExchange:
    """Routes rows of the token embedding's gradient by owner.

    `fragments`: per rank its part of the flattened embedding (V · D), None where it owns nothing of it.
    """

    def __init__(self, fragments: Sequence[Fragment | None], width: int) -> None:
        self.fragments, self.width = tuple(fragments), width
        touched = [(f.start // width, -(-(f.start + f.size) // width)) if f else (0, 0) for f in self.fragments]
        self._bounds = [bound for pair in touched for bound in pair]

    def exchange(self, gradients: Mapping[int, TokenGradient], rows: int, device: torch.device) -> OwnedTokens:
        """`gradients`: row number to this rank's gradient of it, for the rows that it holds; `rows`: K."""
        world = dist.get_world_size()
        counts = torch.zeros(world, rows, dtype=torch.int64)
        ids, values = [], []
        cuts = {row: _places(gradient.ids, self._bounds) for row, gradient in sorted(gradients.items())}
        for owner in range(world):
            for row, places in cuts.items():
                low, high = places[2 * owner : 2 * owner + 2]
                counts[owner, row] = high - low
                ids.append(gradients[row].ids[low:high])
                values.append(gradients[row].rows[low:high])
        host = torch.device("cpu")
        sent = self._send(counts, _concat(ids, host), _concat(values, device, self.width))
        return self._sum(*sent, rows)

    def _send(self, counts: Tensor, ids: Tensor, values: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        if dist.get_world_size() == 1:
            return counts, ids, values
        counts_here = torch.empty_like(counts)
        dist.all_to_all_single(counts_here, counts)
        take, give = counts_here.sum(1).tolist(), counts.sum(1).tolist()
        ids_here = ids.new_empty(sum(take))
        dist.all_to_all_single(ids_here, ids, take, give)
        values_here = values.new_empty(sum(take), self.width)
        dist.all_to_all_single(values_here, values, take, give)
        return counts_here, ids_here, values_here

    def _sum(self, counts: Tensor, ids: Tensor, values: Tensor, rows: int) -> OwnedTokens:
        tokens, inverse = torch.unique(ids, return_inverse=True)
        places = to_device(inverse, values.device)
        total = values.new_zeros(rows, len(tokens), self.width)
        position = 0
        for count in counts:
            for row, number in enumerate(count.tolist()):
                part = slice(position, position + number)
                # No token comes twice in one part, so that the order of summation is fixed.
                total[row].index_add_(0, places[part], values[part])
                position += number
        self._mask_foreign(tokens, total)
        return OwnedTokens(tokens, total)

    def _mask_foreign(self, tokens: Tensor, total: Tensor) -> None:
        """Zero the elements of the first and last token that other ranks own."""
        fragment = self.fragments[dist.get_rank()]
        if fragment is None or len(tokens) == 0:
            return
        first, lead = divmod(fragment.start, self.width)
        last, tail = divmod(fragment.start + fragment.size, self.width)
        if lead and tokens[0] == first:
            total[:, 0, :lead] = 0
        if tail and tokens[-1] == last:
            total[:, -1, tail:] = 0


def _places(ids: Tensor, bounds: Sequence[int]) -> list[int]:
    """How many of the ascending `ids` lie below each bound."""
    found: list[int] = torch.searchsorted(ids, torch.tensor(bounds)).tolist()
    return found


def _concat(parts: list[Tensor], device: torch.device, width: int | None = None) -> Tensor:
    if parts:
        return torch.cat(parts).contiguous()
    if width is None:
        return torch.empty(0, dtype=torch.int64, device=device)
    return torch.empty(0, width, dtype=torch.float32, device=device)
