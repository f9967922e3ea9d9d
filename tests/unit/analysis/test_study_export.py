"""A sweep written as an Optuna study, read back by Optuna."""

import math
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import Any

import optuna
import pytest
from optuna.distributions import CategoricalDistribution, FloatDistribution
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend
from optuna.trial import TrialState

from cluster.analysis.study_export import export_study
from cluster.sweeps.records import Generation, Sweep
from multitask.errors import UserError
from tests.unit.analysis.sweeps import baseline, scores, sweep, trial

pytestmark = pytest.mark.filterwarnings("ignore::optuna.exceptions.ExperimentalWarning")
SST, STS = "dev/sst/accuracy", "dev/sts/pearson"
LOW, MIDDLE, HIGH = (scores(x, x, x) for x in (0.3, 0.4, 0.5))
DRAWN = {"lr": 1e-4, "mix": "drawn", "mix.power": 0.5}


def _sweep(**options: Any) -> Sweep:
    nan = scores(math.nan, 0.5, 0.5)
    made = [
        baseline("sst", 0.58),
        trial(0, LOW, HIGH, MIDDLE, sample={}),
        replace(trial(1, LOW, HIGH, sample=DRAWN), started=1000.0, ended=1600.0, seconds=400.0),
        trial(1, MIDDLE, LOW, sample=DRAWN, repeat=1),
        trial(2, MIDDLE, LOW, sample={"lr": 1e-3, "mix": "plain"}, status="stopped", reason="asha: no hope"),
        trial(3, sample={"lr": 1e-2, "mix": "plain"}, status="failed", reason="CUDA out of memory"),
        trial(4, nan, sample={"lr": 1e-5, "mix": "plain"}),
        trial(5, LOW, sample={"lr": 2e-5, "mix": "plain"}, status="running"),
        trial(6, sample={"lr": 3e-5, "mix": "plain"}, status="waiting"),
        trial(7, HIGH, sample={"lr": 3e-5}, role="refit"),
    ]
    return replace(sweep(made, **options), created=900.0)


@pytest.fixture(scope="module")
def database(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A storage with the study of `_sweep`."""
    url = f"sqlite:///{tmp_path_factory.mktemp('studies')}/study.db"
    assert export_study(_sweep(), url) == 8
    return url


@pytest.fixture
def journal(tmp_path: Path) -> str:
    return f"{tmp_path}/study.log"


def _read(file: str, name: str = "s") -> optuna.Study:
    return optuna.load_study(study_name=name, storage=JournalStorage(JournalFileBackend(file)))


def test_states_values_and_courses_are_the_sweep_s(database: str) -> None:
    study = optuna.load_study(study_name="s", storage=database)
    assert study.direction == optuna.study.StudyDirection.MAXIMIZE
    assert study.metric_names == ["dev/mean"]
    assert study.user_attrs["recipe"] == "main"
    told = [(own.state, own.values, own.intermediate_values) for own in study.trials]
    complete, pruned, failed = TrialState.COMPLETE, TrialState.PRUNED, TrialState.FAIL
    same = pytest.approx
    assert told[0] == (complete, same([0.5]), same({1: 0.3, 2: 0.5, 3: 0.4}))
    assert told[1] == (complete, same([0.5]), same({1: 0.3, 2: 0.5}))
    assert told[2] == (complete, same([0.4]), same({1: 0.4, 2: 0.3}))
    # As `Trial.should_prune` leaves it: the last value, not the best.
    assert told[3] == (pruned, same([0.3]), same({1: 0.4, 2: 0.3}))
    assert told[4] == told[5] == (failed, None, {})
    assert told[6] == (TrialState.RUNNING, None, same({1: 0.3}))
    assert told[7] == (TrialState.WAITING, None, {})
    assert study.best_trial.user_attrs["run"] == "s-000"


def test_parameters_times_and_attributes_come_back(database: str) -> None:
    recipe, first, again, stopped, failed, *_ = optuna.load_study(study_name="s", storage=database).trials
    assert recipe.params == {}
    assert first.params == again.params == DRAWN
    assert first.distributions["lr"] == FloatDistribution(1e-6, 1e-2, log=True)
    assert first.distributions["mix"] == CategoricalDistribution(["plain", "drawn"])
    assert first.datetime_start == datetime.fromtimestamp(1000)
    assert first.datetime_complete == datetime.fromtimestamp(1600)
    assert recipe.datetime_start == datetime.fromtimestamp(900)
    about = first.user_attrs
    assert (about["run"], about["role"], about["number"], about["repeat"]) == ("s-001", "sample", 1, 0)
    assert (about["best_step"], about["rows"], about["tokens"], about["seconds"]) == (20, 200, 2000, 400.0)
    assert (about[SST], about[STS], about["dev/mean"]) == pytest.approx((0.5, 0.5, 0.5))
    assert again.user_attrs["repeat"] == 1
    assert stopped.user_attrs["reason"] == "asha: no hope"
    assert failed.user_attrs["reason"] == "CUDA out of memory"


def test_several_metrics_are_several_objectives(journal: str) -> None:
    export_study(_sweep(metrics=(STS, SST)), journal)
    study = _read(journal)
    assert study.metric_names == [STS, SST]
    assert study.trials[0].values == pytest.approx([0.5, 0.5])
    assert (study.trials[3].state, study.trials[3].values) == (TrialState.PRUNED, None)
    assert {own.user_attrs["run"] for own in study.best_trials} == {"s-000", "s-001"}


def test_what_waits_is_enqueued(journal: str) -> None:
    export_study(_sweep(), journal)
    asked = _read(journal).ask()
    assert asked.suggest_float("lr", 1e-6, 1e-2, log=True) == 3e-5


def test_population_s_trial_has_the_settings_that_led_to_its_best(journal: str) -> None:
    changed = Generation("s-001-g1", 1, 10, "s-000", {"lr": 1e-5})
    made = trial(1, LOW, HIGH, sample={"lr": 1e-3})
    first, second = made.reports
    later = replace(second, run=changed.run, sample=changed.sample)
    made = replace(made, generations=(changed,), reports=(first, later))
    export_study(sweep([made]), journal)
    assert _read(journal).trials[0].params == {"lr": 1e-5}


def test_study_of_the_same_name_is_not_touched_unless_it_is_to_be_replaced(journal: str) -> None:
    export_study(sweep([trial(0, LOW)]), journal)
    with pytest.raises(UserError, match=r"study\.log holds a study s already: --replace"):
        export_study(_sweep(), journal)
    assert len(_read(journal).trials) == 1
    assert export_study(_sweep(), journal, replace=True) == 8
    assert len(_read(journal).trials) == 8
    export_study(_sweep(), journal, "other")
    assert len(_read(journal, "other").trials) == len(_read(journal).trials) == 8


@pytest.mark.parametrize(
    ("location", "message"),
    [
        ("study.db", r"storage study\.db: a database is named by its URL, sqlite:///study\.db"),
        ("sqlite:////nowhere/at/all/study.db", r"storage sqlite:////nowhere/at/all/study\.db: .*unable to open"),
        ("/nowhere/at/all/study.log", r"storage /nowhere/at/all/study\.log: .*No such file"),
        ("nothing://here", r"storage nothing://here: .*nothing"),
        ("mysql+none://me:secret@host/db", r"storage mysql\+none://host/db: "),
    ],
)
def test_storage_that_cannot_be_used_is_one_line_without_its_password(location: str, message: str) -> None:
    with pytest.raises(UserError, match=message) as refused:
        export_study(_sweep(), location)
    assert len(str(refused.value).splitlines()) == 1
    assert "secret" not in str(refused.value)
