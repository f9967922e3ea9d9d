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
}
# What a flip shows on.
WITH: dict[str, dict[str, Any]] = {"sdmgrad": {"lr": 0.05}, "dwa": {"window": 1}}
FIELDS = [
    (name, field)
    for name, own in method_classes("combination").items()
    for field in own.model_fields
    # Of three gradients one can be trimmed, and two groups cannot be.
    if field != "name" and (name, field) not in (("trimmed_mean", "trim"), ("trimmed_mean", "groups"))
]


def _told(tree: dict[str, Any], name: str, **keys: Any) -> list[Any]:
    """What eight steps are told."""
    own = build(tree, name, steps=9, **{**WITH.get(name, {}), **keys})
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
    assert _told(tiny_tasks, name) == _told(tiny_tasks, name)
    assert _told(tiny_tasks, name) != _told(tiny_tasks, name, **{field: FLIPS[field]})


@pytest.mark.parametrize("keys", [{"trim": 2}, {"groups": FLIPS["groups"]}])
def test_what_leaves_nothing_to_average_is_refused(tiny_tasks: dict[str, Any], keys: dict[str, Any]) -> None:
    with pytest.raises(UserError, match=r"combination\.trim=. leaves nothing of . gradients"):
        build(tiny_tasks, "trimmed_mean", **keys)
