"""Strategies that draw tasks: closed forms, frequencies, distinctness."""

import math
import tracemalloc
from collections import Counter
from typing import Any

import numpy as np
import pytest
from scipy.stats import chisquare

from multitask.config import RunConfig, parse_config
from multitask.config.sampling import Annealed, DrawnByWeights, SquareRoot, Temperature, Uniform
from multitask.sampling import Schedule, TaskSize, task_probabilities, task_sizes
from multitask.sampling.drawn import DrawnStrategy
from multitask.sampling.strategy import Plan

ROWS = {"sst": 400, "quora": 10000, "sts": 900}


def _config(tiny_tasks: dict[str, Any], *phases: dict[str, Any], **changes: Any) -> RunConfig:
    return parse_config(tiny_tasks | {"combination": {"name": "sum"}, "phases": list(phases)} | changes, "test")


def _schedule(config: RunConfig, rows: dict[str, int] = ROWS) -> Schedule:
    return Schedule(config, [task_sizes(config, phase, rows) for phase in range(len(config.phases))])


def _share(values: list[float]) -> np.ndarray:
    return np.array(values) / sum(values)


@pytest.mark.parametrize(
    ("config", "wanted"),
    [
        (Uniform(), [1, 1, 1]),
        (SquareRoot(), [20, 100, 30]),
        (Temperature(temperature=1), [400, 10000, 900]),
        (Temperature(temperature=2), [20, 100, 30]),
        (Temperature(temperature=1, cap=1000), [400, 1000, 900]),
        (DrawnByWeights(draw_weights={"sts": 1, "sst": 3, "quora": 4}), [3, 4, 1]),
    ],
)
def test_probabilities_are_the_closed_forms(config: Any, wanted: list[float]) -> None:
    np.testing.assert_allclose(task_probabilities(config, ROWS, 0, 5), _share(wanted))


def test_large_temperature_is_uniform() -> None:
    np.testing.assert_allclose(task_probabilities(Temperature(temperature=1e9), ROWS, 0, 1), [1 / 3] * 3, atol=1e-8)


def test_annealing_runs_from_proportional_to_a_fifth() -> None:
    """α = 1 − .8 (e − 1) / (E − 1): 1 in the first epoch, .2 in the last (Stickland and Murray 2019, section 4.2)."""
    for number in range(10):
        alpha = 1 - 0.8 * number / 9
        wanted = _share([n**alpha for n in ROWS.values()])
        np.testing.assert_allclose(task_probabilities(Annealed(), ROWS, number, 10), wanted)
    np.testing.assert_allclose(task_probabilities(Annealed(), ROWS, 0, 1), _share(list(ROWS.values())))


@pytest.mark.parametrize("name", ["uniform", "square_root", "temperature", "draw_weights", "annealed"])
def test_frequencies_are_the_probabilities(tiny_tasks: dict[str, Any], name: str) -> None:
    extra = {"draw_weights": {"sst": 1, "quora": 2, "sts": 5}} if name == "draw_weights" else {}
    config = _config(tiny_tasks, {"sampling": {"name": name, **extra}, "epochs": 2, "steps_per_epoch": 3000})
    schedule = _schedule(config)
    for epoch in range(2):
        drawn = Counter(schedule.round(s).tasks[0] for s in range(3000 * epoch, 3000 * (epoch + 1)))
        wanted = task_probabilities(config.phases[0].sampling, ROWS, epoch, 2)  # type: ignore[arg-type]
        assert chisquare([drawn[t] for t in ROWS], wanted * 3000).pvalue > 1e-4


def test_several_tasks_of_a_step_differ_and_follow_draws_without_replacement(tiny_tasks: dict[str, Any]) -> None:
    weights = {"sst": 1, "quora": 2, "sts": 5}
    sampling = {"name": "draw_weights", "draw_weights": weights, "tasks_per_step": 2}
    schedule = _schedule(_config(tiny_tasks, {"sampling": sampling, "steps_per_epoch": 4000}))
    rounds = [schedule.round(s).tasks for s in range(4000)]
    assert all(len(tasks) == len(set(tasks)) == 2 for tasks in rounds)
    total = sum(weights.values())
    wanted = {
        frozenset((a, b)): sum(weights[x] / total * weights[y] / (total - weights[x]) for x, y in ((a, b), (b, a)))
        for a, b in (("sst", "quora"), ("sst", "sts"), ("quora", "sts"))
    }
    found = Counter(frozenset(tasks) for tasks in rounds)
    assert chisquare([found[pair] for pair in wanted], [4000 * p for p in wanted.values()]).pvalue > 1e-4


