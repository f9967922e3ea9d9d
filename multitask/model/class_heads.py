"""Heads of classes."""

import math
from itertools import pairwise

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from multitask.config.kind import Classification
from multitask.config.loss import Corn, CrossEntropy, CumulativeLink, Focal
from multitask.config.task import TaskConfig
from multitask.device import to_device
from multitask.model.features import without_autocast
from multitask.model.head import LabelHead
from multitask.model.losses import corn_log_probabilities, cumulative_log_probabilities, focal_loss


class ClassHead(LabelHead):
    """Cross-entropy or focal loss over C classes, from their log-probabilities."""

    def __init__(self, task: TaskConfig, width: int, dropout: float) -> None:
        super().__init__(task, width, dropout)
        self.criterion = task.loss or CrossEntropy()
        weights = self.criterion.class_weights if isinstance(self.criterion, CrossEntropy | Focal) else None
        self.balances = weights == "balanced"
        # No buffer: a model in bf16 would round them.
        self.class_weights = weights if isinstance(weights, tuple) else None

    def balance(self, labels: np.ndarray) -> None:
        """Set weights N / (C · rows of the class) from the labels (N,) of the training rows; every class has some."""
        counts = np.bincount(labels.astype(np.int64))
        self.class_weights = tuple((len(labels) / (len(counts) * counts)).tolist())

    def log_probabilities(self, raw: Tensor) -> Tensor:
        """Raw outputs to log p of the classes (B, C), fp32."""
        raise NotImplementedError

    def logits(self, raw: Tensor) -> Tensor:
        """Raw outputs to what softmax makes the probabilities of, (B, C), fp32."""
        return self.log_probabilities(raw)

    def loss(self, raw: Tensor, labels: Tensor) -> Tensor:
        logits, classes, criterion = self.logits(raw), labels.long(), self.criterion
        weights = None if self.class_weights is None else _on(logits, self.class_weights)
        if isinstance(criterion, Focal):
            return focal_loss(logits, classes, criterion.gamma, weights)
        smoothing = criterion.label_smoothing if isinstance(criterion, CrossEntropy) else 0.0
        return functional.cross_entropy(logits, classes, weights, reduction="none", label_smoothing=smoothing)

    def probabilities(self, raw: Tensor) -> Tensor:
        return self.log_probabilities(raw).exp()

    def divergence(self, raw_p: Tensor, raw_q: Tensor) -> Tensor:
        p, q = self.log_probabilities(raw_p), self.log_probabilities(raw_q)
        return ((p.exp() - q.exp()) * (p - q)).sum(-1)


class ClassificationHead(ClassHead):
    """One logit for each class."""

    def __init__(self, task: TaskConfig, width: int, dropout: float) -> None:
        self.outputs = task.kind.classes
        super().__init__(task, width, dropout)

    def logits(self, raw: Tensor) -> Tensor:
        return raw.float()

    def log_probabilities(self, raw: Tensor) -> Tensor:
        return raw.float().log_softmax(-1)

    def probabilities(self, raw: Tensor) -> Tensor:
        return raw.float().softmax(-1)

    def predict(self, raw: Tensor) -> Tensor:
        return raw.argmax(-1)


class BinaryHead(ClassHead):
    """One logit; yes where it is positive."""

    def log_probabilities(self, raw: Tensor) -> Tensor:
        return functional.logsigmoid(torch.cat([-raw, raw], dim=-1).float())

    def loss(self, raw: Tensor, labels: Tensor) -> Tensor:
        if self.criterion == CrossEntropy():
            return functional.binary_cross_entropy_with_logits(raw.float().squeeze(-1), labels, reduction="none")
        return super().loss(raw, labels)

    def predict(self, raw: Tensor) -> Tensor:
        return (raw.squeeze(-1) > 0).long()

    def probabilities(self, raw: Tensor) -> Tensor:
        yes = raw.float().squeeze(-1).sigmoid()
        return torch.stack([1 - yes, yes], dim=-1)

    def divergence(self, raw_p: Tensor, raw_q: Tensor) -> Tensor:
        p, q = raw_p.float().squeeze(-1), raw_q.float().squeeze(-1)
        return (p.sigmoid() - q.sigmoid()) * (p - q)


