"""Modules by task."""

from collections.abc import Iterator, Mapping

from torch import nn


class ModulesByTask(nn.Module):
    """A task's name to its module, with the names of parameters that `nn.ModuleDict` gives.

    That refuses names which are attributes of a module, such as `type` and `values`.
    """

    def __init__(self, modules: Mapping[str, nn.Module]) -> None:
        super().__init__()
        self._modules.update(modules)

    def __setattr__(self, name: str, value: object) -> None:
        # What torch notes here, such as `training`, is no task of this name.
        object.__setattr__(self, name, value)

    def __getitem__(self, task: str) -> nn.Module:
        module = self._modules[task]
        assert module is not None
        return module

    def __iter__(self) -> Iterator[str]:
        return iter(self._modules)

    def __len__(self) -> int:
        return len(self._modules)
