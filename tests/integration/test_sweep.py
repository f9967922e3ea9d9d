"""A sweep from its command to a prediction: two trials at a time, one that breaks, one stopped early, the driver killed."""

import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

import multitask
from cluster.storage.storage import Storage
from cluster.sweeps.records import Sweep
from cluster.sweeps.store import SweepStore
from tests.builders import tiny_config
from tests.integration.commands import CONCORD, Command, run_concord, write_recipe
from tests.wandb_reader import read_runs

pytestmark = [pytest.mark.ray, pytest.mark.slow]

# A rate that breaks, one that learns nothing, and the recipe's own with more frequent logs: equal scores are never below a
# rung's cut.
SPACE = {
    "about": "What a learning rate does.",
    "parameters": {"optimizer.lr": {"loguniform": [1.0e-6, 1.0e30]}, "training.log_every": {"choice": [4, 5]}},
    "points": [{"optimizer.lr": rate, "training.log_every": 5} for rate in (1.0e29, 1.0e-6, 3.0e-3)],
}
ROUNDS = 120
Concord = Callable[..., Any]


@pytest.fixture(scope="module")
def arguments(folder: Path, tiny_bert: Path) -> list[str]:
    settings: dict[str, Any] = {
        "encoder": {"name": str(tiny_bert)},
        "phases": [{"sampling": {"name": "round_robin"}, "epochs": 1, "steps_per_epoch": ROUNDS}],
        "optimizer": {"name": "adamw", "lr": 3e-3},
        "tracking": {"mode": "offline"},
    }
    recipe = write_recipe(folder / "tiny.yaml", tiny_config(folder, **settings))
    (folder / "rates.yaml").write_text(yaml.safe_dump(SPACE, sort_keys=False), encoding="utf-8")
    # The dev rows stand for a labelled test split, too.
    tests = [f"tasks.{task}.files.test=[{task}-dev.csv]" for task in ("sst", "quora", "sts")]
    place = ["--storage", str(folder / "runs"), "--name", "rates"]
    search = ["--space", str(folder / "rates.yaml"), "--trials", "4", "--scheduler", "asha", "--reduction", "2"]
    return ["sweep", str(recipe), *tests, *search, "--evaluations", "6", *place]


@pytest.fixture(scope="module")
def killed(folder: Path, arguments: list[str]) -> Sweep:
    """The sweep as it stands after kill -9 of the driver and all it had started, in the middle of the recipe's trial."""
    with Command([*CONCORD, *arguments]) as command:
        _wait(folder, lambda sweep: len(sweep.trials[0].reports) >= 2)
        command.kill()
    return _read(folder)


@pytest.fixture(scope="module")
def finished(folder: Path, killed: Sweep) -> Sweep:
    done = run_concord("sweep", "resume", "rates", "--storage", str(folder / "runs"))
    assert done.returncode == 0, done.stderr
    return _read(folder)


def _read(folder: Path) -> Sweep:
    return SweepStore(Storage(str(folder / "runs" / "rates"))).read()


def _wait(folder: Path, reached: Any) -> None:
    deadline = time.monotonic() + 500
    while time.monotonic() < deadline:
        if (folder / "runs/rates/trials/rates-000/trial.json").exists() and reached(_read(folder)):
            return
        time.sleep(0.2)
    raise AssertionError("the sweep did not get so far")


def test_a_killed_sweep_says_what_waits(folder: Path, killed: Sweep, concord: Concord) -> None:
    told = json.loads(concord("sweep", "status", "rates", "--storage", str(folder / "runs"), "--json").out)
    assert told["status"] == "stopped"
    assert not [trial for trial in told["trials"] if trial["status"] == "running"]
    assert told["trials"][0]["status"] == "waiting"


def test_every_trial_ends_as_it_should(finished: Sweep) -> None:
    recipe, broken, slow, good = finished.trials
    assert [trial.status for trial in (recipe, broken, good)] == ["finished", "failed", "finished"]
    assert slow.status == "stopped"
    assert len(slow.reports) < slow.planned_iterations
    assert "not finite" in (broken.reason or "")
    assert "asha: dev/mean" in (slow.reason or "")


