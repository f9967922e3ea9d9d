"""Every combination that there is, and rounds to ask it about."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from multitask.combination import COMBINATIONS, WEIGHTINGS, Combination, Facts, Plan, Setting, build_combination
from multitask.config import parse_config

TASKS = ("sst", "quora", "sts")
ROWS = {"sst": 60, "quora": 30, "sts": 10}
# What a method cannot do without.
NEEDED: dict[str, dict[str, Any]] = {
    "loss_weights": {"loss_weights": {"sst": 0.5, "quora": 2.0, "sts": 1.0}},
    "pcd": {"primary": "quora"},
    "scheduled": {"start": {"sst": 1, "quora": 0, "sts": 2}, "end": {"sst": 0, "quora": 3, "sts": 2}},
}
METHODS = sorted({**COMBINATIONS, **WEIGHTINGS})


def build(tree: dict[str, Any], name: str, steps: int = 100, seed: int = 5, **keys: Any) -> Combination:
    """The combination `name` for the tasks of the config `tree`."""
    config = parse_config(tree | {"combination": {"name": name, **NEEDED.get(name, {}), **keys}}, "test")
    return build_combination(config, Setting(ROWS, steps, seed))


def facts(
    plan: Plan, gradients: Tensor, losses: Sequence[float], step: int, tasks: Sequence[str] = TASKS, heads: float = 0.0
) -> Facts:
    """What a round of `tasks` comes to: `gradients` (K, P) of the tasks, weighted as the plan says, summed in its groups."""
    gradients = gradients * plan.losses[:, None]
    rows = torch.stack([sum(gradients[tasks.index(task)] for task in group) for group in plan.groups]).double()  # type: ignore[misc]
    known = torch.tensor(list(losses), dtype=torch.float64)
    return Facts(
        step, tuple(tasks), plan.groups, known, (rows @ rows.T)[None], torch.full((len(tasks),), heads).double()
    )


def drawn(number: int, rows: int = 3, size: int = 20) -> Tensor:
    """Gradients (K, P), standard normal."""
    return torch.randn(rows, size, generator=torch.Generator().manual_seed(number), dtype=torch.float64)


def ask(
    own: Combination, gradients: Tensor, losses: Sequence[float], step: int, tasks: Sequence[str] = TASKS
) -> Tensor:
    """The weights (K,) of the tasks' gradients in one round, which is then learned from."""
    plan = own.plan(tasks, step)
    known = facts(plan, gradients, losses, step, tasks)
    factors = own.factors(known)
    own.learn(known)
    used = factors.shared[0, known.group_of] * plan.losses
    return (used if plan.shared is None else used * plan.shared[0]).double()
