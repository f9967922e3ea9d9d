"""Which parameters are stepped together."""

from collections.abc import Iterable
from typing import Any

from torch import nn

from multitask.config import RunConfig
from multitask.config.training import LibraryOptimizer, OptimizerConfig
from multitask.model import MultitaskModel
from multitask.optimization.library import adamw_rate

# No task can be called so.
SHARED = "(shared)"


def parameter_groups(model: MultitaskModel, config: RunConfig) -> list[dict[str, Any]]:
    """Groups of trainable parameters: shared ones and each task's own, each with and without weight decay.

    Biases and normalisation weights (everything with fewer than two dimensions) are not decayed. The word embedding is alone: ZeRO
    cuts each group into equal parts, so that no rank owns mostly words, of which few travel, and another the layers. A group's `owner` is
    `SHARED` or the task whose own it is, `layer` the lowest layer in it (`MultitaskModel.layer_of`), `lr_scale` the factor
    of its learning rate: layerdecay^(n + 1 − layer) (Clark et al. 2020, ELECTRA, section 3.1). `names`: of its parameters.
    """
    owners = {SHARED: model.shared_parameters()} | {task: model.head_parameters(task) for task in model.heads}
    words = model.token_embedding()
    groups: dict[tuple, dict[str, Any]] = {}
    for owner, parameters in owners.items():
        for name, parameter in parameters.items():
            key, group = _group_of(model, config, owner, name, parameter)
            key = (*key, words is not None and name == words[0])
            own = groups.setdefault(key, {"params": [], "names": [], **group})
            own["params"].append(parameter)
            own["names"].append(name)
            own["layer"] = min(own["layer"], model.layer_of(name))
    ordered = [groups[key] for key in sorted(groups, key=lambda key: (list(owners).index(key[0]), *key[1:]))]
    return [{**group, "number": number} for number, group in enumerate(ordered)]


def _group_of(
    model: MultitaskModel, config: RunConfig, owner: str, name: str, parameter: nn.Parameter
) -> tuple[tuple, dict[str, Any]]:
    optimizer = config.optimizer
    layer, top = model.layer_of(name), model.number_of_layers + 1
    apart = optimizer.layer_decay < 1 or any(phase.encoder == "gradual" for phase in config.phases)
    decayed = parameter.dim() > 1
    group: dict[str, Any] = {
        **_decay(optimizer, optimizer.weight_decay if decayed else 0.0),
        "owner": owner,
        "layer": layer,
        "lr_scale": optimizer.layer_decay ** (top - layer),
    }
    hidden = False
    if isinstance(optimizer, LibraryOptimizer) and (rate := adamw_rate(optimizer)) is not None:
        # Muon is for the matrices between hidden states; embeddings, heads and vectors go by its AdamW.
        hidden = parameter.dim() == 2 and 0 < layer < top and owner == SHARED
        group["use_muon"] = hidden
        if not hidden:
            group["lr_scale"] *= rate / optimizer.lr
    return (owner, layer if apart else 0, not decayed, not hidden), group


def _decay(optimizer: OptimizerConfig, amount: float) -> dict[str, float]:
    """Weight decay as the optimizer's class does it, or beside its update (`ActiveGroups`)."""
    if isinstance(optimizer, LibraryOptimizer) and optimizer.decay == "decoupled":
        return {"weight_decay": 0.0, "decay": amount}
    return {"weight_decay": amount}


def set_rates(groups: Iterable[dict[str, Any]], lr: float, tasks: Iterable[str], lowest_layer: int = 0) -> None:
    """Ready `groups` for a step of `tasks` at rate `lr`: each gets its share of the rate, and is `idle` or not.

    Idle, and so left alone by the optimizer, are what other tasks own and shared layers below `lowest_layer`.
    """
    owners = {SHARED, *tasks}
    for group in groups:
        group["lr"] = lr * group["lr_scale"]
        frozen = group["owner"] == SHARED and group["layer"] < lowest_layer
        group["idle"] = frozen or group["owner"] not in owners
