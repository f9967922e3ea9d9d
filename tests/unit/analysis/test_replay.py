"""The refit of a population's winner goes through the settings that led to it."""

import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from cluster.analysis.ranking import rank
from cluster.analysis.refit import plan_refits, run_refit
from cluster.analysis.replay import Stretch, replayed, stretches_of
from cluster.analysis.winner_checkpoints import checkpoint_run, refits_of
from cluster.storage.shard_file import load_weights
from cluster.storage.storage import Storage
from cluster.sweeps.records import Generation, Options, Sweep, Trial
from cluster.sweeps.store import SweepStore
from cluster.training import loop
from cluster.training.observer import ObserverGroup, Outcome
from cluster.training.session import LocalSession
from cluster.training.worker import train
from multitask.config import RunConfig, parse_config
from multitask.errors import UserError
from multitask.learning_rate import LearningRate
from tests.unit.analysis.sweeps import report, scores, sweep, trial, write

RATES = {"p-000": 1e-5, "p-001": 3e-3, "p-002": 1e-6, "p-002-g1": 1e-3}


def _trial(number: int, *values: float, generations: tuple[Generation, ...] = ()) -> Trial:
    made = trial(number, sample={"lr": number}, run=f"s-{number:03d}")
    reports = tuple(report(place, scores(own, own, own)) for place, own in enumerate(values, start=1))
    return replace(made, reports=reports, generations=generations)


def test_stretches_go_back_to_a_trial_s_first_run() -> None:
    """2 goes on from 1 after step 20, which itself came from 3 after step 10, and 3 from nobody."""
    trials = [
        _trial(1, 0.5, generations=(Generation("s-001-g1", 1, 10, "s-003", {"lr": 13}),)),
        _trial(2, 0.5, generations=(Generation("s-002-g1", 2, 20, "s-001-g1", {"lr": 21}),)),
        _trial(3, 0.5, generations=(Generation("s-003-g1", 3, 30, "s-001", {"lr": 31}),)),
    ]
    found = stretches_of(sweep(trials), "s-002-g1", {"lr": 21})
    assert found == [
        Stretch("s-003", {"lr": 3}, 10),
        Stretch("s-001-g1", {"lr": 13}, 20),
        Stretch("s-002-g1", {"lr": 21}, None),
    ]
    assert replayed(found, "r") == (
        Generation("r-g1", 0, 10, "r", {"lr": 13}),
        Generation("r-g2", 0, 20, "r-g1", {"lr": 21}),
    )
    # What is no heir was trained by its own settings alone.
    assert stretches_of(sweep(trials), "s-002", {"lr": 2}) == [Stretch("s-002", {"lr": 2}, None)]


class Killed(BaseException):
    """As a kill."""


class Killer:
    """Ends the process, so to speak, at the second evaluation."""

    def start(self, run: Any) -> None:
        """Nothing."""

    def report(self, metrics: dict[str, Any]) -> None:
        if metrics.get("train/evaluations") == 2:
            raise Killed

    def finish(self, outcome: Outcome) -> None:
        """Nothing."""


def _train(config: RunConfig, observer: Any) -> Outcome:
    session = LocalSession("cpu", [ObserverGroup([observer])])
    try:
        return train(config, session, time.time())
    finally:
        session.close()


@pytest.fixture
def population(tiny_tasks: dict[str, Any], tmp_path: Path) -> SweepStore:
    """A sweep whose winner went on with the weights of trial 1 after step 5, by another learning rate."""
    place = str(tmp_path / "p")
    base = parse_config(tiny_tasks | {"training": {"evaluate_every": 5}}, "test")
    heir = Generation("p-002-g1", 1, 5, "p-001", {"lr": RATES["p-002-g1"]})
    made = []
    for number, values in enumerate(((0.1, 0.1), (0.5, 0.6), (0.2,))):
        run = f"p-{number:03d}"
        reports = tuple(
            replace(report(n, scores(own, own, own)), step=5 * n, run=run, sample={"lr": RATES[run]})
            for n, own in enumerate(values, start=1)
        )
        made.append(replace(trial(number, run=run, sample={"lr": RATES[run]}), reports=reports))
    last = replace(report(2, scores(0.9, 0.9, 0.9)), step=10, run=heir.run, sample=heir.sample)
    made[2] = replace(made[2], generations=(heir,), reports=(*made[2].reports, last))
    space = {"name": "population", "about": "", "identity": "0", "parameters": {}}
    whole = Sweep("p", place, "tiny", base.to_dict(), space, Options(3, scheduler="pbt"), tuple(made), "finished")
    store = write(whole, str(tmp_path), "p")
    for run, rate in RATES.items():
        tree = base.to_dict() | {"name": run}
        tree["optimizer"]["lr"] = rate
        tree["cluster"] |= {"storage": f"{place}/trials", "export": False}
        config = parse_config(tree, "test")
        store.run(run).start(config)
    return store


class _Switched:
    """The learning rate of one run until step 5, that of another from there on."""

    def __init__(self, first: LearningRate, second: LearningRate) -> None:
        self._first, self._second = first, second

    def at(self, step: int) -> Any:
        return (self._first if step < 5 else self._second).at(step)


def test_refit_trains_as_one_run_whose_settings_change_on_the_way(
    population: SweepStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    (plan,) = plan_refits(population, rank(population.read()), 1, 1.0)
    assert [own.optimizer.lr for own in (*plan.before, plan.config)] == [3e-3, 1e-3]
    with pytest.raises(Killed):
        run_refit(population, plan, Killer(), _train)
    (plan,) = plan_refits(population, rank(population.read()), 1, 1.0)
    assert plan.trial.run == "p-refit-0"
    refit = run_refit(population, plan, ObserverGroup([]), _train)
    assert (refit.status, refit.attempts) == ("finished", 2)
    assert [(own.run, own.step, own.sample["lr"]) for own in refit.reports] == [
        ("p-refit-0", 5, 3e-3),
        ("p-refit-0-g1", 10, 1e-3),
    ]

    # One run of the same seed, in one go, whose learning rate is the one and then the other.
    whole, later = plan.before[0].to_dict() | {"name": "whole"}, plan.config
    whole["training"]["stop_after"] = None
    monkeypatch.setattr(
        loop, "LearningRate", lambda config, schedule: _Switched(LearningRate(config, schedule), LearningRate(later, schedule))
    )  # fmt: skip
    _train(parse_config(whole, "test"), ObserverGroup([]))
    ours, theirs = (
        load_weights(Storage(f"{population.location}/trials/{run}"), "checkpoints/step-00000010")
        for run in ("p-refit-0-g1", "whole")
    )
    assert all(torch.equal(own, theirs[name]) for name, own in ours.items())

    ranking = rank(population.read())
    (known,) = refits_of(ranking, ranking.winner.configuration)
    assert known.scored_trials[0].trial.run == "p-refit-0"
    assert checkpoint_run(population, known.scored_trials[0]) is not None
    with pytest.raises(UserError, match="--epochs-factor: the winner's settings changed on its way"):
        plan_refits(population, ranking, 1, 2.0)
