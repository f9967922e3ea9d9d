"""A combination inside each group and one between them, beside both written out on the gradients themselves."""

import json
from typing import Any

import pytest
import torch
from torchjd import aggregation

from multitask.config.combination.catalogue import method_classes
from multitask.errors import UserError
from tests.unit.multitask.combination.methods import METHODS, NEEDED, TASKS, ask, build, drawn, facts

LOSSES = (1.6, 0.7, 0.4)
GROUPS = [["sst", "sts"], ["quora"]]
PAIR = [0, 2]
COORDINATES = [name for name, own in method_classes().items() if own.ABOUT.kind == "coordinates"]
# Krum takes three groups and more, or three tasks in each.
BETWEEN = [name for name, own in method_classes().items() if "inside" in own.model_fields and name != "krum"]
INSIDE = [name for name in METHODS if name not in (*COORDINATES, "pcd", "krum")]


def _inside(name: str, **keys: Any) -> dict[str, Any]:
    return {"groups": GROUPS, "inside": {"name": name, **NEEDED.get(name, {}), **keys}}


def test_mgda_inside_and_equal_norms_between_on_the_gradients_themselves(tiny_tasks: dict[str, Any]) -> None:
    rows = drawn(1, size=4)
    shares = aggregation.MGDAWeighting(epsilon=1e-6, max_iters=250)(rows[PAIR] @ rows[PAIR].T)
    groups = torch.stack([shares @ rows[PAIR], rows[1]])
    norms = groups.norm(dim=1)
    wanted = norms.mean() * (groups / norms[:, None]).sum(0)
    found = ask(build(tiny_tasks, "normalized", **_inside("mgda")), rows, LOSSES, 0) @ rows
    torch.testing.assert_close(found, wanted, rtol=1e-5, atol=1e-6)


def test_losses_weighted_inside_keep_one_gradient_of_each_group(tiny_tasks: dict[str, Any]) -> None:
    rows = drawn(2, size=4)
    own = build(tiny_tasks, "aligned_mtl", **_inside("size_weighted"))
    assert own.plan(TASKS, 0).groups == (("sst", "sts"), ("quora",))
    # 60 and 10 rows: shares of two tasks, not of three.
    groups = torch.stack([2 * 60 / 70 * rows[0] + 2 * 10 / 70 * rows[2], rows[1]])
    left, values, right = torch.linalg.svd(groups, full_matrices=False)
    torch.testing.assert_close(
        ask(own, rows, LOSSES, 0) @ rows, values.min() * (left @ right).mean(0), rtol=1e-4, atol=1e-6
    )


def test_heads_follow_the_losses_that_are_weighted_inside(tiny_tasks: dict[str, Any]) -> None:
    own = build(tiny_tasks, "normalized", **_inside("geometric_mean"))
    known = facts(own.plan(TASKS, 0), drawn(3), LOSSES, 0)
    mean = (LOSSES[0] * LOSSES[2]) ** 0.5
    wanted = torch.tensor([mean / LOSSES[0], 1.0, mean / LOSSES[2]])
    torch.testing.assert_close(own.factors(known).heads, wanted)


