"""A safetensors file that is put together in memory, in the same place each time: what is copied there is what is written."""

import json
from collections.abc import Mapping

import torch
from torch import Tensor

# As safetensors orders them, so that every tensor begins at a multiple of its elements' size: the widest first.
TYPE_NAMES = {
    torch.uint64: "U64",
    torch.int64: "I64",
    torch.float64: "F64",
    torch.complex64: "C64",
    torch.float32: "F32",
    torch.uint32: "U32",
    torch.int32: "I32",
    torch.bfloat16: "BF16",
    torch.float16: "F16",
    torch.uint16: "U16",
    torch.int16: "I16",
    torch.float8_e4m3fn: "F8_E4M3",
    torch.float8_e5m2: "F8_E5M2",
    torch.int8: "I8",
    torch.uint8: "U8",
    torch.bool: "BOOL",
}
_RANKS = {dtype: rank for rank, dtype in enumerate(TYPE_NAMES)}


class TensorFile:
    """The memory of one file. It is kept, since pages that the kernel has to find first cost more than what is copied to them.

    `pinned`: a GPU copies there without stopping the CPU.
    """

    def __init__(self, *, pinned: bool = False) -> None:
        self._pinned = pinned
        self._memory = torch.empty(0, dtype=torch.uint8)

    def fill(self, tensors: Mapping[str, Tensor], metadata: Mapping[str, str] | None = None) -> memoryview:
        """The file of `tensors`, byte for byte as `safetensors.torch.save` gives it; it holds until the next call."""
        order = sorted(tensors, key=lambda name: (_RANKS[tensors[name].dtype], name))
        header, starts = _header({name: tensors[name] for name in order}, metadata)
        size = starts.pop()
        if len(self._memory) < size:
            # Let go first: two of them need not be held.
            self._memory = torch.empty(0, dtype=torch.uint8)
            self._memory = torch.empty(size, dtype=torch.uint8, pin_memory=self._pinned)
        file = self._memory[:size]
        file[: len(header)].copy_(torch.frombuffer(bytearray(header), dtype=torch.uint8))
        for name, start in zip(order, starts, strict=True):
            tensor = tensors[name].detach()
            place = file[start : start + tensor.nbytes].view(tensor.dtype).view(tensor.shape)
            place.copy_(tensor, non_blocking=self._pinned)
        if self._pinned:
            torch.cuda.current_stream().synchronize()
        return file.numpy().data


def _header(tensors: Mapping[str, Tensor], metadata: Mapping[str, str] | None) -> tuple[bytes, list[int]]:
    """Length and text of the header, and where in the file each tensor begins; last where the file ends."""
    about: dict[str, object] = {"__metadata__": dict(metadata)} if metadata else {}
    ends = [0]
    for name, tensor in tensors.items():
        ends.append(ends[-1] + tensor.nbytes)
        shape = list(tensor.shape)
        about[name] = {"dtype": TYPE_NAMES[tensor.dtype], "shape": shape, "data_offsets": ends[-2:]}
    text = json.dumps(about, ensure_ascii=False, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    header = len(text).to_bytes(8, "little") + text
    return header, [len(header) + end for end in ends]
