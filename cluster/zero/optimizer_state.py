"""What an optimizer keeps beside the weights: named tensors and numbers that can be saved and put back on another cut.

Names: `<group>/<key>` for what lies beside the flat shard of a group, `whole/<parameter>/<key>` for what belongs to a whole
tensor, `<group>#<key>` for numbers of a group, such as its step count; `@<task>` behind each where a task has moments
of its own (`optimizer.per_task`).
"""

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

import torch
from torch import Tensor

from cluster.zero.partition import Fragment, Partition
from cluster.zero.whole_tensors import WholeTensorOptimizer

Number = float | int


class Moments(NamedTuple):
    """What an optimizer keeps of one group: tensors beside its shard, and numbers such as its step count."""

    state: dict[str, Any]
    counters: dict[str, Number]


class OptimizerState(ABC):
    """Saves and restores an optimizer's moments and counters; `select` changes between those of tasks."""

    @abstractmethod
    def select(self, task: str | None) -> None:
        """Let the next step use the moments of this task; None where all tasks share them."""

    @abstractmethod
    def entries(self) -> Iterator[tuple[str, Any]]:
        """Name and value of all that is kept."""

    @abstractmethod
    def restore_same_cut(self, values: Mapping[str, Any]) -> None:
        """Take over the entries of a shard that was cut as this rank's is."""

    @abstractmethod
    def restore_overlap(self, values: Mapping[str, Any], name: str, source: Fragment, target: Fragment) -> None:
        """Take over what the shard of another cut keeps of a parameter of which both hold a part."""

    @abstractmethod
    def wants_whole(self, entry: str) -> bool:
        """Whether `restore_whole` takes over the entry of this name."""

    @abstractmethod
    def restore_whole(self, values: Mapping[str, Any]) -> None:
        """Take over what any shard keeps of whole tensors that this rank steps."""

    @abstractmethod
    def finish_restore(self) -> None:
        """Called on all ranks when weights and moments have been restored."""


class FlatState(OptimizerState):
    """The moments of an optimizer that steps flat shards."""

    def __init__(self, optimizer: torch.optim.Optimizer, partition: Partition) -> None:
        self._optimizer, self._masters = optimizer, partition.masters
        self._fixed = [frozenset(group) | {"idle"} for group in optimizer.param_groups]
        self._task: str | None = None
        # Task to the moments of each group, of all tasks but the selected one.
        self._idle: dict[str | None, list[Moments]] = {}

    def select(self, task: str | None) -> None:
        if task == self._task:
            return
        self._idle[self._task] = [self._put_away(group) for group in range(len(self._masters))]
        for group, (state, counters) in enumerate(self._idle.pop(task, [])):
            self._optimizer.state[self._masters[group]] = state
            self._optimizer.param_groups[group].update(counters)
        self._task = task

    def entries(self) -> Iterator[tuple[str, Any]]:
        for group, master in enumerate(self._masters):
            yield from _named(group, self._task, self._optimizer.state.get(master, {}), self._counters(group))
        for task, groups in self._idle.items():
            for group, (state, counters) in enumerate(groups):
                yield from _named(group, task, state, counters)

    def restore_same_cut(self, values: Mapping[str, Any]) -> None:
        for name, value in values.items():
            place, task = _split(name)
            self.select(task)
            if "#" in place:
                self._set_counter(place, value)
            else:
                group, key = place.split("/")
                master = self._masters[int(group)]
                self._optimizer.state[master][key] = self._placed(value, int(group))

    def restore_overlap(self, values: Mapping[str, Any], name: str, source: Fragment, target: Fragment) -> None:
        master = self._masters[target.group]
        for entry, value in values.items():
            place, task = _split(entry)
            group, _, key = place.replace("#", "/").partition("/")
            if int(group) != source.group:
                continue
            self.select(task)
            if "#" in place:
                self._set_counter(f"{target.group}#{key}", value)
            elif isinstance(value, Tensor) and value.dim():
                state = self._optimizer.state[master]
                if key not in state:
                    state[key] = torch.zeros_like(master, dtype=value.dtype)
                copy_overlap(value, source, state[key], target)
            else:
                self._optimizer.state[master][key] = self._placed(value, target.group)

    def _placed(self, value: Any, group: int) -> Any:
        """A copy of `value` where the optimizer wants it: step counts stay on the CPU but for fused kernels."""
        if not isinstance(value, Tensor):
            return value
        device = self._masters[group].device
        fused = bool(self._optimizer.param_groups[group].get("fused"))
        return value.to(device, copy=True) if value.dim() or fused else value.clone()

    def wants_whole(self, entry: str) -> bool:
        return False

    def restore_whole(self, values: Mapping[str, Any]) -> None:
        """Nothing: moments are cut as the weights are."""

    def finish_restore(self) -> None:
        """Nothing: the shards are the weights that are stepped."""

    def _put_away(self, group: int) -> Moments:
        counters = self._counters(group)
        for key in counters:
            del self._optimizer.param_groups[group][key]
        return Moments(dict(self._optimizer.state.pop(self._masters[group], {})), counters)

    def _counters(self, group: int) -> dict[str, Number]:
        values = self._optimizer.param_groups[group]
        return {key: value for key, value in values.items() if key not in self._fixed[group]}

    def _set_counter(self, place: str, value: Number) -> None:
        group, key = place.split("#")
        self._optimizer.param_groups[int(group)][key] = value


