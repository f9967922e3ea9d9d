"""What a step did."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from torch import Tensor


@dataclass(frozen=True)
class StepResult:
    """What a step did, the same on every rank.

    `losses`: task to mean of its own loss over its global batch; `terms`: `<regularization>/<task>` to the mean of what
    it adds. `weights`: task to the factor of its gradient, and `norm` of the combined gradient with the heads', both before
    clipping; the norm may lie on the device still. `groups` and `gramian` (G, G), fp32 on the CPU: the task groups that have a gradient each, and their Gramian;
    None where there is one group. `layers`: name of a layer to the Gramian (G, G) in it, where the step looked. `fell_back`: whether the combination found no weights, so that the sum stands in. `applied`: False where a loss or gradient was not finite; then `culprits` names the tasks,
    and `overflowed` says that a loss scale may be to blame. `loss_scale`: of this step, None where there is none.
    """

    losses: dict[str, float]
    terms: dict[str, float]
    weights: dict[str, float]
    groups: tuple[tuple[str, ...], ...]
    gramian: Tensor | None
    norm: float | Tensor
    tokens: int
    slots: int
    extra_tokens: int
    applied: bool
    culprits: tuple[str, ...] = ()
    fell_back: bool = False
    overflowed: bool = False
    loss_scale: float | None = None
    layers: Mapping[str, Tensor] = field(default_factory=dict)
