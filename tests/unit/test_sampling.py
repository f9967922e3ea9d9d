"""Rounds as pure functions of the step; shares of ranks; rows of batches."""

from collections import Counter
from typing import Any

import numpy as np
import pytest

from multitask.config import RunConfig, parse_config
from multitask.sampling import Schedule, split_round
from multitask.sampling.rows import TaskRows

SIZES = {"sst": 7, "quora": 3, "sts": 5}


def _config(tiny_tasks: dict[str, Any], *phases: dict[str, Any], **changes: Any) -> RunConfig:
    return parse_config(tiny_tasks | {"combination": {"name": "sum"}, "phases": list(phases)} | changes, "test")


def _taken(schedule: Schedule, first: int, last: int) -> Counter[tuple[str, int]]:
    return Counter((b.task, n) for s in range(first, last) for b in schedule.round(s).batches for n in b.numbers)


def test_sequential_goes_through_each_task_in_turn(tiny_tasks: dict[str, Any]) -> None:
    schedule = Schedule(_config(tiny_tasks, {"sampling": {"name": "sequential"}, "epochs": 2}), SIZES)
    assert schedule.steps == 30
    tasks = [schedule.round(s).tasks for s in range(15)]
    assert tasks == [("sst",)] * 7 + [("quora",)] * 3 + [("sts",)] * 5
    assert [schedule.round(15 + s).tasks for s in range(15)] == tasks
    assert _taken(schedule, 0, 30) == Counter((t, n) for t, size in SIZES.items() for n in range(2 * size))


@pytest.mark.parametrize(("per_step", "steps"), [("all", 7), (1, 21), (2, 11)])
def test_round_robin_lets_small_sets_start_again(tiny_tasks: dict[str, Any], per_step: Any, steps: int) -> None:
    sampling = {"name": "round_robin", "tasks_per_step": per_step}
    schedule = Schedule(_config(tiny_tasks, {"sampling": sampling}), SIZES)
    assert schedule.steps == steps
    if per_step == "all":
        assert all(schedule.round(s).tasks == ("sst", "quora", "sts") for s in range(7))
        assert [schedule.round(s).batches[1].numbers for s in range(7)] == [(s,) for s in range(7)]
    else:
        order = [t for s in range(steps) for t in schedule.round(s).tasks]
        assert Counter(order)["sst"] >= 7
        assert {t: order.count(t) - order.count("sst") for t in SIZES}.keys() == SIZES.keys()
        assert max(Counter(order).values()) - min(Counter(order).values()) <= 1


@pytest.mark.parametrize("per_step", [1, 2, 4])
def test_proportional_takes_every_batch_once_an_epoch(tiny_tasks: dict[str, Any], per_step: int) -> None:
    sampling = {"name": "proportional", "batches_per_step": per_step}
    schedule = Schedule(_config(tiny_tasks, {"sampling": sampling, "epochs": per_step}), SIZES)
    # After per_step epochs the slots come out even, whatever the last step of an epoch took in advance.
    slots = 15 * per_step // per_step
    taken = _taken(schedule, 0, slots)
    assert taken == Counter((t, n) for t, size in SIZES.items() for n in range(size * per_step))
    if per_step == 1:
        order = [schedule.round(s).tasks[0] for s in range(15)]
        assert order != sorted(order, key=list(SIZES).index)
    else:
        assert any(len(b.numbers) > 1 for s in range(slots) for b in schedule.round(s).batches)


def test_rounds_depend_on_seed_and_step_only(tiny_tasks: dict[str, Any]) -> None:
    phase = {"sampling": {"name": "proportional", "batches_per_step": 2}, "epochs": 3}
    config = _config(tiny_tasks, phase)
    forwards = [Schedule(config, SIZES).round(s) for s in range(20)]
    one = Schedule(config, SIZES)
    assert [one.round(s) for s in reversed(range(20))] == forwards[::-1]
    other = Schedule(_config(tiny_tasks, phase, seed=99), SIZES)
    assert [other.round(s) for s in range(20)] != forwards


def test_phases_follow_each_other(tiny_tasks: dict[str, Any]) -> None:
    schedule = Schedule(
        _config(
            tiny_tasks,
            {"tasks": ["quora"], "sampling": {"name": "sequential"}, "epochs": 2},
            {"sampling": {"name": "round_robin"}, "epochs": 2, "steps_per_epoch": 4},
        ),
        SIZES,
    )
    assert schedule.steps == 6 + 8
    assert [schedule.phase_of(s) for s in (0, 5, 6, 13)] == [0, 0, 1, 1]
    assert schedule.round(5).tasks == ("quora",)
    assert schedule.round(6).tasks == ("sst", "quora", "sts")
    assert schedule.round(6).batches[0].numbers == (0,)
    assert [s for s in range(15) if schedule.is_epoch_end(s)] == [3, 6, 10, 14]
    assert [schedule.epochs_done(s) for s in (0, 3, 6, 8, 14)] == [0, 1, 2, 2.5, 4]


def test_rows_come_once_a_pass_in_another_order_each(tiny_tasks: dict[str, Any]) -> None:
    config = _config(tiny_tasks, {"epochs": 1}, {"epochs": 1})
    lengths = np.random.default_rng(0).integers(4, 30, 50)
    rows = TaskRows(config, "sst", 0, lengths)
    first = np.concatenate([rows.rows((n,)) for n in range(rows.batches)])
    second = np.concatenate([rows.rows((n,)) for n in range(rows.batches, 2 * rows.batches)])
    for order in (first, second):
        assert sorted(order) == list(range(50))
    assert not np.array_equal(first, second)
    other_phase = TaskRows(config, "sst", 1, lengths)
    assert not np.array_equal(first, np.concatenate([other_phase.rows((n,)) for n in range(rows.batches)]))
    again = TaskRows(config, "sst", 0, lengths)
    assert np.array_equal(again.rows((3, 11)), np.concatenate([rows.rows((3,)), rows.rows((11,))]))


@pytest.mark.parametrize("packed", [True, False])
@pytest.mark.parametrize("ranks", [1, 2, 3, 5, 8])
def test_shares_hold_every_row_once_and_are_even(ranks: int, packed: bool) -> None:
    generator = np.random.default_rng(ranks)
    costs = [generator.integers(3, 128, size) for size in (16, 1, 24, 7)]
    shares = split_round(costs, ranks, packed=packed)
    for t, cost in enumerate(costs):
        rows = np.concatenate([np.arange(len(cost))[share[t]] for share in shares])
        assert np.array_equal(rows, np.arange(len(cost)))
    loads = np.array([sum(c[piece].sum() for c, piece in zip(costs, share, strict=True)) for share in shares])
    if packed:
        pieces = sum(piece.stop > piece.start for share in shares for piece in share)
        assert pieces <= len(costs) + ranks - 1
        # A row goes where its middle lies, so each end of a share is off by at most half a row.
        assert np.abs(loads - loads.sum() / ranks).max() <= max(c.max() for c in costs)
    else:
        for cost, own in zip(costs, zip(*shares, strict=True), strict=True):
            parts = np.array([cost[piece].sum() for piece in own])
            assert np.abs(parts - cost.sum() / ranks).max() <= cost.max()
