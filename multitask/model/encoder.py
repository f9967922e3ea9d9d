"""Any Hugging Face encoder, with one dropout setting and one vector per sequence."""

import inspect
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from transformers import AutoConfig, AutoModel, PretrainedConfig, PreTrainedModel
from transformers.utils.logging import disable_progress_bar

from multitask.config.model import EncoderConfig, LoRA
from multitask.data.location import resolve_location
from multitask.errors import UserError
from multitask.model.lora import add_lora
from multitask.model.pooling import POOLINGS, States
from multitask.model.projected_attention import ProjectedAttentionLayers, beside_layers

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

    def __init__(self, model: PreTrainedModel, pooling: str, *, token_types: bool = True) -> None:
        super().__init__()
        self.model = model
        self.pool = POOLINGS[pooling](self.width)
        self.takes_token_types = (
            token_types
            and "token_type_ids" in inspect.signature(model.forward).parameters
            and getattr(model.config, "type_vocab_size", 0) > 1
        )
        # A pooler that no pooling reads stays as it was pretrained, and an export hands it on unchanged.
        if isinstance(pooler := getattr(model, "pooler", None), nn.Module):
            pooler.requires_grad_(pooling == "pooler")

    @property
    def longest(self) -> int | None:
        """Most tokens of a sequence; None where positions are not learned one by one."""
        table = getattr(getattr(self.model, "embeddings", None), "position_embeddings", None)
        if not isinstance(table, nn.Embedding):
            return None
        # RoBERTa and its kin count positions from behind the padding's.
        return table.num_embeddings - (0 if table.padding_idx is None else table.padding_idx + 1)

    @property
    def width(self) -> int:
        """D."""
        return int(self.model.config.hidden_size)

    def forward(
        self,
        input_ids: Tensor,
        attention_mask: Tensor,
        token_type_ids: Tensor,
        noise: Tensor | None = None,
        adapter: ProjectedAttentionLayers | None = None,
    ) -> Tensor:
        """Token ids, mask and types, each (S, L) int64, to embeddings (S, D).

        `noise` (S, L, width of the word embeddings) is added to the embedded words; `adapter` works beside the layers.
        """
        types = {"token_type_ids": token_type_ids} if self.takes_token_types else {}
        every = self.pool.reads_all_layers
        with _added(self.model.get_input_embeddings(), noise), beside_layers(self.model, adapter, attention_mask):
            output = self.model(input_ids=input_ids, attention_mask=attention_mask, output_hidden_states=every, **types)
        # The first of `hidden_states` is the embedding layer's.
        layers = tuple(output.hidden_states[1:]) if every else ()
        return self.pool(States(output.last_hidden_state, layers, output.get("pooler_output")), attention_mask)


@contextmanager
def _added(embedding: nn.Module, noise: Tensor | None) -> Iterator[None]:
    """Inside, `embedding` gives what it would and `noise` besides.

    The encoder still sees the ids: some work out positions from them, which they cannot from `inputs_embeds`. The hook
    comes after an `EmbeddingTap`'s, whose leaf is the embedding without noise.
    """
    if noise is None:
        yield
        return
    handle = embedding.register_forward_hook(lambda module, arguments, output: output + noise.to(output.dtype))
    try:
        yield
    finally:
        handle.remove()


def load_encoder(config: EncoderConfig) -> Encoder:
    """The encoder of `config` in fp32 with sdpa attention, and its low-rank updates if `config` wants some.

    Raises:
        UserError: no encoder can be loaded from `config.name`, or it has not what pooling or adapter need.
    """
    location = resolve_location(config.name)
    disable_progress_bar()
    try:
        shape = AutoConfig.from_pretrained(location, trust_remote_code=False)
        _set_dropout(shape, config.dropout)
        model, loading = AutoModel.from_pretrained(
            location,
            config=shape,
            attn_implementation="sdpa",
            dtype=torch.float32,
            output_loading_info=True,
            trust_remote_code=False,
            use_safetensors=True,
        )
    except (OSError, ValueError, KeyError) as error:
        raise UserError(f"encoder.name: cannot load an encoder from {config.name!r}: {_first_line(error)}") from None
    if getattr(model.config, "is_encoder_decoder", False):
        raise UserError(f"encoder.name: {config.name!r} is an encoder-decoder; name an encoder such as BERT")
    if config.pooling == "pooler" and not isinstance(getattr(model, "pooler", None), nn.Module):
        raise UserError(
            f"encoder.pooling: a {model.config.model_type} has no pooler; use {', '.join(p for p in POOLINGS if p != 'pooler')}"
        )
    _check_loaded(config.name, model, loading)
    if isinstance(config.adapter, LoRA):
        add_lora(model, config.adapter)
    return Encoder(model, config.pooling, token_types=config.token_types)


def _check_loaded(name: str, model: PreTrainedModel, loading: Mapping[str, Any]) -> None:
    """Every weight but the pooler's must come from the files: what is missing there would be random."""
    wanted = [own for own, _ in model.named_parameters() if not own.startswith("pooler.")]
    missing = set(wanted) & set(loading["missing_keys"])
    if missing:
        example = min(missing)
        strange = sorted(loading["unexpected_keys"])
        also = f", {len(strange)} weights there fit nowhere, such as {strange[0]}" if strange else ""
        raise UserError(
            f"encoder.name: {name!r} lacks {len(missing)} of {len(wanted)} weights of a {model.config.model_type}, "
            f"such as {example}{also}; they would be random"
        )


def _set_dropout(shape: PretrainedConfig, dropout: float) -> None:
    for name in _DROPOUTS:
        if isinstance(getattr(shape, name, None), float | int):
            setattr(shape, name, dropout)


def _first_line(error: Exception) -> str:
    return str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
