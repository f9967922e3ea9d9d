"""Operations whose results do not depend on the order in which a device's threads come to them."""

import os
from collections.abc import Iterator
from contextlib import contextmanager

import torch

from multitask.errors import UserError, first_line

_WORKSPACE, _FIXED = "CUBLAS_WORKSPACE_CONFIG", ":4096:8"
# How torch's errors go on after the operation's name.
_LACKS = " does not have a deterministic implementation"


@contextmanager
def deterministic(wanted: bool) -> Iterator[None]:
    """Inside, where `wanted`, torch takes deterministic operations alone; afterwards all is as it was.

    cuBLAS reads its part of the environment at the first product on a GPU: to be entered before it.

    Raises:
        UserError: an operation inside has no deterministic implementation.
    """
    if not wanted:
        yield
        return
    cudnn, variable = torch.backends.cudnn, os.environ.get(_WORKSPACE)
    was_on, only_warned = (
        torch.are_deterministic_algorithms_enabled(),
        torch.is_deterministic_algorithms_warn_only_enabled(),
    )
    was_cudnn = cudnn.deterministic, cudnn.benchmark
    os.environ.setdefault(_WORKSPACE, _FIXED)
    torch.use_deterministic_algorithms(True)
    cudnn.deterministic, cudnn.benchmark = True, False
    try:
        with _told():
            yield
    finally:
        cudnn.deterministic, cudnn.benchmark = was_cudnn
        torch.use_deterministic_algorithms(was_on, warn_only=only_warned)
        if variable is None:
            del os.environ[_WORKSPACE]


@contextmanager
def _told() -> Iterator[None]:
    """Torch's refusals as one line."""
    try:
        yield
    except RuntimeError as error:
        line = first_line(error)
        if "use_deterministic_algorithms" not in str(error) and _WORKSPACE not in str(error):
            raise
        operation = line.partition(_LACKS)[0] if _LACKS in line else line
        raise UserError(
            f"training.deterministic: {operation} has no deterministic implementation on this device; leave it out"
            if _LACKS in line
            else f"training.deterministic: {line}"
        ) from error
