"""`cluster.train` and `cluster.sweep` on a real local Ray of the caller's own, and the same by the commands."""

import json
import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import cluster
import cluster.launch.launch  # Before Ray: it says how Ray is imported.
import multitask
from cluster.cli import main
from multitask.errors import UserError
from tests.builders import build_tiny_bert, tiny_config
from tests.integration.commands import run_concord, write_recipe

pytestmark = [pytest.mark.ray, pytest.mark.slow]
TEXTS = ["a brilliant film", "a dreadful film"]


@pytest.fixture(scope="module", autouse=True)
def session() -> Iterator[None]:
    """Ray as a notebook has it; at the end it is still there."""
    import ray

    ray.init(
        address="local",
        num_cpus=4,
        include_dashboard=False,
        log_to_driver=False,
        logging_level=logging.ERROR,
        object_store_memory=128 * 2**20,
    )
    yield
    assert ray.is_initialized()
    ray.shutdown()


@pytest.fixture(scope="module")
def tree(folder: Path) -> dict[str, Any]:
    build_tiny_bert(folder / "encoder")
    changes: dict[str, Any] = {"cluster": {"workers": 2, "cpus_per_worker": 0.5}, "optimizer": {"lr": 3e-3}}
    return tiny_config(folder, name="run", **changes)


@pytest.fixture(scope="module")
def run(tree: dict[str, Any]) -> cluster.RunResult:
    return cluster.train(tree, {"training.evaluate_every": 5})


@pytest.fixture(scope="module")
def swept(tree: dict[str, Any], folder: Path) -> tuple[cluster.SweepResult, list[int]]:
    """Three trials, and how many of them were known each time that somebody looked."""
    seen: list[int] = []
    settings: dict[str, Any] = {"trials": 3, "evaluations": 2, "workers_per_trial": 1, "storage": str(folder / "runs")}
    told = cluster.sweep(
        tree, space="learning_rate", name="rates", on_change=lambda sweep: seen.append(len(sweep.trials)), **settings
    )
    return told, seen


def test_two_workers_reach_the_scores_of_the_command(
    run: cluster.RunResult, tree: dict[str, Any], folder: Path
) -> None:
    assert (run.status, run.error) == ("finished", None)
    assert json.loads((folder / "runs/run/result.json").read_text())["workers"] == 2
    recipe = write_recipe(folder / "command.yaml", tree | {"name": "command"})
    done = run_concord("train", str(recipe), "training.evaluate_every=5")
    assert done.returncode == 0, done.stderr
    command = cluster.load_run(folder / "runs/command")
    assert command.scores == run.scores
    assert command.history.dev.equals(run.history.dev)


def test_run_is_loaded_exported_and_predicts(run: cluster.RunResult, tmp_path: Path) -> None:
    loaded = cluster.load_run(run.folder)
    assert (loaded.scores, loaded.best_step, loaded.status) == (run.scores, run.best_step, "finished")
    model = multitask.load(loaded.export(tmp_path / "model"))
    assert model.predict("sst", TEXTS) == run.predictor().predict("sst", TEXTS)


def test_what_workers_meet_is_raised_in_the_words_of_the_command(
    run: cluster.RunResult,
    tree: dict[str, Any],
    folder: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """The name of a finished run with another learning rate: only the workers look into the run folder."""
    with pytest.raises(UserError) as error:
        cluster.train(tree, {"training.evaluate_every": 5, "optimizer.lr": 0.5})
    assert "differs in optimizer.lr" in str(error.value)
    recipe = write_recipe(folder / "run.yaml", tree)
    changes = ["training.evaluate_every=5", "optimizer.lr=0.5"]
    monkeypatch.setattr("sys.argv", ["concord", "train", str(recipe), *changes, "--no-ray"])
    with pytest.raises(SystemExit) as ended:
        main()
    assert ended.value.code == 2
    assert capsys.readouterr().err.splitlines()[-1] == f"concord: {error.value}"


def test_trials_are_a_table_of_what_each_run_reached(
    swept: tuple[cluster.SweepResult, list[int]], folder: Path
) -> None:
    told, seen = swept
    assert (told.name, told.status, told.reason) == ("rates", "finished", None)
    assert told.trials["status"].tolist() == ["finished"] * 3
    assert seen == sorted(seen)
    assert seen[-1] == 3
    for row in told.trials.to_dict("records"):
        own = cluster.load_run(folder / "runs/rates/trials" / row["run"])
        assert row["dev/mean"] == own.best_score
        assert row["best_step"] == own.best_step
        if row["role"] == "sample":
            assert row["sample.optimizer.lr"] == own.config.optimizer.lr


def test_best_is_the_highest_and_is_exported_and_reported(
    swept: tuple[cluster.SweepResult, list[int]], tmp_path: Path
) -> None:
    told, _ = swept
    best, table = told.best(), told.trials
    assert best.score == table["dev/mean"].max()
    assert best.run in table.loc[table["dev/mean"] == best.score, "run"].tolist()
    model = multitask.load(told.export(tmp_path / "model"))
    assert model.scores["dev/mean"] == best.score
    assert len(model.predict("sst", TEXTS)) == 2
    assert best.run in told.report(tmp_path / "page.html").read_text()


def test_loaded_sweep_is_the_same_and_the_command_tells_it(
    swept: tuple[cluster.SweepResult, list[int]],
    folder: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    told, _ = swept
    loaded = cluster.load_sweep("rates", str(folder / "runs"))
    assert loaded.trials.equals(told.trials)
    monkeypatch.setattr(
        "sys.argv", ["concord", "sweep", "status", "rates", "--storage", str(folder / "runs"), "--json"]
    )
    with pytest.raises(SystemExit):
        main()
    command = json.loads(capsys.readouterr().out)
    assert command["best_score"] == told.best().score
    assert [trial["run"] for trial in command["trials"]] == told.trials["run"].tolist()


def test_sweep_that_is_through_goes_on_with_more_trials(swept: tuple[cluster.SweepResult, list[int]]) -> None:
    told, _ = swept
    longer = told.resume(trials=4)
    assert len(longer.trials) == 4
    assert longer.trials.iloc[:3].equals(told.trials)
