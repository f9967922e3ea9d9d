"""Any Hugging Face encoder, with one dropout setting and one vector per sequence."""

import inspect

import torch
from torch import Tensor, nn
from transformers import AutoConfig, AutoModel, PretrainedConfig, PreTrainedModel
from transformers.utils.logging import disable_progress_bar

from multitask.config.model import EncoderConfig
from multitask.data.location import resolve_location
from multitask.errors import UserError

# The names under which Hugging Face configs keep the dropout probabilities of an encoder.
_DROPOUTS = (
    "hidden_dropout_prob",
    "attention_probs_dropout_prob",
    "hidden_dropout",
    "attention_dropout",
    "dropout",
    "embedding_dropout",
    "mlp_dropout",
)


class Encoder(nn.Module):
    """`model` followed by pooling: token ids (S, L) to one vector per sequence (S, D)."""

    def __init__(self, model: PreTrainedModel, pooling: str) -> None:
        super().__init__()
        self.model = model
        self.pool = POOLINGS[pooling]
        self.takes_token_types = (
            "token_type_ids" in inspect.signature(model.forward).parameters
            and getattr(model.config, "type_vocab_size", 0) > 1
        )
        # The pooler stays as it was pretrained: no pooling here reads it, and an export hands it on unchanged.
        if isinstance(pooler := getattr(model, "pooler", None), nn.Module):
            pooler.requires_grad_(False)

    @property
    def width(self) -> int:
        """D."""
        return int(self.model.config.hidden_size)

    def forward(self, input_ids: Tensor, attention_mask: Tensor, token_type_ids: Tensor) -> Tensor:
        """Token ids, mask and types, each (S, L) int64, to embeddings (S, D)."""
        types = {"token_type_ids": token_type_ids} if self.takes_token_types else {}
        output = self.model(input_ids=input_ids, attention_mask=attention_mask, **types)
        return self.pool(output.last_hidden_state, attention_mask)


def cls_pooling(hidden: Tensor, mask: Tensor) -> Tensor:
    """The first token's state: (S, L, D) to (S, D)."""
    return hidden[:, 0]


def mean_pooling(hidden: Tensor, mask: Tensor) -> Tensor:
    """The mean of the states of the real tokens: (S, L, D) and mask (S, L) to (S, D)."""
    weights = mask.unsqueeze(-1).to(hidden.dtype)
    return (hidden * weights).sum(1) / weights.sum(1).clamp(min=1)


POOLINGS = {"cls": cls_pooling, "mean": mean_pooling}


def load_encoder(config: EncoderConfig, *, random_weights: bool = False) -> Encoder:
    """The encoder of `config` in fp32 with sdpa attention.

    With `random_weights` only its shape is read: for a checkpoint or an export that brings all weights itself.

    Raises:
        UserError: no encoder can be loaded from `config.name`.
    """
    location = resolve_location(config.name)
    disable_progress_bar()
    try:
        shape = AutoConfig.from_pretrained(location)
        _set_dropout(shape, config.dropout)
        if random_weights:
            model = AutoModel.from_config(shape, attn_implementation="sdpa", dtype=torch.float32)
        else:
            model = AutoModel.from_pretrained(location, config=shape, attn_implementation="sdpa", dtype=torch.float32)
    except (OSError, ValueError, KeyError) as error:
        raise UserError(f"encoder.name: cannot load an encoder from {config.name!r}: {_first_line(error)}") from None
    if getattr(model.config, "is_encoder_decoder", False):
        raise UserError(f"encoder.name: {config.name!r} is an encoder-decoder; name an encoder such as BERT")
    return Encoder(model, config.pooling)


def _set_dropout(shape: PretrainedConfig, dropout: float) -> None:
    for name in _DROPOUTS:
        if isinstance(getattr(shape, name, None), float | int):
            setattr(shape, name, dropout)


def _first_line(error: Exception) -> str:
    return str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
