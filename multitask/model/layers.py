"""Which layer of an encoder a parameter lies in, counted from below."""

from torch import nn
from transformers import PreTrainedModel


def encoder_layers(model: PreTrainedModel) -> tuple[str, nn.ModuleList]:
    """Name and modules of the layers that hidden states pass one after the other, the lowest first.

    The layers are the longest list of modules, the outermost of several; an ALBERT, whose layers are one, has one.
    """
    lists = [(name, module) for name, module in model.named_modules() if isinstance(module, nn.ModuleList)]
    return max(lists, key=lambda found: len(found[1]), default=("", nn.ModuleList()))


def layer_numbers(model: PreTrainedModel) -> dict[str, int]:
    """Name of each parameter of an encoder of n layers to its layer.

    0: embeddings and whatever else comes before the first layer; 1 … n: the layers; n + 1: what comes after.
    """
    prefix, layers = encoder_layers(model)
    embeddings = {name for name, module in model.named_modules() if isinstance(module, nn.Embedding)}
    numbers, outside = {}, 0
    for name, _ in model.named_parameters():
        if layers and name.startswith(f"{prefix}."):
            numbers[name] = int(name.removeprefix(f"{prefix}.").split(".")[0]) + 1
            outside = len(layers) + 1
        else:
            # Tables of relative positions are declared after the layers that read them.
            numbers[name] = 0 if name.rpartition(".")[0] in embeddings else outside
    return numbers
