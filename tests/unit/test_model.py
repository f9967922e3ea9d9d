"""Heads, pooling and the embedding's gradient, on tensors made by hand."""

from typing import Any

import pytest
import torch
from torch.nn import functional

from multitask.config import parse_config
from multitask.data import Batch
from multitask.model import EmbeddingTap, build_model
from multitask.model.encoder import cls_pooling, mean_pooling
from multitask.model.heads import ConcatFeatures, CosineFeatures


def _batch(rows: int = 4, tokens: int = 6, *, apart: bool = False) -> Batch:
    generator = torch.Generator().manual_seed(0)
    sequences = 2 * rows if apart else rows
    ids = torch.randint(5, 90, (sequences, tokens), generator=generator)
    mask = torch.ones_like(ids)
    mask[1, 3:] = 0
    ids[1, 3:] = 0
    labels = torch.tensor([0.0, 1.0, 1.0, 0.0])[:rows]
    return Batch(ids, mask, torch.zeros_like(ids), labels, torch.arange(rows), pairs_apart=apart)


def test_pooling_ignores_padding() -> None:
    hidden = torch.randn(2, 4, 3, generator=torch.Generator().manual_seed(0))
    mask = torch.tensor([[1, 1, 1, 1], [1, 1, 0, 0]])
    wanted = torch.stack([hidden[0].mean(0), hidden[1, :2].mean(0)])
    torch.testing.assert_close(mean_pooling(hidden, mask), wanted)
    torch.testing.assert_close(cls_pooling(hidden, mask), hidden[:, 0])


def test_features_of_pairs() -> None:
    both = torch.randn(6, 5, generator=torch.Generator().manual_seed(1))
    u, v = both[:3], both[3:]
    features = ConcatFeatures(5)
    torch.testing.assert_close(features(both), torch.cat([u, v, (u - v).abs(), u * v], 1))
    assert features.width == 20
    torch.testing.assert_close(CosineFeatures(5)(both)[:, 0], functional.cosine_similarity(u, v))


def test_losses_are_torchs_own_and_predictions_stay_in_range(tiny_tasks: dict[str, Any]) -> None:
    model = build_model(parse_config(tiny_tasks, "test")).eval()
    raw = torch.tensor([[2.0, 0.0, 1.0, -1.0, 0.5], [0.0, 3.0, 0.0, 0.0, 0.0]])
    sst = model.head("sst")
    torch.testing.assert_close(
        sst.loss(raw, torch.tensor([0.0, 4.0])), functional.cross_entropy(raw, torch.tensor([0, 4]), reduction="none")
    )
    assert sst.predict(raw).tolist() == [0, 1]
    torch.testing.assert_close(sst.probabilities(raw).sum(1), torch.ones(2))
    quora, logits = model.head("quora"), torch.tensor([[1.5], [-2.0]])
    wanted = -torch.log(torch.sigmoid(torch.tensor([1.5, 2.0])))
    torch.testing.assert_close(quora.loss(logits, torch.tensor([1.0, 0.0])), wanted)
    assert quora.predict(logits).tolist() == [1, 0]
    sts = model.head("sts")
    extreme = sts.predict(torch.tensor([[-50.0], [0.0], [50.0]]))
    torch.testing.assert_close(extreme, torch.tensor([0.0, 2.5, 5.0]))
    torch.testing.assert_close(sts.loss(torch.tensor([[0.0]]), torch.tensor([4.0])), torch.tensor([2.25]))


def test_dropout_is_one_setting_and_the_pooler_stays_pretrained(tiny_tasks: dict[str, Any]) -> None:
    tree = tiny_tasks | {"encoder": tiny_tasks["encoder"] | {"dropout": 0.37}}
    model = build_model(parse_config(tree, "test"))
    assert {m.p for m in model.modules() if isinstance(m, torch.nn.Dropout)} == {0.37}
    assert not any("pooler" in name for name in model.shared_parameters())
    assert set(model.shared_parameters()) | {n for t in model.heads for n in model.head_parameters(t)} == {
        n for n, p in model.named_parameters() if p.requires_grad
    }


@pytest.mark.parametrize("apart", [False, True])
def test_taken_embedding_gradient_is_the_dense_one(tiny_tasks: dict[str, Any], apart: bool) -> None:
    if apart:
        tiny_tasks["tasks"]["quora"]["pair_encoding"] = {"name": "bi_encoder", "similarity": "concat"}
    model, batch = build_model(parse_config(tiny_tasks, "test")).eval(), _batch(apart=apart)
    embedding = model.token_embedding()[1]
    loss = model.row_losses("quora", batch).sum()
    dense = torch.autograd.grad(loss, embedding.weight)[0]
    tap = EmbeddingTap(embedding)
    with tap.record() as taken:
        tapped = model.row_losses("quora", batch).sum()
    torch.testing.assert_close(tapped, loss)
    gradients = torch.autograd.grad(tapped, [leaf for _, leaf in taken])
    rows = tap.gradient([ids for ids, _ in taken], list(gradients))
    whole = torch.zeros_like(dense)
    whole[rows.ids] = rows.rows
    torch.testing.assert_close(whole, dense)
    assert rows.ids.tolist() == sorted(set(rows.ids.tolist()))
    assert 0 not in rows.ids
    assert torch.autograd.grad(model.row_losses("quora", batch).sum(), embedding.weight)[0].abs().sum() > 0
