"""One small head per task: embeddings to raw outputs, raw outputs to losses and predictions."""

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional

from multitask.config.kind import Classification, Contrastive, Regression
from multitask.config.task import LinearHead, ScaledHead, TaskConfig
from multitask.model.features import build_features
from multitask.model.readout import ScaledReadout, build_readout


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
    raw outputs (B, outputs). The kinds below add the loss per row and the reading of the outputs.
    """

    outputs = 1

    def __init__(self, task: TaskConfig, width: int, dropout: float) -> None:
        super().__init__()
        self.features = build_features(task, width)
        self.readout = build_readout(task.head or LinearHead(), self.features, self.outputs, width, dropout)

    def forward(self, embeddings: Tensor) -> Tensor:
        raw: Tensor = self.readout(self.features(embeddings))
        return raw


class ClassificationHead(LabelHead):
    """Cross-entropy over C classes."""

    def __init__(self, task: TaskConfig, width: int, dropout: float) -> None:
        assert isinstance(task.kind, Classification)
        self.outputs = task.kind.classes
        super().__init__(task, width, dropout)

    def loss(self, raw: Tensor, labels: Tensor) -> Tensor:
        return functional.cross_entropy(raw.float(), labels.long(), reduction="none")

    def predict(self, raw: Tensor) -> Tensor:
        return raw.argmax(-1)

    def probabilities(self, raw: Tensor) -> Tensor:
        return raw.float().softmax(-1)

    def divergence(self, raw_p: Tensor, raw_q: Tensor) -> Tensor:
        p, q = raw_p.float().log_softmax(-1), raw_q.float().log_softmax(-1)
        return ((p.exp() - q.exp()) * (p - q)).sum(-1)


class BinaryHead(LabelHead):
    """One logit, binary cross-entropy; yes where the logit is positive."""

    def loss(self, raw: Tensor, labels: Tensor) -> Tensor:
        return functional.binary_cross_entropy_with_logits(raw.float().squeeze(-1), labels, reduction="none")

    def predict(self, raw: Tensor) -> Tensor:
        return (raw.squeeze(-1) > 0).long()

    def probabilities(self, raw: Tensor) -> Tensor:
        yes = raw.float().squeeze(-1).sigmoid()
        return torch.stack([1 - yes, yes], dim=-1)

    def divergence(self, raw_p: Tensor, raw_q: Tensor) -> Tensor:
        p, q = raw_p.float().squeeze(-1), raw_q.float().squeeze(-1)
        return (p.sigmoid() - q.sigmoid()) * (p - q)


# Where in the task's range a raw output lies: 0 is its lower end, 1 its upper one.
_PLACE_IN_RANGE: dict[str, Callable[[Tensor], Tensor]] = {
    "sigmoid": torch.sigmoid,
    "relu": torch.relu,
    "plain": lambda number: number,
}


class RegressionHead(LabelHead):
    """A number and its squared error on the labels' scale.

    low + (high − low) · s(raw), s the head's link or scale; with the link `identity` the raw output itself. That one
    starts in the middle of the range, and on one number c (cosine, pearson) at low for c = −1 and at high for c = 1.
    """

    def __init__(self, task: TaskConfig, width: int, dropout: float) -> None:
        assert isinstance(task.kind, Regression)
        super().__init__(task, width, dropout)
        self.low, self.high = task.kind.low, task.kind.high
        head = task.head or LinearHead()
        self.link: str = head.scale if isinstance(head, ScaledHead) else head.link
        if self.link == "identity" and not isinstance(self.readout, ScaledReadout):
            nn.init.constant_(self.readout.linear.bias, (self.low + self.high) / 2)
            if self.features.is_one_number:
                nn.init.constant_(self.readout.linear.weight, (self.high - self.low) / 2)

    def loss(self, raw: Tensor, labels: Tensor) -> Tensor:
        return functional.mse_loss(self.predict(raw), labels, reduction="none")

    def predict(self, raw: Tensor) -> Tensor:
        number = raw.float().squeeze(-1)
        if self.link == "identity":
            return number
        return self.low + (self.high - self.low) * _PLACE_IN_RANGE[self.link](number)

    def divergence(self, raw_p: Tensor, raw_q: Tensor) -> Tensor:
        return (self.predict(raw_p) - self.predict(raw_q)).square()


class ContrastiveHead(Head):
    """Embeddings (S, D) to those that are compared, (S, D): its task has no labels, so it has no loss of single rows.

    With the projection `mlp` a dense layer with tanh lies between, in training only (Gao et al. 2021, section 6.3).
    """

    def __init__(self, task: TaskConfig, width: int, dropout: float) -> None:
        assert isinstance(task.kind, Contrastive)
        super().__init__()
        self.projection = nn.Linear(width, width) if task.kind.projection == "mlp" else None
        if self.projection is not None:
            nn.init.normal_(self.projection.weight, std=0.02)
            nn.init.zeros_(self.projection.bias)

    def forward(self, embeddings: Tensor) -> Tensor:
        """Embeddings (S, D) to (S, D)."""
        if self.projection is None or not self.training:
            return embeddings
        return self.projection(embeddings).tanh()


HEADS: dict[str, Callable[[TaskConfig, int, float], Head]] = {
    "classification": ClassificationHead,
    "binary": BinaryHead,
    "regression": RegressionHead,
    "contrastive": ContrastiveHead,
}


def build_head(task: TaskConfig, width: int, dropout: float) -> Head:
    """The head of `task` on an encoder of `width`."""
    return HEADS[task.kind.name](task, width, dropout)