def test_the_interrupted_trial_went_on_and_reached_what_a_plain_run_reaches(
    folder: Path, killed: Sweep, finished: Sweep, concord: Concord
) -> None:
    recipe = finished.trials[0]
    assert recipe.attempts == 2
    assert recipe.reports[: len(killed.trials[0].reports)] == killed.trials[0].reports
    config = folder / "runs/rates/trials/rates-000/config.yaml"
    plain = yaml.safe_load(config.read_text())
    plain["cluster"]["storage"], plain["tracking"] = str(folder / "plain"), {"mode": "disabled"}
    done = concord("train", str(write_recipe(folder / "plain.yaml", plain)), "--no-ray")
    assert done.code == 0, done.err
    told = json.loads((folder / "plain/rates-000/result.json").read_text())
    assert [point["rows"] for point in told["history"]] == [report.rows for report in recipe.reports]
    for point, report in zip(told["history"], recipe.reports, strict=True):
        assert {key: point[key] for key in report.scores} == pytest.approx(report.scores, abs=1e-6)


def test_trials_mean_the_same_rows_by_an_iteration(finished: Sweep) -> None:
    assert len({trial.planned_rows for trial in finished.trials}) == 1
    assert {report.rows for trial in finished.trials for report in trial.reports if report.iteration == 1} == {
        finished.trials[0].reports[0].rows
    }


def test_a_second_resume_trains_nothing(folder: Path, finished: Sweep, concord: Concord) -> None:
    done = concord("sweep", "resume", "rates", "--storage", str(folder / "runs"))
    assert done.code == 0, done.err
    assert _read(folder).trials == finished.trials


def test_one_wandb_run_for_each_trial_with_all_that_was_reported(folder: Path, finished: Sweep) -> None:
    for trial in finished.trials:
        fragments = read_runs(folder / "runs/rates/trials" / trial.run)
        # One that was killed in its first second holds nothing yet.
        assert len({fragment.id for fragment in fragments if fragment.id}) == 1
        steps = {step for fragment in fragments for step, _ in fragment.points("dev/mean")}
        assert steps >= {report.step for report in trial.reports}
        assert fragments[-1].exit_code is not None


def test_nothing_is_pickled_and_nothing_of_ray_is_left(folder: Path, finished: Sweep) -> None:
    files = [path for path in (folder / "runs/rates").rglob("*") if path.is_file()]
    assert not [path for path in files if path.suffix in (".pkl", ".pt", ".bin") or "/ray/" in str(path)]


def test_the_best_is_exported_and_predicts(folder: Path, finished: Sweep, concord: Concord) -> None:
    runs = str(folder / "runs")
    told = json.loads(concord("best", "rates", "--storage", runs, "--json").out)
    scores = {t.run: b.scores["dev/mean"] for t in finished.trials if (b := t.best("dev/mean")) is not None}
    assert max(scores, key=lambda run: scores[run]) in json.dumps(told)
    done = concord("best", "rates", "--storage", runs, "--export", str(folder / "best"))
    assert done.code == 0, done.err
    model = multitask.load(str(folder / "best"))
    assert len(model.predict("sst", ["a brilliant film .", "a dreadful film ."])) == 2


def test_the_report_is_written(folder: Path, finished: Sweep, concord: Concord) -> None:
    done = concord("report", "rates", "--storage", str(folder / "runs"))
    assert done.code == 0, done.err
    assert "rates-001" in (folder / "runs/rates/report.html").read_text()


def test_the_winner_is_confirmed_on_fresh_seeds_and_scored_on_the_test_split(
    folder: Path, finished: Sweep, concord: Concord
) -> None:
    command = ["best", "rates", "--storage", str(folder / "runs"), "--confirm", "--top", "1", "--seeds", "2", "--json"]
    done = concord(*command)
    assert done.code == 0, done.err
    told = json.loads(done.out.splitlines()[-1])["verdict"]
    assert told["status"] in ("better", "not shown")
    confirmed, sweep = told["confirmed"], _read(folder)
    assert sweep.status == "finished"
    assert [own for own in sweep.trials if own.role != "confirm"] == list(finished.trials)
    fresh = {own.run: own for own in sweep.trials if own.role == "confirm"}
    assert [own.status for own in fresh.values()] == ["finished"] * 4
    assert confirmed["seeds"] == [2, 3]
    assert confirmed["rows"] is None
    for run, scores in confirmed["test"].items():
        best = fresh[run].best("dev/mean")
        assert best is not None
        assert scores["test/mean"] == pytest.approx(best.scores["dev/mean"], abs=1e-6)
    assert len(confirmed["test"]) == 4
    assert concord(*command).code == 0
    assert _read(folder).trials == sweep.trials
