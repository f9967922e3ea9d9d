"""Rows of a step, epochs and evaluations that are given in rows."""

from collections.abc import Callable
from itertools import permutations
from typing import Any

import numpy as np
import pytest

from multitask.config import RunConfig, parse_config
from multitask.errors import UserError
from multitask.sampling import Schedule, TaskSize, task_sizes
from multitask.sampling.drawn import expected_draws
from multitask.sampling.pace import rows_per_step

UNEVEN = {"sst": TaskSize(90, 6, 15), "quora": TaskSize(200, 20, 10), "sts": TaskSize(50, 10, 5)}
ROWS = {"sst": 90, "quora": 200, "sts": 50}
Make = Callable[..., RunConfig]


@pytest.fixture
def make(tiny_tasks: dict[str, Any]) -> Make:
    """A recipe with batches of 6, 20 and 10 rows, of these phases and training settings."""

    def make(*phases: dict[str, Any], **training: Any) -> RunConfig:
        tree = tiny_tasks | {"combination": {"name": "sum"}, "phases": list(phases), "training": training}
        tasks = tree["tasks"]
        for task, size in UNEVEN.items():
            tasks[task] = tasks[task] | {"batch_size": size.batch_size}
        return parse_config(tree, "test")

    return make


def _schedule(config: RunConfig) -> Schedule:
    return Schedule(config, [task_sizes(config, phase, ROWS) for phase in range(len(config.phases))])


@pytest.mark.parametrize(
    ("sampling", "rows"),
    [
        ({"name": "round_robin"}, 36),
        ({"name": "round_robin", "tasks_per_step": 1}, 12),
        ({"name": "round_robin", "tasks_per_step": 2}, 24),
        # 340 rows in 30 batches.
        ({"name": "proportional"}, 340 / 30),
        ({"name": "proportional", "merged_batches": 3}, 34),
        ({"name": "sequential"}, 340 / 30),
        ({"name": "uniform"}, 12),
        ({"name": "uniform", "tasks_per_step": 2}, 24),
        ({"name": "draw_weights", "draw_weights": {"sst": 1, "quora": 2, "sts": 1}}, 6 / 4 + 20 / 2 + 10 / 4),
        ({"name": "draw_weights", "draw_weights": {"sst": 1, "quora": 2, "sts": 1}, "tasks_per_step": 3}, 36),
    ],
    ids=str,
)
def test_rows_of_a_step_are_the_mean_over_its_batches(make: Make, sampling: dict[str, Any], rows: float) -> None:
    config = make({"sampling": sampling}).phases[0].sampling
    assert rows_per_step(config, UNEVEN, 2) == pytest.approx((rows, rows))


@pytest.mark.parametrize("chances", [(0.25, 0.5, 0.25), (0.7, 0.2, 0.06, 0.04), (0.9, 0.09, 0.005, 0.004, 0.001)])
def test_draws_without_replacement_are_counted(chances: tuple[float, ...]) -> None:
    """Against every order in which the tasks can be drawn."""
    for number in range(1, len(chances) + 1):
        expected = np.zeros(len(chances))
        for order in permutations(range(len(chances)), number):
            left = 1 - np.cumsum([0.0, *(chances[k] for k in order[:-1])])
            expected[list(order)] += np.prod([chances[k] / rest for k, rest in zip(order, left, strict=True)])
        assert expected_draws(np.array(chances), number) == pytest.approx(expected, abs=2e-4)


def test_rows_of_annealed_steps_follow_the_epoch(make: Make) -> None:
    config = make({"sampling": {"name": "annealed", "start": 1, "end": 0}, "epochs": 3, "steps_per_epoch": 100})
    schedule = _schedule(config)
    # p ∝ N, √N and 1.
    pace = [(90 * 6 + 200 * 20 + 50 * 10) / 340, np.average([6, 20, 10], weights=np.sqrt([90, 200, 50])), 12]
    expected = [0, 50 * pace[0], 100 * pace[0], 100 * pace[0] + 50 * pace[1], 100 * sum(pace)]
    assert [schedule.rows_done(steps) for steps in (0, 50, 100, 150, 300)] == pytest.approx(expected)


@pytest.mark.parametrize("name", ["round_robin", "proportional", "sequential"])
def test_rows_of_whole_epochs_are_those_of_the_rounds(make: Make, name: str) -> None:
    # Without epochs of given rows, and sets that divide into batches, the count is exact after each epoch.
    schedule = _schedule(make({"sampling": {"name": name}, "epochs": 3}))
    batches = [b for s in range(schedule.steps) for b in schedule.round(s).batches]
    counted = sum(len(batch.numbers) * UNEVEN[batch.task].batch_size for batch in batches)
    assert schedule.rows_done(schedule.steps) == pytest.approx(counted)
    assert schedule.rows_done(0) == 0


