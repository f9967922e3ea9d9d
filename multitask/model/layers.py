"""Which layer of an encoder a parameter lies in, counted from below."""

from collections.abc import Mapping

from torch import nn
from transformers import PreTrainedModel


def encoder_layers(model: PreTrainedModel) -> dict[str, nn.Module]:
    """Name and module of the layers that hidden states pass one after the other, the lowest first.

    They are the longest list of modules that lies in no other list; where its elements are lists, as a Funnel's blocks, the elements of
    these. An ALBERT, whose layers are one, has one.
    """
    lists = _outer_lists(model)
    return _flat(_longest(lists), lists[_longest(lists)]) if lists else {}


def layer_numbers(model: PreTrainedModel) -> dict[str, int]:
    """Name of each parameter of an encoder of n layers to its layer.

    0: embeddings and whatever else comes before the first layer; 1 … n: the layers; n + 1: what comes after.
    """
    places = _places(model)
    embeddings = {name for name, module in model.named_modules() if isinstance(module, nn.Embedding)}
    numbers, outside = {}, 0
    for name, _ in model.named_parameters():
        own = next((number for place, number in places.items() if name.startswith(place)), None)
        if own is not None:
            numbers[name] = own
            outside = max(places.values()) + 1
        else:
            # Tables of relative positions are declared after the layers that read them.
            numbers[name] = 0 if name.rpartition(".")[0] in embeddings else outside
    return numbers


def _places(model: PreTrainedModel) -> dict[str, int]:
    """How names of parameters begin, to the number of the layer that they lie in."""
    lists, places = _outer_lists(model), {f"{name}.": n for n, name in enumerate(encoder_layers(model), start=1)}
    # An XLM keeps the parts of its layers in several lists side by side, one element a layer.
    parent = _longest(lists).rpartition(".")[0]
    beside = [name for name, own in lists.items() if name.rpartition(".")[0] == parent and len(own) == len(places)]
    return places | {f"{name}.{at}.": at + 1 for name in beside for at in range(len(places))}


def _outer_lists(model: PreTrainedModel) -> dict[str, nn.ModuleList]:
    lists = {name: module for name, module in model.named_modules() if isinstance(module, nn.ModuleList)}
    return {name: own for name, own in lists.items() if not any(name.startswith(f"{other}.") for other in lists)}


def _longest(lists: Mapping[str, nn.ModuleList]) -> str:
    return max(lists, key=lambda name: len(lists[name]), default="")


def _flat(name: str, module: nn.Module) -> dict[str, nn.Module]:
    if not isinstance(module, nn.ModuleList):
        return {name: module}
    return {place: own for at, inner in enumerate(module) for place, own in _flat(f"{name}.{at}", inner).items()}
