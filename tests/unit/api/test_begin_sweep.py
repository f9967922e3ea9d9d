"""From what Python asks of a sweep to its options, and what is refused in the words of the command."""

from pathlib import Path
from typing import Any

import pytest

import cluster
from cluster.api.begin_sweep import _asked
from cluster.api.show import shown_sweep
from cluster.cli import main
from cluster.sweeps.records import Options
from multitask.config import parse_config
from multitask.errors import UserError
from tests.builders import build_tiny_bert, tiny_config
from tests.integration.commands import write_recipe
from tests.unit.analysis.sweeps import sweep


@pytest.fixture(scope="module")
def recipe(folder: Path) -> Path:
    build_tiny_bert(folder / "encoder")
    return write_recipe(folder / "tiny.yaml", tiny_config(folder))


def _options(recipe: Any, space: str = "learning_rate", overrides: Any = (), **settings: Any) -> Options:
    return _asked(recipe, overrides, space, settings)[1]  # type: ignore[arg-type]


def test_what_is_not_given_is_as_the_command_has_it(recipe: Path) -> None:
    assert _options(recipe) == _options(recipe, trials=None, metrics=None, budget=None) == Options(trials=20)


def test_times_and_amounts_are_numbers_or_as_people_write_them(recipe: Path) -> None:
    for budget, tokens in ((5400, 200_000), ("1h30m", "200k")):
        options = _options(recipe, budget=budget, budget_tokens=tokens)
        assert (options.budget_seconds, options.budget_tokens) == (5400.0, 200_000)


def test_a_score_is_one_text_or_several(recipe: Path) -> None:
    assert _options(recipe, metrics="dev/sst/accuracy").metrics == ("dev/sst/accuracy",)
    assert _options(recipe, trial_budget="30m").trial_seconds == 1800
    assert _options(recipe, metrics=["dev/mean", "dev/sst/accuracy"]).metrics == ("dev/mean", "dev/sst/accuracy")


def test_grid_is_tried_as_a_whole(recipe: Path, tmp_path: Path) -> None:
    rates = {"parameters": {"optimizer.lr": {"choice": [1e-3, 1e-4]}, "data.batch_size": {"choice": [4, 8]}}}
    space = str(write_recipe(tmp_path / "rates.yaml", rates))
    assert _options(recipe, space, search="grid").trials == 1 + 2 * 2
    assert _options(recipe, space, search="grid", trials=3).trials == 3


def test_recipe_is_a_file_keys_or_a_config_with_changes(recipe: Path, folder: Path) -> None:
    tree = tiny_config(folder)
    known = _asked(recipe, ["seed=9"], "learning_rate", {"workers_per_trial": 2})[0]
    for given in (tree, parse_config(tree, "test")):
        search = _asked(given, {"seed": 9}, "learning_rate", {"workers_per_trial": 2})[0]
        assert search.base == known.base
        assert search.recipe == tree["name"]
    assert (known.base.seed, known.base.cluster.workers, known.recipe) == (9, 2, str(recipe))


def test_override_that_names_a_parameter_fixes_it(recipe: Path) -> None:
    search = _asked(recipe, {"sampling.name": "annealed"}, "default", {})[0]
    assert search.fixed == {"sampling.name": "annealed"}


@pytest.mark.parametrize(
    ("options", "settings"),
    [
        (["--space", "defalt"], {"space": "defalt"}),
        (["--metric", "dev/maen"], {"metrics": "dev/maen"}),
        (["--search", "optuan"], {"search": "optuan"}),
        (["--scheduler", "hyperband"], {"scheduler": "hyperband"}),
        (["--budget", "soon"], {"budget": "soon"}),
        (["--budget-tokens", "many"], {"budget_tokens": "many"}),
        (["--name", "a/b"], {"name": "a/b"}),
        (["optimiser.lr=1e-5"], {"overrides": ["optimiser.lr=1e-5"]}),
    ],
)
def test_mistake_is_the_line_that_the_command_prints(
    recipe: Path,
    tmp_path: Path,
    options: list[str],
    settings: dict[str, Any],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    storage = str(tmp_path / "runs")
    with pytest.raises(UserError) as error:
        cluster.sweep(str(recipe), storage=storage, **settings)
    monkeypatch.setattr("sys.argv", ["concord", "sweep", str(recipe), "--storage", storage, *options])
    with pytest.raises(SystemExit) as ended:
        main()
    assert ended.value.code == 2
    assert capsys.readouterr().err == f"concord: {error.value}\n"
    assert not (tmp_path / "runs").exists()


def test_unknown_setting_is_refused(recipe: Path) -> None:
    with pytest.raises(TypeError, match="trails"):
        _options(recipe, trails=3)


def test_watcher_that_raises_is_left_out_and_the_sweep_goes_on(capsys: pytest.CaptureFixture[str]) -> None:
    seen = []

    def broken(sweep: Any) -> None:
        seen.append(sweep)
        raise ValueError("no such cell")

    with shown_sweep(False, broken) as watch:
        watch(sweep([]))
        watch(sweep([]))
    assert len(seen) == 1
    assert capsys.readouterr().err == "on_change failed and is left out: ValueError: no such cell\n"
