"""From the host to the device that computes, without waiting for it, and back; and in what it multiplies."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor


def to_device(host: Tensor, device: torch.device) -> Tensor:
    """A tensor of the host on `device`; a GPU copies it when it comes to it, and the host goes on."""
    if device.type != "cuda":
        return host.to(device)
    return (host if host.is_pinned() else host.pin_memory()).to(device, non_blocking=True)


def to_host(there: Tensor) -> Tensor:
    """A tensor on the host, which waits until the device has computed it: a step may do so once."""
    return there.cpu()


@contextmanager
def tf32_products(wanted: bool) -> Iterator[None]:
    """Inside, where `wanted`, CUDA multiplies fp32 matrices in TF32: 8 bits of exponent, 10 of mantissa, sums in fp32."""
    if not wanted:
        yield
        return
    products = torch.backends.cuda.matmul
    before, products.fp32_precision = products.fp32_precision, "tf32"
    try:
        yield
    finally:
        products.fp32_precision = before


@contextmanager
def full_products() -> Iterator[None]:
    """Inside, fp32 matrices are multiplied in fp32, whatever this process allows elsewhere."""
    products: tuple[Any, ...] = (torch.backends.cuda.matmul, torch.backends.mkldnn.matmul)  # type: ignore[attr-defined]
    before = [own.fp32_precision for own in products]
    try:
        for own in products:
            own.fp32_precision = "ieee"
        yield
    finally:
        for own, precision in zip(products, before, strict=True):
            own.fp32_precision = precision
