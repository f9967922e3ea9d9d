"""What every combination keeps to, by being in the registry."""

import json
from importlib import import_module
from typing import Any

import pytest
import torch

from multitask.combination import WEIGHTINGS, CoordinateCombination
from multitask.config.combination import About
from multitask.config.run import RunConfig
from tests.unit.multitask.combination.methods import METHODS, TASKS, ask, build, drawn, facts
from tune_spaces.core.methods import method_classes

LOSSES = (1.6, 0.7, 0.4)
CLASSES = method_classes("combination")
every_method = pytest.mark.parametrize("name", METHODS)


def test_the_registry_has_what_a_recipe_may_name() -> None:
    assert sorted(CLASSES) == METHODS
    assert all(isinstance(own.ABOUT, About) for own in CLASSES.values())
    assert RunConfig.model_fields["combination"].default.name == "sum"


@every_method
@pytest.mark.parametrize("scale", [1e-10, 1e-3, 1.0, 1e10])
def test_factors_have_their_shapes_and_are_finite(tiny_tasks: dict[str, Any], name: str, scale: float) -> None:
    own = build(tiny_tasks, name)
    for step in range(4):
        plan = own.plan(TASKS, step)
        assert sorted(task for group in plan.groups for task in group) == sorted(TASKS)
        assert plan.losses.shape == (3,)
        known = facts(plan, drawn(step) * scale, LOSSES, step)
        factors = own.factors(known)
        own.learn(known)
        assert factors.shared.shape == (1, len(plan.groups))
        assert factors.heads.shape == (3,)
        assert torch.isfinite(factors.shared).all()
        assert torch.isfinite(factors.heads).all()
        assert not factors.fell_back


@every_method
def test_one_task_in_the_round_is_trained_by_its_gradient(tiny_tasks: dict[str, Any], name: str) -> None:
    weight = ask(build(tiny_tasks, name), drawn(1, rows=1), [0.5], 0, ("quora",))
    assert weight.shape == (1,)
    assert torch.isfinite(weight).all()
    assert weight >= 0
    if name in WEIGHTINGS or name in (
        "sum",
        "mean",
        "dwa",
        "graddrop",
        "trimmed_mean",
        "imtl_l",
        "geometric_mean",
    ):
        assert weight == pytest.approx(1)


@every_method
@pytest.mark.parametrize("case", ["zero task", "all zero", "equal tasks", "opposite tasks", "huge beside tiny"])
def test_degenerate_gradients_end_in_finite_factors(tiny_tasks: dict[str, Any], name: str, case: str) -> None:
    gradients = drawn(3)
    if case == "zero task":
        gradients[1] = 0
    elif case == "all zero":
        gradients[:] = 0
    elif case == "equal tasks":
        gradients[:] = gradients[0]
    elif case == "opposite tasks":
        gradients[1], gradients[2] = -gradients[0], gradients[0]
    else:
        gradients[0] *= 1e6
    own = build(tiny_tasks, name)
    for step in range(3):
        plan = own.plan(TASKS, step)
        known = facts(plan, gradients, LOSSES, step)
        factors = own.factors(known)
        own.learn(known)
        assert torch.isfinite(factors.shared).all()
        if factors.fell_back:
            assert torch.equal(factors.shared, torch.ones_like(factors.shared))


@pytest.mark.parametrize(
    "name", [n for n in METHODS if n not in ("loss_weights", "scheduled", "size_weighted", "random")]
)
def test_equal_tasks_get_equal_weights(tiny_tasks: dict[str, Any], name: str) -> None:
    gradients = drawn(4)
    gradients[:] = gradients[0]
    weights = ask(build(tiny_tasks, name), gradients, [0.5] * 3, 0)
    if name in ("mgda", "pcgrad", "upgrad", "dualproj", "imtl_g", "aligned_mtl", "pcd", "krum"):
        # Any weights with this sum are as good.
        weights = weights.sum().expand(3) / 3
    torch.testing.assert_close(weights, weights[0].expand(3), rtol=1e-5, atol=1e-7)


# What is drawn belongs to a place.
@pytest.mark.parametrize("name", [n for n in METHODS if n not in ("random", "pcgrad", "gradvac")])
def test_permuted_tasks_have_permuted_weights(tiny_tasks: dict[str, Any], name: str) -> None:
    order = [2, 0, 1]
    tasks = [TASKS[number] for number in order]
    one, other = build(tiny_tasks, name), build(tiny_tasks, name)
    for step in range(3):
        gradients = drawn(step)
        weights = ask(one, gradients, LOSSES, step)
        permuted = ask(other, gradients[order], [LOSSES[n] for n in order], step, tasks)
        torch.testing.assert_close(permuted, weights[order], rtol=1e-4, atol=1e-5)


