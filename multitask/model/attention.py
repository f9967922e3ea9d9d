"""Which of its implementations of attention an encoder uses."""

import importlib.util

import torch
from transformers import PretrainedConfig, PreTrainedModel
from transformers.models.auto.modeling_auto import MODEL_FOR_TEXT_ENCODING_MAPPING, MODEL_MAPPING

from multitask.config.model import EncoderConfig
from multitask.errors import UserError, first_line
from multitask.model.encoder import Encoder

_FLASH = "flash_attention_2"
# Where a class says that it has it; eager has each.
_DECLARED = {"sdpa": "_supports_sdpa", "flash": "_supports_flash_attn"}


def loaded_attention(config: EncoderConfig, shape: PretrainedConfig) -> dict[str, str]:
    """What transformers is told as an encoder of this config is opened.

    Flash attention comes after it lies on its GPU (`use_flash`): what is tried before is tried on the host, with another one.

    Raises:
        UserError: the encoder's class has no such implementation.
    """
    kind = config.attention
    found = MODEL_FOR_TEXT_ENCODING_MAPPING.get(type(shape), None) or MODEL_MAPPING.get(type(shape), None)
    # A Funnel has two classes; whoever opens an encoder says so where there is none.
    classes = found if isinstance(found, tuple) else (found,)
    if (has := _DECLARED.get(kind)) and not all(getattr(own, has, True) for own in classes):
        raise UserError(f"encoder.attention: a {shape.model_type} has no {kind} attention; use auto")
    return {"attn_implementation": kind} if kind in ("eager", "sdpa") else {}


def use_flash(encoder: Encoder, config: EncoderConfig, device: torch.device) -> None:
    """Let `encoder`, which lies on `device`, compute its attention with flash_attn, where `config` wants that.

    Raises:
        UserError: there is no GPU or no such package.
    """
    if config.attention != "flash":
        return
    if device.type != "cuda":
        raise UserError("encoder.attention: flash needs a GPU, and this run has none; use auto, sdpa or eager")
    if importlib.util.find_spec("flash_attn") is None:
        raise UserError(
            "encoder.attention: flash needs the package flash_attn, which is not installed here; use auto or sdpa"
        )
    model: PreTrainedModel = encoder.model
    try:
        model.set_attn_implementation(_FLASH)
    except (ImportError, ValueError) as error:
        raise UserError(f"encoder.attention: {first_line(error)}") from None
    # It reads which tokens are real, not what is added to scores.
    encoder.takes_ready_mask = False
