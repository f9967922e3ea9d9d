"""Encoders of several families under one set of settings, pairs of texts in a head, and the tap on word embeddings."""

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional
from transformers import (
    AlbertConfig,
    AlbertModel,
    BertConfig,
    BertModel,
    DistilBertConfig,
    DistilBertModel,
    ElectraConfig,
    ElectraModel,
    ModernBertConfig,
    ModernBertModel,
    PreTrainedModel,
    RobertaConfig,
    RobertaModel,
    T5Config,
    T5Model,
)

from multitask.config import parse_config
from multitask.config.model import EncoderConfig
from multitask.data import Batch
from multitask.errors import UserError
from multitask.model import EmbeddingTap, Encoder, build_head, build_model, load_encoder

_SIZE = {"vocab_size": 50, "hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 32}
_LONG = _SIZE | {"max_position_embeddings": 40}


def _modern() -> PreTrainedModel:
    ids = {"pad_token_id": 0, "cls_token_id": 1, "sep_token_id": 2, "bos_token_id": 1, "eos_token_id": 2}
    return ModernBertModel(ModernBertConfig(**_LONG, **ids))


def _distil() -> PreTrainedModel:
    return DistilBertModel(DistilBertConfig(vocab_size=50, dim=16, n_layers=2, n_heads=2, hidden_dim=32))


FAMILIES = {
    "bert": lambda: BertModel(BertConfig(**_LONG)),
    "roberta": lambda: RobertaModel(RobertaConfig(**_LONG, type_vocab_size=1, pad_token_id=1)),
    "electra": lambda: ElectraModel(ElectraConfig(**_LONG, embedding_size=8)),
    "albert": lambda: AlbertModel(AlbertConfig(**_LONG, embedding_size=8)),
    "distilbert": _distil,
    "modernbert": _modern,
}


@pytest.fixture(params=FAMILIES)
def saved(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    """The folder of a random encoder of one family."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        FAMILIES[request.param]().save_pretrained(tmp_path / request.param)
    return tmp_path / request.param


def _load(folder: Path, dropout: float = 0.0, pooling: Any = "mean") -> Encoder:
    return load_encoder(EncoderConfig(name=str(folder), dropout=dropout, pooling=pooling))


def _ids(rows: int = 3, tokens: int = 7) -> Tensor:
    return torch.randint(5, 50, (rows, tokens), generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("pooling", ["cls", "mean"])
def test_padding_changes_no_vector(saved: Path, pooling: str) -> None:
    encoder = _load(saved, pooling=pooling).eval()
    ids, pad = _ids(), encoder.model.config.pad_token_id or 0
    mask = torch.ones_like(ids)
    wide = torch.cat([ids, torch.full((3, 4), pad)], 1)
    wide_mask = torch.cat([mask, torch.zeros(3, 4, dtype=torch.int64)], 1)
    with torch.no_grad():
        alone = encoder(ids, mask, torch.zeros_like(ids))
        padded = encoder(wide, wide_mask, torch.zeros_like(wide))
        hidden = encoder.model(input_ids=ids, attention_mask=mask).last_hidden_state
    torch.testing.assert_close(padded, alone, atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(alone, hidden[:, 0] if pooling == "cls" else hidden.mean(1))
    assert alone.shape == (3, encoder.width)


def test_dropout_is_set_wherever_the_encoder_drops(saved: Path) -> None:
    ids = _ids()
    inputs = ids, torch.ones_like(ids), torch.zeros_like(ids)
    without = _load(saved).train()
    torch.testing.assert_close(without(*inputs), without.eval()(*inputs))
    with_dropout = _load(saved, 0.4).train()
    used = {m.p for m in with_dropout.modules() if isinstance(m, nn.Dropout)}
    assert used == {0.4}
    assert not torch.allclose(with_dropout(*inputs), with_dropout(*inputs))


def test_token_types_reach_the_encoders_that_have_them(saved: Path) -> None:
    encoder, ids = _load(saved).eval(), _ids()
    mask, types = torch.ones_like(ids), torch.zeros_like(ids)
    second = types.clone()
    second[:, 4:] = 1
    changes = not torch.equal(encoder(ids, mask, types), encoder(ids, mask, second))
    assert changes == (saved.name in ("bert", "electra", "albert"))


def test_tap_changes_no_output_and_gives_the_dense_gradient_in_every_family(saved: Path) -> None:
    encoder = _load(saved).eval()
    embedding = encoder.model.get_input_embeddings()
    ids = _ids()
    ids[1, 5:] = encoder.model.config.pad_token_id or 0
    inputs = ids, (ids != (encoder.model.config.pad_token_id or 0)).long(), torch.zeros_like(ids)
    plain = encoder(*inputs)
    dense = torch.autograd.grad(plain.square().sum(), embedding.weight)[0]
    tap = EmbeddingTap(embedding)
    with tap.record() as taken:
        tapped = encoder(*inputs)
    assert torch.equal(tapped, plain)
    gradients = torch.autograd.grad(tapped.square().sum(), [leaf for _, leaf in taken])
    found = tap.gradient([i for i, _ in taken], list(gradients))
    torch.testing.assert_close(torch.zeros_like(dense).index_copy(0, found.ids, found.rows), dense)
    assert torch.equal(encoder(*inputs), plain)


@pytest.mark.parametrize("padding", [None, 0, 3])
def test_tap_sums_repeated_words_over_several_calls(padding: int | None) -> None:
    embedding = nn.Embedding(6, 4, padding_idx=padding)
    calls = [torch.tensor([[0, 3, 3], [5, 0, 1]]), torch.tensor([[3, 2]])]
    factors = [torch.randn(*ids.shape, 4, generator=torch.Generator().manual_seed(7)) for ids in calls]
    for ids, factor in zip(calls, factors, strict=True):
        (embedding(ids) * factor).sum().backward()
    tap = EmbeddingTap(embedding)
    with tap.record() as taken:
        sum((embedding(ids) * factor).sum() for ids, factor in zip(calls, factors, strict=True)).backward()
    found = tap.gradient([i for i, _ in taken], [leaf.grad for _, leaf in taken])
    assert found.ids.tolist() == [i for i in (0, 1, 2, 3, 5) if i != padding]
    assert embedding.weight.grad is not None
    torch.testing.assert_close(torch.zeros(6, 4).index_copy(0, found.ids, found.rows), embedding.weight.grad)


def test_encoder_decoder_and_missing_folder_are_refused_in_one_line(tmp_path: Path) -> None:
    T5Model(T5Config(vocab_size=50, d_model=8, d_kv=4, d_ff=8, num_layers=1, num_heads=2)).save_pretrained(
        tmp_path / "t5"
    )
    with pytest.raises(UserError, match=r"^encoder.name: .*t5' is an encoder-decoder"):
        _load(tmp_path / "t5")
    with pytest.raises(UserError, match=r"^encoder.name: cannot load an encoder from .*absent") as error:
        _load(tmp_path / "absent")
    assert len(str(error.value).splitlines()) == 1


def _pairs(similarity: str, tiny_tasks: dict[str, Any]) -> tuple[Any, Batch]:
    tiny_tasks["tasks"]["sts"]["pair_encoding"] = {"name": "bi_encoder", "similarity": similarity}
    model = build_model(parse_config(tiny_tasks, "test")).eval()
    ids = torch.randint(5, 90, (6, 5), generator=torch.Generator().manual_seed(3))
    labels = torch.tensor([0.0, 2.0, 5.0])
    return model, Batch(ids, torch.ones_like(ids), torch.zeros_like(ids), labels, torch.arange(3), pairs_apart=True)


def test_concatenated_pairs_go_through_one_linear_layer(tiny_tasks: dict[str, Any]) -> None:
    model, batch = _pairs("concat", tiny_tasks)
    vectors = model.encoder(batch.input_ids, batch.attention_mask, batch.token_type_ids)
    u, v = vectors[:3], vectors[3:]
    linear = model.head("sts").linear
    raw = functional.linear(torch.cat([u, v, (u - v).abs(), u * v], 1), linear.weight, linear.bias)
    losses = (5 * torch.sigmoid(raw[:, 0]) - batch.labels) ** 2
    torch.testing.assert_close(model.row_losses("sts", batch), losses)


def test_cosine_head_starts_as_similar_above_one_half(tiny_tasks: dict[str, Any]) -> None:
    model, batch = _pairs("cosine", tiny_tasks)
    vectors = model.encoder(batch.input_ids, batch.attention_mask, batch.token_type_ids)
    cosine = functional.cosine_similarity(vectors[:3], vectors[3:])
    torch.testing.assert_close(model("sts", batch)[:, 0], 5 * cosine - 2.5)
    same = torch.cat([vectors[:3], 3 * vectors[:3]])
    torch.testing.assert_close(model.head("sts")(same)[:, 0], torch.full((3,), 2.5))


def test_cosine_is_not_dropped(tiny_tasks: dict[str, Any]) -> None:
    tiny_tasks["tasks"]["sts"]["pair_encoding"] = {"name": "bi_encoder", "similarity": "cosine"}
    task = parse_config(tiny_tasks, "test").tasks["sts"]
    head = build_head(task, 8, dropout=0.9).train()
    vectors = torch.randn(20, 8, generator=torch.Generator().manual_seed(0))
    assert torch.equal(head(vectors), head(vectors))


@pytest.mark.parametrize("precision", [torch.float32, torch.bfloat16])
def test_losses_and_probabilities_are_fp32_whatever_the_weights(
    tiny_tasks: dict[str, Any], precision: torch.dtype
) -> None:
    config = parse_config(tiny_tasks, "test")
    for name, task in config.tasks.items():
        head = build_head(task, 8, 0.0).to(precision)
        raw = head(torch.randn(4, 8, dtype=precision, generator=torch.Generator().manual_seed(1)))
        assert head.loss(raw, torch.tensor([0.0, 1.0, 1.0, 0.0])).dtype == torch.float32
        chances = head.probabilities(raw)
        if name == "sts":
            assert chances is None
        else:
            assert chances is not None
            torch.testing.assert_close(chances.sum(1), torch.ones(4))
            assert torch.equal(chances.argmax(1), head.predict(raw))


def test_heads_are_drawn_from_the_seed_and_leave_the_global_generator_alone(tiny_tasks: dict[str, Any]) -> None:
    before = torch.get_rng_state()
    one, two = (build_model(parse_config(tiny_tasks | {"seed": 5}, "test")).state_dict() for _ in range(2))
    other = build_model(parse_config(tiny_tasks | {"seed": 6}, "test")).state_dict()
    assert torch.equal(torch.get_rng_state(), before)
    assert all(torch.equal(one[name], two[name]) for name in one)
    assert not torch.equal(one["heads.sst.linear.weight"], other["heads.sst.linear.weight"])
    assert torch.equal(
        one["encoder.model.embeddings.word_embeddings.weight"], other["encoder.model.embeddings.word_embeddings.weight"]
    )
