"""Parameters as Optuna has them."""

from typing import Any

import optuna
import pytest
from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

from tune_spaces.core.distributions import distribution, suggested, told_sample, untold_sample

CHOICE = {"kind": "choice", "when": {}}
RATE = {"kind": "float", "low": 1e-5, "high": 1e-2, "log": True, "when": {}}
POOLING = CHOICE | {"values": ["cls", None, 2, False]}
# For Optuna these are two choices, not four.
ALIKE = CHOICE | {"values": [1, True, 1.5, False, 0]}


@pytest.mark.parametrize(
    ("about", "expected"),
    [
        (RATE, FloatDistribution(1e-5, 1e-2, log=True)),
        ({"kind": "int", "low": 1, "high": 8, "log": False}, IntDistribution(1, 8)),
        ({"kind": "int", "low": 1, "high": 8, "log": True}, IntDistribution(1, 8, log=True)),
        (POOLING, CategoricalDistribution(["cls", None, 2, False])),
        (ALIKE, CategoricalDistribution(["1", "true", "1.5", "false", "0"])),
    ],
)
def test_range_is_optuna_s(about: dict[str, Any], expected: Any) -> None:
    assert distribution(about) == expected


@pytest.mark.parametrize("about", [POOLING, ALIKE])
def test_each_choice_is_told_and_comes_back_as_it_is(about: dict[str, Any]) -> None:
    for place, value in enumerate(about["values"]):
        told = told_sample({"mine": value}, {"mine": about, "other": RATE})
        trial = optuna.trial.create_trial(**told, value=0.0)
        assert trial.distributions["mine"].to_internal_repr(trial.params["mine"]) == place
        back = untold_sample(trial.params, {"mine": about})["mine"]
        assert (back, type(back)) == (value, type(value))
        fixed = suggested(optuna.trial.FixedTrial(told["params"]), "mine", about)
        assert (fixed, type(fixed)) == (value, type(value))


def test_number_is_proposed_within_its_range() -> None:
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=0))
    trials = [study.ask() for _ in range(50)]
    values = [suggested(trial, "rate", RATE) for trial in trials]
    assert all(1e-5 <= value <= 1e-2 for value in values)
    assert {trial.distributions["rate"] for trial in trials} == {FloatDistribution(1e-5, 1e-2, log=True)}
    # Half of them lie below the middle of the logarithms.
    assert 10 < sum(value < 3.2e-4 for value in values) < 40
