"""Search by Optuna: what it is told of trials, that nothing else decides, and that it searches."""

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import optuna
import pytest
from optuna.trial import TrialState

from cluster.sweeps.records import Options, Status, Trial
from cluster.sweeps.samplers import create_sampler
from tests.unit.sweeps.recipes import recipe, report
from tune_spaces import Space, open_space

SST, STS = "dev/sst/accuracy", "dev/sts/pearson"


@pytest.fixture(scope="module")
def space() -> Space:
    return open_space("default", recipe())


@pytest.fixture
def studies(monkeypatch: pytest.MonkeyPatch) -> list[optuna.Study]:
    """Every study that is made."""
    made: list[optuna.Study] = []
    real = optuna.create_study

    def create(**options: Any) -> optuna.Study:
        made.append(real(**options))
        return made[-1]

    monkeypatch.setattr(optuna, "create_study", create)
    return made


def _trial(space: Space, number: int, status: Status, *scores: float, **more: float) -> Trial:
    sample = space.draw(np.random.default_rng([1, number]))
    reports = tuple(report(place, score, **more) for place, score in enumerate(scores, start=1))
    return Trial(number, 0, "sample" if number else "recipe", f"s-{number:03d}", sample, status, reports=reports)


def _told(space: Space, studies: list[optuna.Study], trials: Sequence[Trial], **options: Any) -> list[Any]:
    """The trials that the study was told of when it was asked, but for the one that it gave."""
    create_sampler(space, Options(20, search="tpe", **options)).sample(len(trials), trials)
    return studies[-1].get_trials()[:-1]


def test_finished_trial_counts_by_its_best_report(space: Space, studies: list[optuna.Study]) -> None:
    trial = _trial(space, 1, "finished", 0.3, 0.7, 0.5)
    (told,) = _told(space, studies, [trial])
    assert (told.state, told.values) == (TrialState.COMPLETE, [0.7])
    assert told.params == trial.sample
    assert set(told.distributions) == set(trial.sample)


def test_stopped_trial_is_told_with_its_course(space: Space, studies: list[optuna.Study]) -> None:
    (told,) = _told(space, studies, [_trial(space, 1, "stopped", 0.3, 0.2)])
    assert told.state == TrialState.PRUNED
    assert told.intermediate_values == {1: 0.3, 2: 0.2}


@pytest.mark.parametrize("status", ["running", "waiting"])
def test_trial_on_its_way_is_told_as_running(space: Space, studies: list[optuna.Study], status: Status) -> None:
    (told,) = _told(space, studies, [_trial(space, 1, status, 0.3)])
    assert told.state == TrialState.RUNNING
    assert told.params


@pytest.mark.parametrize("scores", [(), (math.nan, math.nan)], ids=["none", "not finite"])
def test_failed_trial_without_score_counts_as_the_worst(
    space: Space, studies: list[optuna.Study], scores: tuple[float, ...]
) -> None:
    (told,) = _told(space, studies, [_trial(space, 1, "failed", *scores)])
    assert (told.state, told.intermediate_values) == (TrialState.PRUNED, {})
    (told,) = _told(space, studies, [_trial(space, 1, "failed", *scores)], metrics=(SST, STS))
    assert told.state == TrialState.FAIL


def test_trial_that_failed_later_is_told_as_one_that_did_not_get_to_its_end(
    space: Space, studies: list[optuna.Study]
) -> None:
    (told,) = _told(space, studies, [_trial(space, 1, "failed", 0.3, 0.4)])
    assert (told.state, told.intermediate_values) == (TrialState.PRUNED, {1: 0.3, 2: 0.4})


@pytest.mark.parametrize("scores", [(), (0.3,)], ids=["none", "some"])
def test_what_the_cluster_broke_is_no_evidence(
    space: Space, studies: list[optuna.Study], scores: tuple[float, ...]
) -> None:
    broken = replace(_trial(space, 1, "failed", *scores), cause="cluster")
    assert [own.state for own in _told(space, studies, [broken])] == [TrialState.FAIL]


def test_population_is_told_with_the_settings_of_its_best_report(space: Space, studies: list[optuna.Study]) -> None:
    trial, later = _trial(space, 1, "finished", 0.3), space.draw(np.random.default_rng(9))
    trial = replace(trial, reports=(*trial.reports, replace(report(2, 0.7), run="s-001-g1", sample=later)))
    (told,) = _told(space, studies, [trial])
    assert (told.params, told.values) == (later, [0.7])


def test_several_metrics_are_those_of_the_checkpoint_that_is_kept(space: Space, studies: list[optuna.Study]) -> None:
    reports = (report(1, 0.5, **{SST: 0.9, STS: 0.1}), report(2, 0.6, **{SST: 0.7, STS: 0.5}))
    sample = space.draw(np.random.default_rng(1))
    trials = [
        Trial(0, 0, "recipe", "s-000", sample, "finished", reports=reports),
        Trial(1, 0, "sample", "s-001", sample, "stopped", reports=reports[:1]),
        Trial(2, 0, "sample", "s-002", sample, "finished", reports=(report(1, 0.5, **{SST: 0.9}),)),
    ]
    told = _told(space, studies, trials, metrics=(STS, SST))
    # One that was not trained to its end has values that are not its last ones, and several metrics have no rank for it.
    assert [own.state for own in told] == [TrialState.COMPLETE, TrialState.FAIL, TrialState.FAIL]
    assert told[0].values == [0.5, 0.7]
    assert studies[-1].directions == [optuna.study.StudyDirection.MAXIMIZE] * 2