def test_rows_done_goes_on_through_phases_at_each_ones_pace(make: Make) -> None:
    schedule = _schedule(
        make(
            {"tasks": ["sst"], "sampling": {"name": "sequential"}, "steps_per_epoch": 4, "epochs": 2},
            {"sampling": {"name": "round_robin"}, "steps_per_epoch": 5},
        )
    )
    expected = [6 * n for n in range(9)] + [48 + 36 * n for n in range(1, 6)]
    assert [schedule.rows_done(step) for step in range(14)] == pytest.approx(expected)


@pytest.mark.parametrize(
    ("sampling", "wanted", "steps"),
    [
        ({"name": "round_robin"}, 360, 10),
        ({"name": "round_robin", "tasks_per_step": 1}, 360, 30),
        ({"name": "round_robin"}, 377, 10),  # 10.47 steps
        ({"name": "round_robin"}, 379, 11),  # 10.53
        ({"name": "round_robin"}, 1, 1),
        ({"name": "proportional", "merged_batches": 3}, 340, 10),
        ({"name": "sequential"}, 680, 60),
        ({"name": "uniform"}, 360, 30),
    ],
    ids=str,
)
def test_epoch_of_given_rows_has_the_nearest_number_of_steps(
    make: Make, sampling: dict[str, Any], wanted: int, steps: int
) -> None:
    schedule = _schedule(make({"sampling": sampling, "rows_per_epoch": wanted, "epochs": 2}))
    assert schedule.steps == 2 * steps
    assert [n for n in range(1, schedule.steps + 1) if schedule.is_epoch_end(n)] == [steps, 2 * steps]


def test_evaluation_is_at_the_first_step_at_or_above_each_multiple(make: Make) -> None:
    # 36 rows a step: 36, 72, 108, …, 432; multiples of 100 are reached at 108, 216, 324 and 432.
    schedule = _schedule(make({"sampling": {"name": "round_robin"}, "steps_per_epoch": 12}, evaluate_rows=100))
    assert [n for n in range(1, 13) if schedule.evaluates_after(n)] == [3, 6, 9, 12]


def test_step_that_reaches_a_multiple_exactly_is_evaluated(make: Make) -> None:
    schedule = _schedule(make({"sampling": {"name": "round_robin"}, "steps_per_epoch": 12}, evaluate_rows=72))
    assert [n for n in range(1, 13) if schedule.evaluates_after(n)] == [2, 4, 6, 8, 10, 12]
    # 34/3 rows a step: three times that is 34 but for rounding.
    thirds = _schedule(make({"sampling": {"name": "proportional"}, "steps_per_epoch": 30}, evaluate_rows=34))
    assert [n for n in range(1, 31) if thirds.evaluates_after(n)] == list(range(3, 31, 3))


def test_last_multiple_near_the_end_is_left_to_the_end(make: Make) -> None:
    # 36 rows a step; 81, 162, 243 and 324 rows are reached after 3, 5, 7 and 9 steps.
    def points(steps: int) -> list[int]:
        phase = {"sampling": {"name": "round_robin"}, "steps_per_epoch": steps}
        schedule = _schedule(make(phase, evaluate_rows=81))
        return [n for n in range(1, steps + 1) if schedule.evaluates_after(n)]

    assert points(11) == [3, 5, 7, 9, 11]  # 72 rows from 324 to the end, more than half of 81
    assert points(10) == [3, 5, 7, 10]  # 36 rows, less


def test_evaluations_by_rows_are_the_same_after_each_step_whatever_came_before(make: Make) -> None:
    phases = [{"sampling": {"name": n}, "rows_per_epoch": 300, "epochs": 2} for n in ("uniform", "proportional")]
    schedule = _schedule(make(*phases, evaluate_rows=130))
    forwards = [schedule.evaluates_after(n) for n in range(1, schedule.steps + 1)]
    assert forwards[-1]
    backwards = [schedule.evaluates_after(n) for n in range(schedule.steps, 0, -1)]
    assert backwards[::-1] == forwards


def test_evaluation_of_plain_recipes_is_by_steps_or_epochs(make: Make) -> None:
    phase = {"sampling": {"name": "round_robin"}, "steps_per_epoch": 5, "epochs": 2}
    by_epoch, by_step = _schedule(make(phase)), _schedule(make(phase, evaluate_every=4))
    assert [n for n in range(1, 11) if by_epoch.evaluates_after(n)] == [5, 10]
    assert [n for n in range(1, 11) if by_step.evaluates_after(n)] == [4, 8, 10]


def test_two_ways_to_say_how_long_or_when_are_refused(make: Make) -> None:
    with pytest.raises(UserError, match=r"steps_per_epoch and rows_per_epoch.*give one of them"):
        make({"steps_per_epoch": 5, "rows_per_epoch": 30})
    with pytest.raises(UserError, match=r"evaluate_every and evaluate_rows.*give one of them"):
        make({}, evaluate_every=5, evaluate_rows=30)
