"""A few numbers, one for each task, that an Adam of their own learns."""

import torch
from torch import Tensor


class LearnedNumbers:
    """fp64 numbers (K,), all the same at the start, and the Adam that moves them."""

    def __init__(self, size: int, lr: float, *, start: float = 0.0, decay: float = 0.0) -> None:
        self.values = torch.full((size,), start, dtype=torch.float64)
        self._first, self._second = torch.zeros_like(self.values), torch.zeros_like(self.values)
        self._steps = torch.zeros_like(self.values)
        self._lr, self._decay = lr, decay

    def follow(self, gradient: Tensor, at: list[int]) -> None:
        """One step of Adam against `gradient` (k,) of the numbers `at`; the others, and their moments, stay as they are."""
        gradient = gradient.double() + self._decay * self.values[at]
        self._steps[at] += 1
        self._first[at] = 0.9 * self._first[at] + 0.1 * gradient
        self._second[at] = 0.999 * self._second[at] + 0.001 * gradient.square()
        first = self._first[at] / (1 - 0.9 ** self._steps[at])
        second = self._second[at] / (1 - 0.999 ** self._steps[at])
        self.values[at] -= self._lr * first / (second.sqrt() + 1e-8)

    def state_dict(self) -> dict[str, Tensor]:
        """Numbers, moments and counts."""
        return {"values": self.values, "first": self._first, "second": self._second, "steps": self._steps}

    def load_state_dict(self, state: dict[str, Tensor]) -> None:
        """Take over `state_dict()` of an earlier run."""
        for own, key in (
            (self.values, "values"),
            (self._first, "first"),
            (self._second, "second"),
            (self._steps, "steps"),
        ):
            own.copy_(state[key])


def numbers(tasks: tuple[str, ...], of: tuple[str, ...]) -> list[int]:
    """Where each of `of` lies among `tasks`."""
    return [tasks.index(task) for task in of]
