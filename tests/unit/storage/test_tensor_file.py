"""Tensors copied to memory as the file that safetensors writes of them."""

import pytest
import torch
from safetensors.torch import load, save
from torch import Tensor

from cluster.storage.tensor_file import TYPE_NAMES, TensorFile


def _tensors(size: int) -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(size)
    values = (100 * torch.rand(size, generator=generator)).round()
    return {f"{place}/{dtype}": values.to(dtype, copy=True) for place in (1, 0) for dtype in TYPE_NAMES}


@pytest.mark.parametrize("metadata", [None, {"concord": '{"Ämter\\n": [1, "\t\u2028"]}'}])
def test_bytes_are_those_of_safetensors(metadata: dict[str, str] | None) -> None:
    tensors = _tensors(7) | {"scalar": torch.tensor(3.5), "none": torch.zeros(0), "matrix": torch.ones(3, 5).T}
    whole = {name: value.contiguous() for name, value in tensors.items()}
    assert bytes(TensorFile().fill(tensors, metadata)) == save(whole, metadata=metadata)


def test_nothing_at_all_is_a_file_too() -> None:
    assert bytes(TensorFile().fill({})) == save({})


def test_memory_is_used_again_and_a_smaller_file_has_nothing_of_the_larger() -> None:
    memory = TensorFile()
    first = memory.fill(_tensors(1000))
    address = memory._memory.data_ptr()
    second = memory.fill(_tensors(10))
    assert memory._memory.data_ptr() == address
    assert len(second) < len(first)
    found = load(bytes(second))
    assert all(torch.equal(found[name], value) for name, value in _tensors(10).items())


def test_copy_stays_what_it_was_while_training_goes_on() -> None:
    weights = torch.arange(8.0)
    file = TensorFile().fill({"weights": weights})
    weights += 1
    assert torch.equal(load(bytes(file))["weights"], torch.arange(8.0))
