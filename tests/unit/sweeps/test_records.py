"""What a sweep writes down comes back from its files as it was."""

import json
import math
from dataclasses import replace
from pathlib import Path

import pytest

from cluster.storage.storage import Storage
from cluster.sweeps.records import Generation, Options, Sweep, Trial
from cluster.sweeps.store import SweepStore
from multitask.errors import UserError
from tests.unit.sweeps.recipes import recipe, report

FULL = Trial(
    number=3,
    repeat=1,
    role="sample",
    run="s-003-r1",
    sample={"optimizer.lr": 1e-4, "sampling.name": "annealed", "cap": None, "n": 2},
    status="stopped",
    reason="asha: “ö”",
    reports=(
        replace(report(1, 0.25, **{"dev/sst/accuracy": 0.1}), run="s-003-r1", sample={"optimizer.lr": 1e-4}),
        replace(report(2, 0.5), run="s-003-r1-g1", sample={"optimizer.lr": 2e-4}),
    ),
    generations=(Generation("s-003-r1-g1", 1, 10, "s-001", {"optimizer.lr": 2e-4}),),
    planned_rows=900,
    planned_iterations=9,
    attempts=2,
    started=1.5,
    ended=2.5,
    seconds=0.75,
)


def test_trial_survives_json() -> None:
    assert Trial.from_dict(json.loads(json.dumps(FULL.to_dict(), allow_nan=False))) == FULL


def test_record_of_an_older_version_is_read_without_what_was_the_donor_s() -> None:
    """There reports had no run, and a population's trial began with its last donor's."""
    values = replace(FULL, reports=tuple(report(n, 0.1 * n) for n in (1, 2, 3))).to_dict()
    for name in ("run", "sample"):
        for own in values["reports"]:
            del own[name]
    for name in ("rows", "tokens"):
        del values["generations"][0][name]
    read = Trial.from_dict(values)
    assert [(own.iteration, own.run, own.sample) for own in read.reports] == [
        (2, "s-003-r1-g1", {"optimizer.lr": 2e-4}),
        (3, "s-003-r1-g1", {"optimizer.lr": 2e-4}),
    ]
    assert (read.rows, read.tokens) == (200, 2000)
    plain = Trial.from_dict(values | {"generations": []})
    assert [(own.iteration, own.run, own.sample) for own in plain.reports] == [
        (n, "s-003-r1", FULL.sample) for n in (1, 2, 3)
    ]


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_score_that_is_not_finite_is_null_in_json_and_nan_again(value: float) -> None:
    trial = Trial(1, 0, "sample", "s-001", {}, reports=(report(1, value), report(2, 0.5)))
    text = json.dumps(trial.to_dict(), allow_nan=False)
    assert json.loads(text)["reports"][0]["scores"]["dev/mean"] is None
    first, second = Trial.from_dict(json.loads(text)).reports
    assert math.isnan(first.scores["dev/mean"])
    assert second == trial.reports[1]


@pytest.mark.parametrize(
    ("scores", "iteration"),
    [
        ((0.3, 0.5, 0.4), 2),
        ((0.5, 0.5, 0.5), 1),
        ((math.nan, 0.1, math.nan), 2),
        ((math.inf, 0.1), 2),
        ((-1.0, -0.5), 2),
        ((0.0,), 1),
    ],
)
def test_best_is_the_first_of_the_highest_finite_scores(scores: tuple[float, ...], iteration: int) -> None:
    reports = tuple(report(place, score) for place, score in enumerate(scores, start=1))
    best = Trial(1, 0, "sample", "s-001", {}, reports=reports).best("dev/mean")
    assert best is not None
    assert best.iteration == iteration


def test_there_is_no_best_without_a_finite_score() -> None:
    trial = Trial(1, 0, "sample", "s-001", {}, reports=(report(1, math.nan),))
    assert trial.best("dev/mean") is None
    assert trial.best("dev/sst/accuracy") is None
    assert Trial(1, 0, "sample", "s-001", {}).best("dev/mean") is None


def test_report_replaces_those_that_are_trained_again() -> None:
    trial = Trial(1, 0, "sample", "s-001", {}, reports=tuple(report(i, 0.1 * i) for i in (1, 2, 3, 4)))
    changed = trial.with_report(report(3, 0.9))
    assert [(own.iteration, own.scores["dev/mean"]) for own in changed.reports] == [(1, 0.1), (2, 0.2), (3, 0.9)]


def test_options_survive_json() -> None:
    options = Options(7, "nsga2", metrics=("dev/sst/accuracy", "dev/mean"), budget_seconds=7200.0, budget_tokens=5)
    assert Options.from_dict(json.loads(json.dumps(options.to_dict()))) == options
    assert options.selection == "dev/mean"
    assert Options(7, metrics=("dev/sst/accuracy",)).selection == "dev/sst/accuracy"


@pytest.fixture
def folder(tmp_path: Path) -> SweepStore:
    return SweepStore(Storage(str(tmp_path / "s")))


def _sweep(folder: SweepStore, *trials: Trial) -> Sweep:
    base = recipe().to_dict()
    return Sweep(
        "s", folder.location, "tiny", base, {"name": "d"}, Options(4), trials, "stopped", 12.5, 1.0, {"a": "1"}
    )


def test_sweep_survives_its_folder(folder: SweepStore) -> None:
    trials = [Trial(n, r, "sample" if n else "recipe", f"s-{n:03d}-r{r}", {}) for n in (2, 0, 10) for r in (1, 0)]
    sweep = _sweep(folder, *sorted(trials, key=lambda own: (own.number, own.repeat)))
    folder.write_plan(sweep)
    folder.write_state({"status": "stopped", "elapsed": 12.5})
    for trial in trials:
        folder.write_trial(trial)
    assert folder.read() == sweep


def test_run_folder_without_a_record_is_no_trial(folder: SweepStore) -> None:
    folder.write_plan(_sweep(folder))
    folder.write_trial(FULL)
    folder.storage.write("trials/s-003-r1-g1/config.yaml", b"")
    assert folder.read().trials == (FULL,)


@pytest.mark.parametrize(
    ("content", "message"),
    [(b'{"format": 99}', r"s/sweep.json: format 99 is not 1"), (b"{", r"s/sweep.json: not valid JSON")],
)
def test_plan_that_cannot_be_read_is_said(folder: SweepStore, content: bytes, message: str) -> None:
    folder.storage.write("sweep.json", content)
    with pytest.raises(UserError, match=message):
        folder.read()


def test_sweep_is_found_by_name_and_by_folder_or_the_nearest_is_named(tmp_path: Path) -> None:
    for name in ("first", "second"):
        folder = SweepStore(Storage(str(tmp_path / name)))
        folder.write_plan(_sweep(folder))
    (tmp_path / "no-sweep").mkdir()
    assert SweepStore.find("first", str(tmp_path)).location == str(tmp_path / "first")
    assert SweepStore.find(str(tmp_path / "second")).location == str(tmp_path / "second")
    with pytest.raises(UserError, match=r"no sweep 'frist'.*valid: first, second; did you mean 'first'"):
        SweepStore.find("frist", str(tmp_path))
    with pytest.raises(UserError, match="there is none yet"):
        SweepStore.find("first", str(tmp_path / "elsewhere"))


def test_search_of_an_older_sweep_has_its_new_name() -> None:
    assert Options.from_dict(Options(6).to_dict() | {"search": "optuna"}).search == "tpe"