def test_baselines_and_a_recipe_that_is_no_sample_are_not_told(space: Space, studies: list[optuna.Study]) -> None:
    reports = (report(1, 0.5),)
    trials = [
        Trial(-1, 0, "baseline", "s-base-sst", {"task": "sst"}, "finished", reports=reports),
        Trial(0, 0, "recipe", "s-000", {}, "finished", reports=reports),
    ]
    assert _told(space, studies, trials) == []


def _fifteen(space: Space, best: int) -> list[Trial]:
    """Trials of which those near number `best` are the best by each score."""
    scores = {n: 1 - abs(n - best) / 15 for n in range(15)}
    return [_trial(space, n, "finished", own, **{SST: own, STS: own**2}) for n, own in scores.items()]


@pytest.mark.parametrize(
    ("search", "metrics"),
    [
        ("tpe", ("dev/mean",)),
        ("tpe", (SST, STS)),
        ("nsga2", (SST, STS)),
    ],
)
def test_proposal_is_a_function_of_seed_number_and_records(space: Space, search: str, metrics: tuple[str, ...]) -> None:
    def proposal(seed: int, number: int, told: Sequence[Trial]) -> Any:
        return create_sampler(space, Options(16, search=search, metrics=metrics, seed=seed)).sample(number, told)

    first = proposal(0, 15, _fifteen(space, 2))
    np.random.seed(5)
    assert proposal(0, 15, _fifteen(space, 2)) == first
    assert proposal(1, 15, _fifteen(space, 2)) != first
    assert proposal(0, 16, _fifteen(space, 2)) != first
    assert space.refusal(first) is None
    assert [proposal(seed, 15, _fifteen(space, 12)) for seed in range(3)] != [
        proposal(seed, 15, _fifteen(space, 2)) for seed in range(3)
    ]


def _searched(space: Space, search: str, seed: int, trials: int) -> list[Trial]:
    """A sweep over a made-up score: near lr 1e-4 and dropout .2, one combination, and better the more tasks a step trains."""
    options = Options(trials, search=search, seed=seed)
    sampler, told = create_sampler(space, options), list[Trial]()
    for number in range(trials):
        sample = sampler.sample(number, told)
        assert sample is not None
        score = 1.0 - abs(math.log10(sample["optimizer.lr"]) + 4) / 3 - abs(sample["encoder.dropout"] - 0.2)
        score += 0.5 * (sample["combination.name"] == "pcgrad") + 0.3 * (sample["sampling.name"] == "annealed")
        told.append(Trial(number, 0, "sample", f"s-{number:03d}", sample, "finished", reports=(report(1, score),)))
    return told


def test_search_finds_the_good_region_sooner_than_chance(space: Space) -> None:
    def late(search: str) -> float:
        """Mean score of what is tried from number 20 on, over three seeds."""
        scores = [t.reports[0].scores["dev/mean"] for seed in range(3) for t in _searched(space, search, seed, 32)[20:]]
        return float(np.mean(scores))

    assert late("tpe") > late("random") + 0.2


def test_parameters_of_a_choice_are_proposed_where_it_is_taken_only(space: Space) -> None:
    for trial in _searched(space, "tpe", 1, 20):
        for name in trial.sample:
            for other, values in space.parameters[name].when.items():
                if other in space.parameters:
                    assert trial.sample[other] in values
        assert space.active(trial.sample) == trial.sample


def test_search_keeps_away_from_what_breaks(space: Space) -> None:
    """The higher the rate the better, but for one above 1e-4 a trial fails, or does not."""

    def proposed(fails: bool) -> int:
        trials = [_trial(space, n, "finished") for n in range(24)]
        for place, trial in enumerate(trials):
            lr = trial.sample["optimizer.lr"]
            known = (report(1, math.log10(lr)),)
            broken = fails and lr > 1e-4
            trials[place] = replace(trial, status="failed") if broken else replace(trial, reports=known)
        sampler = create_sampler(space, Options(40, search="tpe"))
        samples = [sampler.sample(number, trials) for number in range(24, 54)]
        return sum(sample["optimizer.lr"] > 1e-4 for sample in samples if sample is not None)

    assert proposed(fails=False) > 20
    assert proposed(fails=True) < 10


def test_evolution_crosses_the_best_of_the_last_whole_generation(space: Space) -> None:
    """With 16 trials a population has four: of 15 records the last three are of one that is not whole."""
    options = Options(16, search="nsga2", metrics=(SST, STS))
    trials = _fifteen(space, 10)
    proposed = [create_sampler(space, replace(options, seed=seed)).sample(15, trials) for seed in range(20)]
    # Of the twelve records of whole generations, the best four by both scores.
    parents = [trials[number].sample["optimizer.lr"] for number in (8, 9, 10, 11)]
    inherited = [own["optimizer.lr"] for own in proposed if own and own["optimizer.lr"] in parents]
    assert len(inherited) > 10
    assert len(set(inherited)) > 1


def test_evolution_begins_at_random(space: Space) -> None:
    options = Options(16, search="nsga2", metrics=(SST, STS))
    trials = _fifteen(space, 1)[:3]
    known = [trial.sample["optimizer.lr"] for trial in trials]
    for seed in range(10):
        sample = create_sampler(space, replace(options, seed=seed)).sample(3, trials)
        assert sample is not None
        assert sample["optimizer.lr"] not in known
