"""Heads: features of pairs, readouts, losses, predictions and divergences, against values worked out by hand."""

from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from multitask.config.task import TaskConfig
from multitask.model import ContrastiveHead, Head, build_head

WIDTH = 8
KINDS: dict[str, dict[str, Any]] = {
    "classification": {"name": "classification", "classes": 3},
    "binary": {"name": "binary"},
    "regression": {"name": "regression", "low": 1.0, "high": 5.0},
}


def _head(kind: str, features: str | None = None, head: dict[str, Any] | None = None, dropout: float = 0.0) -> Head:
    tree: dict[str, Any] = {
        "kind": KINDS[kind],
        "columns": {"text": "text", "label": "label"},
        "files": {"train": "a.csv", "dev": "b.csv"},
        "head": head,
    }
    if features is not None:
        tree["columns"]["text_pair"] = "other"
        tree["pair_encoding"] = {"name": "bi_encoder", "features": features}
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return build_head(TaskConfig.model_validate(tree), WIDTH, dropout)


def _draw(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def _features(name: str, u: Tensor, v: Tensor) -> Tensor:
    if name == "concat":
        return torch.cat([u, v], 1)
    if name == "concat_difference_product":
        return torch.cat([u, v, (u - v).abs(), u * v], 1)
    if name == "pearson":
        return torch.tensor([[np.corrcoef(a, b)[0, 1]] for a, b in zip(u.numpy(), v.numpy(), strict=True)]).float()
    return functional.cosine_similarity(u, v).unsqueeze(1)


@pytest.mark.parametrize("name", ["concat", "concat_difference_product", "cosine", "pearson"])
def test_two_embeddings_meet_in_the_features(name: str) -> None:
    both = _draw(6, WIDTH)
    head: Any = _head("regression", name)
    wanted = _features(name, both[:3], both[3:])
    torch.testing.assert_close(head.features(both), wanted)
    assert head.features.width == wanted.shape[1]
    linear = head.readout.linear
    torch.testing.assert_close(head(both), functional.linear(wanted, linear.weight, linear.bias))


def test_correlation_is_blind_to_offset_and_scale_and_defined_on_constants() -> None:
    head: Any = _head("regression", "pearson")
    u = _draw(3, WIDTH)
    torch.testing.assert_close(head.features(torch.cat([u, 3 * u + 2])), torch.ones(3, 1))
    torch.testing.assert_close(head.features(torch.cat([u, -u - 7])), -torch.ones(3, 1))
    constant = torch.ones(6, WIDTH, requires_grad=True)
    head(constant).sum().backward()
    assert constant.grad is not None
    assert constant.grad.isfinite().all()


@pytest.mark.parametrize("name", ["cosine", "pearson"])
def test_one_number_starts_as_similar_above_one_half_and_is_not_dropped(name: str) -> None:
    head = _head("binary", name, dropout=0.9).train()
    both = _draw(6, WIDTH)
    torch.testing.assert_close(head(both), 5 * _features(name, both[:3], both[3:]) - 2.5)


@pytest.mark.parametrize("precision", ["bf16", "autocast"])
@pytest.mark.parametrize("readout", [{"name": "scaled", "scale": "sigmoid"}, {"name": "linear"}])
@pytest.mark.parametrize("features", ["cosine", "pearson"])
def test_similarities_keep_their_digits_whatever_the_precision(features: str, readout: Any, precision: str) -> None:
    """1,000 pairs as alike as those of a pretrained encoder: bf16 has 128 numbers from .5 to 1."""
    shared = _draw(1000, WIDTH)
    both = torch.cat([shared, shared + 0.3 * _draw(1000, WIDTH, seed=1)]).bfloat16()
    head = _head("regression", features, readout)
    head = head.bfloat16() if precision == "bf16" else head
    with torch.autocast("cpu", torch.bfloat16, enabled=precision == "autocast"):
        raw = head(both if precision == "bf16" else both.float())
    numbers = _features(features, both[:1000].float(), both[1000:].float())
    torch.testing.assert_close(raw.detach(), numbers if readout["name"] == "scaled" else 5 * numbers - 2.5)
    assert len(head.predict(raw).unique()) > 950


@pytest.mark.parametrize(
    ("activation", "function"), [("relu", torch.relu), ("gelu", functional.gelu), ("tanh", torch.tanh)]
)
@pytest.mark.parametrize("hidden", [None, 5])
def test_mlp_has_one_hidden_layer(activation: str, function: Any, hidden: int | None) -> None:
    head: Any = _head("classification", "concat", {"name": "mlp", "hidden": hidden, "activation": activation})
    both, layers = _draw(6, WIDTH), head.readout
    wanted = function(torch.cat([both[:3], both[3:]], 1) @ layers.hidden.weight.T + layers.hidden.bias)
    assert wanted.shape == (3, hidden or WIDTH)
    torch.testing.assert_close(head(both), wanted @ layers.linear.weight.T + layers.linear.bias)
    head(both).square().sum().backward()
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in head.parameters())


