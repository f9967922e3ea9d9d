"""Strategies that draw tasks: closed forms, frequencies, distinctness, and batch sizes in proportion."""

import math
from collections import Counter
from typing import Any

import numpy as np
import pytest
from scipy.stats import chisquare

from multitask.config import RunConfig, parse_config
from multitask.config.sampling import Annealed, DrawnByWeights, SquareRoot, Temperature, Uniform
from multitask.sampling import Schedule, TaskSize, task_probabilities, task_sizes
from multitask.sampling.rows import TaskRows

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
        (DrawnByWeights(weights={"sts": 1, "sst": 3, "quora": 4}), [3, 4, 1]),
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


@pytest.mark.parametrize("name", ["uniform", "square_root", "temperature", "weights", "annealed"])
def test_frequencies_are_the_probabilities(tiny_tasks: dict[str, Any], name: str) -> None:
    extra = {"weights": {"sst": 1, "quora": 2, "sts": 5}} if name == "weights" else {}
    config = _config(tiny_tasks, {"sampling": {"name": name, **extra}, "epochs": 2, "steps_per_epoch": 3000})
    schedule = _schedule(config)
    for epoch in range(2):
        drawn = Counter(schedule.round(s).tasks[0] for s in range(3000 * epoch, 3000 * (epoch + 1)))
        wanted = task_probabilities(config.phases[0].sampling, ROWS, epoch, 2)  # type: ignore[arg-type]
        assert chisquare([drawn[t] for t in ROWS], wanted * 3000).pvalue > 1e-4


def test_several_tasks_of_a_step_differ_and_follow_draws_without_replacement(tiny_tasks: dict[str, Any]) -> None:
    weights = {"sst": 1, "quora": 2, "sts": 5}
    sampling = {"name": "weights", "weights": weights, "tasks_per_step": 2}
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


def test_batch_sizes_of_paper_b(tiny_tasks: dict[str, Any]) -> None:
    """Its section 5.3: Quora in batches of 64; SST, Quora and STS have 2136, 2211 and 2014 batches."""
    config = _config(tiny_tasks, {"sampling": {"name": "proportional_batches", "largest": 64}})
    sizes = task_sizes(config, 0, {"sst": 8544, "quora": 141498, "sts": 6041})
    assert {t: (s.batch_size, s.batches) for t, s in sizes.items()} == {
        "sst": (4, 2136),
        "quora": (64, 2211),
        "sts": (3, 2014),
    }
    assert Schedule(config, [sizes]).steps == 2211


def test_batch_sizes_of_paper_c(tiny_tasks: dict[str, Any]) -> None:
    """Its section 4.3: 500 batches of every task, each of N / 500 rows."""
    config = _config(tiny_tasks, {"sampling": {"name": "proportional_batches", "batches": 500}})
    sizes = task_sizes(config, 0, {"sst": 8544, "quora": 283010, "sts": 6040})
    assert [size.batch_size for size in sizes.values()] == [17, 567, 12]
    assert [size.batches for size in sizes.values()] == [503, 500, 504]
    few = task_sizes(config, 0, {"sst": 100, "quora": 283010, "sts": 6040})["sst"]
    assert (few.batch_size, few.batches) == (1, 100)


def test_batch_sizes_differ_by_phase(tiny_tasks: dict[str, Any]) -> None:
    even = {"sampling": {"name": "proportional_batches", "batches": 5}}
    config = _config(tiny_tasks, {"tasks": ["quora"]}, even)
    first, second = (task_sizes(config, phase, {"sst": 60, "quora": 60, "sts": 50}) for phase in (0, 1))
    assert first == {"quora": TaskSize(60, 6, 10)}
    assert second["sts"] == TaskSize(50, 10, 5)


def test_used_rows_are_the_same_ones_in_every_pass_and_phase(tiny_tasks: dict[str, Any]) -> None:
    tiny_tasks["tasks"]["sst"]["train_rows"] = 20
    config = _config(tiny_tasks, {}, {})
    lengths = np.random.default_rng(0).integers(4, 30, 50)
    passes = []
    for phase in (0, 1):
        size = task_sizes(config, phase, {"sst": 50, "quora": 9, "sts": 9})["sst"]
        assert size == TaskSize(20, 6, 4)
        rows = TaskRows(config, "sst", phase, lengths, size)
        passes += [np.concatenate([rows.rows((4 * p + n,)) for n in range(4)]) for p in range(2)]
    assert len(set(passes[0].tolist())) == 20
    assert all(set(p.tolist()) == set(passes[0].tolist()) for p in passes)
    assert not np.array_equal(passes[0], passes[1])
    assert passes[0].max() >= 20
    other = _config(tiny_tasks, {}, {}, seed=77)
    rows = TaskRows(other, "sst", 0, lengths, TaskSize(20, 6, 4))
    assert set(np.concatenate([rows.rows((n,)) for n in range(4)]).tolist()) != set(passes[0].tolist())