class MultiLabelHead(LabelHead):
    """A logit for each of C classes, any of which a row may have; a set of classes is a number (`multitask.label_sets`).

    The loss is the mean over the classes of the binary cross-entropy or focal loss of each.
    """

    def __init__(self, task: TaskConfig, width: int, dropout: float) -> None:
        self.outputs = task.kind.classes
        super().__init__(task, width, dropout)
        criterion = task.loss or CrossEntropy()
        assert isinstance(criterion, CrossEntropy | Focal)
        self.criterion: CrossEntropy | Focal = criterion
        weights = criterion.class_weights
        self.class_weights = weights if isinstance(weights, tuple) else None

    def loss(self, raw: Tensor, labels: Tensor) -> Tensor:
        logits, places = raw.float(), torch.arange(self.outputs, device=raw.device)
        own = (labels.long()[:, None] >> places) % 2
        if isinstance(self.criterion, Focal):
            both = torch.stack([torch.zeros_like(logits), logits], dim=-1)
            losses = focal_loss(both.flatten(0, 1), own.flatten(), self.criterion.gamma).view_as(logits)
        else:
            smoothing = self.criterion.label_smoothing
            target = own.float() * (1 - smoothing) + smoothing / 2
            losses = functional.binary_cross_entropy_with_logits(logits, target, reduction="none")
        return (losses if self.class_weights is None else losses * _on(losses, self.class_weights)).mean(-1)

    def predict(self, raw: Tensor) -> Tensor:
        return ((raw > 0).double() * 2.0 ** torch.arange(self.outputs, device=raw.device).double()).sum(-1)

    def probabilities(self, raw: Tensor) -> Tensor:
        """Of each class (B, C); they do not sum to 1."""
        return raw.float().sigmoid()

    def divergence(self, raw_p: Tensor, raw_q: Tensor) -> Tensor:
        p, q = raw_p.float(), raw_q.float()
        return ((p.sigmoid() - q.sigmoid()) * (p - q)).sum(-1)


class OrdinalHead(ClassHead):
    """C ordered classes, from outputs (B, C − 1) that tell how likely each step is passed.

    −log p of a row's class; predicted is the number of steps that are passed more likely than not, the median class.
    """

    def predict(self, raw: Tensor) -> Tensor:
        passed = 1 - self.probabilities(raw).cumsum(-1)[:, :-1]
        return (passed > 0.5).sum(-1)


class CornHead(OrdinalHead):
    """A logit of passing each step once it is reached (Shi et al. 2023)."""

    def __init__(self, task: TaskConfig, width: int, dropout: float) -> None:
        self.outputs = task.kind.classes - 1
        super().__init__(task, width, dropout)

    def log_probabilities(self, raw: Tensor) -> Tensor:
        return corn_log_probabilities(raw.float())


class CumulativeLinkHead(OrdinalHead):
    """One number f and C − 1 thresholds θ that rise: P(y > k) = σ(f − θ_k) (McCullagh 1980).

    `thresholds`: the first, then the softplus-inverses of the gaps; at first all classes are equally likely where f = 0.
    """

    def __init__(self, task: TaskConfig, width: int, dropout: float) -> None:
        super().__init__(task, width, dropout)
        classes = task.kind.classes
        start = [math.log(k / (classes - k)) for k in range(1, classes)]
        gaps = [math.log(math.expm1(high - low)) for low, high in pairwise(start)]
        self.thresholds = nn.Parameter(torch.tensor([start[0], *gaps]))

    def forward(self, embeddings: Tensor) -> Tensor:
        number = super().forward(embeddings)
        with without_autocast(number):
            first, gaps = self.thresholds.float().split([1, len(self.thresholds) - 1])
            return number.float() - torch.cat([first, functional.softplus(gaps)]).cumsum(0)

    def log_probabilities(self, raw: Tensor) -> Tensor:
        return cumulative_log_probabilities(raw.float())


def _on(tensor: Tensor, numbers: tuple[float, ...]) -> Tensor:
    """The numbers where `tensor` lies, of its type."""
    return to_device(torch.tensor(numbers, dtype=tensor.dtype), tensor.device)


CLASS_HEADS: dict[type, type[ClassHead]] = {Corn: CornHead, CumulativeLink: CumulativeLinkHead}


def build_class_head(task: TaskConfig, width: int, dropout: float) -> ClassHead:
    """The head of a task with classes: an ordinal loss has its own, all others that of the kind."""
    own = ClassificationHead if isinstance(task.kind, Classification) else BinaryHead
    return CLASS_HEADS.get(type(task.loss), own)(task, width, dropout)
