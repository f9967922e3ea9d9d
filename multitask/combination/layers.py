"""Where in the encoder tasks are at odds."""

from collections.abc import Callable, Iterable

from torch import Tensor

from multitask.combination.blocks import Blocks
from multitask.layer_names import layer_name


class Layers:
    """The shared parameters by layer; `names`: of the layers that there are, in the order of `blocks`.

    `every`: steps between two looks at the gradients in each; none if None.
    """

    def __init__(
        self, names: Iterable[str], layer_of: Callable[[str], int], number: int, every: int | None = None
    ) -> None:
        """`number`: of the encoder's layers; `layer_of`: 0 what comes before them, `number` + 1 what comes after."""
        shared = list(names)
        self.blocks = Blocks(shared, "layer", layer_of)
        self.names = [layer_name(layer, number) for layer in sorted({layer_of(name) for name in shared})]
        self._every = every

    def are_due(self, step: int, groups: int) -> bool:
        """Whether a step that keeps so many gradients apart looks at them in each layer."""
        return self._every is not None and groups > 1 and step % self._every == 0

    def named(self, gramian: Tensor) -> dict[str, Tensor]:
        """Layer to its Gramian (G, G), fp32, of `gramian` (L, G, G); nothing where L is 0."""
        return dict(zip(self.names, gramian.float(), strict=True)) if len(gramian) else {}
