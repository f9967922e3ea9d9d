"""`cluster.train` and `cluster.load_run` on the tiny tasks, in this process."""

import dataclasses
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

import cluster
import multitask
from cluster.cli import main
from cluster.storage.lease import Launch, Lease
from cluster.storage.run_folder import RunFolder
from cluster.training.observer import Outcome, RunInfo
from multitask.config import RunConfig, parse_config
from multitask.errors import UserError
from tests.builders import build_tiny_bert, tiny_config
from tests.integration.commands import environment, write_recipe

CHANGES: dict[str, Any] = {"optimizer.lr": 3e-3, "training.evaluate_before": True, "training.evaluate_every": 5}


class Recorder:
    """Keeps all that it is shown."""

    def __init__(self) -> None:
        self.runs: list[RunInfo] = []
        self.reports: list[dict[str, Any]] = []
        self.outcomes: list[Outcome] = []

    def start(self, run: RunInfo) -> None:
        self.runs.append(run)

    def report(self, metrics: dict[str, Any]) -> None:
        self.reports.append(metrics)

    def finish(self, outcome: Outcome) -> None:
        self.outcomes.append(outcome)


@pytest.fixture(scope="module")
def tree(folder: Path) -> dict[str, Any]:
    build_tiny_bert(folder / "encoder")
    return tiny_config(folder, name="run")


@pytest.fixture(scope="module")
def watched() -> tuple[Recorder, list[dict[str, Any]]]:
    return Recorder(), []


@pytest.fixture(scope="module")
def run(tree: dict[str, Any], watched: tuple[Recorder, list[dict[str, Any]]]) -> cluster.RunResult:
    recorder, records = watched
    return cluster.train(tree, CHANGES, ray=False, observer=recorder, on_report=records.append)


def test_importing_cluster_loads_nothing_heavy_and_gives_its_functions() -> None:
    code = (
        "import sys, cluster\n"
        "assert not {'torch', 'ray', 'pandas', 'pydantic', 'deepspeed'} & set(sys.modules)\n"
        "assert all(callable(getattr(cluster, name)) for name in cluster.__all__)\n"
        "assert not {'torch', 'ray', 'pandas', 'deepspeed'} & set(sys.modules)\n"
        "assert not hasattr(cluster, 'nothing')\n"
    )
    done = subprocess.run([sys.executable, "-c", code], env=environment(), capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_run_tells_what_its_folder_says(run: cluster.RunResult, folder: Path) -> None:
    told = json.loads((folder / "runs/run/result.json").read_text())
    assert (run.status, run.error, run.name) == ("finished", None, "run")
    assert run.folder == str(folder / "runs/run")
    assert (run.best_step, run.best_score) == (told["best_step"], told["best_score"])
    assert run.baseline == told["baseline"] != {}
    best = next(point for point in told["history"] if point["step"] == run.best_step)
    assert run.scores == {key: value for key, value in best.items() if key.startswith("dev/")}
    assert run.seconds["forward/backward"] > 0
    assert run.config.optimizer.lr == 3e-3


def test_command_reaches_the_same_scores(
    run: cluster.RunResult, tree: dict[str, Any], folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_recipe(folder / "recipe.yaml", tree | {"name": "command"})
    changes = [f"{key}={json.dumps(value)}" for key, value in CHANGES.items()]
    monkeypatch.setattr("sys.argv", ["concord", "train", str(folder / "recipe.yaml"), *changes, "--no-ray"])
    with pytest.raises(SystemExit) as ended:
        main()
    assert not ended.value.code
    command = cluster.load_run(folder / "runs/command")
    assert (command.scores, command.baseline, command.best_step) == (run.scores, run.baseline, run.best_step)
    assert command.history.dev.equals(run.history.dev)


def test_run_is_shown_to_an_observer_and_a_function(
    run: cluster.RunResult, watched: tuple[Recorder, list[dict[str, Any]]]
) -> None:
    recorder, records = watched
    assert [info.name for info in recorder.runs] == ["run"]
    assert recorder.reports == records
    assert [record["step"] for record in records if "dev/mean" in record] == [0, 5, 10]
    assert [outcome.status for outcome in recorder.outcomes] == ["finished"]


def test_history_is_a_table_with_a_row_for_each_report(run: cluster.RunResult, folder: Path) -> None:
    told = json.loads((folder / "runs/run/history.json").read_text())
    assert run.history.dev["step"].tolist() == [0, 5, 10]
    assert run.history.dev["dev/mean"].tolist() == [point["dev/mean"] for point in told["dev"]]
    assert run.history.train["train/loss/sst"].tolist() == [point["train/loss/sst"] for point in told["train"]]


def test_loaded_run_is_the_trained_one(run: cluster.RunResult) -> None:
    loaded = cluster.load_run(run.folder)
    same = [field.name for field in dataclasses.fields(run) if field.name != "files"]
    assert {name: getattr(loaded, name) for name in same} == {name: getattr(run, name) for name in same}
    assert loaded.files.items() <= run.files.items()


def test_run_is_exported_predicts_and_is_reported(run: cluster.RunResult, tmp_path: Path) -> None:
    place = run.export(tmp_path / "model")
    texts = ["a superb film", "dull and clumsy", "an average story"]
    predicted = multitask.load(place).predict("sst", texts)
    assert run.predictor("cpu").predict("sst", texts) == predicted
    assert run.predictor().scores == run.scores
    # Where the run's own export is of another checkpoint, or gone, the best one is exported anew.
    run.export(checkpoint="last" if run.best_step != 10 else 5)
    assert run.predictor().scores == run.scores
    assert "<html" in run.report(tmp_path / "page.html").read_text()
    assert run.report() == Path(run.folder) / "report.html"


def test_same_recipe_again_goes_on_and_restart_begins_anew(tree: dict[str, Any]) -> None:
    def trained(**settings: Any) -> Recorder:
        seen = Recorder()
        cluster.train(tree | {"name": "again"}, ray=False, observer=seen, **settings)
        return seen

    assert trained().runs[0].resumed_step == 0
    assert trained().runs[0].resumed_step == 10
    assert trained(restart=True).runs[0].resumed_step == 0


def test_recipe_is_a_file_keys_or_a_config(tree: dict[str, Any], folder: Path) -> None:
    from cluster.api.train_run import open_recipe

    write_recipe(folder / "same.yaml", tree)
    config = parse_config(tree, "test")
    for recipe in (folder / "same.yaml", str(folder / "same.yaml"), tree, config):
        assert open_recipe(recipe) == config
        for overrides in (["optimizer.lr=1e-5"], {"optimizer.lr": 1e-5}):
            assert open_recipe(recipe, overrides).optimizer.lr == 1e-5
    assert open_recipe({"extends": "main", "name": "mine", "seed": 3}).name == "mine"
    assert open_recipe("main", ["+sample"]).name == "main-sample"
    assert tree == tiny_config(folder, name="run")


def test_mapping_of_overrides_keeps_its_values(tree: dict[str, Any]) -> None:
    from cluster.api.train_run import open_recipe

    values = {"data.root": "1e-5", "phases.0.tasks": ["sst"], "combination.name": "sum", "zero.stage": 2}
    config: RunConfig = open_recipe(tree, values)
    assert (config.data.root, config.phases[0].tasks, config.zero.stage) == ("1e-5", ("sst",), 2)


def test_sample_of_a_space_is_laid_over_the_recipe(tree: dict[str, Any]) -> None:
    from cluster.api.train_run import open_recipe

    config = open_recipe(tree, space="learning_rate", sample={"optimizer.lr": 2e-5})
    assert config.optimizer.lr == 2e-5
    assert config.tracking.extra["sample"] == {"optimizer.lr": 2e-5}


def test_run_that_fails_is_a_result_that_says_why(tree: dict[str, Any]) -> None:
    broken = {"name": "broken", "optimizer.lr": 1e30, "training.non_finite_limit": 0}
    run = cluster.train(tree, broken, ray=False)
    assert run.status == "failed"
    assert "not finite" in (run.error or "")
    assert cluster.load_run(run.folder).error == run.error


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        (["optimizer.lrr=1"], "unknown key 'optimizer.lrr'"),
        (["tasks.sst.files.dev=absent.csv"], "absent.csv"),
        (["cluster.storage=nothing://x"], "cluster.storage: cannot use 'nothing://x"),
        ("optimizer.lr=1", "overrides are a list"),
    ],
)
def test_what_the_user_can_mend_is_an_error_of_one_line(tree: dict[str, Any], changes: Any, told: str) -> None:
    with pytest.raises(UserError, match=told) as error:
        cluster.train(tree | {"name": "mistake"}, changes, ray=False)
    assert len(str(error.value).splitlines()) == 1


