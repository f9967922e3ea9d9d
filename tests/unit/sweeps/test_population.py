"""A population's changes: what mutates, how far, and who goes on with whose settings."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

from cluster.sweeps.population import Population, mutate
from cluster.sweeps.trial_actor import CURRENT, ITERATION
from tests.unit.sweeps.recipes import recipe
from tests.unit.sweeps.tiny_sweeps import open_tiny, reported
from tune_spaces import Space, open_space

SPACE: dict[str, Any] = {
    "parameters": {
        "optimizer.lr": {"loguniform": [1e-6, 1e-2]},
        "encoder.dropout": {"uniform": [0.1, 0.5]},
        "optimizer.weight_decay": {"choice": [0.0, 0.1, 0.2]},
        "training.patience": {"randint": [4, 40]},
        "schedule.warmup": {"uniform": [0.0, 0.5]},
        "schedule.decay": {"choice": ["linear", "constant"]},
        "training.clip_norm": {"uniform": [0.5, 2.0], "when": {"schedule.decay": ["constant"]}},
    },
    "mutable": ["optimizer.lr", "encoder.dropout", "optimizer.weight_decay", "training.patience", "training.clip_norm"],
}
START = {
    "optimizer.lr": 1e-4,
    "encoder.dropout": 0.2,
    "optimizer.weight_decay": 0.1,
    "training.patience": 10,
    "schedule.warmup": 0.1,
    "schedule.decay": "linear",
}


@pytest.fixture(scope="module")
def space(tmp_path_factory: pytest.TempPathFactory) -> Space:
    path = tmp_path_factory.mktemp("space") / "mutable.yaml"
    path.write_text(yaml.safe_dump(SPACE), encoding="utf-8")
    return open_space(str(path), recipe())


def _mutated(space: Space, start: dict[str, Any], number: int = 400) -> list[dict[str, Any]]:
    return [mutate(space, start, np.random.default_rng([3, seed])) for seed in range(number)]


def test_only_what_is_mutable_and_active_changes(space: Space) -> None:
    changed = _mutated(space, START)
    assert all(own.keys() == START.keys() for own in changed)
    assert {own["schedule.warmup"] for own in changed} == {0.1}
    assert {own["schedule.decay"] for own in changed} == {"linear"}
    for name in ("optimizer.lr", "encoder.dropout", "training.patience", "optimizer.weight_decay"):
        assert len({own[name] for own in changed}) > 2
    assert START["optimizer.lr"] == 1e-4


def test_numbers_take_a_step_down_or_up_or_are_drawn_anew(space: Space) -> None:
    values = [own["optimizer.lr"] for own in _mutated(space, START)]
    steps = [sum(value == pytest.approx(1e-4 * factor) for value in values) for factor in (0.8, 1.25)]
    # Three in eight each, one in four drawn anew.
    assert steps == [pytest.approx(150, abs=35)] * 2
    anew = [value for value in values if value not in (1e-4 * 0.8, 1e-4 * 1.25)]
    assert min(anew) < 1e-5 < 1e-3 < max(anew)


@pytest.mark.parametrize("end", ["low", "high"])
def test_numbers_stay_in_their_range(space: Space, end: str) -> None:
    at_end = {name: getattr(space.parameters[name], end) for name in ("optimizer.lr", "encoder.dropout")}
    at_end["training.patience"] = 4 if end == "low" else 40
    for own in _mutated(space, START | at_end):
        assert 1e-6 <= own["optimizer.lr"] <= 1e-2
        assert 0.1 <= own["encoder.dropout"] <= 0.5
        assert 4 <= own["training.patience"] <= 40
        assert type(own["training.patience"]) is int
        assert space.refusal(own) is None


def test_whole_numbers_are_rounded(space: Space) -> None:
    values = {own["training.patience"] for own in _mutated(space, START | {"training.patience": 11})}
    assert {9, 14} <= values  # 8.8 and 13.75


def test_choices_are_kept_or_drawn_among_their_values(space: Space) -> None:
    values = [own["optimizer.weight_decay"] for own in _mutated(space, START)]
    assert set(values) == {0.0, 0.1, 0.2}
    # Three in four are kept, and one in three of the others falls on it again.
    assert values.count(0.1) == pytest.approx(400 * (3 / 4 + 1 / 12), abs=35)


def test_parameter_of_a_choice_mutates_where_it_is_active(space: Space) -> None:
    start = START | {"schedule.decay": "constant", "training.clip_norm": 1.0}
    values = {own["training.clip_norm"] for own in _mutated(space, start)}
    assert {0.8, 1.25} <= values
    assert all(0.5 <= value <= 2.0 for value in values)


class _Tuned:
    """As much of Tune's trial as the scheduler looks at."""

    def __init__(self, run: str) -> None:
        self.config = {"run": run}


def test_bad_trial_goes_on_with_settings_near_its_donor_s(tmp_path: Path) -> None:
    ledger = open_tiny(tmp_path, "learning_rate", scheduler="pbt")
    trials = [ledger.next() for _ in range(3)]
    recipe_run, good, bad = (trial.run for trial in trials if trial is not None)
    reported(ledger, ledger.trial(good), 0.5, 0.9)
    position = ledger.trial(good).position
    assert position is not None
    reported(ledger, ledger.trial(bad), 0.1)
    scheduler = Population(ledger, open_space("learning_rate", recipe()), lambda run, result: None)
    told, _ = scheduler._get_new_config(_Tuned(bad), _Tuned(good))
    changed, donor = ledger.trial(bad), ledger.trial(good).sample["optimizer.lr"]
    (generation,) = changed.generations
    assert (generation.run, generation.donor, generation.iteration, generation.step) == (f"{bad}-g1", good, 2, 20)
    assert (generation.rows, generation.tokens) == (position.rows, position.tokens) == (200, 2000)
    assert generation.sample["optimizer.lr"] != donor
    assert told["config"]["optimizer"]["lr"] == generation.sample["optimizer.lr"]
    assert told["donor"] == {"donor": good, "previous": bad}
    # A second time, from a donor that has become another itself, with the settings that it has by now.
    again, _ = scheduler._get_new_config(_Tuned(good), _Tuned(bad))
    assert again["donor"] == {"donor": f"{bad}-g1", "previous": good}
    assert again["generation"] == 1
    assert ledger.trial(recipe_run).generations == ()


def test_recipe_is_never_changed(tmp_path: Path) -> None:
    ledger = open_tiny(tmp_path, "learning_rate", scheduler="pbt")
    first, second = ledger.next(), ledger.next()
    assert first is not None
    assert second is not None
    scheduler = Population(ledger, open_space("learning_rate", recipe()), lambda run, result: None)
    scheduler._exploit(None, _Tuned(first.run), _Tuned(second.run))
    assert ledger.trial(first.run).generations == ()


def test_last_evaluation_changes_nothing_any_more(tmp_path: Path) -> None:
    ledger = open_tiny(tmp_path, "learning_rate", scheduler="pbt", evaluations=3)
    trial, heard = ledger.next(), list[str]()
    assert trial is not None
    scheduler = Population(ledger, open_space("learning_rate", recipe()), lambda run, result: heard.append(run))
    last = {ITERATION: trial.planned_iterations, CURRENT: 0.1}
    # Tune's own rule would look the trial up, which it does not know here.
    assert scheduler.on_trial_result(None, _Tuned(trial.run), last) == Population.CONTINUE
    assert heard == [trial.run]
