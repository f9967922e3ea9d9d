"""Every trial trains the same number of rows, and its evaluation number i lies at the same rows, whatever its strategy."""

from collections.abc import Mapping
from itertools import islice
from typing import Any

import numpy as np
import pytest

from cluster.sweeps.plan import Budget, planned, trial_config
from cluster.sweeps.records import Options, Trial
from multitask.config import RunConfig
from tests.unit.sweeps.recipes import ROWS, batch_sizes, budget_of, recipe, rows_after_steps, schedule_of
from tune_spaces import Space, open_space

STRATEGIES = (
    "round_robin",
    "scaled_batch_sizes",
    "proportional",
    "uniform",
    "square_root",
    "temperature",
    "annealed",
    "draw_weights",
)


def _config(base: RunConfig, space: Space, sample: Mapping[str, Any], budget: Budget, evaluations: int) -> RunConfig:
    trial = Trial(1, 0, "sample", "s-001", dict(sample))
    return trial_config(space.config(base, sample), trial, "s", "place", Options(9, evaluations=evaluations), budget)


def _samples(space: Space, strategy: str, number: int = 4) -> list[dict[str, Any]]:
    """Samples of the space with this strategy."""
    generators = (np.random.default_rng([7, seed]) for seed in range(100))
    drawn = (space.draw_any(own, {"sampling.name": strategy}) for own in generators)
    return list(islice((sample for sample in drawn if space.refusal(sample) is None), number))


def _points(config: RunConfig, rows: Mapping[str, int] = ROWS) -> list[int]:
    """Rows at each evaluation, found by walking the schedule."""
    schedule, counted = schedule_of(config, rows), rows_after_steps(config, rows)
    return [counted[step] for step in range(1, schedule.steps + 1) if schedule.evaluates_after(step)]


RECIPES = {
    "one phase": {},
    "limited sets": {"tasks": {"quora": {"rows_per_pass": 700}, "sst": {"train_rows": 300}}},
    "two phases": {
        "phases": [
            {"tasks": ["sst"], "sampling": {"name": "sequential"}, "epochs": 2},
            {"sampling": {"name": "round_robin"}, "epochs": 3},
        ]
    },
    "drawn": {"phases": [{"sampling": {"name": "annealed", "tasks_per_step": 2}, "epochs": 4}]},
    "steps": {"phases": [{"sampling": {"name": "round_robin", "tasks_per_step": 2}, "steps_per_epoch": 150}]},
}


@pytest.mark.parametrize("strategy", STRATEGIES)
@pytest.mark.parametrize("changes", RECIPES.values(), ids=RECIPES)
def test_trials_of_the_default_space_train_and_are_evaluated_alike(changes: dict[str, Any], strategy: str) -> None:
    base = recipe(**changes)
    space, budget = open_space("default", base), budget_of(base, 5)
    own = rows_after_steps(base)[-1]
    samples = _samples(space, strategy)
    assert samples
    for sample in samples:
        config = _config(base, space, sample, budget, 5)
        points = _points(config)
        assert points[-1] == pytest.approx(own, rel=0.02), sample
        assert len(points) == 5
        # 1 % for what a short last batch lacks, and at most one step (three batches of 6, or up to 64 + 24 + 18 rows).
        late = 106 if strategy == "scaled_batch_sizes" else 18
        for number, rows in enumerate(points[:-1], start=1):
            assert number * own / 5 - 0.02 * own <= rows <= number * own / 5 + late + 0.02 * own
        assert planned(config, ROWS) == (round(schedule_of(config).rows_done(schedule_of(config).steps)), 5)


@pytest.mark.parametrize("strategy", [own for own in STRATEGIES if own != "scaled_batch_sizes"])
def test_batch_sizes_of_their_own_change_nothing_in_it(strategy: str) -> None:
    base = recipe(tasks=batch_sizes(sst=4, quora=32, sts=8))
    space, budget = open_space("default", base), budget_of(base)
    own = rows_after_steps(base)[-1]
    for sample in _samples(space, strategy):
        points = _points(_config(base, space, sample, budget, 9))
        assert len(points) == 9
        # What is drawn at random scatters by a few parts in a hundred.
        for number, rows in enumerate(points, start=1):
            assert rows == pytest.approx(number * own / 9, abs=0.06 * own), sample


def test_epochs_that_a_space_changes_lengthen_a_trial_but_not_its_iterations() -> None:
    base = recipe(phases=[{"sampling": {"name": "proportional"}, "epochs": 15}], combination={"name": "sum"})
    space, budget = open_space("paper_a_hyperparameters", base), budget_of(base)
    own, found = rows_after_steps(base)[-1], set()
    for sample in space.grid():
        points = _points(config := _config(base, space, sample, budget, 9))
        epochs = sample["phases.0.epochs"]
        found.add(epochs)
        assert len(points) == {10: 6, 20: 12}[epochs] == planned(config, ROWS)[1]
        assert points[-1] == pytest.approx(own * epochs / 15, rel=0.01)
        for number, rows in enumerate(points[:-1], start=1):
            assert rows == pytest.approx(number * own / 9, rel=0.02)
    assert found == {10, 20}


@pytest.mark.parametrize("evaluations", [1, 2, 3, 7, 9, 20])
@pytest.mark.parametrize("rows", [ROWS, {"sst": 777, "quora": 1003, "sts": 501}], ids=["round", "odd"])
def test_plan_agrees_with_the_walk(evaluations: int, rows: dict[str, int]) -> None:
    base = recipe(phases=[{"sampling": {"name": "round_robin"}, "epochs": 2}])
    space, budget = open_space("default", base), budget_of(base, evaluations, rows)
    for seed in range(12):
        sample = space.draw(np.random.default_rng(seed))
        config = _config(base, space, sample, budget, evaluations)
        planned_rows, iterations = planned(config, rows)
        points = _points(config, rows)
        assert len(points) == iterations == evaluations
        assert points[-1] == pytest.approx(planned_rows, rel=0.05)


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_trial_whose_steps_pass_several_evaluations_at_once_plans_no_more_than_it_makes(strategy: str) -> None:
    rows = {"sst": 60, "quora": 60, "sts": 50}
    base = recipe()
    # One every 12 rows, while a step takes up to 64 and more.
    space, budget = open_space("default", base), budget_of(base, 15, rows)
    for sample in _samples(space, strategy, 12):
        config = _config(base, space, sample, budget, 15)
        assert len(_points(config, rows)) == planned(config, rows)[1]


def test_recipe_itself_trains_as_many_steps_as_without_a_sweep() -> None:
    for changes in RECIPES.values():
        base = recipe(**changes)
        config = trial_config(base, Trial(0, 0, "recipe", "s-000", {}), "s", "place", Options(9), budget_of(base))
        assert schedule_of(config).steps == schedule_of(base).steps
        ours, theirs = schedule_of(config), schedule_of(base)
        assert [ours.round(s) for s in range(0, ours.steps, 7)] == [theirs.round(s) for s in range(0, ours.steps, 7)]
