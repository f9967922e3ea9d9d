"""Which parameters matter, and that nothing is said of noise."""

import math
from typing import Any

import numpy as np
import pytest

from cluster.analysis.importance import Observation, importances, main_effects
from cluster.analysis.main_effects import design, interval, shares
from cluster.sweeps.records import Trial
from tests.unit.analysis.sweeps import PARAMETERS, scores, searched, sweep, trial

FREE = {name: own | {"when": {}} for name, own in PARAMETERS.items()}
SIMULATED = 80


def _observed(count: int, response: Any, seed: int) -> list[Observation]:
    """Random samples of four parameters, the score of each with noise of one standard deviation."""
    generator = np.random.default_rng(seed)
    found = []
    for _ in range(count):
        sample = {"lr": float(10 ** generator.uniform(-6, -2)), "layers": int(generator.integers(1, 13))}
        sample |= {"mix": ["plain", "drawn"][generator.integers(2)], "mix.power": float(generator.uniform())}
        found.append(Observation(sample, response(sample) + generator.normal()))
    return found


@pytest.mark.parametrize("count", [8, 20])
def test_nothing_is_said_of_pure_noise(count: int) -> None:
    named = [main_effects(_observed(count, lambda _: 0.0, seed), FREE).values for seed in range(SIMULATED)]
    assert sum(map(bool, named)) / SIMULATED <= 0.05


def test_an_effect_is_told_from_noise() -> None:
    """The rate explains 78 % of the variance: a line over its range whose values have a standard deviation of 1.9."""
    named = [
        main_effects(_observed(16, lambda own: 1.65 * math.log10(own["lr"]), seed), FREE) for seed in range(SIMULATED)
    ]
    assert sum("lr" in found.values for found in named) / SIMULATED >= 0.95
    assert sum(bool(found.values.keys() - {"lr"}) for found in named) / SIMULATED <= 0.05


def test_a_share_is_adjusted_r_squared_by_least_squares() -> None:
    generator = np.random.default_rng(3)
    x, y = generator.uniform(size=15), generator.normal(size=15)
    columns = design(list(x), list(x))
    assert columns is not None
    full = np.stack([np.ones(15), x, x**2], axis=1)
    rest = y - full @ np.linalg.lstsq(full, y, rcond=None)[0]
    r_squared = 1 - (rest**2).sum() / ((y - y.mean()) ** 2).sum()
    assert shares(columns, y[None])[0] == pytest.approx(1 - (1 - r_squared) * 14 / 12)
    chosen = design(["a", "b", "c"] * 5, None)
    assert chosen is not None
    groups = y.reshape(5, 3)
    between = 5 * ((groups.mean(0) - y.mean()) ** 2).sum() / ((y - y.mean()) ** 2).sum()
    assert shares(chosen, y[None])[0] == pytest.approx(1 - (1 - between) * 14 / 12)


def test_the_interval_over_trials_covers_the_share() -> None:
    """Y = 2 x + e with x uniform on (0, 1) and e standard normal: x explains (4 / 12) / (4 / 12 + 1) = 1 / 4."""
    covered = 0
    for seed in range(60):
        generator = np.random.default_rng(seed)
        x = generator.uniform(size=40)
        columns = design(list(x), list(x))
        assert columns is not None
        low, high = interval(columns, 2 * x + generator.normal(size=40))
        covered += low <= 0.25 <= high
    assert covered / 60 >= 0.85


def test_importance_finds_the_one_parameter_that_matters() -> None:
    found = importances(sweep(searched(40, lambda s: 0.5 - 0.05 * (math.log10(s["lr"]) + 4) ** 2)), "dev/mean")
    assert list(found.values) == ["lr"]
    assert found.values["lr"] > 0.85
    low, high = found.intervals["lr"]
    assert 0.8 < low <= found.values["lr"] <= high <= 1
    assert found.trials["lr"] == 40
    assert {"layers", "mix"} <= set(found.unclear)


def test_a_conditional_parameter_is_judged_apart_within_the_trials_that_have_it() -> None:
    made = searched(40, lambda s: 0.9 if s["mix"] == "plain" else 0.5 * s["mix.power"])
    found = importances(sweep(made), "dev/mean")
    assert found.values["mix.power"] > 0.85
    assert found.conditions == {"mix.power": "mix=drawn"}
    assert found.trials["mix.power"] == sum("mix.power" in own.sample for own in made) < 40
    assert found.values["mix"] > 0.5
    assert "lr" not in found.values


def test_seeds_of_one_configuration_are_one_observation() -> None:
    made = searched(7, lambda s: s["layers"] / 12)
    repeated = [Trial(**{**vars(own), "repeat": 1, "run": f"{own.run}-r1"}) for own in made]
    assert importances(sweep([*made, *repeated]), "dev/mean").values == {}


def test_importance_says_why_it_is_not_known() -> None:
    few = importances(sweep(searched(7, lambda s: s["lr"])), "dev/mean")
    assert (few.values, few.reason) == ({}, "Too few configurations with a score: 7, at least 8 are needed.")
    assert "same score" in str(importances(sweep(searched(9, lambda _: 0.5)), "dev/mean").reason)
    cut = [Trial(**{**vars(own), "status": "stopped"}) for own in searched(9, lambda s: s["lr"])]
    assert "not trained to their end" in str(importances(sweep(cut), "dev/mean").reason)


def test_importance_leaves_out_scores_that_are_not_numbers_and_values_outside_the_space() -> None:
    made = [*searched(12, lambda s: s["layers"] / 12)]
    made += [trial(20, scores(math.nan, 0.5, 0.5) | {"dev/mean": 0.5}, sample={"lr": 1e-3})]
    made += [trial(21, scores(0.5, 0.5, 0.5), sample={"lr": 9.0, "layers": 1, "mix": "other"})]
    assert importances(sweep(made), "dev/sst/accuracy").trials["layers"] == 12
