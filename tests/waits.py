"""Where a step waits for the device: counted on tensors of the CPU, by what is done to them.

On a GPU `.item()`, a copy to the host, and whatever's shape depends on data make the host wait. Here the device is the CPU too, so
a tensor is taken for one of the device if it is one of those that are given, or was made of such.
"""

import traceback
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

# Their results' shapes, or what Python is told, depend on the data.
_OPERATIONS = (
    "_local_scalar_dense",
    "bincount",
    "equal",
    "is_nonzero",
    "masked_select",
    "nonzero",
    "repeat_interleave.Tensor",
    "unique_consecutive",
    "unique_dim",
    "_unique",
    "_unique2",
)
_INDEXING = ("index.Tensor", "index_put", "index_put_", "_index_put_impl_", "_unsafe_index")
# Read on a CPU without an operation of torch's.
_METHODS = (Tensor.cpu, Tensor.tolist, Tensor.numpy, Tensor.__array__, Tensor.new_tensor, Tensor.new)
_FROM_PYTHON = (torch.tensor, torch.as_tensor)


class Waits:
    """Inside `watching`, `found` gathers what would wait, with the line of ours that does it."""

    def __init__(self, device_tensors: Iterable[Tensor]) -> None:
        self.found: list[str] = []
        self.reads = 0
        self._paused = False
        # The storages are kept, so that no other takes their place.
        self._storages: dict[int, Any] = {}
        for tensor in device_tensors:
            self.take(tensor)

    def take(self, tensor: Tensor) -> Tensor:
        """`tensor`, from here on one of the device."""
        storage = tensor.untyped_storage()
        self._storages[storage._cdata] = storage
        return tensor

    def has(self, value: object) -> bool:
        """Whether `value` is a tensor of the device."""
        return isinstance(value, Tensor) and value.untyped_storage()._cdata in self._storages

    def read(self, tensor: Tensor) -> Tensor:
        """Stands in for the read that a step may do: counted, and a tensor of the host."""
        self.reads += 1
        with self.paused():
            return tensor.detach().clone()

    @contextmanager
    def paused(self) -> Iterator[None]:
        """Inside, nothing is looked at."""
        before, self._paused = self._paused, True
        try:
            yield
        finally:
            self._paused = before

    @contextmanager
    def watching(self) -> Iterator[None]:
        """Inside, everything is looked at."""
        with _Functions(self), _Operations(self):
            yield

    def note(self, what: str) -> None:
        """Take down `what`, with the innermost lines outside of torch."""
        frames = [
            f for f in traceback.extract_stack() if "/torch/" not in f.filename and not f.filename.endswith("/waits.py")
        ]
        lines = [f"{f.filename.rpartition('/')[2]}:{f.lineno}" for f in frames[-4:]]
        self.found.append(f"{what} ({' > '.join(lines)})")

    def on_operation(self, func: Any, arguments: tuple[Any, ...], named: Mapping[str, Any]) -> Any:
        """An operation of torch's."""
        result = func(*arguments, **named)
        if self._paused:
            return result
        inputs = tree_leaves((arguments, dict(named)))
        if any(self.has(value) for value in inputs):
            name = str(func).removeprefix("aten.")
            if name in _OPERATIONS or name.removesuffix(".default") in _OPERATIONS:
                self.note(name)
            if name.removesuffix(".default") in _INDEXING and any(
                isinstance(i, Tensor) and i.dtype in (torch.bool, torch.uint8) for i in arguments[1] or ()
            ):
                self.note(f"{name} by a mask")
            for value in tree_leaves(result):
                if isinstance(value, Tensor):
                    self.take(value)
        return result


class _Operations(TorchDispatchMode):
    def __init__(self, waits: Waits) -> None:
        super().__init__()
        self._waits = waits

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        return self._waits.on_operation(func, args, kwargs or {})


class _Functions(TorchFunctionMode):
    def __init__(self, waits: Waits) -> None:
        super().__init__()
        self._waits = waits

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Any,
        args: tuple[Any, ...] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        named = kwargs or {}
        waits = self._waits
        if not waits._paused:
            if func in _METHODS and waits.has(args[0]):
                waits.note(func.__name__)
            if func in _FROM_PYTHON and named.get("device") is not None:
                waits.note(f"{func.__name__} onto the device")
        return func(*args, **named)
