"""One small head per task, by its kind."""

from collections.abc import Callable

from torch import Tensor, nn

from multitask.config.kind import Contrastive
from multitask.config.task import TaskConfig
from multitask.model.class_heads import MultiLabelHead, build_class_head
from multitask.model.head import Head
from multitask.model.number_heads import build_number_head


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
    "classification": build_class_head,
    "binary": build_class_head,
    "multi_label": MultiLabelHead,
    "regression": build_number_head,
    "contrastive": ContrastiveHead,
}


def build_head(task: TaskConfig, width: int, dropout: float) -> Head:
    """The head of `task` on an encoder of `width`."""
    return HEADS[task.kind.name](task, width, dropout)
