"""The whole model: whose parameter is whose, in which layer it lies, which are trained, and the embedding's gradient."""

from typing import Any

import pytest
import torch
from torch.nn import functional

from multitask.config import RunConfig, parse_config
from multitask.data import Batch
from multitask.model import EmbeddingTap, MultitaskModel, build_model, lowest_trained_layer

LORA = {"name": "lora", "rank": 3}
PROJECTED = {"name": "projected_attention", "width": 8, "heads": 2}


def _batch(rows: int = 4, tokens: int = 6, *, sequences: int = 1) -> Batch:
    ids = torch.randint(5, 90, (sequences * rows, tokens), generator=torch.Generator().manual_seed(0))
    mask = torch.ones_like(ids)
    mask[1, 3:] = 0
    ids[1, 3:] = 0
    labels = torch.tensor([0.0, 1.0, 1.0, 0.0])[:rows]
    return Batch(ids, mask, torch.zeros_like(ids), labels, torch.arange(rows), sequences=sequences)


def _config(tree: dict[str, Any], phases: list[dict[str, Any]] | None = None, **encoder: Any) -> RunConfig:
    changes = {"phases": phases} if phases else {}
    return parse_config(tree | {"encoder": tree["encoder"] | encoder} | changes, "test")


def _trained(model: MultitaskModel) -> set[str]:
    return {n for n, p in model.named_parameters() if p.requires_grad}


def test_dropout_is_one_setting_and_the_pooler_stays_pretrained(tiny_tasks: dict[str, Any]) -> None:
    model = build_model(_config(tiny_tasks, dropout=0.37))
    assert {m.p for m in model.modules() if isinstance(m, torch.nn.Dropout)} == {0.37}
    assert not any("pooler" in name for name in model.shared_parameters())


def test_heads_follow_the_encoder_the_config_or_their_own_dropout(tiny_tasks: dict[str, Any]) -> None:
    def dropouts(tree: dict[str, Any]) -> dict[str, set[float]]:
        model = build_model(parse_config(tree, "test"))
        parts = {"encoder": model.encoder, **{task: model.head(task) for task in model.heads}}
        return {name: {m.p for m in part.modules() if isinstance(m, torch.nn.Dropout)} for name, part in parts.items()}

    tiny_tasks["encoder"]["dropout"] = 0.1
    tiny_tasks["tasks"]["quora"]["head"] = {"name": "mlp"}
    tiny_tasks["tasks"]["sts"]["pair_encoding"] = {"name": "bi_encoder", "features": "cosine"}
    follow = {"encoder": {0.1}, "sst": {0.1}, "quora": {0.1}, "sts": {0.0}}
    assert dropouts(tiny_tasks) == follow
    tiny_tasks["head"] = {"dropout": 0.3}
    assert dropouts(tiny_tasks) == follow | {"sst": {0.3}, "quora": {0.3}}
    tiny_tasks["tasks"]["quora"]["head"]["dropout"] = 0.0
    assert dropouts(tiny_tasks) == follow | {"sst": {0.3}, "quora": {0.0}}


@pytest.mark.parametrize("adapter", [{"name": "none"}, LORA, PROJECTED], ids=lambda adapter: adapter["name"])
def test_every_trained_parameter_has_one_owner(tiny_tasks: dict[str, Any], adapter: dict[str, Any]) -> None:
    model = build_model(_config(tiny_tasks, adapter=adapter, pooling="attention"))
    owned = [*model.shared_parameters(), *(n for task in model.heads for n in model.head_parameters(task))]
    assert len(owned) == len(set(owned))
    assert set(owned) == _trained(model)
    assert not any(name.startswith(("heads.", "adapters.")) for name in model.shared_parameters())
    assert "encoder.pool.query" in model.shared_parameters()
    own = {name.split(".")[0] for name in model.head_parameters("sts")}
    assert own == ({"heads", "adapters"} if adapter is PROJECTED else {"heads"})
    if adapter is LORA:
        assert all("lora_" in n or n == "encoder.pool.query" for n in model.shared_parameters())