def test_heads_are_compared_as_they_are_weighted_inside(tiny_tasks: dict[str, Any]) -> None:
    """`scope: all`: heads are coordinates of their own to both methods."""
    rows, heads = drawn(4, size=4), torch.eye(3).double() * 3**0.5
    whole = torch.cat([rows, heads], 1)
    shares = aggregation.MGDAWeighting(epsilon=1e-6, max_iters=250)(whole[PAIR] @ whole[PAIR].T)
    groups = torch.stack([shares @ whole[PAIR], whole[1]])
    norms = groups.norm(dim=1)
    wanted = norms.mean() * (groups / norms[:, None]).sum(0)
    own = build(tiny_tasks, "normalized", **_inside("mgda"), scope="all")
    known = facts(own.plan(TASKS, 0), rows, LOSSES, 0, heads=3.0)
    factors = own.factors(known)
    torch.testing.assert_close(factors.shared[0].double()[known.group_of] @ rows, wanted[:4], rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(factors.heads.double() * 3**0.5, wanted[4:], rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("between", BETWEEN)
def test_a_sum_inside_is_none(tiny_tasks: dict[str, Any], between: str) -> None:
    keys = NEEDED.get(between, {})
    one = build(tiny_tasks, between, **keys, groups=GROUPS)
    other = build(tiny_tasks, between, **keys, **_inside("sum"))
    for step in range(3):
        assert torch.equal(ask(one, drawn(step), LOSSES, step), ask(other, drawn(step), LOSSES, step))


@pytest.mark.parametrize("between", BETWEEN)
@pytest.mark.parametrize("inside", INSIDE)
def test_every_method_goes_inside_every_other(tiny_tasks: dict[str, Any], between: str, inside: str) -> None:
    """Finite, of the right shapes, with tasks absent, and on from its state through JSON."""
    keys = NEEDED.get(between, {}) | _inside(inside)
    rounds = [TASKS, TASKS, ("sst", "sts"), TASKS, ("quora",), ("quora", "sts"), TASKS]
    whole, first, second = (build(tiny_tasks, between, **keys) for _ in range(3))
    for step, tasks in enumerate(rounds):
        gradients, losses = drawn(step, rows=len(tasks)), [1.0 / (step + 1 + n) for n in range(len(tasks))]
        wanted = ask(whole, gradients, losses, step, tasks)
        assert wanted.shape == (len(tasks),)
        assert wanted.isfinite().all()
        if step == 3:
            state = json.loads(json.dumps({k: v.tolist() for k, v in first.state_dict().items()}, allow_nan=False))
            second.load_state_dict({k: torch.tensor(v, dtype=torch.float64) for k, v in state.items()})
        assert torch.equal(ask(first if step < 3 else second, gradients, losses, step, tasks), wanted)


def test_weights_are_kept_with_those_inside(tiny_tasks: dict[str, Any]) -> None:
    keys = _inside("mgda") | {"every": 3}
    own, fresh = build(tiny_tasks, "normalized", **keys), build(tiny_tasks, "normalized", **keys)
    looked = ask(own, drawn(0), LOSSES, 0)
    plan = own.plan(("sts", "quora"), 2)
    assert plan.groups == (("sts", "quora"),)
    assert plan.shared is not None
    torch.testing.assert_close(plan.shared[0].double(), looked[[2, 1]])
    fresh.load_state_dict(own.state_dict())
    assert torch.equal(fresh.plan(TASKS, 1).shared, own.plan(TASKS, 1).shared)  # type: ignore[arg-type]
    assert own.plan(TASKS, 3).shared is None


def test_the_sum_comes_first(tiny_tasks: dict[str, Any]) -> None:
    own = build(tiny_tasks, "normalized", **_inside("uncertainty"), after=2)
    assert own.plan(TASKS, 1).groups == (TASKS,)
    assert torch.equal(ask(own, drawn(0), LOSSES, 1), torch.ones(3).double())
    assert not torch.equal(ask(own, drawn(0), LOSSES, 2), torch.ones(3).double())


def test_no_weights_inside_are_the_sum_there_and_said(tiny_tasks: dict[str, Any]) -> None:
    rows = drawn(5)
    rows[2] = -rows[0]
    own = build(tiny_tasks, "normalized", **_inside("nash_mtl"))
    known = facts(own.plan(TASKS, 0), rows, LOSSES, 0)
    assert own.factors(known).fell_back
    assert own.factors(known).shared.isfinite().all()


REFUSED: list[tuple[dict[str, Any], str]] = [
    ({"groups": None}, "combination.inside acts inside combination.groups, which are not given"),
    ({"groups": [["sst"], ["quora"], ["sts"]]}, "has nothing to weigh: every one of combination.groups is a single task"),
    ({"inside": {"name": "graddrop"}}, "combination.inside.name=graddrop merges coordinates"),
    ({"inside": {"name": "pcd", "primary": "sst"}}, "pcd has one primary task, and the groups without it"),
    ({"inside": {"name": "krum"}}, "combination.inside.outliers=0 takes 3 gradients or more, not 2"),
    ({"inside": {"name": "mgda", "groups": [["sst"], ["sts"]]}}, "inside.groups: groups are not divided again"),
    ({"inside": {"name": "mgda", "every": 2}}, "inside.every: what holds between the groups holds inside"),
    ({"inside": {"name": "mgda", "granularity": "layer"}}, "inside.granularity: what holds between"),
    ({"inside": {"name": "mgda", "scope": "all"}}, "inside.scope: what holds between"),
    ({"inside": {"name": "gradnorm"}, "granularity": "layer"}, "gradnorm weighs whole losses, but combination.granularity"),
    (
        {"inside": {"name": "upgrad", "preference": {"sst": 0, "sts": 0, "quora": 1}}},
        "inside.preference is 0 for all of sst, sts",
    ),
    ({"inside": {"name": "loss_weights", "loss_weights": {"sst": 1}}}, "combination.inside.loss_weights"),
    ({"inside": {"name": "mgdaa"}}, "mgda"),
]  # fmt: skip


@pytest.mark.parametrize(("keys", "why"), REFUSED)
def test_what_cannot_be_inside_is_refused_with_the_reason(
    tiny_tasks: dict[str, Any], keys: dict[str, Any], why: str
) -> None:
    with pytest.raises(UserError, match=why.replace(".", r"\.")):
        build(tiny_tasks, "pcgrad", **(_inside("mgda") | keys))
