"""Idle groups, decay, and the learning rate at points worked out by hand."""

import math
from typing import Any

import pytest
import torch
from pytorch_optimizer import load_optimizer

from multitask.config import parse_config
from multitask.config.training import AdamW as AdamWConfig
from multitask.config.training import LibraryOptimizer
from multitask.errors import UserError
from multitask.model import build_model
from multitask.optimization import SHARED, build_optimizer, parameter_groups
from multitask.optimization.library import check_library_optimizer


def test_biases_and_norms_are_not_decayed(tiny_tasks: dict[str, Any]) -> None:
    config = parse_config(tiny_tasks, "test")
    model = build_model(config)
    names = {id(p): n for n, p in model.named_parameters()}
    groups = parameter_groups(model, config)
    assert [g["owner"] for g in groups] == [SHARED, *(o for o in (SHARED, "sst", "quora", "sts") for _ in range(2))]
    decayed = {names[id(p)] for g in groups if g["weight_decay"] for p in g["params"]}
    spared = {names[id(p)] for g in groups if not g["weight_decay"] for p in g["params"]}
    assert decayed | spared == {n for n, p in model.named_parameters() if p.requires_grad}
    assert all(n.endswith("bias") or "LayerNorm" in n for n in spared)
    assert not any(n.endswith("bias") or "LayerNorm" in n for n in decayed)
    alone = [g["names"] for g in groups if any("word_embeddings" in name for name in g["names"])]
    assert alone == [["encoder.model.embeddings.word_embeddings.weight"]]


def test_idle_group_keeps_weights_moments_and_step_count() -> None:
    one, two = (torch.nn.Parameter(torch.ones(2, 2)) for _ in range(2))
    optimizer = build_optimizer(
        [{"params": [one], "owner": "a"}, {"params": [two], "owner": "b"}], AdamWConfig(lr=0.1, weight_decay=0.5)
    )
    for _ in range(2):
        one.grad, two.grad = torch.ones(2, 2), torch.ones(2, 2)
        optimizer.step()
    before, state = two.detach().clone(), {k: v.clone() for k, v in optimizer.state[two].items()}
    optimizer.param_groups[1]["idle"] = True
    one.grad, two.grad = torch.ones(2, 2), torch.ones(2, 2)
    optimizer.step()
    assert torch.equal(two, before)
    assert all(torch.equal(optimizer.state[two][k], v) for k, v in state.items())
    assert optimizer.state[one]["step"] == 3
    assert optimizer.param_groups[1]["params"] == [two]


@pytest.mark.parametrize("idle", [False, True])
def test_epsilon_hat_is_added_to_the_uncorrected_root_as_in_algorithm_1_of_paper_a(idle: bool) -> None:
    lr, betas, eps, decay = 1e-3, (0.9, 0.999), 1e-6, 0.1
    generator = torch.Generator().manual_seed(0)
    start = torch.randn(3, 5, generator=generator)
    parameter, other = torch.nn.Parameter(start.clone()), torch.nn.Parameter(start.clone())
    config = AdamWConfig(lr=lr, betas=betas, eps=eps, eps_hat=True)
    groups = [{"params": [parameter], "weight_decay": decay}, {"params": [other], "weight_decay": 0.0}]
    optimizer = build_optimizer(groups, config)
    theta, m, v, t = start.double(), torch.zeros(3, 5).double(), torch.zeros(3, 5).double(), 0
    for step in range(200):
        optimizer.param_groups[0]["idle"] = idle and step % 3 == 0
        gradient = torch.randn(3, 5, generator=generator) * 1e-4
        parameter.grad, other.grad = gradient.clone(), gradient.clone()
        optimizer.step()
        if optimizer.param_groups[0]["idle"]:
            continue
        # Paper A, algorithm 1, line by line, and decoupled weight decay.
        t, g = t + 1, gradient.double()
        m = betas[0] * m + (1 - betas[0]) * g
        v = betas[1] * v + (1 - betas[1]) * g**2
        alpha = lr * math.sqrt(1 - betas[1] ** t) / (1 - betas[0] ** t)
        theta = (1 - lr * decay) * theta - alpha * m / (v.sqrt() + eps)
    torch.testing.assert_close(parameter.detach(), theta.float(), rtol=0, atol=2e-5)
    assert optimizer.state[parameter].keys() == {"step", "exp_avg", "exp_avg_sq"}


def test_epsilon_hat_of_200_steps_along_small_gradients_moves_less_by_the_share_that_the_formula_says() -> None:
    """Where g is constant both averages are g and g², so that the ratio of the movements is known."""
    moved = {}
    for hat in (False, True):
        parameter = torch.nn.Parameter(torch.zeros(4))
        config = AdamWConfig(lr=1e-3, eps=1e-6, eps_hat=hat)
        optimizer = build_optimizer([{"params": [parameter], "weight_decay": 0.0}], config)
        for _ in range(200):
            parameter.grad = torch.full((4,), 1e-4)
            optimizer.step()
        moved[hat] = -parameter.detach().double()[0].item()
    steps = [1 / (1 + 1e-2 / math.sqrt(1 - 0.999**t)) for t in range(1, 201)]
    assert moved[True] / moved[False] == pytest.approx(sum(steps) / (200 / 1.01), rel=1e-4)
    assert moved[True] < 0.97 * moved[False]


