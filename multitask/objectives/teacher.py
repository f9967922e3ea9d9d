"""The running average of a model's weights."""

import copy

import torch
from torch import Tensor

from multitask.config.regularization import Bregman
from multitask.model import MultitaskModel


class Teacher:
    """A copy of a model whose trained weights follow it: θ̃ ← β θ̃ + (1 − β) θ (Jiang et al. 2020, section 2.2).

    It predicts without dropout. Made from the model before training, which takes `steps` updates, and kept whole in fp32 on
    every rank.
    """

    def __init__(self, model: MultitaskModel, config: Bregman, steps: int) -> None:
        self.model = copy.deepcopy(model).float().eval()
        self._config, self._steps = config, steps
        self._averaged = {name: p for name, p in self.model.named_parameters() if p.requires_grad}
        self.model.requires_grad_(False)

    @torch.no_grad()
    def follow(self, model: MultitaskModel, step: int) -> None:
        """Take in the model's weights after step number `step`, from 0; they must be whole."""
        weights = dict(model.named_parameters())
        momentum = self._config.momentum_at((step + 1) / self._steps)
        for name, average in self._averaged.items():
            average.lerp_(weights[name].to(average.dtype), 1 - momentum)

    def state_dict(self) -> dict[str, Tensor]:
        """The averaged weights."""
        return dict(self._averaged)

    @torch.no_grad()
    def load_state_dict(self, state: dict[str, Tensor]) -> None:
        """Take over `state_dict()` of an earlier run."""
        for name, average in self._averaged.items():
            average.copy_(state[name])