class WholeTensorState(OptimizerState):
    """The moments of an optimizer that steps whole tensors; they lie with the rank that steps them."""

    def __init__(self, optimizer: WholeTensorOptimizer) -> None:
        self._optimizer = optimizer
        self._groups = {n: group["number"] for group in optimizer.param_groups for n in group["names"]}

    def select(self, task: str | None) -> None:
        self._optimizer.task = task

    def entries(self) -> Iterator[tuple[str, Any]]:
        for (task, group), inner in self._optimizer.made.items():
            fixed = self._optimizer.options_of(task, group)
            for key, value in inner.param_groups[0].items():
                if key not in fixed:
                    yield _join(f"{group}#{key}", task), value
            for name in self._optimizer.mine(group):
                for key, value in inner.state.get(self._optimizer.weights[name], {}).items():
                    yield _join(f"whole/{name}/{key}", task), value

    def restore_same_cut(self, values: Mapping[str, Any]) -> None:
        for entry, value in values.items():
            place, task = _split(entry)
            if "#" in place:
                group, key = place.split("#")
                if self._optimizer.mine(int(group)):
                    self._optimizer.inner(task, int(group)).param_groups[0][key] = value
                continue
            name, key = _whole_name(place)
            if name in self._optimizer.weights:
                weight = self._optimizer.weights[name]
                inner = self._optimizer.inner(task, self._groups[name])
                device_value = value.to(weight.device) if isinstance(value, Tensor) and value.dim() else value
                inner.state[weight][key] = _copied(device_value)

    def restore_overlap(self, values: Mapping[str, Any], name: str, source: Fragment, target: Fragment) -> None:
        """Nothing: moments are kept whole."""

    def wants_whole(self, entry: str) -> bool:
        return _whole_name(_split(entry)[0])[0] in self._optimizer.weights

    def restore_whole(self, values: Mapping[str, Any]) -> None:
        self.restore_same_cut(values)

    def finish_restore(self) -> None:
        self._optimizer.refresh()


def copy_overlap(values: Tensor, source: Fragment, into: Tensor, target: Fragment) -> None:
    """Copy the elements of a parameter that both fragments hold from one flat shard into another."""
    low, high = max(source.start, target.start), min(source.start + source.size, target.start + target.size)
    if low < high:
        begin = target.offset + low - target.start
        part = values[source.offset + low - source.start : source.offset + high - source.start]
        into[begin : begin + high - low].copy_(part)


def _named(
    group: int, task: str | None, state: Mapping[str, Any], counters: Mapping[str, Number]
) -> Iterator[tuple[str, Any]]:
    for key, value in state.items():
        yield _join(f"{group}/{key}", task), value
    for key, number in counters.items():
        yield _join(f"{group}#{key}", task), number


def _join(place: str, task: str | None) -> str:
    return place if task is None else f"{place}@{task}"


def _split(name: str) -> tuple[str, str | None]:
    place, _, task = name.partition("@")
    return place, task or None


def _whole_name(place: str) -> tuple[str, str]:
    name, key = place.removeprefix("whole/").rsplit("/", 1)
    return name, key


def _copied(value: Any) -> Any:
    return value.clone() if isinstance(value, Tensor) else value
