"""One small head per task: embeddings to raw outputs, raw outputs to losses and predictions."""

import torch
from torch import Tensor, nn
from torch.nn import functional

from multitask.config.task import BiEncoder, Classification, Regression, TaskConfig


class SingleFeatures:
    """One sequence per row (single texts and cross-encoders): (B, D) as it is."""

    def __init__(self, width: int) -> None:
        self.width = width

    def __call__(self, embeddings: Tensor) -> Tensor:
        return embeddings


class ConcatFeatures:
    """Two sequences per row: (2B, D) to [u, v, |u − v|, u · v] of (B, 4D) (Reimers and Gurevych 2019, section 3)."""

    def __init__(self, width: int) -> None:
        self.width = 4 * width

    def __call__(self, embeddings: Tensor) -> Tensor:
        u, v = embeddings.chunk(2)
        return torch.cat([u, v, (u - v).abs(), u * v], dim=-1)


class CosineFeatures:
    """Two sequences per row: (2B, D) to cos(u, v) of (B, 1)."""

    def __init__(self, width: int) -> None:
        self.width = 1

    def __call__(self, embeddings: Tensor) -> Tensor:
        u, v = embeddings.chunk(2)
        return functional.cosine_similarity(u, v, dim=-1).unsqueeze(-1)


class Head(nn.Module):
    """Dropout and a linear layer on a row's features.

    `forward` takes embeddings (S, D), S = B for single texts and cross-encoders and 2B for bi-encoders, and gives
    raw outputs (B, outputs). The kinds below add the loss per row and the reading of the outputs.
    """

    outputs = 1

    def __init__(self, task: TaskConfig, width: int, dropout: float) -> None:
        super().__init__()
        self.features = _features(task, width)
        self.dropout = nn.Dropout(dropout)
        self.linear = nn.Linear(self.features.width, self.outputs)
        nn.init.normal_(self.linear.weight, std=0.02)
        nn.init.zeros_(self.linear.bias)
        if isinstance(self.features, CosineFeatures):
            # cos lies in [-1, 1] and mostly above 0: start with "similar above one half", not with no opinion.
            nn.init.constant_(self.linear.weight, 5.0)
            nn.init.constant_(self.linear.bias, -2.5)

    def forward(self, embeddings: Tensor) -> Tensor:
        """Embeddings (S, D) to raw outputs (B, outputs)."""
        features = self.features(embeddings)
        return self.linear(features if isinstance(self.features, CosineFeatures) else self.dropout(features))

    def loss(self, raw: Tensor, labels: Tensor) -> Tensor:
        """Raw outputs (B, outputs) and labels (B,) to one loss per row (B,)."""
        raise NotImplementedError

    def predict(self, raw: Tensor) -> Tensor:
        """Raw outputs to predictions (B,) on the labels' scale."""
        raise NotImplementedError

    def probabilities(self, raw: Tensor) -> Tensor | None:
        """Raw outputs to class probabilities (B, classes); None where the task has no classes."""
        return None


class ClassificationHead(Head):
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


class BinaryHead(Head):
    """One logit, binary cross-entropy; yes where the logit is positive."""

    def loss(self, raw: Tensor, labels: Tensor) -> Tensor:
        return functional.binary_cross_entropy_with_logits(raw.float().squeeze(-1), labels, reduction="none")

    def predict(self, raw: Tensor) -> Tensor:
        return (raw.squeeze(-1) > 0).long()

    def probabilities(self, raw: Tensor) -> Tensor:
        yes = raw.float().squeeze(-1).sigmoid()
        return torch.stack([1 - yes, yes], dim=-1)


class RegressionHead(Head):
    """A number in the task's range, low + (high − low) · sigmoid(raw); squared error on the labels' scale."""

    def __init__(self, task: TaskConfig, width: int, dropout: float) -> None:
        assert isinstance(task.kind, Regression)
        super().__init__(task, width, dropout)
        self.low, self.high = task.kind.low, task.kind.high

    def loss(self, raw: Tensor, labels: Tensor) -> Tensor:
        return functional.mse_loss(self.predict(raw), labels, reduction="none")

    def predict(self, raw: Tensor) -> Tensor:
        return self.low + (self.high - self.low) * raw.float().squeeze(-1).sigmoid()


HEADS: dict[str, type[Head]] = {
    "classification": ClassificationHead,
    "binary": BinaryHead,
    "regression": RegressionHead,
}


def build_head(task: TaskConfig, width: int, dropout: float) -> Head:
    """The head of `task` on an encoder of `width`."""
    return HEADS[task.kind.name](task, width, dropout)


def _features(task: TaskConfig, width: int) -> SingleFeatures | ConcatFeatures | CosineFeatures:
    if not isinstance(task.pair_encoding, BiEncoder):
        return SingleFeatures(width)
    return CosineFeatures(width) if task.pair_encoding.similarity == "cosine" else ConcatFeatures(width)
