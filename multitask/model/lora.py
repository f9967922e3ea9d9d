"""Low-rank updates of an encoder's linear layers, by `peft`."""

import copy
import difflib

from torch import nn
from transformers import PreTrainedModel
from transformers.pytorch_utils import Conv1D

from multitask.config.model import LoRA
from multitask.errors import UserError
from multitask.model.layers import encoder_layers

# What the projections to queries and values are called, by family; one layer gives both where there is one name.
_QUERIES_AND_VALUES = (
    ("query", "value"),
    ("query_proj", "value_proj"),
    ("q_proj", "v_proj"),
    ("q_lin", "v_lin"),
    ("q_head", "v_head"),
    ("q", "v"),
    ("Wqkv",),
    ("qkv_proj",),
    ("query_key_value",),
    ("in_proj",),
    ("c_attn",),
)


def add_lora(model: PreTrainedModel, config: LoRA) -> None:
    """Put W + (alpha / rank) B A in place of each target's weight W, in place (Hu et al. 2021, section 4.1).

    B starts at 0, so that nothing changes at first. All other parameters of `model` are frozen.

    Raises:
        UserError: no linear layer inside the encoder's layers has a name that ends in one of `config.targets`, or none has the name
            of a projection to queries or values where there are no targets.
    """
    # Only here, because importing it takes seconds.
    from peft import LoraConfig, inject_adapter_in_model

    targets = config.targets or lora_targets(model)
    names = [name for target in targets for name in _linear_layers(model, target)]
    lora = LoraConfig(
        r=config.rank,
        # peft divides whatever number it is given by the rank.
        lora_alpha=config.alpha,  # type: ignore[arg-type]
        lora_dropout=config.dropout,
        target_modules=names,
        # How peft asks for GPT-2's layers, whose weights lie the other way round.
        fan_in_fan_out=isinstance(model.get_submodule(names[0]), Conv1D),
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


def lora_targets(model: PreTrainedModel) -> tuple[str, ...]:
    """Ends of the names of the linear layers that give queries and values.

    Raises:
        UserError: there are none of a name that is known.
    """
    within = _ends(model)
    for names in _QUERIES_AND_VALUES:
        if all(any(_ends_in(end, name) for end in within) for name in names):
            return names
    kind = model.config.model_type
    if not within:
        raise UserError(f"encoder.adapter: lora adapts linear layers, and those of a {kind} have none")
    raise UserError(
        f"encoder.adapter.targets: say which linear layers of a {kind} are adapted; names: {', '.join(within)}"
    )


def _linear_layers(model: PreTrainedModel, target: str) -> list[str]:
    """Full names of the linear layers inside the encoder's layers that `target` is the end of."""
    found = [f"{place}.{name}" for place, name in _within(model) if _ends_in(f"{place}.{name}", target)]
    if found:
        return found
    ends = _ends(model)
    close = difflib.get_close_matches(target, ends, n=1, cutoff=0.3)
    hint = f"closest: {close[0]}; " if close else ""
    raise UserError(
        f"encoder.adapter.targets: no linear layer's name ends in {target!r}; {hint}names: {', '.join(ends)}"
    )


def _within(model: PreTrainedModel) -> list[tuple[str, str]]:
    """Name of the layer, and of the linear layer inside, of all linear layers of the encoder's layers."""
    return [
        (place, name)
        for place, layer in encoder_layers(model).items()
        for name, module in layer.named_modules()
        if isinstance(module, nn.Linear | Conv1D)
    ]


def _ends(model: PreTrainedModel) -> list[str]:
    return sorted({name for _, name in _within(model)})


def _ends_in(name: str, target: str) -> bool:
    return f".{name}".endswith(f".{target}")
