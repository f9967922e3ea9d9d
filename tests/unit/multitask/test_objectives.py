"""Contrastive losses and regularization beside straight implementations."""

from typing import Any

import pytest
import torch
from torch.distributions import Categorical, kl_divergence
from torch.nn import functional

from multitask.config import RunConfig, parse_config
from multitask.data import Batch
from multitask.model import build_model
from multitask.objectives import RowObjective, Teacher, contrastive_losses, passes_per_row, row_noise
from tests.plain_losses import plain_smart


def _batch(labels: list[float], sequences: int = 1) -> Batch:
    generator = torch.Generator().manual_seed(3)
    ids = torch.randint(5, 90, (len(labels) * sequences, 7), generator=generator)
    mask = torch.ones_like(ids)
    mask[1, 4:] = 0
    ids[1, 4:] = 0
    rows = torch.arange(10, 10 + len(labels))
    return Batch(ids, mask, torch.zeros_like(ids), torch.tensor(labels), rows, sequences=sequences)


def _config(tree: dict[str, Any], **regularization: dict[str, float]) -> RunConfig:
    return parse_config(tree | {"regularization": regularization}, "test")


@pytest.mark.parametrize("texts", [2, 3])
def test_contrastive_loss_and_gradient_are_those_of_sentence_transformers(texts: int) -> None:
    from sentence_transformers.sentence_transformer.losses import MultipleNegativesRankingLoss

    own = torch.randn(texts, 6, 8, generator=torch.Generator().manual_seed(0), requires_grad=True)
    loss = contrastive_losses(own, 0.05).mean()
    theirs = own.detach().clone().requires_grad_()
    module = MultipleNegativesRankingLoss(None, scale=20.0)  # type: ignore[arg-type]
    wanted = module.compute_loss_from_embeddings(list(theirs), torch.zeros(6))
    torch.testing.assert_close(loss, wanted)
    loss.backward()
    wanted.backward()
    torch.testing.assert_close(own.grad, theirs.grad)


def test_temperature_sharpens(tiny_tasks: dict[str, Any]) -> None:
    """Equation 1 of SimCSE by hand for two rows."""
    u, v = torch.tensor([[1.0, 0.0], [0.0, 2.0]]), torch.tensor([[3.0, 0.0], [1.0, 1.0]])
    half = 0.5**0.5
    wanted = [
        -torch.tensor([1.0, half]).div(0.5).log_softmax(0)[0],
        -torch.tensor([0.0, half]).div(0.5).log_softmax(0)[1],
    ]
    torch.testing.assert_close(contrastive_losses(torch.stack([u, v]), 0.5), torch.stack(wanted))


def test_noise_belongs_to_the_row_and_not_to_its_place() -> None:
    batch = _batch([0.0, 1.0, 2.0])
    noise = row_noise(batch, 5, 0.1, 7, "smart", 4, "sst")
    turned = Batch(
        batch.input_ids.flip(0), batch.attention_mask.flip(0), batch.token_type_ids, batch.labels, batch.rows.flip(0), 1
    )
    torch.testing.assert_close(row_noise(turned, 5, 0.1, 7, "smart", 4, "sst"), noise.flip(0))
    assert noise[1, 4:].abs().sum() == 0
    assert noise[1, :4].abs().min() > 0
    assert not torch.equal(row_noise(batch, 5, 0.1, 7, "smart", 5, "sst"), noise)
    assert abs(row_noise(_batch([0.0] * 200), 32, 0.1, 1).std().item() - 0.1) < 0.01


@pytest.mark.parametrize("steps", [1, 2])
@pytest.mark.parametrize(
    ("task", "labels"), [("sst", [0.0, 4.0, 2.0]), ("quora", [1.0, 0.0, 1.0]), ("sts", [0.5, 4, 2])]
)
def test_smart_is_the_straight_implementation(
    tiny_tasks: dict[str, Any], task: str, labels: list[float], steps: int
) -> None:
    config = _config(tiny_tasks, smart={"weight": 3.0, "noise": 0.01, "step_size": 0.05, "steps": steps})
    model, batch = build_model(config).eval(), _batch(labels)
    found = RowObjective(config, model, None)(task, batch, step=8)
    wanted = plain_smart(model, config, task, batch, 8)
    torch.testing.assert_close(found.terms["smart"], wanted, rtol=1e-4, atol=1e-7)
    torch.testing.assert_close(found.total, found.task + wanted, rtol=1e-4, atol=1e-7)
    parameters = [p for p in model.parameters() if p.requires_grad]
    own = torch.autograd.grad(found.terms["smart"].sum(), parameters, allow_unused=True)
    theirs = torch.autograd.grad(wanted.sum(), parameters, allow_unused=True)
    for a, b in zip(own, theirs, strict=True):
        assert (a is None) == (b is None)
        if a is not None and b is not None:
            torch.testing.assert_close(a, b, rtol=1e-3, atol=1e-5)


