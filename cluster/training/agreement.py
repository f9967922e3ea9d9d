"""Errors that one rank meets, told on all of them."""

from collections.abc import Callable
from typing import TypeVar

import torch.distributed as dist

from multitask.errors import UserError

T = TypeVar("T")


def on_every_rank(action: Callable[[], T]) -> T:
    """Run `action` on every rank; where one raises a `UserError`, all do.

    Otherwise the others would wait for it in their next collective.
    """
    result, problem = None, None
    try:
        result = action()
    except UserError as error:
        problem = str(error)
    problems: list[str | None] = [None] * dist.get_world_size()
    dist.all_gather_object(problems, problem)
    for found in problems:
        if found is not None:
            raise UserError(found)
    return result  # type: ignore[return-value]


def from_rank_zero(action: Callable[[], T]) -> T:
    """Run `action` on rank 0 only and give its (picklable) result, or its `UserError`, to all."""
    box: list[object] = [None, None]
    if dist.get_rank() == 0:
        try:
            box = [action(), None]
        except UserError as error:
            box = [None, str(error)]
    dist.broadcast_object_list(box, src=0)
    if box[1] is not None:
        raise UserError(str(box[1]))
    return box[0]  # type: ignore[return-value]
