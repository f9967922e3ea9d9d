"""From a recipe and a sample to a trial's config: what it keeps, where it lies, how it is tagged; trials of one task."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from cluster.sweeps.plan import (
    Budget,
    baseline_budget,
    baseline_config,
    measure_budget,
    plain_sample,
    planned,
    run_name,
    trial_config,
)
from cluster.sweeps.records import Options, Trial
from multitask.config import RunConfig, load_recipe
from multitask.errors import UserError
from tests.unit.sweeps.recipes import ROWS, budget_of, recipe, rows_after_steps, schedule_of, tables

BUDGET = Budget((600,), 600, 100, ROWS)
THREE_TASKS = ("sst", "quora", "sts")


def _made(config: RunConfig, trial: Trial, **options: Any) -> RunConfig:
    return trial_config(config, trial, "s", "place/trials", Options(9, **options), BUDGET)


def test_budget_counts_rows_by_phase_and_in_all() -> None:
    phases = [
        {"tasks": ["sst"], "sampling": {"name": "sequential"}, "epochs": 2},
        {"sampling": {"name": "round_robin"}, "epochs": 3},
    ]
    base = recipe(phases=phases, data={"batch_size": 10})
    budget = measure_budget(base, tables({"sst": 900, "quora": 2400, "sts": 640}), 7)
    # 90 batches of 10; then 240 steps, as many as the largest task has, of 3 batches.
    assert budget.phase_rows == (900, 7200)
    assert budget.rows == 2 * 900 + 3 * 7200 == rows_after_steps(base)[-1]
    assert budget.unit == 3343  # 23400 / 7 is 3342.9
    assert budget.table_rows == {"sst": 900, "quora": 2400, "sts": 640}


def test_trial_lies_in_the_sweep_and_is_compared_by_its_score() -> None:
    config = _made(recipe(), Trial(3, 0, "sample", "s-003", {"lr": 0.1}), metrics=("dev/sst/accuracy",))
    assert config.name == "s-003"
    assert config.cluster.storage == "place/trials"
    assert config.cluster.export is False
    assert config.training.selection == "dev/sst/accuracy"
    assert (config.training.evaluate_rows, config.training.evaluate_every) == (100, None)
    assert (config.phases[0].rows_per_epoch, config.phases[0].steps_per_epoch) == (600, None)


def test_trial_is_tagged_for_the_tracker_with_what_was_chosen() -> None:
    phases = [{"sampling": {"name": name}} for name in ("annealed", "proportional", "annealed")]
    base = recipe(
        phases=phases,
        combination={"name": "sum"},
        tracking={"tags": ["mine"], "extra": {"team": "a"}, "log_model": True},
    )
    sample = {"sampling.name": "annealed", "optimizer.lr": 1e-4}
    tracking = _made(base, Trial(3, 0, "sample", "s-003", sample)).tracking
    assert tracking.group == "s"
    assert tracking.job_type == "trial"
    assert list(tracking.tags) == ["mine", "sampling:annealed", "sampling:proportional", "combination:sum"]
    assert tracking.extra == {"team": "a", "sweep": "s", "sample": sample}
    assert tracking.log_model is False
    assert _made(base, Trial(0, 0, "recipe", "s-000", {})).tracking.tags[-1] == "recipe"


def test_several_metrics_choose_checkpoints_by_the_mean() -> None:
    metrics = ("dev/sst/accuracy", "dev/sts/pearson")
    assert _made(recipe(), Trial(1, 0, "sample", "s-001", {}), metrics=metrics).training.selection == "dev/mean"


def test_repeats_differ_in_the_seed_alone() -> None:
    first, second, third = (_made(recipe(seed=5), Trial(2, r, "sample", "s-002", {})) for r in range(3))
    assert [own.seed for own in (first, second, third)] == [5, 6, 7]
    assert second.model_copy(update={"seed": 5}) == first


def test_space_that_changes_the_phases_keeps_their_own_length() -> None:
    base = recipe(phases=[{"sampling": {"name": "round_robin"}, "steps_per_epoch": 4}] * 2)
    config = _made(base, Trial(1, 0, "sample", "s-001", {}))
    assert [phase.steps_per_epoch for phase in config.phases] == [4, 4]
    assert [phase.rows_per_epoch for phase in config.phases] == [None, None]
    assert config.training.evaluate_rows == 100


@pytest.mark.parametrize(
    ("arguments", "name"),
    [
        ((0, 0, "recipe"), "s-000"),
        ((3, 0, "sample"), "s-003"),
        ((3, 1, "sample"), "s-003-r1"),
        ((1234, 0, "sample"), "s-1234"),
        ((-2, 0, "baseline", "sst"), "s-base-sst"),
        ((-2, 2, "baseline", "sst"), "s-base-sst-r2"),
    ],
)
def test_names_of_runs(arguments: tuple[Any, ...], name: str) -> None:
    assert run_name("s", *arguments) == name


def test_sample_of_numpy_values_becomes_plain() -> None:
    sample = plain_sample({"a": np.float64(0.5), "b": np.int64(3), "c": np.str_("x"), "d": None, "e": True})
    assert sample == {"a": 0.5, "b": 3, "c": "x", "d": None, "e": True}
    assert [type(value) for value in sample.values()] == [float, int, str, type(None), bool]


@pytest.mark.parametrize("task", THREE_TASKS)
def test_baseline_trains_one_task_for_its_share_of_the_rows(task: str) -> None:
    phases = [
        {"tasks": ["sst", "quora"], "epochs": 2},
        {"sampling": {"name": "annealed", "tasks_per_step": 2}, "epochs": 3},
    ]
    base = recipe(phases=phases)
    budget = budget_of(base, 6)
    alone = baseline_config(base, task)
    assert list(alone.tasks) == [task]
    assert alone.combination.name == "sum"
    assert [phase.sampling.name for phase in alone.phases] == ["round_robin"] * (1 if task == "sts" else 2)
    own = baseline_budget(base, budget, task)
    trial = Trial(-1, 0, "baseline", f"s-base-{task}", {"task": task})
    config = trial_config(alone, trial, "s", "place", Options(9, metrics=("dev/sst/accuracy",)), own)
    first, second = budget.phase_rows
    share = (0 if task == "sts" else 2 * first / 2) + 3 * second / 3
    assert own.rows == pytest.approx(share, abs=6)
    rows = rows_after_steps(config)
    schedule = schedule_of(config)
    assert rows[-1] == pytest.approx(share, rel=0.01)
    assert sum(schedule.evaluates_after(step) for step in range(1, schedule.steps + 1)) == 6
    assert planned(config, own.table_rows)[1] == 6
    assert config.training.selection == "dev/mean"
    assert config.tracking.job_type == "baseline"


@pytest.mark.parametrize("name", ["main", "demo", "c-variable-batch", "e-mix-surgery", "mnrl", "extra-tasks"])
def test_baselines_of_shipped_recipes_can_be_trained(name: str) -> None:
    base = load_recipe(name, [])
    budget = Budget((6000,) * len(base.phases), 6000 * sum(phase.epochs for phase in base.phases), 700, {})
    rows = dict.fromkeys(base.tasks, 5000)
    for task in base.selected_tasks:
        own = baseline_budget(base, replace(budget, table_rows=rows), task)
        trial = Trial(-1, 0, "baseline", f"s-base-{task}", {"task": task})
        config = trial_config(baseline_config(base, task), trial, "s", "place", Options(9), own)
        assert planned(config, own.table_rows)[0] == pytest.approx(own.rows, rel=0.05)


def test_baseline_of_a_task_that_no_phase_trains_is_refused_by_its_name() -> None:
    base = recipe(phases=[{"tasks": ["sst"]}])
    with pytest.raises(UserError, match=r"quora.*no phase"):
        baseline_config(base, "quora")