@pytest.mark.parametrize("readout", ["linear", "mlp"])
def test_dropout_is_on_in_training_alone(readout: str) -> None:
    head, embeddings = _head("classification", head={"name": readout}, dropout=0.5), _draw(20, WIDTH)
    assert not torch.equal(head.train()(embeddings), head(embeddings))
    assert torch.equal(head.eval()(embeddings), head(embeddings))


def test_mlp_drops_its_hidden_layer_too() -> None:
    head: Any = _head("classification", head={"name": "mlp"}, dropout=0.5).train()
    # All of the hidden layer is 1 whatever is dropped before it.
    nn.init.zeros_(head.readout.hidden.weight)
    nn.init.ones_(head.readout.hidden.bias)
    assert not torch.equal(*head(torch.ones(2, WIDTH)))


@pytest.mark.parametrize(
    ("scale", "place"),
    [("plain", lambda c: c), ("relu", lambda c: max(0.0, c)), ("sigmoid", lambda c: 1 / (1 + np.exp(-c)))],
)
@pytest.mark.parametrize("features", ["cosine", "pearson"])
def test_scaled_number_has_nothing_to_learn(features: str, scale: str, place: Any) -> None:
    head = _head("regression", features, {"name": "scaled", "scale": scale})
    both = _draw(12, WIDTH)
    assert not list(head.parameters())
    numbers = _features(features, both[:6], both[6:])[:, 0].tolist()
    assert min(numbers) < 0 < max(numbers)
    wanted = torch.tensor([1 + 4 * place(c) for c in numbers])
    torch.testing.assert_close(head.predict(head(both)), wanted, check_dtype=False)


def test_identity_link_starts_in_the_middle_of_the_range_and_is_not_bounded() -> None:
    identity = {"name": "linear", "link": "identity"}
    head = _head("regression", head=identity)
    torch.testing.assert_close(head.predict(head(torch.zeros(2, WIDTH))), torch.tensor([3.0, 3.0]))
    assert head.predict(torch.tensor([[-9.0], [70.0]])).tolist() == [-9.0, 70.0]
    mlp = _head("regression", head={"name": "mlp", "link": "identity"})
    torch.testing.assert_close(mlp.predict(mlp(torch.zeros(1, WIDTH))), torch.tensor([3.0]))
    cosine, u = _head("regression", "cosine", identity), _draw(3, WIDTH)
    torch.testing.assert_close(cosine.predict(cosine(torch.cat([u, u]))), torch.full((3,), 5.0))
    torch.testing.assert_close(cosine.predict(cosine(torch.cat([u, -u]))), torch.full((3,), 1.0))


def test_losses_are_torchs_own_and_predictions_stay_in_range() -> None:
    raw = torch.tensor([[2.0, 0.0, 1.0], [0.0, 3.0, 0.0]])
    classes = _head("classification")
    wanted = functional.cross_entropy(raw, torch.tensor([0, 2]), reduction="none")
    torch.testing.assert_close(classes.loss(raw, torch.tensor([0.0, 2.0])), wanted)
    assert classes.predict(raw).tolist() == [0, 1]
    binary, logits = _head("binary"), torch.tensor([[1.5], [-2.0]])
    wanted = -torch.log(torch.sigmoid(torch.tensor([1.5, 2.0])))
    torch.testing.assert_close(binary.loss(logits, torch.tensor([1.0, 0.0])), wanted)
    assert binary.predict(logits).tolist() == [1, 0]
    number = _head("regression")
    extreme = number.predict(torch.tensor([[-50.0], [0.0], [50.0]]))
    torch.testing.assert_close(extreme, torch.tensor([1.0, 3.0, 5.0]))
    torch.testing.assert_close(number.loss(torch.tensor([[0.0]]), torch.tensor([4.5])), torch.tensor([2.25]))