@pytest.mark.parametrize("adapter", [{"name": "none"}, LORA, PROJECTED], ids=lambda adapter: adapter["name"])
def test_layer_of_counts_from_the_embeddings_to_the_heads(tiny_tasks: dict[str, Any], adapter: dict[str, Any]) -> None:
    model = build_model(_config(tiny_tasks, adapter=adapter, pooling="attention"))
    assert model.number_of_layers == 2
    for name, _ in model.named_parameters():
        at = model.layer_of(name)
        if ".embeddings." in name:
            assert at == 0, name
        elif ".layer.0." in name or ".attention.0." in name:
            assert at == 1, name
        elif ".layer.1." in name or ".attention.1." in name:
            assert at == 2, name
        else:
            assert at == 3, name


def test_contrastive_task_compares_projected_embeddings_in_training(tiny_tasks: dict[str, Any]) -> None:
    tiny_tasks["tasks"]["texts"] = {
        "kind": {"name": "contrastive", "projection": "mlp"},
        "columns": {"text": "sentence"},
        "files": {"train": ["sst-train.csv"]},
        "format": "cs224n",
    }
    model, batch = build_model(_config(tiny_tasks, dropout=0.1)).eval(), _batch()
    plain = model.encoder(batch.input_ids, batch.attention_mask, batch.token_type_ids)
    assert torch.equal(model.embed("texts", batch), plain)
    assert torch.equal(model.embed("sst", batch), plain)
    model.head("texts").train()
    torch.testing.assert_close(model.embed("texts", batch), model.head("texts")(plain))
    assert not torch.allclose(model.embed("texts", batch), plain)
    assert len(model.head_parameters("texts")) == 2


def test_row_losses_are_worked_out_from_encoder_and_head(tiny_tasks: dict[str, Any]) -> None:
    pairs = {"name": "bi_encoder", "features": "concat_difference_product"}
    tiny_tasks["tasks"]["sts"]["pair_encoding"] = pairs
    model, batch = build_model(_config(tiny_tasks)).eval(), _batch(sequences=2)
    vectors = model.encoder(batch.input_ids, batch.attention_mask, batch.token_type_ids)
    u, v = vectors[:4], vectors[4:]
    weight, bias = model.head_parameters("sts").values()
    raw = functional.linear(torch.cat([u, v, (u - v).abs(), u * v], 1), weight, bias)
    losses = (5 * torch.sigmoid(raw[:, 0]) - batch.labels) ** 2
    torch.testing.assert_close(model.row_losses("sts", batch), losses)


def test_noise_reaches_the_outputs_with_its_gradient(tiny_tasks: dict[str, Any]) -> None:
    model, batch = build_model(_config(tiny_tasks)).eval(), _batch()
    noise = torch.zeros(4, 6, 32, requires_grad=True)
    raw = model("sst", batch, noise)
    assert torch.equal(raw, model("sst", batch))
    (gradient,) = torch.autograd.grad(raw.square().sum(), noise)
    # A step of 1e-3 along the gradient changes the sum by its squared norm times as much, to first order.
    with torch.no_grad():
        step = 1e-3 * gradient
        found = (model("sst", batch, step).square().sum() - raw.square().sum()) / 1e-3
    torch.testing.assert_close(found, gradient.square().sum(), rtol=0.05, atol=0)
    assert gradient[1, 3:].abs().sum() == 0


