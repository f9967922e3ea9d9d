"""Random and grid search: which configuration comes next."""

import itertools
from pathlib import Path
from typing import Any

import pytest

from cluster.sweeps.create import with_bounds
from cluster.sweeps.options import SEARCHES
from cluster.sweeps.records import Options, Trial
from cluster.sweeps.samplers import SAMPLERS, create_sampler, grid_samples
from cluster.sweeps.search import open_search
from cluster.sweeps.trials import TrialLedger
from multitask.errors import UserError
from tests.builders import tiny_config
from tests.integration.commands import write_recipe
from tests.unit.sweeps.recipes import recipe, report
from tests.unit.sweeps.tiny_sweeps import open_tiny, reported
from tune_spaces import open_space

WITH_POINTS = """
parameters:
  encoder.dropout: {choice: [0.1, 0.2]}
  optimizer.weight_decay: {choice: [0.0, 0.5, 1.0]}
points:
  - {encoder.dropout: 0.2, optimizer.weight_decay: 0.5}
"""


def _all_samples(ledger: TrialLedger) -> dict[str, dict[str, Any]]:
    """Samples of all trials of a sweep that is driven to its end, one trial after the other."""
    while (trial := ledger.next()) is not None:
        reported(ledger, trial, 0.1 * trial.number)
        ledger.end(trial.run, "finished", None)
    return {trial.run: trial.sample for trial in ledger.trials}


def test_names_of_searches_are_those_that_are_checked() -> None:
    assert tuple(SAMPLERS) == SEARCHES


def test_random_search_is_a_function_of_seed_and_number() -> None:
    space = open_space("default", recipe())
    sampler = create_sampler(space, Options(9, seed=3))
    told = (Trial(0, 0, "recipe", "s-000", {}, "finished", reports=(report(1, 0.9),)),)
    one_by_one = {number: sampler.sample(number, told) for number in (5, 1, 3)}
    again = create_sampler(space, Options(30, seed=3, concurrent=4))
    assert {number: again.sample(number, ()) for number in (1, 3, 5)} == one_by_one
    assert create_sampler(space, Options(9, seed=4)).sample(5, told) != one_by_one[5]
    assert one_by_one[1] != one_by_one[3] != one_by_one[5]


@pytest.mark.parametrize("search", ["random", "tpe"])
def test_sweep_that_is_run_twice_has_the_same_trials(tmp_path: Path, search: str) -> None:
    first, second = (_all_samples(open_tiny(tmp_path / name, search=search, trials=6)) for name in ("first", "second"))
    assert list(first) == [f"s-{number:03d}" for number in range(6)]
    assert first == second
    assert len({str(sample) for sample in first.values()}) == 6


@pytest.mark.parametrize("search", ["random", "tpe", "gp", "cmaes", "qmc"])
def test_search_that_is_made_longer_goes_on_where_it_would_have(tmp_path: Path, search: str) -> None:
    if search == "cmaes":
        pytest.importorskip("cmaes")
    # How many trials Optuna draws at random at first depends on their number, and is 3 for either here.
    whole = _all_samples(open_tiny(tmp_path / "whole", search=search, trials=10))
    ledger = open_tiny(tmp_path / "parts", search=search, trials=6)
    assert len(_all_samples(ledger)) == 6
    ledger.store.write_plan(with_bounds(ledger.store.read(), trials=10))
    assert _all_samples(open_tiny(tmp_path / "parts")) == whole


def test_grid_has_every_combination_once_in_order(tmp_path: Path) -> None:
    samples = list(_all_samples(open_tiny(tmp_path, "paper_a_hyperparameters", search="grid", trials=99)).values())
    every = list(itertools.product([10, 20], [1e-3, 1e-5, 1e-7], [0.3, 0.4]))
    # The paper's five configurations come first.
    first = [(10, 1e-5, 0.3), (20, 1e-5, 0.3), (10, 1e-3, 0.3), (10, 1e-7, 0.3), (10, 1e-5, 0.4)]
    found = [tuple(sample.values()) for sample in samples[1:]]
    assert found[:5] == first
    assert found[5:] == [own for own in every if own not in first]
    # The recipe is none of the space's: it has one epoch.
    assert samples[0] == {}


def test_grid_ends_at_the_number_of_trials(tmp_path: Path) -> None:
    ledger = open_tiny(tmp_path, "paper_a_hyperparameters", search="grid", trials=5)
    assert list(_all_samples(ledger)) == [f"s-{number:03d}" for number in range(5)]


def test_grid_leaves_out_the_points_that_come_first_anyway(tmp_path: Path) -> None:
    path = tmp_path / "points.yaml"
    path.write_text(WITH_POINTS, encoding="utf-8")
    assert len(grid_samples(open_space(str(path), recipe()))) == 5
    samples = list(_all_samples(open_tiny(tmp_path, str(path), search="grid", trials=99)).values())[1:]
    rest = [pair for pair in itertools.product([0.1, 0.2], [0.0, 0.5, 1.0]) if pair != (0.2, 0.5)]
    assert [tuple(sample.values()) for sample in samples] == [(0.2, 0.5), *rest]


def test_grid_over_numbers_is_refused() -> None:
    with pytest.raises(UserError, match=r"optimizer\.lr.*a grid needs choices"):
        create_sampler(open_space("default", recipe()), Options(9, search="grid"))


def test_the_recipe_and_what_was_tried_are_not_tried_again(tmp_path: Path) -> None:
    path = tmp_path / "points.yaml"
    path.write_text(WITH_POINTS, encoding="utf-8")
    base = tmp_path / "base.yaml"
    write_recipe(base, tiny_config(tmp_path, encoder={"dropout": 0.2}, optimizer={"weight_decay": 0.5}))
    space = open_search(str(base), [], str(path)).space
    assert space.sample_of(space.base) == {"encoder.dropout": 0.2, "optimizer.weight_decay": 0.5}
    assert space.first == ()
    assert len(grid_samples(space)) == 5


@pytest.mark.parametrize("search", ["random", "tpe"])
def test_a_space_of_few_samples_has_each_once_and_then_ends(tmp_path: Path, search: str) -> None:
    path = tmp_path / "few.yaml"
    path.write_text(
        "parameters:\n  encoder.dropout: {choice: [0.1, 0.2]}\n  seed: {choice: [1, 2, 3]}\n", encoding="utf-8"
    )
    samples = [
        str(sample) for sample in _all_samples(open_tiny(tmp_path, str(path), search=search, trials=12)).values()
    ]
    # The recipe is none of the space's six.
    assert samples[0] == "{}"
    assert len(samples) == len(set(samples)) == 7
