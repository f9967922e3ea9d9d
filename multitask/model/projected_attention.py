"""Projected attention layers: a small attention of each task's own beside every layer of the shared encoder."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from torch import Tensor, nn
from torch.nn import functional
from transformers import PreTrainedModel

from multitask.config.model import ProjectedAttention
from multitask.errors import UserError
from multitask.model.layers import encoder_layers


class ProjectedAttentionLayers(nn.Module):
    """TS(h) = V_D MH(V_E h) of one task, for every layer (Stickland and Murray 2019, section 3.2).

    V_E (D to width) and V_D (width to D) are the same in all layers; MH is multi-head attention of each layer's own,
    without the matrix that usually follows it. An encoder layer's last normalisation gives LN(h' + FFN(h') + TS(h)), h being
    the layer's input. Differences: V_D starts at 0 (the paper draws all from a normal distribution), so that training starts from
    the encoder as it was pretrained; and V_D's output is taken as the formula has it, without the official code's GELU.
    """

    def __init__(self, layers: int, hidden: int, config: ProjectedAttention, dropout: float) -> None:
        super().__init__()
        self.encode = nn.Linear(hidden, config.width)
        self.attention = nn.ModuleList(_Attention(config.width, config.heads, dropout) for _ in range(layers))
        self.decode = nn.Linear(config.width, hidden)
        for module in self.modules():
            if isinstance(module, nn.Linear):
                nn.init.normal_(module.weight, std=0.02)
                nn.init.zeros_(module.bias)
        nn.init.zeros_(self.decode.weight)

    def forward(self, layer: int, hidden: Tensor, mask: Tensor) -> Tensor:
        """TS of layer number `layer` (from 0): its input (S, L, D) and the mask (S, L) to (S, L, D)."""
        return self.decode(self.attention[layer](self.encode(hidden), mask))


class _Attention(nn.Module):
    """Multi-head self-attention (S, L, width) to (S, L, width) over real tokens, without an output matrix."""

    def __init__(self, width: int, heads: int, dropout: float) -> None:
        super().__init__()
        self.heads, self.dropout = heads, dropout
        self.query, self.key, self.value = (nn.Linear(width, width) for _ in range(3))

    def forward(self, hidden: Tensor, mask: Tensor) -> Tensor:
        query, key, value = (
            part(hidden).unflatten(-1, (self.heads, -1)).transpose(1, 2) for part in (self.query, self.key, self.value)
        )
        mixed = functional.scaled_dot_product_attention(
            query, key, value, mask[:, None, None].bool(), dropout_p=self.dropout if self.training else 0.0
        )
        return mixed.transpose(1, 2).flatten(-2)


def build_projected_attention(
    model: PreTrainedModel, config: ProjectedAttention, dropout: float
) -> ProjectedAttentionLayers:
    """One task's layers beside those of `model`.

    Raises:
        UserError: the encoder's layers do not end as BERT's do.
    """
    layers = encoder_layers(model).values()
    if not layers or not all(isinstance(_last_norm(layer), nn.Module) for layer in layers):
        raise UserError(
            "encoder.adapter: projected_attention needs layers like BERT's (bert, roberta, electra, …), "
            f"the encoder is a {model.config.model_type}"
        )
    return ProjectedAttentionLayers(len(layers), int(model.config.hidden_size), config, dropout)


@contextmanager
def beside_layers(model: PreTrainedModel, adapter: ProjectedAttentionLayers | None, mask: Tensor) -> Iterator[None]:
    """Inside, every layer of `model` adds what `adapter` gives on sequences with this mask (S, L); None adds nothing."""
    handles = []
    if adapter is not None:
        for number, layer in enumerate(encoder_layers(model).values()):
            branch = _Branch(adapter, number, mask)
            handles.append(layer.register_forward_pre_hook(branch.read, with_kwargs=True))
            handles.append(_last_norm(layer).register_forward_pre_hook(branch.add))
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


class _Branch:
    """From one encoder layer's input to its last normalisation."""

    def __init__(self, adapter: ProjectedAttentionLayers, number: int, mask: Tensor) -> None:
        self.adapter, self.number, self.mask = adapter, number, mask

    def read(self, layer: nn.Module, arguments: tuple[Tensor, ...], named: dict[str, Any]) -> None:
        hidden = arguments[0] if arguments else named["hidden_states"]
        self.added = self.adapter(self.number, hidden, self.mask)

    def add(self, norm: nn.Module, arguments: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        return (arguments[0] + self.added, *arguments[1:])


def _last_norm(layer: nn.Module) -> nn.Module:
    """The normalisation at the end of a layer as BERT has it; None where there is none."""
    return getattr(getattr(layer, "output", None), "LayerNorm", None)  # type: ignore[return-value]