@every_method
def test_it_goes_on_from_its_state_through_json(tiny_tasks: dict[str, Any], name: str) -> None:
    """With tasks absent from some rounds; a checkpoint keeps the state as JSON."""
    rounds = [TASKS, TASKS, ("sst", "sts"), TASKS, ("quora",), TASKS, TASKS]
    whole, first = build(tiny_tasks, name), build(tiny_tasks, name)
    second = build(tiny_tasks, name)
    wanted, found = [], []
    for step, tasks in enumerate(rounds):
        gradients, losses = drawn(step, rows=len(tasks)), [1.0 / (step + 1 + n) for n in range(len(tasks))]
        wanted.append(ask(whole, gradients, losses, step, tasks))
        if step == 3:
            state = json.loads(json.dumps({k: v.tolist() for k, v in first.state_dict().items()}, allow_nan=False))
            second.load_state_dict({k: torch.tensor(v, dtype=torch.float64) for k, v in state.items()})
        found.append(ask(first if step < 3 else second, gradients, losses, step, tasks))
    for one, other in zip(wanted, found, strict=True):
        assert torch.equal(one, other)


@every_method
def test_a_task_that_is_absent_keeps_its_state(tiny_tasks: dict[str, Any], name: str) -> None:
    own = build(tiny_tasks, name)
    for step in range(2):
        ask(own, drawn(step), LOSSES, step)
    before = {key: value.clone() for key, value in own.state_dict().items()}
    ask(own, drawn(2, rows=2), LOSSES[:2], 2, TASKS[:2])
    changed = False
    for key, value in own.state_dict().items():
        assert value.shape[-1] == len(TASKS)
        assert torch.equal(value[..., 2], before[key][..., 2])
        assert value.shape != (3, 3) or torch.equal(value[2], before[key][2])
        changed |= not torch.equal(value, before[key])
    assert changed == bool(before)


@every_method
def test_the_global_generator_is_left_alone_and_does_not_matter(tiny_tasks: dict[str, Any], name: str) -> None:
    torch.manual_seed(1)
    before = torch.get_rng_state()
    one = ask(build(tiny_tasks, name), drawn(0), LOSSES, 7)
    assert torch.equal(before, torch.get_rng_state())
    torch.manual_seed(2)
    assert torch.equal(one, ask(build(tiny_tasks, name), drawn(0), LOSSES, 7))


@pytest.mark.parametrize(
    ("name", "keys"),
    [*((n, {}) for n in METHODS if "every" in CLASSES[n].model_fields), ("pcgrad", {"reduction": "mean"})],
)
def test_weights_of_a_look_hold_until_the_next(tiny_tasks: dict[str, Any], name: str, keys: dict[str, Any]) -> None:
    own = build(tiny_tasks, name, every=2, **keys)
    looked = ask(own, drawn(0), LOSSES, 0)
    plan = own.plan(TASKS, 1)
    assert plan.groups == (TASKS,)
    assert plan.shared is not None
    torch.testing.assert_close(plan.shared[0].double(), looked)
    assert own.plan(TASKS, 2).groups == tuple((task,) for task in TASKS)


@pytest.mark.parametrize("name", ["graddrop", "trimmed_mean"])
def test_coordinates_are_merged_alike_however_they_are_cut(
    tiny_tasks: dict[str, Any], name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    own = build(tiny_tasks, name)
    assert isinstance(own, CoordinateCombination)
    monkeypatch.setitem(import_module("multitask.combination.coordinates.combination")._CHUNK, "cpu", 11)
    rows, places = list(drawn(6, size=50).float()), torch.arange(50)
    whole = own.merge("weight", places, rows, 3)
    parts = [
        own.merge("weight", places[start : start + 7], [row[start : start + 7] for row in rows], 3)
        for start in range(0, 50, 7)
    ]
    assert torch.equal(torch.cat(parts), whole)
    scattered = torch.tensor([3, 4, 30, 49])
    assert torch.equal(own.merge("weight", scattered, [row[scattered] for row in rows], 3), whole[scattered])


@pytest.mark.parametrize("name", ["graddrop", "trimmed_mean"])
@pytest.mark.parametrize("strength", [0.5, 1.0])
def test_words_that_no_task_has_get_nothing(tiny_tasks: dict[str, Any], name: str, strength: float) -> None:
    """So that the word embedding may be merged in the rows of the batch's words alone."""
    own = build(tiny_tasks, name, strength=strength)
    assert isinstance(own, CoordinateCombination)
    assert not own.merge("weight", torch.arange(9), list(torch.zeros(3, 9)), 3).any()
