"""What a rank really sends: every collective that the dispatcher sees, with its bytes."""

from collections import Counter
from math import ceil
from typing import Any, NamedTuple

import torch.distributed as dist
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode


class Call(NamedTuple):
    """One collective, and the bytes and messages that this rank sends for it to others."""

    kind: str
    sent: int
    messages: int


class Traffic(TorchDispatchMode):
    """Writes down the collectives of this rank while it is entered.

    All-to-all: what goes to others. Broadcast: the root's tensor, once to each other rank. All-gather: this rank's part, once to each other rank. All-reduce: as a ring does it, twice
    N − 1 pieces of a whole number of elements.
    """

    def __init__(self) -> None:
        super().__init__()
        self.calls: list[Call] = []

    @property
    def bytes(self) -> Counter[str]:
        """What was sent, by kind."""
        return self._sums("sent")

    @property
    def messages(self) -> Counter[str]:
        """In how many messages, by kind."""
        return self._sums("messages")

    def _sums(self, field: str) -> Counter[str]:
        sums: Counter[str] = Counter()
        for call in self.calls:
            sums[call.kind] += getattr(call, field)
        return sums

    def __torch_dispatch__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        namespace, _, name = function.name().partition("::")
        if namespace == "c10d":
            kind, sent, messages = _KINDS[name]
            members = dist.ProcessGroup.unbox(args[2]).size() if kind == "all_to_all" else dist.get_world_size()
            others = 0 if kind == "broadcast" and args[2] != dist.get_rank() else members - 1
            self.calls.append(Call(kind, sent(*args), messages * others))
        return function(*args, **(kwargs or {}))


def _to_others(output: Tensor, given: Tensor, group: Any, take: list[int], give: list[int], *rest: Any) -> int:
    rows, members = len(given), dist.ProcessGroup.unbox(group)
    own = give[members.rank()] if give else rows // members.size()
    return (rows - own) * given[0].numel() * given.element_size() if rows else 0


def _reduced(tensors: list[Tensor], *rest: Any) -> int:
    world = dist.get_world_size()
    return sum(2 * (world - 1) * ceil(t.numel() / world) * t.element_size() for t in tensors)


def _gathered(output: Any, given: Any, *rest: Any) -> int:
    parts = given if isinstance(given, list) else [given]
    return sum((dist.get_world_size() - 1) * part.numel() * part.element_size() for part in parts)


def _told(tensors: list[Tensor], group: Any, root: int, *rest: Any) -> int:
    return _gathered(None, tensors) if root == dist.get_rank() else 0


# The dispatcher's names.
_KINDS = {
    "alltoall_base_": ("all_to_all", _to_others, 1),
    "allreduce_": ("all_reduce", _reduced, 2),
    "_allgather_base_": ("all_gather", _gathered, 1),
    "allgather_": ("all_gather", _gathered, 1),
    "broadcast_": ("broadcast", _told, 1),
}
