"""The rows of the token embedding's gradient, sent to the ranks that own them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
import torch.distributed as dist
from torch import Tensor

from cluster.zero.partition import Fragment
from multitask.combination import gramian
from multitask.model import TokenGradient


@dataclass(frozen=True)
class OwnedTokens:
    """This rank's part of the group gradients of the token embedding.

    `ids` (U,) ascending: the tokens that any group touched. `rows` (K, U, D): each group's gradient, zero in the
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
        ids = self.ids.to(self.rows.device)
        return (ids[:, None] * width + torch.arange(width, device=ids.device)).flatten()

    def write(self, combined: Tensor, fragment: Fragment, out: Tensor) -> None:
        """Write `combined` (U, D), made of the groups' rows, into `out`, the fragment's flat gradient."""
        width = self.rows.shape[2]
        out.zero_()
        first = -(-fragment.start // width)
        last = (fragment.start + fragment.size) // width
        whole = (self.ids >= first) & (self.ids < last)
        lead = first * width - fragment.start
        inner = max(0, last - first)
        body = out[lead : lead + inner * width].view(inner, width)
        body.index_copy_(0, self.ids[whole] - first, combined[whole])
        for row, token in zip(combined[~whole], self.ids[~whole].tolist(), strict=True):
            low = max(fragment.start, token * width)
            high = min(fragment.start + fragment.size, (token + 1) * width)
            out[low - fragment.start : high - fragment.start] = row[low - token * width : high - token * width]


class TokenExchange:
    """Routes rows of the token embedding's gradient by owner.

    `fragments`: per rank its part of the flattened embedding (V · D), None where it owns nothing of it.
    """

    def __init__(self, fragments: Sequence[Fragment | None], width: int) -> None:
        self.fragments, self.width = tuple(fragments), width

    def exchange(self, gradients: Mapping[int, TokenGradient], rows: int, device: torch.device) -> OwnedTokens:
        """`gradients`: row number to this rank's gradient of it, for the rows that it holds; `rows`: K."""
        world = dist.get_world_size()
        counts = torch.zeros(world, rows, dtype=torch.int64)
        ids, values = [], []
        for owner, fragment in enumerate(self.fragments):
            for row, gradient in sorted(gradients.items()):
                part = self._owned(gradient, fragment)
                counts[owner, row] = len(part.ids)
                ids.append(part.ids)
                values.append(part.rows)
        sent = self._send(counts, _concat(ids, device), _concat(values, device, self.width))
        return self._sum(*sent, rows)

    def _owned(self, gradient: TokenGradient, fragment: Fragment | None) -> TokenGradient:
        if fragment is None:
            return TokenGradient(gradient.ids[:0], gradient.rows[:0])
        tokens = torch.tensor(
            [fragment.start // self.width, -(-(fragment.start + fragment.size) // self.width)],
            device=gradient.ids.device,
        )
        low, high = torch.searchsorted(gradient.ids, tokens).tolist()
        return TokenGradient(gradient.ids[low:high], gradient.rows[low:high])

    def _send(self, counts: Tensor, ids: Tensor, values: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        if dist.get_world_size() == 1:
            return counts, ids, values
        counts_here = torch.empty_like(counts, device=ids.device)
        dist.all_to_all_single(counts_here, counts.to(ids.device))
        counts_here = counts_here.cpu()
        take, give = counts_here.sum(1).tolist(), counts.sum(1).tolist()
        ids_here = ids.new_empty(sum(take))
        dist.all_to_all_single(ids_here, ids, take, give)
        values_here = values.new_empty(sum(take), self.width)
        dist.all_to_all_single(values_here, values, take, give)
        return counts_here, ids_here, values_here

    def _sum(self, counts: Tensor, ids: Tensor, values: Tensor, rows: int) -> OwnedTokens:
        tokens, places = torch.unique(ids, return_inverse=True)
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
        if lead:
            total[:, tokens == first, :lead] = 0
        if tail:
            total[:, tokens == last, tail:] = 0


def _concat(parts: list[Tensor], device: torch.device, width: int | None = None) -> Tensor:
    if parts:
        return torch.cat(parts).contiguous()
    if width is None:
        return torch.empty(0, dtype=torch.int64, device=device)
    return torch.empty(0, width, dtype=torch.float32, device=device)
