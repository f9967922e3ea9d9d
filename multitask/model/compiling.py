"""An encoder's layers, compiled: torch makes code for one of them that all alike layers share."""

from collections.abc import Callable
from contextlib import nullcontext
from typing import Any

import torch
from torch import nn

from multitask.autocast import autocast
from multitask.config import RunConfig
from multitask.errors import UserError, first_line
from multitask.model.encoder import Encoder
from multitask.model.layers import encoder_layers
from multitask.model.probing import some_batch
from multitask.model.row_dropout import RowDropout

# With and without a mask, of one row or more, of one token or more, in training and not, with gradients and not, for two kinds of layers.
_MOST_GRAPHS = 64


def compile_layers(encoder: Encoder, config: RunConfig) -> None:
    """Compile the layers of `encoder` in place, where `config` wants that; names of weights and copies of the encoder stay as they are.

    A pass over a few tokens and back shows that it works. To be called when `encoder` has its device and precision for good.

    Raises:
        UserError: they cannot be compiled here, as without a compiler for C++.
    """
    if not config.training.compile:
        return
    # What was compiled for an earlier encoder of this process counts towards the same limit.
    torch.compiler.reset()
    for layer in encoder_layers(encoder.model).values():
        _compile(layer, config)
    try:
        _pass_once(encoder, config)
    # Whatever compilers say.
    except Exception as error:
        raise UserError(
            f"training.compile: the encoder's layers cannot be compiled here: {first_line(error)}"
        ) from None


def _compile(layer: nn.Module, config: RunConfig) -> None:
    layer.compile(dynamic=True, recompile_limit=_MOST_GRAPHS)
    if not config.encoder.checkpointing:
        return
    if not getattr(layer, "gradient_checkpointing", False):
        raise UserError(
            "training.compile: the layers of this encoder are not passed again one by one; leave encoder.checkpointing out"
        )
    # Passing again lies around what is compiled, not inside: its dropout is drawn as it was.
    compiled, again = layer._compiled_call_impl, layer._gradient_checkpointing_func
    assert callable(compiled)
    assert callable(again)
    layer.gradient_checkpointing = False
    layer._compiled_call_impl = _passed_again(layer, compiled, again)


def _passed_again(layer: nn.Module, compiled: Callable[..., Any], again: Callable[..., Any]) -> Callable[..., Any]:
    def call(*arguments: Any, **named: Any) -> Any:
        return again(compiled, *arguments, **named) if layer.training else compiled(*arguments, **named)

    return call


def _pass_once(encoder: Encoder, config: RunConfig) -> None:
    """Forward and backward in training, as a step does it."""
    weight = next(encoder.model.parameters())
    device, was_training = weight.device, encoder.training
    batch = some_batch(encoder).to(device)
    drops_by_row = config.drops_encoder and config.encoder.dropout_key == "row"
    with torch.random.fork_rng([device] if device.type == "cuda" else []), torch.enable_grad():
        with (
            autocast(device, config.precision),
            RowDropout(batch, 0) if drops_by_row else nullcontext(),
        ):
            encoder.train()
            states = encoder(batch.input_ids, batch.attention_mask, batch.token_type_ids, is_padded=True)
        encoder.train(was_training)
        trained = [p for p in encoder.parameters() if p.requires_grad]
        if trained:
            torch.autograd.grad(states.float().sum(), trained, allow_unused=True)