def test_restart_removes_no_folder_that_is_no_run(tree: dict[str, Any], tmp_path: Path) -> None:
    (tmp_path / "mine").mkdir()
    with pytest.raises(UserError, match=r"it has no run\.json; nothing was removed"):
        cluster.train(tree, {"name": "mine", "cluster.storage": str(tmp_path)}, ray=False, restart=True)
    assert (tmp_path / "mine").exists()


def test_no_run_in_the_folder_is_said(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"is no run folder: it has no config\.yaml"):
        cluster.load_run(tmp_path)


def test_nothing_is_printed_unless_it_is_to_be_shown(tree: dict[str, Any], capsys: pytest.CaptureFixture[str]) -> None:
    cluster.train(tree | {"name": "quiet"}, ray=False)
    assert capsys.readouterr().out == ""
    cluster.train(tree | {"name": "loud"}, ray=False, show="json")
    events = [json.loads(line)["event"] for line in capsys.readouterr().out.splitlines()]
    assert (events[0], events[-1]) == ("start", "finish")


def test_restart_leaves_a_run_alone_that_another_process_trains(tree: dict[str, Any]) -> None:
    config = parse_config(tree | {"name": "trained-elsewhere"}, "test")
    with Lease.acquire(RunFolder.of(config).storage, Launch.here()) as lease:
        RunFolder(lease.storage).start(config)
        for settings in ({"restart": True}, {}):
            with pytest.raises(UserError, match=rf"is held by process {os.getpid()} on .* since"):
                cluster.train(tree | {"name": "trained-elsewhere"}, ray=False, **settings)
        assert RunFolder.of(config).has_begun
    cluster.train(tree | {"name": "trained-elsewhere"}, CHANGES, ray=False, restart=True)
    folder = Path(RunFolder.of(config).location)
    attempts = [json.loads(path.read_text())["attempt"] for path in folder.glob("checkpoints/*/manifest.json")]
    assert set(attempts) == {json.loads((folder / "result.json").read_text())["attempt"]}
    assert attempts[0].startswith("3-")
