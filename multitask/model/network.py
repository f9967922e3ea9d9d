"""One encoder, one head per task."""

from collections.abc import Iterable, Mapping

import numpy as np
import torch
from torch import Tensor, nn

from multitask.config import RunConfig
from multitask.config.model import ProjectedAttention
from multitask.data import Batch, TaskTable
from multitask.model.attention import use_flash
from multitask.model.by_task import ModulesByTask
from multitask.model.class_heads import ClassHead
from multitask.model.encoder import Encoder
from multitask.model.freezing import lowest_layer_ever_trained
from multitask.model.head import Head
from multitask.model.heads import ContrastiveHead, build_head
from multitask.model.layers import encoder_layers, layer_numbers
from multitask.model.loading import load_encoder, outline_encoder
from multitask.model.probing import check_encoder
from multitask.model.projected_attention import ProjectedAttentionLayers, build_projected_attention

_OWN = ("heads", "adapters")


class MultitaskModel(nn.Module):
    """`encoder` is shared by all tasks; `heads[task]` and, where there are any, `adapters[task]` belong to one."""

    def __init__(
        self, encoder: Encoder, heads: dict[str, Head], adapters: dict[str, ProjectedAttentionLayers] | None = None
    ) -> None:
        super().__init__()
        self.encoder = encoder
        self.heads = ModulesByTask(heads)
        self.adapters = ModulesByTask(adapters or {})
        self.number_of_layers = len(encoder_layers(encoder.model))
        self._layers = {f"encoder.model.{name}": n for name, n in layer_numbers(encoder.model).items()}

    def head(self, task: str) -> Head:
        """The head of `task`."""
        head = self.heads[task]
        assert isinstance(head, Head)
        return head

    def forward(self, task: str, batch: Batch, noise: Tensor | None = None) -> Tensor:
        """A batch of `task` to its head's raw outputs (B, outputs).

        `noise` (S, L, width of the word embeddings) is added to the embedded words.
        """
        raw: Tensor = self.heads[task](self._encode(task, batch, noise))
        return raw

    def embed(self, task: str | None, batch: Batch) -> Tensor:
        """A batch to the embeddings of its sequences (S, D): with the adapter layers of `task`, None without any.

        Those of a contrastive task are the ones that it compares.
        """
        embeddings = self._encode(task, batch, None)
        head = self.head(task) if task is not None else None
        return head(embeddings) if isinstance(head, ContrastiveHead) else embeddings

    def row_losses(self, task: str, batch: Batch) -> Tensor:
        """A batch of `task`, which has labels, to one loss per row (B,), fp32."""
        return self.head(task).loss(self(task, batch), batch.labels)

    def shared_parameters(self) -> dict[str, nn.Parameter]:
        """Name to trainable parameter of what all tasks share."""
        return {n: p for n, p in self.named_parameters() if p.requires_grad and n.split(".")[0] not in _OWN}

    def head_parameters(self, task: str) -> dict[str, nn.Parameter]:
        """Name to trainable parameter of what belongs to `task` alone: its head and its adapter layers."""
        own = tuple(f"{kind}.{task}." for kind in _OWN)
        return {n: p for n, p in self.named_parameters() if p.requires_grad and n.startswith(own)}

    def layer_of(self, name: str) -> int:
        """The layer of the parameter `name`, n = `number_of_layers`.

        0: embeddings; 1 … n: encoder layers from below, with what adapts them; n + 1: pooling, heads, and the
        projections that a task's adapter layers have in common.
        """
        if name in self._layers:
            return self._layers[name]
        kind, _, part, *rest = name.split(".")
        return int(rest[0]) + 1 if (kind, part) == ("adapters", "attention") else self.number_of_layers + 1

    def token_embedding(self) -> tuple[str, nn.Embedding] | None:
        """Name of the weight, and the module, of the trainable token embedding; None where it is more than a lookup."""
        embedding = self.encoder.words
        # A subclass may scale what it looks up, as Gemma's does.
        if type(embedding) is not nn.Embedding or not embedding.weight.requires_grad:
            return None
        if embedding.max_norm is not None or embedding.scale_grad_by_freq or embedding.sparse:
            return None
        owners = [(n, m) for n, m in self.named_modules() if getattr(m, "weight", None) is embedding.weight]
        # A T5 has one table for two modules, of which it uses one.
        return (f"{owners[0][0]}.weight", embedding) if all(type(m) is nn.Embedding for _, m in owners) else None

    def _encode(self, task: str | None, batch: Batch, noise: Tensor | None) -> Tensor:
        adapter = self.adapters[task] if task is not None and len(self.adapters) else None
        ids, mask, types = batch.input_ids, batch.attention_mask, batch.token_type_ids
        return self.encoder(ids, mask, types, noise, adapter, batch.is_padded)


def build_model(config: RunConfig, device: torch.device | None = None) -> MultitaskModel:
    """The model of `config`, on `device` if it is to be trained there; what is not pretrained is drawn with a generator of its own, keyed by the seed.

    Shared parameters that no phase trains take no gradient.

    Raises:
        UserError: as `load_encoder`, `check_encoder` and, with `device`, `use_flash`.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(config.seed)
        encoder = load_encoder(config.encoder, config.data.max_length)
        model = assemble_model(config, encoder, config.tasks)
        check_encoder(encoder, config)
    if device is not None:
        use_flash(model.to(device).encoder, config.encoder, device)
    return _freeze(model, config)


def outline_model(config: RunConfig) -> MultitaskModel:
    """The model of `config` on the device meta: names and shapes of its parameters, and nothing in them.

    Raises:
        UserError: as `outline_encoder`.
    """
    with torch.device("meta"):
        model = assemble_model(config, outline_encoder(config.encoder, config.data.max_length), config.tasks)
    return _freeze(model, config)


def _freeze(model: MultitaskModel, config: RunConfig) -> MultitaskModel:
    lowest = lowest_layer_ever_trained(config, model.number_of_layers)
    for name, parameter in model.shared_parameters().items():
        parameter.requires_grad_(model.layer_of(name) >= lowest)
    return model


def assemble_model(config: RunConfig, encoder: Encoder, tasks: Iterable[str]) -> MultitaskModel:
    """`encoder` with new heads, and adapter layers if `config` wants some, for these of the config's tasks."""
    shared, names = config.encoder, tuple(tasks)
    heads = {name: build_head(config.tasks[name], encoder.width, config.head_dropout(name)) for name in names}
    adapters = {}
    if isinstance(own := shared.adapter, ProjectedAttention):
        adapters = {name: build_projected_attention(encoder.model, own, shared.dropout) for name in names}
    encoder.tf32 = config.training.tf32
    return MultitaskModel(encoder, heads, adapters)


def balance_classes(model: MultitaskModel, tables: Mapping[str, TaskTable]) -> None:
    """Give the heads whose classes are to be balanced the labels of their training tables."""
    for task, table in tables.items():
        if isinstance(head := model.head(task), ClassHead) and head.balances:
            head.balance(np.asarray(table.labels))
