"""What a combination inside groups of tasks cannot be."""

from collections.abc import Sequence

from multitask.config.combination import BetweenGroups, CombinationConfig
from multitask.config.combination.base import GradientMethod

# What the groups' combinations have in common with the one between them.
_OF_BOTH = ("granularity", "scope", "every")


def check_inside(between: BetweenGroups, inside: CombinationConfig) -> None:
    """`inside` can weigh the tasks of each of the groups of `between`.

    Raises:
        ValueError: it cannot.
    """
    name = f"combination.inside.name={inside.name}"
    if between.groups is None:
        raise ValueError("combination.inside acts inside combination.groups, which are not given")
    if all(len(group) == 1 for group in between.groups):
        raise ValueError("combination.inside has nothing to weigh: every one of combination.groups is a single task")
    if inside.ABOUT.kind == "coordinates":
        raise ValueError(
            f"{name} merges coordinates: no weights of the tasks give the inner products of what it makes, which "
            f"combination.name={between.name} reads"
        )
    if isinstance(inside, GradientMethod) and inside.groups is not None:
        raise ValueError("combination.inside.groups: groups are not divided again")
    for key in _OF_BOTH:
        field = type(inside).model_fields.get(key)
        if field is not None and getattr(inside, key) != field.default:
            raise ValueError(
                f"combination.inside.{key}: what holds between the groups holds inside; set combination.{key}"
            )
    if inside.name == "pcd":
        raise ValueError(f"{name} has one primary task, and the groups without it would have none")
    granularity = getattr(between, "granularity", "encoder")
    if inside.name == "gradnorm" and granularity != "encoder":
        raise ValueError(f"{name} weighs whole losses, but combination.granularity={granularity}")
    _check_groups(between.groups, inside)


def _check_groups(groups: Sequence[Sequence[str]], inside: CombinationConfig) -> None:
    preference = getattr(inside, "preference", None)
    for group in groups:
        if preference is not None and not any(preference.get(task, 1) for task in group):
            raise ValueError(f"combination.inside.preference is 0 for all of {', '.join(group)}")
        if isinstance(inside, GradientMethod) and len(group) > 1:
            check_number("combination.inside", inside, len(group))


def check_number(key: str, combination: GradientMethod, gradients: int) -> None:
    """The method at `key` can combine so many gradients."""
    least, bound = combination.least_gradients, combination.BOUND_BY
    if gradients < least:
        raise ValueError(
            f"{key}.{bound}={getattr(combination, bound)} takes {least} gradients or more, not {gradients}"
        )
