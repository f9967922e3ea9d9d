"""Options of a sweep that cannot work are refused by their name."""

from typing import Any

import pytest

from cluster.sweeps.options import check_options, reported_metrics
from cluster.sweeps.records import Options
from cluster.sweeps.search import Search
from multitask.errors import UserError
from tests.unit.sweeps.recipes import recipe
from tune_spaces import open_space


def _search(space: str = "default", **changes: Any) -> Search:
    base = recipe(**changes)
    return Search("tiny", base, open_space(space, base), space, {})


@pytest.mark.parametrize(
    ("options", "space", "message"),
    [
        ({"search": "cmase"}, "default", r"--search: unknown 'cmase'; valid: .*did you mean 'cmaes'"),
        ({"scheduler": "ahsa"}, "default", r"--scheduler: unknown 'ahsa'; valid: .*did you mean 'asha'"),
        ({"metrics": ("dev/maen",)}, "default", r"--metric: unknown 'dev/maen'; .*did you mean 'dev/mean'"),
        (
            {"metrics": ("dev/mean", "dev/sst/accurcy")},
            "default",
            r"--metric: unknown.*did you mean 'dev/sst/accuracy'",
        ),
        ({"metrics": ("dev/mean", "dev/mean")}, "default", r"--metric names the same score twice: dev/mean"),
        ({"search": "grid"}, "learning_rate", r"optimizer\.lr.*a grid needs choices"),
        ({"search": "nsga2"}, "default", r"--search nsga2 .*--metric twice or more.*--search tpe"),
        (
            {"search": "cmaes", "metrics": ("dev/sst/accuracy", "dev/sts/pearson")},
            "default",
            r"--search cmaes .*tpe, gp",
        ),
        ({"search": "cmaes"}, "learning_rate", r"--search cmaes needs two numbers .*learning_rate has optimizer\.lr;"),
        ({"search": "cmaes"}, "sampling", r"--search cmaes needs two numbers .*sampling has none; use --search tpe"),
        ({"scheduler": "pbt"}, "paper_a_hyperparameters", r"--scheduler pbt: nothing .* --space population"),
        ({"scheduler": "pbt", "trials": 3}, "population", r"--scheduler pbt .*4 trials or more, got --trials 3"),
        ({"scheduler": "pbt", "repeats": 2}, "population", r"--scheduler pbt .*--repeats"),
        (
            {"scheduler": "asha", "grace": 9},
            "default",
            r"--grace 9: a trial has 9 evaluations.*nothing would be stopped",
        ),
        ({"scheduler": "median", "grace": 10}, "default", r"--grace 10: a trial has 9 evaluations"),
        *(
            (
                {"scheduler": name, "metrics": ("dev/mean", "dev/sst/accuracy")},
                "population",
                rf"{name} compares .* one score",
            )
            for name in ("asha", "median", "pbt")
        ),
        ({"trials": 0}, "default", r"--trials must be 1 or more, got 0"),
        ({"reduction": 1}, "default", r"--reduction must be 2 or more, got 1"),
        ({"concurrent": 0}, "default", r"--concurrent must be 1 or more, got 0"),
    ],
)
def test_refusal_names_the_option_and_what_to_do(options: dict[str, Any], space: str, message: str) -> None:
    with pytest.raises(UserError, match=message):
        check_options(Options(**{"trials": 8, **options}), _search(space))


@pytest.mark.parametrize(
    ("options", "space"),
    [
        ({}, "default"),
        ({"search": "grid"}, "paper_a_hyperparameters"),
        ({"search": "nsga2", "metrics": ("dev/sst/accuracy", "dev/sts/pearson")}, "default"),
        ({"scheduler": "pbt"}, "population"),
        ({"scheduler": "asha", "grace": 8}, "default"),
        ({"scheduler": "fifo", "grace": 10}, "default"),
        ({"search": "tpe", "scheduler": "median", "repeats": 3}, "default"),
        ({"search": "gp", "metrics": ("dev/sst/accuracy", "dev/sts/pearson")}, "learning_rate"),
        ({"search": "qmc"}, "encodings"),
    ],
)
def test_what_works_passes(options: dict[str, Any], space: str) -> None:
    check_options(Options(**{"trials": 8, **options}), _search(space))


def test_package_that_is_missing_is_named_with_how_to_get_it(monkeypatch: pytest.MonkeyPatch) -> None:
    options = Options(8, search="cmaes")
    monkeypatch.setattr("cluster.sweeps.optuna_samplers.find_spec", lambda name: name)
    check_options(options, _search())
    monkeypatch.setattr("cluster.sweeps.optuna_samplers.find_spec", lambda name: None)
    with pytest.raises(
        UserError, match=r"^--search cmaes needs the package cmaes: pip install 'concord-mtl\[cmaes\]'$"
    ):
        check_options(options, _search())


def test_metrics_are_those_of_each_task_s_kind() -> None:
    found = reported_metrics(recipe())
    assert found[0] == "dev/mean"
    assert {"dev/sst/accuracy", "dev/quora/accuracy", "dev/sts/pearson"} <= set(found)
    assert "dev/sst/pearson" not in found
    assert len(found) == len(set(found))
