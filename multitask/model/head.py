"""What every head does: embeddings to raw outputs, raw outputs to losses and predictions."""

from torch import Tensor, nn

from multitask.config.head import LinearHead
from multitask.config.task import TaskConfig
from multitask.model.features import build_features
from multitask.model.readout import build_readout


class Head(nn.Module):
    """What belongs to one task alone: embeddings (S, D) to raw outputs, and how these are read."""

    def forward(self, embeddings: Tensor) -> Tensor:
        """Embeddings (S, D) to raw outputs (B, outputs)."""
        raise NotImplementedError

    def loss(self, raw: Tensor, labels: Tensor) -> Tensor:
        """Raw outputs (B, outputs) and labels (B,) to one loss per row (B,)."""
        raise NotImplementedError

    def predict(self, raw: Tensor) -> Tensor:
        """Raw outputs to predictions (B,) on the labels' scale."""
        raise NotImplementedError

    def probabilities(self, raw: Tensor) -> Tensor | None:
        """Raw outputs to class probabilities (B, classes); None where the task has no classes."""
        return None

    def divergence(self, raw_p: Tensor, raw_q: Tensor) -> Tensor:
        """How far two raw outputs for the same rows are apart, (B,) and not negative; differentiable in both.

        KL(p|q) + KL(q|p) for classes, the squared difference of the predictions for numbers (Jiang et al. 2020, SMART,
        section 3.1).
        """
        raise NotImplementedError


class LabelHead(Head):
    """A row's features and their readout.

    `forward` takes embeddings (S, D), S = B for single texts and cross-encoders and 2B for bi-encoders, and gives
    raw outputs (B, outputs). Its kinds add the loss per row and the reading of the outputs.
    """

    outputs = 1

    def __init__(self, task: TaskConfig, width: int, dropout: float) -> None:
        super().__init__()
        self.features = build_features(task, width)
        self.readout = build_readout(task.head or LinearHead(), self.features, self.outputs, width, dropout)

    def forward(self, embeddings: Tensor) -> Tensor:
        raw: Tensor = self.readout(self.features(embeddings))
        return raw
