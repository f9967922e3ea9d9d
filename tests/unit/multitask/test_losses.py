"""Losses and the heads that have their own, against torch, sentence-transformers, and the papers' formulas written out."""

import math
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
import torch
from sentence_transformers import util
from sentence_transformers.sentence_transformer.losses import AnglELoss, CoSENTLoss
from torch import Tensor
from torch.nn import functional

from multitask.config.task import TaskConfig
from multitask.model import build_head

WIDTH, ROWS = 8, 7
KINDS: dict[str, dict[str, Any]] = {
    "classification": {"name": "classification", "classes": 5},
    "ordered": {"name": "classification", "classes": 5, "ordered": True},
    "binary": {"name": "binary"},
    "multi_label": {"name": "multi_label", "classes": 4},
    "regression": {"name": "regression", "low": 0.0, "high": 5.0},
}


def _head(kind: str, loss: dict[str, Any], **changes: Any) -> Any:
    tree: dict[str, Any] = {
        "kind": KINDS[kind],
        "columns": {"text": "text", "label": "label"},
        "files": {"train": "a.csv", "dev": "b.csv"},
        "loss": loss,
        **changes,
    }
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return build_head(TaskConfig.model_validate(tree), WIDTH, 0.0)


def _ranking_head(loss: dict[str, Any], features: str = "cosine") -> Any:
    pair = {"columns": {"text": "a", "text_pair": "b", "label": "label"}, "head": {"name": "scaled", "scale": "plain"}}
    return _head("regression", loss, pair_encoding={"name": "bi_encoder", "features": features}, **pair)


