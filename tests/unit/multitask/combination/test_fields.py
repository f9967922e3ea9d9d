"""No key of a combination is silently ignored: each is flipped, and what the step is told changes."""

from typing import Any

import pytest
import torch

from multitask.combination import CoordinateCombination
from multitask.errors import UserError
from tests.unit.multitask.combination.methods import TASKS, build, drawn, facts
from tune_spaces.core.methods import method_classes

FLIPS: dict[str, Any] = {
    "strength": 0.5,
    "after": 3,
    "groups": [["sst", "sts"], ["quora"]],
    "inside": {"name": "geometric_mean"},
    "granularity": "layer",
    "every": 3,
    "scope": "all",
    "reduction": "mean",
    "preference": {"sst": 0.5, "quora": 2.0, "sts": 1.0},
    "loss_weights": {"sst": 3.0, "quora": 1.0, "sts": 1.0},
    "start": {"sst": 3.0, "quora": 1.0, "sts": 1.0},
    "end": {"sst": 3.0, "quora": 1.0, "sts": 1.0},
    "lr": 0.4,
    "temperature": 0.3,
    "window": 2,
    "decay": 0.9,
    "mu": 0.9,
    "beta": 0.7,
    "c": 0.8,
    "scale": "median",
    "max_norm": 0.01,
    "alpha": 3.0,
    "lambda_": 5.0,
    "momentum": 0.1,
    "iterations": 3,
    "leak": 0.5,
    "primary": "sst",
    "tau": 0.5,
    "selected": 2,
}
# What a flip shows on.
WITH: dict[str, dict[str, Any]] = {
    "sdmgrad": {"lr": 0.05},
    "dwa": {"window": 1},
    "inside": {"groups": FLIPS["groups"]},
}
TOO_FEW = {
    *(("trimmed_mean", "trim"), ("trimmed_mean", "groups")),
    *(("krum", "outliers"), ("krum", "groups"), ("krum", "inside")),
}
FIELDS = [
    (name, field)
    for name, own in method_classes("combination").items()
    for field in own.model_fields
    # Of three gradients one can be trimmed, and two groups cannot be; nor can Krum find an outlier among so few.
    if field != "name" and (name, field) not in TOO_FEW
]


def _told(tree: dict[str, Any], name: str, **keys: Any) -> list[Any]:
    """What eight steps are told."""
    own = build(tree, name, steps=9, **keys)
    told: list[Any] = [own.granularity]
    for step in range(8):
        plan = own.plan(TASKS, step)
        rows = drawn(step) * 2.0
        known = facts(plan, rows, [1.6 / (1 + step), 0.7, 0.4 + 0.1 * step], step, heads=3.0)
        factors = own.factors(known)
        own.learn(known)
        told += [plan.groups, plan.losses.tolist(), factors.shared.tolist(), factors.heads.tolist()]
        told.append(None if plan.shared is None else plan.shared.tolist())
        if isinstance(own, CoordinateCombination) and len(plan.groups) > 1:
            places, found = torch.arange(rows.shape[1]), list(rows[: len(plan.groups)].float())
            told.append(own.merge("weight", places, found, step).tolist())
    return told


@pytest.mark.parametrize(("name", "field"), FIELDS)
def test_flipped_key_changes_what_steps_are_told(tiny_tasks: dict[str, Any], name: str, field: str) -> None:
    usual = WITH.get(name, {}) | WITH.get(field, {})
    assert _told(tiny_tasks, name, **usual) == _told(tiny_tasks, name, **usual)
    assert _told(tiny_tasks, name, **usual) != _told(tiny_tasks, name, **usual | {field: FLIPS[field]})


@pytest.mark.parametrize(
    ("name", "keys"),
    [
        ("trimmed_mean", {"trim": 2}),
        ("trimmed_mean", {"groups": FLIPS["groups"]}),
        ("krum", {"outliers": 1}),
        ("krum", {"groups": FLIPS["groups"]}),
        ("krum", {"selected": 4}),
    ],
)
def test_too_few_gradients_are_refused(tiny_tasks: dict[str, Any], name: str, keys: dict[str, Any]) -> None:
    with pytest.raises(UserError, match=r"combination\.(trim|outliers)=. takes . gradients or more"):
        build(tiny_tasks, name, **keys)


@pytest.mark.parametrize("name", ["trimmed_mean", "krum"])
def test_too_few_tasks_in_a_step_are_refused(tiny_tasks: dict[str, Any], name: str) -> None:
    two = {"phases": [{"sampling": {"name": "round_robin", "tasks_per_step": 2}}]}
    with pytest.raises(UserError, match=r"takes 3 gradients or more, but phases\.0 trains 2 tasks in a step"):
        build(tiny_tasks | two, name)


def test_primary_that_is_no_task_is_refused(tiny_tasks: dict[str, Any]) -> None:
    with pytest.raises(UserError, match=r"combination\.primary must be one of sst, quora, sts, got 'stss'"):
        build(tiny_tasks, "pcd", primary="stss")


def test_trimmed_mean_of_too_few_groups_is_the_sum_and_said(tiny_tasks: dict[str, Any]) -> None:
    own, rows, tasks = build(tiny_tasks, "trimmed_mean"), drawn(9, rows=2).float(), TASKS[:2]
    assert isinstance(own, CoordinateCombination)
    known = facts(own.plan(tasks, 0), rows, (1.6, 0.7), 0, tasks)
    assert own.factors(known).fell_back
    assert torch.equal(own.merge("weight", torch.arange(20), list(rows), 0), rows.sum(0))