def test_active_group_moves_as_under_torchs_own_adamw() -> None:
    config = AdamWConfig(lr=0.03, betas=(0.8, 0.95), eps=1e-6, weight_decay=0.2)
    generator = torch.Generator().manual_seed(0)
    start, other = torch.randn(3, 4, generator=generator), torch.randn(4, generator=generator)
    ours = [torch.nn.Parameter(start.clone()), torch.nn.Parameter(other.clone())]
    theirs = [torch.nn.Parameter(start.clone()), torch.nn.Parameter(other.clone())]
    groups = [
        {"params": [ours[0]], "owner": SHARED, "weight_decay": 0.2},
        {"params": [ours[1]], "owner": "sst", "weight_decay": 0.0},
    ]
    optimizer = build_optimizer(groups, config)
    reference = torch.optim.AdamW(
        [{"params": [theirs[0]], "weight_decay": 0.2}, {"params": [theirs[1]], "weight_decay": 0.0}],
        lr=0.03,
        betas=(0.8, 0.95),
        eps=1e-6,
    )
    for step in range(6):
        gradients = [torch.randn(p.shape, generator=generator) for p in ours]
        idle = step % 2 == 1
        optimizer.param_groups[1]["idle"] = idle
        # Ours holds a flat gradient of zeros in an idle group, torch's own has none.
        ours[0].grad, ours[1].grad = gradients[0].clone(), torch.zeros(4) if idle else gradients[1].clone()
        theirs[0].grad, theirs[1].grad = gradients[0].clone(), None if idle else gradients[1].clone()
        optimizer.step()
        reference.step()
    for mine, wanted in zip(ours, theirs, strict=True):
        torch.testing.assert_close(mine, wanted)
    assert optimizer.state[ours[0]]["step"] == 6
    assert optimizer.state[ours[1]]["step"] == 3


def _steps(name: str, weight: torch.Tensor, **changes: Any) -> torch.Tensor:
    """A weight after three steps along fixed gradients at a rate of .1."""
    config = LibraryOptimizer(name=name, lr=0.1, **changes)
    own = [torch.nn.Parameter(weight.clone())]
    amount = {"decay": 0.5} if config.decay == "decoupled" else {"weight_decay": 0.5}
    optimizer = build_optimizer([{"params": own, "weight_decay": 0.0, **amount}], config)
    for step in range(3):
        own[0].grad = torch.full_like(weight, 0.3 + step)
        optimizer.step()
    return own[0].detach()


@pytest.mark.parametrize("name", ["adam", "adamax", "sgd", "rmsprop", "qhadam", "lamb", "lion", "novograd"])
def test_decay_is_beside_the_update_unless_it_is_the_librarys(name: str) -> None:
    """Many classes add it to the gradient by themselves; some know nothing else."""
    weight = torch.tensor([[2.0, -1.0], [0.5, 3.0]])
    alone = [torch.nn.Parameter(weight.clone())]
    plain = load_optimizer(name)(alone, lr=0.1, weight_decay=0.0)
    for step in range(3):
        alone[0].grad = torch.full_like(weight, 0.3 + step)
        with torch.no_grad():
            alone[0] -= 0.1 * 0.5 * alone[0]
        plain.step()
    torch.testing.assert_close(_steps(name, weight), alone[0].detach())
    library = [torch.nn.Parameter(weight.clone())]
    theirs = load_optimizer(name)(library, lr=0.1, weight_decay=0.5)
    for step in range(3):
        library[0].grad = torch.full_like(weight, 0.3 + step)
        theirs.step()
    torch.testing.assert_close(_steps(name, weight, decay="library"), library[0].detach())


def test_second_rates_follow_the_first_unless_they_are_given(tiny_tasks: dict[str, Any]) -> None:
    def rates(lr: float, **options: float) -> set[tuple[bool, float]]:
        optimizer = {"name": "muon", "lr": lr, "options": options}
        config = parse_config(tiny_tasks | {"optimizer": optimizer}, "test")
        groups = parameter_groups(build_model(config), config)
        return {(group["use_muon"], round(lr * group["lr_scale"], 9)) for group in groups}

    assert rates(0.02) == {(True, 0.02), (False, 3e-4)}
    assert rates(0.002) == {(True, 0.002), (False, 3e-5)}
    assert rates(0.002, adamw_lr=1e-3) == {(True, 0.002), (False, 1e-3)}
    one = [torch.nn.Parameter(torch.ones(3))]
    mars = build_optimizer([{"params": one}], LibraryOptimizer(name="mars", lr=0.5))
    assert mars.param_groups[0]["lr_1d_factor"] == 1.0


@pytest.mark.parametrize("name", ["adafactor", "nero", "apollodqn"])
def test_optimizers_with_a_rate_of_their_own_are_refused(name: str) -> None:
    with pytest.raises(UserError, match=f"{name} moves weights at a learning rate of 0"):
        check_library_optimizer(LibraryOptimizer(name=name))


def test_settings_of_decay_are_refused_where_decay_is_ours() -> None:
    options = {"weight_decouple": False}
    with pytest.raises(
        UserError, match=r"optimizer\.options\.weight_decouple has no effect .*optimizer\.decay=library"
    ):
        check_library_optimizer(LibraryOptimizer(name="adamax", options=options))
    check_library_optimizer(LibraryOptimizer(name="adamax", options=options, decay="library"))
