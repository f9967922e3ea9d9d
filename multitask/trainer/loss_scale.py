"""The factor that keeps small gradients within the range of fp16."""

import torch

from multitask.config.training import Precision

# As torch.amp.GradScaler has them.
_FIRST, _GROWTH, _BACKOFF, _INTERVAL = 2.0**16, 2.0, 0.5, 2000
_LEAST = 1.0


class LossScale:
    """What losses are multiplied with before the backward pass, and gradients are divided by before they are read.

    fp16 has no numbers between 0 and 2⁻²⁴, where many gradients lie (Micikevicius et al. 2018, section 3.2). The rules are those of
    `torch.amp.GradScaler`: a step that is not finite is left out and halves the scale, 2,000 others in a row double it. Here it does not fall
    below 1: what is not finite then is not for its sake. It is a power of two, so that no gradient loses a digit by it.

    `value`: the scale; always 1 where `precision` is not fp16.
    """

    def __init__(self, precision: Precision) -> None:
        self._moves = precision == "fp16"
        self.value = _FIRST if self._moves else 1.0
        self._good_steps = 0

    @property
    def shown(self) -> float | None:
        """The scale where it moves; None elsewhere."""
        return self.value if self._moves else None

    def follow(self, *, finite: bool) -> bool:
        """Take in whether a step was finite; True where it was not, and the scale was still to blame."""
        if not self._moves:
            return False
        if not finite:
            to_blame = self.value > _LEAST
            self.value, self._good_steps = max(_LEAST, self.value * _BACKOFF), 0
            return to_blame
        self._good_steps += 1
        if self._good_steps == _INTERVAL:
            # As GradScaler, never beyond what fp32 holds.
            grown = self.value * _GROWTH
            self.value, self._good_steps = grown if grown <= torch.finfo(torch.float32).max else self.value, 0
        return False

    def state_dict(self) -> dict[str, float]:
        """Plain values; empty where the scale does not move."""
        return {"value": self.value, "good_steps": self._good_steps} if self._moves else {}

    def load_state_dict(self, state: dict[str, float]) -> None:
        """Take over `state_dict()` of an earlier run."""
        if state:
            self.value, self._good_steps = state["value"], int(state["good_steps"])