def _draw(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def _labels(classes: int) -> Tensor:
    return torch.arange(ROWS) % classes


def _agree(found: Tensor, wanted: Tensor, *leaves: Tensor) -> None:
    """Values and gradients."""
    torch.testing.assert_close(found, wanted)
    ours, theirs = (torch.autograd.grad(value.sum(), leaves, retain_graph=True) for value in (found, wanted))
    for one, other in zip(ours, theirs, strict=True):
        torch.testing.assert_close(one, other)
        assert one.abs().max() > 0


WEIGHTS = {"classification": [1.0, 0.5, 3.0, 2.0, 1.0], "binary": [0.5, 3.0]}


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("kind", WEIGHTS)
def test_class_weights_and_label_smoothing_are_torchs(kind: str, weighted: bool, smoothing: float) -> None:
    weights = WEIGHTS[kind] if weighted else None
    head = _head(kind, {"name": "cross_entropy", "class_weights": weights, "label_smoothing": smoothing})
    labels, raw = _labels(len(WEIGHTS[kind])), _draw(ROWS, head.outputs).requires_grad_()
    logits = raw if kind == "classification" else torch.cat([torch.zeros(ROWS, 1), raw], 1)
    torchs = torch.nn.CrossEntropyLoss(
        torch.tensor(weights) if weights else None, reduction="none", label_smoothing=smoothing
    )
    _agree(head.loss(raw, labels.float()), torchs(logits, labels), raw)


@pytest.mark.parametrize("gamma", [0.0, 0.5, 2.0])
@pytest.mark.parametrize("kind", WEIGHTS)
def test_focal_loss_is_that_of_its_paper(kind: str, gamma: float) -> None:
    head = _head(kind, {"name": "focal", "gamma": gamma, "class_weights": WEIGHTS[kind]})
    labels, raw = _labels(len(WEIGHTS[kind])), _draw(ROWS, head.outputs).requires_grad_()
    p = raw.softmax(1) if kind == "classification" else torch.cat([1 - raw.sigmoid(), raw.sigmoid()], 1)
    p_t = p[torch.arange(ROWS), labels]
    wanted = -torch.tensor(WEIGHTS[kind])[labels] * (1 - p_t) ** gamma * p_t.log()
    _agree(head.loss(raw, labels.float()), wanted, raw)
    certain = 100 * functional.one_hot(labels, 5).float() if kind == "classification" else 200.0 * labels[:, None] - 100
    certain.requires_grad_()
    head.loss(certain, labels.float()).sum().backward()
    assert certain.grad is not None
    assert certain.grad.isfinite().all()


SETS = torch.tensor([[0, 0, 0, 0], [1, 0, 1, 0], [0, 1, 1, 1], [1, 1, 1, 1], [0, 0, 0, 1]])
NUMBERS = torch.tensor([0.0, 5, 14, 15, 8], dtype=torch.float64)


@pytest.mark.parametrize("smoothing", [0.0, 0.2])
def test_several_labels_are_trained_as_transformers_does(smoothing: float) -> None:
    head = _head("multi_label", {"name": "cross_entropy", "label_smoothing": smoothing})
    raw = _draw(5, 4).requires_grad_()
    target = SETS * (1 - smoothing) + smoothing / 2
    _agree(head.loss(raw, NUMBERS).mean(), torch.nn.BCEWithLogitsLoss()(raw, target), raw)
    assert head.predict(raw).tolist() == ((raw > 0) * torch.tensor([1.0, 2, 4, 8])).sum(1).tolist()
    torch.testing.assert_close(head.probabilities(raw), raw.sigmoid())
    p, q = (torch.distributions.Bernoulli(logits=own) for own in (raw, raw.flip(0)))
    kl = torch.distributions.kl_divergence
    torch.testing.assert_close(head.divergence(raw, raw.flip(0)), (kl(p, q) + kl(q, p)).sum(1))


def test_several_labels_have_weights_and_a_focal_loss() -> None:
    weights = torch.tensor([1.0, 0.5, 3.0, 2.0])
    head = _head("multi_label", {"name": "focal", "gamma": 1.5, "class_weights": weights.tolist()})
    raw = _draw(5, 4).requires_grad_()
    p_t = torch.where(SETS == 1, raw.sigmoid(), 1 - raw.sigmoid())
    _agree(head.loss(raw, NUMBERS), (-weights * (1 - p_t) ** 1.5 * p_t.log()).mean(1), raw)


def test_balanced_classes_count_alike() -> None:
    from sklearn.utils.class_weight import compute_class_weight

    head = _head("classification", {"name": "cross_entropy", "class_weights": "balanced"})
    labels = np.array([0, 0, 0, 1, 2, 2, 3, 4, 4, 4])
    head.balance(labels.astype(np.float32))
    wanted = compute_class_weight("balanced", classes=np.arange(5), y=labels)
    raw = torch.zeros(len(labels), 5)
    found = head.loss(raw, torch.from_numpy(labels).float()) / math.log(5)
    np.testing.assert_allclose(found.numpy(), wanted[labels], rtol=1e-6)
    assert found.mean().item() == pytest.approx(1)


def test_corn_is_that_of_its_paper() -> None:
    """Conditional training sets S_k = rows with y ≥ k, binary cross-entropy of y > k on each; ranks from P(y > k) > ½."""
    head = _head("ordered", {"name": "corn"})
    labels, raw = _labels(5), (2 * _draw(ROWS, 4)).requires_grad_()
    total = torch.zeros(())
    for k in range(4):
        members = labels > k - 1
        target = (labels[members] > k).float()
        total = total + functional.binary_cross_entropy(raw[members, k].sigmoid(), target, reduction="sum")
    _agree(head.loss(raw, labels.float()).sum(), total, raw)
    passed = raw.sigmoid().cumprod(1)
    assert head.predict(raw).tolist() == (passed > 0.5).sum(1).tolist()
    whole = torch.cat([torch.ones(ROWS, 1), passed, torch.zeros(ROWS, 1)], 1)
    torch.testing.assert_close(head.probabilities(raw), whole[:, :-1] - whole[:, 1:])
    assert head.readout.linear.out_features == 4


def test_cumulative_link_is_the_model_of_proportional_odds() -> None:
    head = _head("ordered", {"name": "cumulative_link"})
    with torch.no_grad():
        head.thresholds += _draw(4)
    direction = head.readout.linear.weight.detach()
    embeddings, labels = torch.linspace(-4, 6, ROWS)[:, None] * direction / direction.square().sum(), _labels(5)
    number = head.readout(embeddings)
    first, gaps = head.thresholds[0], torch.log1p(head.thresholds[1:].exp())
    thresholds = [first, first + gaps[0], first + gaps[:2].sum(), first + gaps.sum()]
    below = [torch.zeros(ROWS), *((own - number[:, 0]).sigmoid() for own in thresholds), torch.ones(ROWS)]
    p = torch.stack([high - low for low, high in pairwise(below)], 1)
    raw = head(embeddings)
    torch.testing.assert_close(head.probabilities(raw), p)
    _agree(head.loss(raw, labels.float()), -p[torch.arange(ROWS), labels].log(), *head.parameters())
    assert head.predict(raw).tolist() == (number > torch.stack(thresholds)).sum(1).tolist()
    assert len(head.predict(raw).unique()) > 2


def test_cumulative_link_starts_with_all_classes_alike_and_stays_finite() -> None:
    head = _head("ordered", {"name": "cumulative_link"})
    torch.testing.assert_close(head.probabilities(head(torch.zeros(2, WIDTH))), torch.full((2, 5), 0.2))
    raw = (torch.tensor([[-300.0], [300.0]]) - torch.tensor([-2.0, -1.0, 1.0, 2.0])).requires_grad_()
    loss = head.loss(raw, torch.tensor([2.0, 2.0]))
    torch.testing.assert_close(loss, torch.full((2,), 299 - math.log(-math.expm1(-2.0))))
    loss.sum().backward()
    assert raw.grad is not None
    assert raw.grad.isfinite().all()


@pytest.mark.parametrize("loss", ["corn", "cumulative_link"])
@pytest.mark.parametrize("precision", [torch.float32, torch.bfloat16])
def test_ordinal_heads_compute_in_fp32(loss: str, precision: torch.dtype) -> None:
    head = _head("ordered", {"name": loss}).to(precision)
    raw = head(_draw(ROWS, WIDTH).to(precision))
    assert head.loss(raw, _labels(5).float()).dtype == torch.float32
    other = raw.flip(0)
    p, q = head.probabilities(raw), head.probabilities(other)
    torch.testing.assert_close(p.sum(1), torch.ones(ROWS))
    torch.testing.assert_close(
        head.divergence(raw, other), ((p - q) * (p.log() - q.log())).sum(1), atol=1e-6, rtol=1e-4
    )


@pytest.mark.parametrize("delta", [0.5, 1.0])
def test_huber_is_on_the_labels_scale(delta: float) -> None:
    head = _head("regression", {"name": "huber", "delta": delta}, head={"name": "linear", "link": "identity"})
    found = head.loss(torch.tensor([[1.0], [1.0], [5.0]]), torch.tensor([1.4, 0.0, 1.0]))
    wanted = [d**2 / 2 if d <= delta else delta * (d - delta / 2) for d in (0.4, 1.0, 4.0)]
    torch.testing.assert_close(found, torch.tensor(wanted))


class _NoModel(torch.nn.Module):
    """The losses of sentence-transformers ask for a model and are given embeddings."""


@pytest.mark.parametrize("loss", ["cosent", "angle"])
def test_losses_of_order_are_those_of_sentence_transformers(loss: str) -> None:
    both, labels = _draw(2 * ROWS, WIDTH).requires_grad_(), torch.tensor([3.0, 1, 1, 5, 0, 2.5, 3])
    own = {"name": loss, "scale": 5.0} | ({"cosine_weight": 0.0} if loss == "angle" else {})
    head = _ranking_head(own)
    theirs = {"cosent": CoSENTLoss, "angle": AnglELoss}[loss](_NoModel(), scale=5.0)  # type: ignore[arg-type]
    wanted = theirs.compute_loss_from_embeddings([both[:ROWS], both[ROWS:]], labels)
    raw = head(both)
    _agree(head.batch_loss(raw, labels), wanted, both)
    torch.testing.assert_close(head.predict(raw), 5 * functional.cosine_similarity(both[:ROWS], both[ROWS:]))
    assert not list(head.parameters())


def test_angle_is_that_of_complex_numbers_and_cosines_are_added_to_it() -> None:
    both, labels = _draw(2 * ROWS, WIDTH), torch.tensor([3.0, 1, 1, 5, 0, 2.5, 3])
    u, v = (torch.complex(*half.chunk(2, dim=1)) for half in both.chunk(2))
    inner = (u * v.conj()).sum(1) / both.norm(dim=1).view(2, -1).prod(0)
    angles = (inner.real + inner.imag).abs()
    head = _ranking_head({"name": "angle", "scale": 5.0, "cosine_weight": 0.7})
    raw = head(both)
    torch.testing.assert_close(raw[:, 1], angles)
    torch.testing.assert_close(raw[:, 1], util.pairwise_angle_sim(both[:ROWS], both[ROWS:]))

    def straight(scores: Tensor) -> float:
        terms = [
            math.exp(5 * (scores[j] - scores[i])) for i in range(ROWS) for j in range(ROWS) if labels[i] > labels[j]
        ]
        return math.log(1 + sum(terms))

    wanted = straight(angles) + 0.7 * straight(functional.cosine_similarity(both[:ROWS], both[ROWS:]))
    assert head.batch_loss(raw, labels).item() == pytest.approx(wanted, rel=1e-5)


def test_a_batch_without_an_order_has_no_loss() -> None:
    head = _ranking_head({"name": "cosent"}, "pearson")
    raw = head(_draw(2 * ROWS, WIDTH).requires_grad_())
    loss = head.batch_loss(raw, torch.full((ROWS,), 2.0))
    assert loss.item() == 0
    loss.backward()
