"""Where the gradient of each parameter lies between its ranks."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from torch import nn

from cluster.step.token_exchange import TokenExchange
from cluster.zero.engine import Engine
from cluster.zero.partition import Fragment, Partition
from multitask.model import EmbeddingTap


class Place(NamedTuple):
    """A part of a parameter: `fragment`, which `owner` owns, lies from element `position` of the owner's segment on."""

    owner: int
    fragment: Fragment
    position: int


class Layout:
    """Where each parameter lies in every owner's segment of a gradient.

    A gradient of some parameters is flattened in owner-major order: first all that rank 0 owns, then rank 1, …
    `segments`: elements by owner; `places`: parameter to the parts that its owners hold.
    """

    def __init__(self, names: Sequence[str], partition: Partition) -> None:
        self.segments: list[int] = []
        self.places: dict[str, list[Place]] = {name: [] for name in names}
        for owner, owned in enumerate(partition.owned):
            position = 0
            for name in names:
                if name in owned:
                    self.places[name].append(Place(owner, owned[name], position))
                    position += owned[name].size
            self.segments.append(position)

    def owned_by(self, rank: int) -> list[tuple[str, Place]]:
        """The parts that `rank` owns, with their parameters."""
        return [(name, place) for name, places in self.places.items() for place in places if place.owner == rank]

    def parts_of(self, rank: int) -> list[tuple[str, int, int]]:
        """Parameter, first element and number of elements of each part of `rank`'s segment."""
        return [(name, position, fragment.size) for name, (_, fragment, position) in self.owned_by(rank)]


@dataclass(frozen=True)
class TrainedParameters:
    """What a step trains, name to parameter: what tasks share, and each task's own.

    `tap`: where the token embedding is trained; its weight, `tap_name`, is then not among `shared`.
    """

    shared: Mapping[str, nn.Parameter]
    heads: Mapping[str, Mapping[str, nn.Parameter]]
    tap: EmbeddingTap | None
    tap_name: str | None


class StepLayout:
    """Where the gradients of what a step trains lie; another one only where layers are frozen or unfrozen.

    `trained`: the parameters; `shared`, `heads`: their layouts; `embedding`: name of the token embedding's weight, whose
    gradient goes its own way by `tokens`; both None where it has no tap.
    """

    def __init__(
        self, engine: Engine, shared: Mapping[str, nn.Parameter], tap: EmbeddingTap | None, lowest_layer: int
    ) -> None:
        model, partition = engine.model, engine.partition
        for name, parameter in shared.items():
            parameter.requires_grad_(model.layer_of(name) >= lowest_layer)
        embedding = model.token_embedding() if tap else None
        self.embedding = embedding[0] if embedding else None
        dense = {n: p for n, p in shared.items() if p.requires_grad and n != self.embedding}
        heads = {task: model.head_parameters(task) for task in model.heads}
        self.trained = TrainedParameters(dense, heads, tap if embedding else None, self.embedding)
        self.shared = Layout(list(dense), partition)
        self.heads = Layout([name for head in heads.values() for name in head], partition)
        self.tokens: TokenExchange | None = None
        if embedding:
            name, module = embedding
            self.tokens = TokenExchange([owned.get(name) for owned in partition.owned], module.embedding_dim)

    def own_heads(self, rank: int, tasks: Sequence[str]) -> list[tuple[int, int, int]]:
        """Number among `tasks`, first element and number of elements of the parts of their heads that `rank` owns."""
        parts = self.heads.parts_of(rank)
        owners = {name: task for task, head in self.trained.heads.items() for name in head}
        return [(tasks.index(owners[name]), at, size) for name, at, size in parts if owners[name] in tasks]

    def head_factors(self, of_tasks: Mapping[str, float]) -> dict[str, float]:
        """Parameter of a head to its task's factor."""
        return {name: factor for task, factor in of_tasks.items() for name in self.trained.heads[task]}
