"""What of a model decides what a step costs: names and sizes of its parameters, and what a pass through its encoder takes."""

from collections.abc import Mapping
from dataclasses import dataclass

from multitask.combination.base import Granularity
from multitask.combination.blocks import Blocks
from multitask.config import RunConfig
from multitask.model import PassCost, outline_model, pass_cost
from multitask.optimization import parameter_groups


@dataclass(frozen=True)
class WordTable:
    """A token embedding whose gradient is sent as rows: its parameter's name and its width; `padding`: the id without a gradient."""

    name: str
    width: int
    padding: int


@dataclass(frozen=True)
class ModelShape:
    """`groups`: per parameter group of the optimizer, name to number of elements. `dense`: the trained shared parameters whose
    gradients are sent whole; `words`: the token embedding's, None where it is among `dense`. `heads`: task to its own parameters.
    `whole`: elements of all parameters, trained or not; `blocks`: of the
    shared ones that have a Gramian each. `cost`: of a pass through the encoder.
    """

    groups: tuple[Mapping[str, int], ...]
    dense: tuple[str, ...]
    words: WordTable | None
    heads: Mapping[str, tuple[str, ...]]
    whole: int
    blocks: int
    cost: PassCost

    @property
    def trained(self) -> int:
        """Elements of all trained parameters."""
        return sum(sum(group.values()) for group in self.groups)

    def elements(self, names: tuple[str, ...]) -> int:
        """Elements of these parameters."""
        wanted = set(names)
        return sum(size for group in self.groups for name, size in group.items() if name in wanted)


def model_shape(config: RunConfig, granularity: Granularity) -> ModelShape:
    """The shape of the model of `config`, from its encoder's config.json alone.

    `granularity`: of the combination's blocks.

    Raises:
        UserError: no encoder is described at `encoder.name`.
    """
    model = outline_model(config)
    embedding = model.token_embedding()
    words = None
    if embedding is not None:
        name, table = embedding
        words = WordTable(name, table.embedding_dim, -1 if table.padding_idx is None else table.padding_idx)
    shared = list(model.shared_parameters())
    return ModelShape(
        groups=tuple(
            {name: p.numel() for name, p in zip(group["names"], group["params"], strict=True)}
            for group in parameter_groups(model, config)
        ),
        dense=tuple(name for name in shared if words is None or name != words.name),
        words=words,
        heads={task: tuple(model.head_parameters(task)) for task in model.heads},
        whole=sum(p.numel() for p in model.parameters()),
        blocks=Blocks(shared, granularity, model.layer_of).number,
        cost=pass_cost(model.encoder),
    )
