"""The shared parameters in blocks, each of which may have weights of its own."""

from collections.abc import Callable, Mapping, Sequence

import torch
from torch import Tensor

from multitask.combination.base import Granularity
from multitask.combination.gramian import gramian

Part = tuple[str, int, int]


class Blocks:
    """`of`: parameter to its block, 0 … `number` − 1: all one, by layer, or each parameter its own.

    Parameters that are frozen for a while count too, so that a block keeps its number.
    """

    def __init__(self, names: Sequence[str], granularity: Granularity, layer_of: Callable[[str], int]) -> None:
        if granularity == "encoder":
            self.of: Mapping[str, int] = dict.fromkeys(names, 0)
        elif granularity == "layer":
            layers = sorted({layer_of(name) for name in names})
            self.of = {name: layers.index(layer_of(name)) for name in names}
        else:
            self.of = {name: number for number, name in enumerate(names)}
        self.number = max(self.of.values(), default=0) + 1

    def gramian(self, rows: Sequence[Tensor], parts: Sequence[Part]) -> Tensor:
        """Inner products (B, G, G) of G gradients (P,), in which parameter `name` has the elements `at` … `at + size` of each of
        `parts`.
        """
        if self.number == 1:
            return gramian(rows)[None]
        total = torch.zeros(self.number, len(rows), len(rows), device=rows[0].device)
        for name, at, size in parts:
            total[self.of[name]] += gramian([row[at : at + size] for row in rows])
        return total
