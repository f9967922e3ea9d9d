"""An encoder from its files, and what does not fit in them."""

import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from transformers import AutoConfig, AutoModel, AutoModelForTextEncoding, PretrainedConfig, PreTrainedModel
from transformers.models.auto.modeling_auto import MODEL_FOR_TEXT_ENCODING_MAPPING, MODEL_MAPPING
from transformers.utils.logging import disable_progress_bar, get_verbosity, set_verbosity, set_verbosity_error

from multitask.config.model import EncoderConfig, LoRA
from multitask.data.location import resolve_location
from multitask.data.tokenizer import load_tokenizer
from multitask.errors import UserError, first_line
from multitask.model.attention import loaded_attention
from multitask.model.dropout import set_dropout
from multitask.model.encoder import Encoder
from multitask.model.layers import encoder_layers
from multitask.model.lora import add_lora
from multitask.model.padding import Padding
from multitask.model.pooling import POOLINGS
from multitask.model.row_dropout import same_masks


def load_encoder(config: EncoderConfig, max_length: int) -> Encoder:
    """The encoder of `config` in fp32, for sequences of `max_length` tokens, with its low-rank updates if `config` wants some.

    Its attention is as `config.attention` says, but for flash, which comes later (`use_flash`). Of an encoder-decoder that has an encoder's class, such as
    T5, the encoder.

    Raises:
        UserError: no encoder can be loaded from `config.name`, its files disagree, or it has not what pooling or adapter need.
    """
    model, loading = _open(config)
    _check_kind(config, model)
    _check_loaded(config.name, model, loading)
    return _finish(config, model, max_length)


def outline_encoder(config: EncoderConfig, max_length: int) -> Encoder:
    """As `load_encoder`, on the device meta: shapes without weights, of which no file is read.

    Raises:
        UserError: no encoder is described at `config.name`, or it has not what pooling or adapter need.
    """
    with torch.device("meta"):
        try:
            shape = _read_shape(config)
            build: Callable[..., PreTrainedModel] = auto_class(shape).from_config
            model = build(shape, dtype=torch.float32, **loaded_attention(config, shape))
        except UserError:
            raise
        # Whatever a class makes of a wrong file is the file's fault.
        except Exception as error:
            raise UserError(f"encoder.name: no encoder is described at {config.name!r}: {first_line(error)}") from None
        _check_kind(config, model)
        return _finish(config, model, max_length)


def _finish(config: EncoderConfig, model: PreTrainedModel, max_length: int) -> Encoder:
    with _quiet():
        _fit_tokenizer(config, model)
    if isinstance(config.adapter, LoRA):
        add_lora(model, config.adapter)
    if config.checkpointing:
        _keep_few_states(model)
    padding = Padding(config.padding, max_length)
    return Encoder(model, config.pooling, token_types=config.token_types, padding=padding)


def _open(config: EncoderConfig) -> tuple[PreTrainedModel, Mapping[str, Any]]:
    """The model, and what transformers says of its weights."""
    location = resolve_location(config.name)
    disable_progress_bar()
    try:
        shape = _read_shape(config)
        with _quiet():
            return auto_class(shape).from_pretrained(
                location,
                config=shape,
                **loaded_attention(config, shape),
                dtype=torch.float32,
                output_loading_info=True,
                # What does not fit is told here, by name and shape.
                ignore_mismatched_sizes=True,
                trust_remote_code=False,
                use_safetensors=True,
            )
    except UserError:
        raise
    # Whatever a class makes of wrong files is the files' fault.
    except Exception as error:
        raise UserError(f"encoder.name: cannot load an encoder from {config.name!r}: {first_line(error)}") from None


def _read_shape(config: EncoderConfig) -> PretrainedConfig:
    """What the encoder's config.json says, with the dropout of `config`."""
    shape: PretrainedConfig = AutoConfig.from_pretrained(resolve_location(config.name), trust_remote_code=False)
    set_dropout(shape, config.dropout)
    _attend_to_all(shape)
    return shape


@contextmanager
def _quiet() -> Iterator[None]:
    """Inside, transformers writes no reports of weights, which are judged here."""
    before = get_verbosity()
    set_verbosity_error()
    try:
        yield
    finally:
        set_verbosity(before)


