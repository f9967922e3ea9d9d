"""Projected attention layers, worked out anew from the encoder's own modules."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from transformers import (
    AlbertConfig,
    AlbertModel,
    BertConfig,
    BertModel,
    DistilBertConfig,
    DistilBertModel,
    ElectraConfig,
    ElectraModel,
    PreTrainedModel,
    RobertaConfig,
    RobertaModel,
)

from multitask.config import parse_config
from multitask.config.model import EncoderConfig, ProjectedAttention
from multitask.data import Batch
from multitask.errors import UserError
from multitask.model import Encoder, build_model, load_encoder
from multitask.model.projected_attention import ProjectedAttentionLayers, build_projected_attention
from tests.builders import save_random

OWN = ProjectedAttention(width=8, heads=2)
_SIZE: dict[str, Any] = {
    "vocab_size": 90,
    "hidden_size": 16,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "intermediate_size": 32,
    "max_position_embeddings": 40,
}
LIKE_BERT: dict[str, Callable[[], PreTrainedModel]] = {
    "bert": lambda: BertModel(BertConfig(**_SIZE)),
    "roberta": lambda: RobertaModel(RobertaConfig(**_SIZE, pad_token_id=1)),
    "electra": lambda: ElectraModel(ElectraConfig(**_SIZE, embedding_size=8)),
}
OTHERS: dict[str, Callable[[], PreTrainedModel]] = {
    "albert": lambda: AlbertModel(AlbertConfig(**_SIZE, embedding_size=8)),
    "distilbert": lambda: DistilBertModel(
        DistilBertConfig(vocab_size=90, dim=16, n_layers=2, n_heads=2, hidden_dim=32)
    ),
}


def _encoder(name: str, folder: Path) -> Encoder:
    return load_encoder(EncoderConfig(name=str(save_random((LIKE_BERT | OTHERS)[name], folder)), dropout=0), 32).eval()


def _adapter(encoder: Encoder, *, moved: bool) -> ProjectedAttentionLayers:
    adapter = build_projected_attention(encoder.model, OWN, 0.0).eval()
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for parameter in adapter.parameters() if moved else ():
            parameter.copy_(torch.randn(parameter.shape, generator=generator) * 0.3)
    return adapter


def _ids(rows: int = 2, tokens: int = 5) -> Tensor:
    return torch.randint(5, 90, (rows, tokens), generator=torch.Generator().manual_seed(0))


def _by_hand(model: Any, adapter: ProjectedAttentionLayers, ids: Tensor) -> Tensor:
    """Mean vectors (S, D) of sequences without padding: LN(h' + FFN(h') + V_D MH(V_E h)) layer by layer."""
    hidden = model.embeddings(input_ids=ids)
    if hasattr(model, "embeddings_project"):
        hidden = model.embeddings_project(hidden)
    for layer, own in zip(model.encoder.layer, adapter.attention, strict=True):
        small, heads = adapter.encode(hidden), []
        query, key, value = own.query(small), own.key(small), own.value(small)
        for part in (slice(0, 4), slice(4, 8)):
            scores = query[..., part] @ key[..., part].transpose(1, 2) / 4**0.5
            heads.append(scores.softmax(-1) @ value[..., part])
        added = adapter.decode(torch.cat(heads, -1))
        attended = layer.attention(hidden)[0]
        hidden = layer.output.LayerNorm(attended + layer.output.dense(layer.intermediate(attended)) + added)
    return hidden.mean(1)


@pytest.mark.parametrize("name", LIKE_BERT)
def test_layers_stand_beside_those_of_the_encoder(name: str, tmp_path: Path) -> None:
    encoder, ids = _encoder(name, tmp_path), _ids()
    adapter = _adapter(encoder, moved=True)
    plain = encoder(ids, torch.ones_like(ids), torch.zeros_like(ids))
    found = encoder(ids, torch.ones_like(ids), torch.zeros_like(ids), adapter=adapter)
    torch.testing.assert_close(found, _by_hand(encoder.model, adapter, ids))
    assert not torch.allclose(found, plain, atol=1e-2)
    assert torch.equal(encoder(ids, torch.ones_like(ids), torch.zeros_like(ids)), plain)


@pytest.mark.parametrize("name", LIKE_BERT)
def test_padding_changes_nothing(name: str, tmp_path: Path) -> None:
    encoder, ids = _encoder(name, tmp_path), _ids()
    adapter, pad = _adapter(encoder, moved=True), encoder.model.config.pad_token_id
    wide = torch.cat([ids, torch.full((2, 4), pad)], 1)
    mask = torch.cat([torch.ones_like(ids), torch.zeros(2, 4, dtype=torch.int64)], 1)
    found = encoder(wide, mask, torch.zeros_like(wide), adapter=adapter)
    torch.testing.assert_close(found, _by_hand(encoder.model, adapter, ids))


def test_training_starts_from_the_encoder_and_reaches_every_parameter(tmp_path: Path) -> None:
    encoder, ids = _encoder("bert", tmp_path), _ids()
    adapter = _adapter(encoder, moved=False)
    inputs = ids, torch.ones_like(ids), torch.zeros_like(ids)
    weight = torch.randn(2, 16, generator=torch.Generator().manual_seed(4))
    assert torch.equal(encoder(*inputs, adapter=adapter), encoder(*inputs))
    (encoder(*inputs, adapter=adapter) * weight).sum().backward()
    first = {n for n, p in adapter.named_parameters() if p.grad is not None and p.grad.abs().sum() > 0}
    assert first == {"decode.weight", "decode.bias"}
    with torch.no_grad():
        adapter.decode.weight -= 0.1 * adapter.decode.weight.grad
    (encoder(*inputs, adapter=adapter) * weight).sum().backward()
    still = {n for n, p in adapter.named_parameters() if p.grad is None or p.grad.abs().sum() == 0}
    assert not still


def test_attention_of_each_layer_is_its_own_and_the_projections_are_not(tmp_path: Path) -> None:
    adapter = _adapter(_encoder("bert", tmp_path), moved=False)
    shapes = {n: tuple(p.shape) for n, p in adapter.named_parameters() if n.endswith("weight")}
    assert shapes == {
        "encode.weight": (8, 16),
        "decode.weight": (16, 8),
        **{f"attention.{n}.{part}.weight": (8, 8) for n in range(2) for part in ("query", "key", "value")},
    }


def test_dropout_acts_on_attention_in_training(tmp_path: Path) -> None:
    encoder, ids = _encoder("bert", tmp_path), _ids()
    adapter = build_projected_attention(encoder.model, OWN, 0.5)
    torch.nn.init.ones_(adapter.decode.weight)
    hidden, mask = torch.randn(2, 5, 16, generator=torch.Generator().manual_seed(2)), torch.ones_like(ids)
    assert not torch.equal(adapter.train()(0, hidden, mask), adapter(0, hidden, mask))
    assert torch.equal(adapter.eval()(0, hidden, mask), adapter(0, hidden, mask))


def test_each_task_has_layers_of_its_own(tiny_tasks: dict[str, Any]) -> None:
    adapter = {"name": "projected_attention", "width": 8, "heads": 2}
    config = parse_config(tiny_tasks | {"encoder": tiny_tasks["encoder"] | {"adapter": adapter}}, "test")
    model, ids = build_model(config).eval(), _ids()
    batch = Batch(
        ids, torch.ones_like(ids), torch.zeros_like(ids), torch.tensor([1.0, 0.0]), torch.arange(2), sequences=1
    )
    plain = model.embed(None, batch)
    assert torch.equal(model.embed("sst", batch), plain)
    with torch.no_grad():
        torch.nn.init.ones_(model.get_parameter("adapters.sst.decode.bias")[:16])
    assert not torch.allclose(model.embed("sst", batch), plain, atol=1e-2)
    assert torch.equal(model.embed("quora", batch), plain)
    assert torch.equal(model.embed(None, batch), plain)
    model.row_losses("sst", batch).sum().backward()
    reached = {n.split(".")[1] for n, p in model.named_parameters() if p.grad is not None and "encoder." not in n}
    assert reached == {"sst"}


def test_failing_forward_leaves_no_trace(tmp_path: Path) -> None:
    encoder, ids = _encoder("bert", tmp_path), _ids()
    inputs = ids, torch.ones_like(ids), torch.zeros_like(ids)
    plain = encoder(*inputs)
    with pytest.raises(RuntimeError):
        encoder(*inputs, torch.ones(2, 5, 3), _adapter(encoder, moved=True))
    assert torch.equal(encoder(*inputs), plain)


@pytest.mark.parametrize("name", OTHERS)
def test_encoder_of_another_build_is_refused_in_one_line(name: str, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=f"^encoder.adapter: projected_attention needs .*, the encoder is a {name}$"):
        build_projected_attention(_encoder(name, tmp_path).model, OWN, 0.0)