@pytest.mark.parametrize("name", ["uniform", "square_root", "temperature", "annealed"])
def test_all_tasks_of_a_phase_are_as_many_as_they_are(tiny_tasks: dict[str, Any], name: str) -> None:
    schedules = [
        _schedule(_config(tiny_tasks, {"sampling": {"name": name, "tasks_per_step": number}, "epochs": 2}))
        for number in ("all", 3)
    ]
    assert schedules[0].steps == schedules[1].steps > 0
    assert schedules[0].rows_done(schedules[0].steps) == schedules[1].rows_done(schedules[1].steps)
    for step in range(schedules[0].steps):
        assert schedules[0].round(step) == schedules[1].round(step)


def test_drawn_rounds_are_pure_and_batches_come_in_order(tiny_tasks: dict[str, Any]) -> None:
    phase = {"sampling": {"name": "annealed", "tasks_per_step": 2}, "epochs": 4, "steps_per_epoch": 50}
    config = _config(tiny_tasks, phase)
    rounds = [_schedule(config).round(s) for s in range(200)]
    jumping = _schedule(config)
    for step in np.random.default_rng(0).permutation(200).tolist():
        assert jumping.round(step) == rounds[step]
    for task in ROWS:
        numbers = [n for r in rounds for b in r.batches if b.task == task for n in b.numbers]
        assert numbers == list(range(len(numbers)))
    order = [[r.tasks for r in rounds[50 * e : 50 * (e + 1)]] for e in range(4)]
    assert order[0] != order[1]


def test_epoch_has_as_many_batches_as_all_sets(tiny_tasks: dict[str, Any]) -> None:
    rows = {"sst": 60, "quora": 31, "sts": 12}
    for per_step in (1, 2):
        config = _config(tiny_tasks, {"sampling": {"name": "uniform", "tasks_per_step": per_step}, "epochs": 3})
        assert _schedule(config, rows).steps == 3 * math.ceil((10 + 6 + 2) / per_step)


def test_draws_differ_between_epochs_phases_and_seeds(tiny_tasks: dict[str, Any]) -> None:
    phase = {"sampling": {"name": "uniform"}, "steps_per_epoch": 60, "epochs": 2}
    one, other = (_schedule(_config(tiny_tasks, phase, phase, seed=seed)) for seed in (1, 2))
    starts = range(0, 240, 60)
    drawn = [[s.round(step).tasks for step in range(n, n + 60)] for s in (one, other) for n in starts]
    assert all(a != b for number, a in enumerate(drawn) for b in drawn[:number])


def test_each_draw_is_independent_of_the_one_before(tiny_tasks: dict[str, Any]) -> None:
    schedule = _schedule(_config(tiny_tasks, {"sampling": {"name": "uniform"}, "steps_per_epoch": 4500}))
    drawn = [schedule.round(step).tasks[0] for step in range(4500)]
    pairs = Counter(zip(drawn[::2], drawn[1::2], strict=True))
    assert chisquare([pairs[a, b] for a in ROWS for b in ROWS]).pvalue > 1e-4


def test_batches_count_on_through_a_long_epoch_in_little_memory() -> None:
    """A million steps are drawn in parts; the last slots still know how often their task came before."""
    sizes = {f"t{number}": TaskSize(10**number, 1, 10**number) for number in range(6)}
    strategy = DrawnStrategy(SquareRoot(tasks_per_step=2), Plan(sizes, (0, 0), 1, 10**6))
    tracemalloc.start()
    last = strategy.slot(2 * 10**6 - 1)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 60e6
    for start in (2 * 65536 - 500, 2 * 10**6 - 1000):
        seen: dict[str, int] = {}
        for task, number in map(strategy.slot, range(start, start + 1000)):
            assert number == seen.get(task, number - 1) + 1
            seen[task] = number
    assert seen[last[0]] == last[1]
    # Every slot is somebody's; the rarest tasks may not have come in the last thousand.
    assert sum(seen.values()) + len(seen) == pytest.approx(2 * 10**6, rel=0.01)