def test_smart_of_pairs_apart_disturbs_both_texts(tiny_tasks: dict[str, Any]) -> None:
    tiny_tasks["tasks"]["quora"]["pair_encoding"] = {"name": "bi_encoder", "features": "cosine"}
    config = _config(tiny_tasks, smart={"weight": 1.0, "noise": 0.01, "step_size": 0.05})
    model, batch = build_model(config).eval(), _batch([1.0, 0.0, 1.0], sequences=2)
    noise = row_noise(batch, 32, 0.01, 1)
    assert noise[:3].abs().sum() > 0
    assert noise[3:].abs().sum() > 0
    assert not torch.equal(noise[0], noise[3])
    term = RowObjective(config, model, None)("quora", batch, 0).terms["smart"]
    assert (term > 0).all()


def test_r_drop_is_the_mean_of_two_passes_and_the_divergence_between_them(tiny_tasks: dict[str, Any]) -> None:
    tiny_tasks["encoder"] |= {"dropout": 0.2, "dropout_key": "rank"}
    config = _config(tiny_tasks, r_drop={"weight": 2.0})
    model, batch = build_model(config).train(), _batch([0.0, 4.0, 2.0])
    torch.manual_seed(5)
    found = RowObjective(config, model, None)("sst", batch, 0)
    torch.manual_seed(5)
    first, second = model("sst", batch), model("sst", batch)
    assert not torch.equal(first, second)
    wanted = sum(functional.cross_entropy(raw, batch.labels.long(), reduction="none") for raw in (first, second)) / 2
    torch.testing.assert_close(found.task, wanted)
    p, q = Categorical(logits=first), Categorical(logits=second)
    torch.testing.assert_close(found.terms["r_drop"], 2.0 * (kl_divergence(p, q) + kl_divergence(q, p)) / 2)


def test_bregman_draws_to_a_teacher_that_follows(tiny_tasks: dict[str, Any]) -> None:
    config = _config(tiny_tasks, bregman={"weight": 0.5, "momentum": 0.9})
    model, batch = build_model(config).eval(), _batch([0.0, 4.0, 2.0])
    teacher = Teacher(model, 0.9)
    objective = RowObjective(config, model, teacher)
    torch.testing.assert_close(objective("sst", batch, 0).terms["bregman"], torch.zeros(3))
    before = {n: p.detach().clone() for n, p in model.named_parameters()}
    with torch.no_grad():
        for p in model.parameters():
            p.add_(0.1 * torch.randn_like(p))
    teacher.follow(model)
    weights = dict(model.named_parameters())
    for name, average in teacher.state_dict().items():
        torch.testing.assert_close(average, 0.9 * before[name] + 0.1 * weights[name].detach())
    term = objective("sst", batch, 0).terms["bregman"]
    p, q = Categorical(logits=model("sst", batch)), Categorical(logits=teacher.model("sst", batch))
    torch.testing.assert_close(term, 0.5 * (kl_divergence(p, q) + kl_divergence(q, p)))
    gradients = torch.autograd.grad(term.sum(), [p for p in model.parameters() if p.requires_grad], allow_unused=True)
    assert any(g is not None and g.abs().sum() > 0 for g in gradients)
    other = Teacher(build_model(config), 0.9)
    other.load_state_dict(teacher.state_dict())
    torch.testing.assert_close(other.model("sst", batch), teacher.model("sst", batch))


def test_passes_are_counted(tiny_tasks: dict[str, Any]) -> None:
    tiny_tasks["encoder"]["dropout"] = 0.1
    config = _config(tiny_tasks, smart={"steps": 2}, bregman={}, r_drop={})
    calls = 0
    model = build_model(config)
    teacher = Teacher(model, 0.99)

    def count(*_: object) -> None:
        nonlocal calls
        calls += 1

    for counted in (model, teacher.model):
        counted.encoder.register_forward_hook(count)
    RowObjective(config, model, teacher)("sst", _batch([0.0, 1.0]), 0)
    assert calls == passes_per_row(config.regularization) == 6
    assert passes_per_row(_config(tiny_tasks).regularization) == 1