def auto_class(shape: PretrainedConfig) -> type[AutoModel] | type[AutoModelForTextEncoding]:
    """The class of `transformers` that opens an encoder of this config: `AutoModel` would open a T5 with its decoder."""
    encoder = MODEL_FOR_TEXT_ENCODING_MAPPING.get(type(shape), None)
    return AutoModel if encoder in (None, MODEL_MAPPING.get(type(shape), None)) else AutoModelForTextEncoding


def embedding_rows(model: PreTrainedModel) -> int:
    """Rows of the table of words."""
    table = model.get_input_embeddings().weight
    assert isinstance(table, torch.Tensor)
    return len(table)


def _keep_few_states(model: PreTrainedModel) -> None:
    """In training, keep of each layer its input alone, and pass it again when gradients flow back."""
    if not model.supports_gradient_checkpointing:
        raise UserError(
            f"encoder.checkpointing: a {model.config.model_type} cannot pass its layers again; leave it out"
        )
    model.gradient_checkpointing_enable({"use_reentrant": False, "context_fn": same_masks})


def _attend_to_all(shape: PretrainedConfig) -> None:
    """BigBird leaves its sparse attention, whose blocks are drawn, for good at the first short batch; here from the start."""
    if getattr(shape, "attention_type", None) == "block_sparse":
        shape.attention_type = "original_full"


def _check_kind(config: EncoderConfig, model: PreTrainedModel) -> None:
    kind = model.config.model_type
    if hasattr(model, "decoder") and getattr(model.config, "is_encoder_decoder", False):
        raise UserError(f"encoder.name: {config.name!r} is an encoder-decoder; name an encoder such as BERT")
    try:
        model.get_input_embeddings()
    except NotImplementedError:
        raise UserError(f"encoder.name: a {kind} has no embedding of tokens, so it cannot read a tokenizer's") from None
    if config.pooling == "pooler" and not isinstance(getattr(model, "pooler", None), torch.nn.Module):
        others = ", ".join(pooling for pooling in POOLINGS if pooling != "pooler")
        raise UserError(f"encoder.pooling: a {kind} has no pooler; use {others}")


def _check_loaded(name: str, model: PreTrainedModel, loading: Mapping[str, Any]) -> None:
    """Every weight but the pooler's must come from the files and fit: what is missing there would be random."""
    for own, there, wanted in sorted(loading["mismatched_keys"]):
        raise UserError(
            f"encoder.name: {name!r}: config.json and the weights disagree: {own} is {tuple(there)}, config.json wants "
            f"{tuple(wanted)}"
        )
    wanted = [own for own, _ in model.named_parameters() if not own.startswith("pooler.")]
    missing = set(wanted) & set(loading["missing_keys"])
    strange = sorted(loading["unexpected_keys"])
    if missing:
        also = f", {len(strange)} weights there fit nowhere, such as {strange[0]}" if strange else ""
        raise UserError(
            f"encoder.name: {name!r} lacks {len(missing)} of {len(wanted)} weights of a {model.config.model_type}, "
            f"such as {min(missing)}{also}; they would be random"
        )
    layers = tuple(encoder_layers(model))
    for own in strange:
        if _is_further_layer(own, layers):
            raise UserError(
                f"encoder.name: {name!r}: config.json and the weights disagree: config.json has {len(layers)} layers, the weights have "
                f"{own}"
            )


def _is_further_layer(weight: str, layers: tuple[str, ...]) -> bool:
    """Whether `weight` belongs to a layer after the last of these."""
    if not layers:
        return False
    prefix, _, last = layers[-1].rpartition(".")
    found = re.search(rf"(?:^|\.){re.escape(prefix)}\.(\d+)\.", weight)
    return found is not None and int(found[1]) > int(last)


def _fit_tokenizer(config: EncoderConfig, model: PreTrainedModel) -> None:
    """Every id that the tokenizer gives must have a row of the embedding."""
    tokens = 1 + max(load_tokenizer(config.name).get_vocab().values())
    rows = embedding_rows(model)
    if tokens <= rows:
        return
    if not config.resize_embeddings:
        raise UserError(
            f"encoder.name: the tokenizer of {config.name!r} has {tokens:,} tokens, the encoder's embedding {rows:,} rows; "
            "encoder.resize_embeddings=true adds the rows"
        )
    try:
        model.resize_token_embeddings(tokens)
    except NotImplementedError as error:
        raise UserError(f"encoder.resize_embeddings: {first_line(error)}") from None
