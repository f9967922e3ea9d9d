"""Low-rank updates of an encoder's linear layers, by `peft`."""

import copy
import difflib

from torch import nn
from transformers import PreTrainedModel

from multitask.config.model import LoRA
from multitask.errors import UserError
from multitask.model.layers import encoder_layers


def add_lora(model: PreTrainedModel, config: LoRA) -> None:
    """Put W + (alpha / rank) B A in place of each target's weight W, in place (Hu et al. 2021, section 4.1).

    B starts at 0, so that nothing changes at first. All other parameters of `model` are frozen.

    Raises:
        UserError: no linear layer inside the encoder's layers has a name that ends in one of `config.targets`.
    """
    # Only here, because importing it takes seconds.
    from peft import LoraConfig, inject_adapter_in_model

    names = [name for target in config.targets for name in _linear_layers(model, target)]
    lora = LoraConfig(
        r=config.rank,
        # peft divides whatever number it is given by the rank.
        lora_alpha=config.alpha,  # type: ignore[arg-type]
        lora_dropout=config.dropout,
        target_modules=names,
    )
    inject_adapter_in_model(lora, model)


def merge_lora(model: PreTrainedModel) -> PreTrainedModel:
    """`model` with its low-rank updates added to the weights, a plain encoder; `model` itself stays as it is."""
    if not any("lora_" in name for name, _ in model.named_parameters()):
        return model
    from peft.tuners.lora import LoraLayer

    merged = copy.deepcopy(model)
    for name, module in list(merged.named_modules()):
        if isinstance(module, LoraLayer):
            module.merge()
            merged.set_submodule(name, module.get_base_layer())
    return merged


def _linear_layers(model: PreTrainedModel, target: str) -> list[str]:
    """Full names of the linear layers inside the encoder's layers that `target` is the end of."""
    prefix, layers = encoder_layers(model)
    within = [name for name, module in layers.named_modules() if isinstance(module, nn.Linear)]
    found = [f"{prefix}.{name}" for name in within if f".{name}".endswith(f".{target}")]
    if found:
        return found
    # The number of the layer stands first.
    ends = sorted({name.split(".", 1)[1] for name in within})
    close = difflib.get_close_matches(target, ends, n=1, cutoff=0.3)
    hint = f"closest: {close[0]}; " if close else ""
    raise UserError(
        f"encoder.adapter.targets: no linear layer's name ends in {target!r}; {hint}names: {', '.join(ends)}"
    )
