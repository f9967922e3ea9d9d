"""One encoder, one head per task."""

import torch
from torch import Tensor, nn

from multitask.config import RunConfig
from multitask.data import Batch
from multitask.model.encoder import Encoder, load_encoder
from multitask.model.heads import Head, build_head


class MultitaskModel(nn.Module):
    """`encoder` is shared by all tasks, `heads[task]` belongs to one."""

    def __init__(self, encoder: Encoder, heads: dict[str, Head]) -> None:
        super().__init__()
        self.encoder = encoder
        self.heads = nn.ModuleDict(heads)

    def head(self, task: str) -> Head:
        """The head of `task`."""
        head = self.heads[task]
        assert isinstance(head, Head)
        return head

    def forward(self, task: str, batch: Batch) -> Tensor:
        """A batch of `task` to its head's raw outputs (B, outputs)."""
        return self.heads[task](self.encoder(batch.input_ids, batch.attention_mask, batch.token_type_ids))

    def row_losses(self, task: str, batch: Batch) -> Tensor:
        """A batch of `task` to one loss per row (B,), fp32."""
        return self.head(task).loss(self(task, batch), batch.labels)

    def shared_parameters(self) -> dict[str, nn.Parameter]:
        """Name to trainable parameter of what all tasks share."""
        return {n: p for n, p in self.named_parameters() if p.requires_grad and not n.startswith("heads.")}

    def head_parameters(self, task: str) -> dict[str, nn.Parameter]:
        """Name to trainable parameter of what belongs to `task` alone."""
        return {n: p for n, p in self.named_parameters() if p.requires_grad and n.startswith(f"heads.{task}.")}

    def token_embedding(self) -> tuple[str, nn.Embedding] | None:
        """Name of the weight, and the module, of the trainable word embedding; None where there is no such module."""
        embedding = self.encoder.model.get_input_embeddings()
        if not isinstance(embedding, nn.Embedding) or not embedding.weight.requires_grad:
            return None
        names = [n for n, p in self.named_parameters(remove_duplicate=False) if p is embedding.weight]
        return (names[0], embedding) if len(names) == 1 else None


def build_model(config: RunConfig, *, random_weights: bool = False) -> MultitaskModel:
    """The model of `config`; heads are drawn with a generator of their own, keyed by the seed."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(config.seed)
        encoder = load_encoder(config.encoder, random_weights=random_weights)
        heads = {name: build_head(task, encoder.width, config.encoder.dropout) for name, task in config.tasks.items()}
    return MultitaskModel(encoder, heads)
