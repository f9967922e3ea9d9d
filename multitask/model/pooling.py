"""One vector per sequence from the states of its tokens."""

from typing import NamedTuple

import torch
from torch import Tensor, nn


class States(NamedTuple):
    """What an encoder gives for S sequences of L tokens.

    `last` (S, L, D): the last layer's states; `layers`: those of every layer, for poolings that read them; `pooled`
    (S, D): from the encoder's own pooler, where it has one.
    """

    last: Tensor
    layers: tuple[Tensor, ...] = ()
    pooled: Tensor | None = None


class Pooling(nn.Module):
    """An encoder's states and the mask (S, L) to embeddings (S, D).

    Padding, where the mask is 0, changes nothing. `width` is D.
    """

    reads_all_layers = False

    def __init__(self, width: int) -> None:
        super().__init__()

    def forward(self, states: States, mask: Tensor) -> Tensor:
        """States and mask (S, L) to (S, D)."""
        raise NotImplementedError


class ClsPooling(Pooling):
    """The last layer's state of the first token."""

    def forward(self, states: States, mask: Tensor) -> Tensor:
        return states.last[:, 0]


class LastPooling(Pooling):
    """The last layer's state of the last token, which in a decoder is the only one that has seen all others."""

    def forward(self, states: States, mask: Tensor) -> Tensor:
        # Padding stands behind.
        last = mask.sum(1).clamp(min=1) - 1
        return states.last[torch.arange(len(last), device=last.device), last]


class PoolerPooling(Pooling):
    """The first token's state through the encoder's own pretrained dense layer with tanh, which is trained along."""

    def forward(self, states: States, mask: Tensor) -> Tensor:
        assert states.pooled is not None
        return states.pooled


class MeanPooling(Pooling):
    """The mean of the last layer's states."""

    def forward(self, states: States, mask: Tensor) -> Tensor:
        return _mean(states.last, mask)


class MeanLayersPooling(Pooling):
    """The mean of the states of all encoder layers (the embedding layer is none of them)."""

    reads_all_layers = True

    def forward(self, states: States, mask: Tensor) -> Tensor:
        first, *others = states.layers
        return _mean(sum(others, first) / len(states.layers), mask)


class MaxPooling(Pooling):
    """The largest value of each of the D elements over the last layer's states."""

    def forward(self, states: States, mask: Tensor) -> Tensor:
        return states.last.masked_fill(mask.unsqueeze(-1) == 0, torch.finfo(states.last.dtype).min).amax(1)


class AttentionPooling(Pooling):
    """Σ a_t h_t over the last layer's states h (L, D), a = softmax(h q / √D) with one learned query q (D).

    All tasks share the query. It starts at 0, which is the mean of the states.
    """

    def __init__(self, width: int) -> None:
        super().__init__(width)
        self.query = nn.Parameter(torch.zeros(width))

    def forward(self, states: States, mask: Tensor) -> Tensor:
        hidden = states.last
        scores = (hidden @ self.query.to(hidden.dtype)).float() * hidden.shape[-1] ** -0.5
        shares = scores.masked_fill(mask == 0, float("-inf")).softmax(-1)
        return (hidden * shares.unsqueeze(-1).to(hidden.dtype)).sum(1)


def _mean(hidden: Tensor, mask: Tensor) -> Tensor:
    weights = mask.unsqueeze(-1).to(hidden.dtype)
    return (hidden * weights).sum(1) / weights.sum(1).clamp(min=1)


POOLINGS: dict[str, type[Pooling]] = {
    "cls": ClsPooling,
    "last": LastPooling,
    "pooler": PoolerPooling,
    "mean": MeanPooling,
    "mean_layers": MeanLayersPooling,
    "max": MaxPooling,
    "attention": AttentionPooling,
}
