"""Heads of numbers."""

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional

from multitask.config.head import LinearHead, ScaledHead
from multitask.config.kind import Regression
from multitask.config.loss import AnglE, CoSENT, Huber
from multitask.config.task import TaskConfig
from multitask.model.head import LabelHead
from multitask.model.losses import ranking_loss
from multitask.model.readout import ScaledReadout

# Where in the task's range a raw output lies: 0 is its lower end, 1 its upper one.
_PLACE_IN_RANGE: dict[str, Callable[[Tensor], Tensor]] = {
    "sigmoid": torch.sigmoid,
    "relu": torch.relu,
    "plain": lambda number: number,
}


class RegressionHead(LabelHead):
    """A number, trained on the labels' scale.

    low + (high − low) · s(raw), s the head's link or scale; with the link `identity` the raw output itself. That one
    starts in the middle of the range, and on one number c (cosine, pearson) at low for c = −1 and at high for c = 1.
    """

    def __init__(self, task: TaskConfig, width: int, dropout: float) -> None:
        assert isinstance(task.kind, Regression)
        super().__init__(task, width, dropout)
        self.low, self.high = task.kind.low, task.kind.high
        self.criterion = task.loss
        head = task.head or LinearHead()
        self.link: str = head.scale if isinstance(head, ScaledHead) else head.link
        if self.link == "identity" and not isinstance(self.readout, ScaledReadout):
            nn.init.constant_(self.readout.linear.bias, (self.low + self.high) / 2)
            if self.features.is_one_number:
                nn.init.constant_(self.readout.linear.weight, (self.high - self.low) / 2)

    def loss(self, raw: Tensor, labels: Tensor) -> Tensor:
        predictions = self.predict(raw)
        if isinstance(self.criterion, Huber):
            return functional.huber_loss(predictions, labels, reduction="none", delta=self.criterion.delta)
        return functional.mse_loss(predictions, labels, reduction="none")

    def predict(self, raw: Tensor) -> Tensor:
        number = raw.float().squeeze(-1)
        if self.link == "identity":
            return number
        return self.low + (self.high - self.low) * _PLACE_IN_RANGE[self.link](number)

    def divergence(self, raw_p: Tensor, raw_q: Tensor) -> Tensor:
        return (self.predict(raw_p) - self.predict(raw_q)).square()


class RankingHead(RegressionHead):
    """A similarity whose order over the rows of a batch is trained: its rows have no losses of their own.

    Raw outputs (B, 1): cosines or correlations. For AnglE (B, 2): cosines, by which is predicted, and angles.
    """

    def loss(self, raw: Tensor, labels: Tensor) -> Tensor:
        raise NotImplementedError

    def batch_loss(self, raw: Tensor, labels: Tensor) -> Tensor:
        """Raw outputs (B, outputs) and labels (B,) of all rows of the global batch to its loss, one number."""
        criterion = self.criterion
        if isinstance(criterion, AnglE):
            cosines, angles = raw.unbind(-1)
            loss = ranking_loss(angles, labels, criterion.scale)
            return loss + criterion.cosine_weight * ranking_loss(cosines, labels, criterion.scale)
        assert isinstance(criterion, CoSENT)
        return ranking_loss(raw.squeeze(-1), labels, criterion.scale)

    def predict(self, raw: Tensor) -> Tensor:
        return super().predict(raw[:, :1])


def build_number_head(task: TaskConfig, width: int, dropout: float) -> RegressionHead:
    """The head of a task of numbers, by whether its loss compares rows."""
    return (RankingHead if task.compares_rows else RegressionHead)(task, width, dropout)