@pytest.mark.parametrize("apart", [False, True])
@pytest.mark.parametrize("noisy", [False, True])
def test_taken_embedding_gradient_is_the_dense_one(tiny_tasks: dict[str, Any], apart: bool, noisy: bool) -> None:
    if apart:
        tiny_tasks["tasks"]["quora"]["pair_encoding"] = {"name": "bi_encoder", "features": "concat"}
    model, batch = build_model(_config(tiny_tasks)).eval(), _batch(sequences=2 if apart else 1)
    found = model.token_embedding()
    assert found is not None
    embedding, head = found[1], model.head("quora")
    shape = (*batch.input_ids.shape, 32)
    noise = torch.randn(shape, generator=torch.Generator().manual_seed(5)) if noisy else None
    loss = head.loss(model("quora", batch, noise), batch.labels).sum()
    dense = torch.autograd.grad(loss, embedding.weight)[0]
    tap = EmbeddingTap(embedding)
    with tap.record() as taken:
        tapped = head.loss(model("quora", batch, noise), batch.labels).sum()
    torch.testing.assert_close(tapped, loss)
    gradients = torch.autograd.grad(tapped, [leaf for _, leaf in taken])
    rows = tap.gradient([ids for ids, _ in taken], list(gradients))
    whole = torch.zeros_like(dense)
    whole[rows.ids] = rows.rows
    torch.testing.assert_close(whole, dense)
    assert rows.ids.tolist() == sorted(set(rows.ids.tolist()))
    assert 0 not in rows.ids
    assert torch.autograd.grad(model.row_losses("quora", batch).sum(), embedding.weight)[0].abs().sum() > 0


def test_lowest_trained_layer_goes_down_by_one_in_each_epoch(tiny_tasks: dict[str, Any]) -> None:
    phases = [{"encoder": "frozen", "epochs": 3}, {"encoder": "gradual", "epochs": 9}, {"encoder": "trained"}]
    config = _config(tiny_tasks, phases)
    assert [lowest_trained_layer(config, 4, 0, epoch) for epoch in range(3)] == [6, 6, 6]
    assert [lowest_trained_layer(config, 4, 1, epoch) for epoch in range(9)] == [6, 4, 3, 2, 1, 0, 0, 0, 0]
    assert lowest_trained_layer(config, 4, 2, 0) == 0


@pytest.mark.parametrize(
    ("phases", "trained"),
    [
        ([{"encoder": "frozen", "epochs": 2}], set()),
        ([{"encoder": "gradual", "epochs": 1}], set()),
        ([{"encoder": "gradual", "epochs": 2}], {2, 3}),
        ([{"encoder": "frozen"}, {"encoder": "gradual", "epochs": 3}], {1, 2, 3}),
        ([{"encoder": "gradual", "epochs": 4}], {0, 1, 2, 3}),
        ([{"encoder": "frozen"}, {"encoder": "trained"}], {0, 1, 2, 3}),
    ],
)
def test_layers_that_no_phase_trains_take_no_gradient(
    tiny_tasks: dict[str, Any], phases: list[dict[str, Any]], trained: set[int]
) -> None:
    model = build_model(_config(tiny_tasks, phases, pooling="attention"))
    assert {model.layer_of(name) for name in model.shared_parameters()} == trained
    frozen = {n for n, p in model.named_parameters() if not p.requires_grad and "pooler" not in n}
    assert {model.layer_of(name) for name in frozen} == {0, 1, 2, 3} - trained
    assert (model.token_embedding() is None) == (0 not in trained)
    assert all(len(model.head_parameters(task)) == 2 for task in model.heads)
    model.row_losses("sst", _batch()).sum().backward()
    assert {n for n, p in model.named_parameters() if p.grad is not None} == {
        *model.shared_parameters(),
        *model.head_parameters("sst"),
    }


def test_token_embedding_beside_low_rank_updates_is_frozen(tiny_tasks: dict[str, Any]) -> None:
    assert build_model(_config(tiny_tasks, adapter=LORA)).token_embedding() is None


def test_heads_are_drawn_from_the_seed_and_leave_the_global_generator_alone(tiny_tasks: dict[str, Any]) -> None:
    before = torch.get_rng_state()
    one, two = (build_model(parse_config(tiny_tasks | {"seed": 5}, "test")).state_dict() for _ in range(2))
    other = build_model(parse_config(tiny_tasks | {"seed": 6}, "test")).state_dict()
    assert torch.equal(torch.get_rng_state(), before)
    assert all(torch.equal(one[name], two[name]) for name in one)
    assert not torch.equal(one["heads.sst.readout.linear.weight"], other["heads.sst.readout.linear.weight"])
    assert torch.equal(
        one["encoder.model.embeddings.word_embeddings.weight"], other["encoder.model.embeddings.word_embeddings.weight"]
    )