@pytest.mark.parametrize("precision", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("kind", KINDS)
def test_losses_probabilities_and_divergences_are_fp32_whatever_the_weights(kind: str, precision: torch.dtype) -> None:
    head = _head(kind).to(precision)
    raw = head(_draw(3, WIDTH).to(precision))
    assert head.loss(raw, torch.tensor([0.0, 1.0, 1.0])).dtype == torch.float32
    assert head.divergence(raw, raw.flip(0)).dtype == torch.float32
    chances = head.probabilities(raw)
    if kind == "regression":
        assert chances is None
    else:
        assert chances is not None
        torch.testing.assert_close(chances.sum(1), torch.ones(3))
        assert torch.equal(chances.argmax(1), head.predict(raw))


def _symmetric_kl(p: Tensor, q: Tensor) -> Tensor:
    def kl(a: Tensor, b: Tensor) -> Tensor:
        return torch.distributions.kl_divergence(
            torch.distributions.Categorical(probs=a), torch.distributions.Categorical(probs=b)
        )

    return kl(p, q) + kl(q, p)


@pytest.mark.parametrize("kind", KINDS)
def test_divergence_is_symmetric_kl_or_squared_difference(kind: str) -> None:
    head = _head(kind)
    raw_p, raw_q = (_draw(5, 3 if kind == "classification" else 1, seed=n).requires_grad_() for n in (1, 2))
    found = head.divergence(raw_p, raw_q)
    p, q = head.probabilities(raw_p), head.probabilities(raw_q)
    wanted = (head.predict(raw_p) - head.predict(raw_q)) ** 2 if p is None or q is None else _symmetric_kl(p, q)
    torch.testing.assert_close(found, wanted)
    assert found.shape == (5,)
    assert (found > 0).all()
    assert torch.equal(found, head.divergence(raw_q, raw_p))
    assert (head.divergence(raw_p, raw_p) == 0).all()
    ours, theirs = (torch.autograd.grad(value.sum(), [raw_p, raw_q], retain_graph=True) for value in (found, wanted))
    for one, two in zip(ours, theirs, strict=True):
        torch.testing.assert_close(one, two)
        assert one.abs().min() > 0


@pytest.mark.parametrize("kind", ["classification", "binary"])
def test_divergence_of_certain_predictions_is_finite(kind: str) -> None:
    raw = torch.tensor([[300.0, -300.0, 0.0]]) if kind == "classification" else torch.tensor([[300.0]])
    raw.requires_grad_()
    found = _head(kind).divergence(raw, -raw)
    found.sum().backward()
    assert found.isfinite().all()
    assert raw.grad is not None
    assert raw.grad.isfinite().all()


@pytest.mark.parametrize("projection", ["none", "mlp"])
def test_contrastive_projection_is_there_in_training_alone(projection: str) -> None:
    tree = {
        "kind": {"name": "contrastive", "projection": projection},
        "columns": {"text": "text"},
        "files": {"train": "a.txt"},
    }
    head, embeddings = build_head(TaskConfig.model_validate(tree), WIDTH, 0.5), _draw(6, WIDTH)
    assert isinstance(head, ContrastiveHead)
    assert torch.equal(head.eval()(embeddings), embeddings)
    trained = head.train()(embeddings)
    if projection == "none":
        assert torch.equal(trained, embeddings)
        assert not list(head.parameters())
    else:
        dense = head.projection
        assert isinstance(dense, nn.Linear)
        torch.testing.assert_close(trained, torch.tanh(embeddings @ dense.weight.T + dense.bias))
