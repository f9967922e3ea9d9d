"""Each rule against values worked out by hand, and how it refuses."""

import math
from dataclasses import replace

import pytest

from cluster.analysis.configurations import configurations
from cluster.analysis.pareto import knee
from cluster.analysis.ranking import Ranking, rank
from cluster.sweeps.records import Generation, Sweep, Trial
from multitask.errors import UserError
from tests.unit.analysis.sweeps import KEYS, baseline, report, scores, sweep, trial

# By mean 2, by sst 1, by course 2, balanced 3.
RECIPE = trial(0, scores(0.50, 0.70, 0.30))
STRONG_SST = trial(1, scores(0.60, 0.60, 0.30))
STRONG_STS = trial(2, scores(0.45, 0.70, 0.80))
EVEN = trial(3, scores(0.54, 0.69, 0.60))
TRIALS = (RECIPE, STRONG_SST, STRONG_STS, EVEN)
BASELINES = {"sst": 0.53, "quora": 0.70, "sts": 0.50}


def _order(ranking: Ranking) -> list[int]:
    return [own.configuration.number for own in ranking.ranked]


@pytest.mark.parametrize(
    ("by", "options", "order", "best"),
    [
        ("dev/mean", {}, [2, 3, 0, 1], 1.95 / 3),
        ("dev/sst/accuracy", {}, [1, 3, 0, 2], 0.60),
        ("weighted", {"weights": {"sst": 2, "quora": 1, "sts": 0}}, [1, 3, 0, 2], 0.60),
        ("weighted", {"weights": {"sst": 2}}, [2, 3, 1, 0], (2 * 0.45 + 0.70 + 0.80) / 4),
        ("course", {}, [2, 3, 0, 1], (0.45 + 0.70 + 0.90) / 3),
        ("worst", {"baselines": BASELINES}, [3, 2, 0, 1], -0.01),
        ("no-worse", {"baselines": BASELINES, "margin": 0.02}, [3], 1.83 / 3),
        ("no-worse", {"baselines": BASELINES, "margin": 0.08}, [2, 3], 1.95 / 3),
    ],
)
def test_order_and_score_by_hand(by: str, options: dict, order: list[int], best: float) -> None:
    ranking = rank(sweep(TRIALS), by, **options)
    # Recipe and 1 are equal by the mean and by the weights: the one that was tried first goes first.
    assert _order(ranking) == order
    assert ranking.winner.score == pytest.approx(best)


def test_knee_is_the_front_point_nearest_to_all_that_is_best() -> None:
    made = [
        trial(number, scores(*own))
        for number, own in enumerate([(0, 1, 0.5), (0.9, 0.8, 0.5), (1, 0, 0.5), (0.8, 0.8, 0.5)])
    ]
    ranking = rank(sweep(made), "knee")
    assert ranking.winner.configuration.number == 1
    points = [[own.scores[key] for key in KEYS.values()] for own in configurations(ranking.sweep)]
    assert knee(points) == 1
    # Half the way to each end in two of three coordinates would be 1 − √(2 · 0.25 / 3); here .1 and .2 of it.
    assert ranking.winner.score == pytest.approx(1 - math.sqrt((0.1**2 + 0.2**2) / 3))


def test_trial_that_was_best_early_counts_with_its_best() -> None:
    early = trial(1, scores(0.9, 0.9, 0.9), scores(0.1, 0.1, 0.1))
    late = trial(2, scores(0.1, 0.1, 0.1), scores(0.8, 0.8, 0.8))
    ranking = rank(sweep([RECIPE, early, late]))
    assert _order(ranking) == [1, 2, 0]
    assert ranking.winner.configuration.scored_trials[0].best.step == 10


def test_score_is_that_of_the_checkpoint_that_the_selection_kept() -> None:
    # Its sst was best in a checkpoint that is not kept.
    wavering = trial(1, scores(0.9, 0.1, 0.1), scores(0.5, 0.9, 0.9))
    ranking = rank(sweep([RECIPE, wavering]), "dev/sst/accuracy")
    assert ranking.judge(configurations(ranking.sweep)[1]).score == 0.5
    assert rank(sweep([RECIPE, wavering], metrics=("dev/sst/accuracy",)), "dev/sst/accuracy").winner.score == 0.9


def test_seeds_are_one_configuration_with_mean_and_sample_deviation() -> None:
    one = [trial(1, scores(own, own, own), repeat=place) for place, own in enumerate((0.5, 0.625, 0.75))]
    winner = rank(sweep([trial(0, scores(0.59, 0.59, 0.59)), *one])).winner
    assert winner.values.to_dict() == {
        "mean": 0.625, "spread": 0.125, "low": 0.5, "high": 0.75, "seeds": 3
    }  # fmt: skip
    assert winner.configuration.planned == 3


def test_stopped_and_unfinished_trials_take_part_and_failed_ones_with_a_report() -> None:
    made = [
        trial(0, scores(0.1, 0.1, 0.1)),
        trial(1, scores(0.5, 0.5, 0.5), status="stopped"),
        trial(2, scores(0.4, 0.4, 0.4), status="running"),
        trial(3, scores(0.3, 0.3, 0.3), status="failed"),
        trial(4, status="failed", reason="out of memory"),
        trial(5, status="waiting"),
    ]
    ranking = rank(sweep(made))
    marks = [own.configuration.mark for own in ranking.ranked]
    assert _order(ranking) == [1, 2, 0, 3]
    assert marks == ["stopped early", "unfinished", "", "failed later"]


def test_configuration_with_missing_or_failed_seeds_goes_behind_those_that_are_complete() -> None:
    lucky, broken = scores(0.9, 0.9, 0.9), scores(0.95, 0.95, 0.95)
    made = [
        *(trial(0, scores(0.2, 0.2, 0.2), repeat=seed) for seed in range(3)),
        trial(1, lucky),
        *(trial(1, status="failed", reason="out of memory", repeat=seed) for seed in (1, 2)),
        *(trial(2, scores(0.3, 0.3, 0.3), repeat=seed) for seed in range(3)),
        *(trial(3, broken, repeat=seed, status="failed" if seed else "finished") for seed in range(3)),
    ]
    ranking = rank(sweep(made, repeats=3))
    assert _order(ranking) == [2, 0, 3, 1]
    assert [own.configuration.mark for own in ranking.ranked] == ["", "", "failed later", "1 of 3 seeds"]
    # By any rule, and also where nothing is complete.
    assert _order(rank(sweep(made, repeats=3), "course")) == [2, 0, 3, 1]
    assert _order(rank(sweep(made[3:6]))) == [1]


def test_configuration_without_a_needed_score_is_not_ranked() -> None:
    blind = trial(1, scores(0.9, 0.9, math.nan) | {"dev/mean": 0.9})
    for by in ("course", "knee", "dev/sts/pearson"):
        ranking = rank(sweep([RECIPE, blind]), by)
        assert _order(ranking) == [0]
        assert [own.number for own in ranking.others] == [1]
    assert rank(sweep([RECIPE, blind]), "worst", baselines=BASELINES).winner.configuration.number == 0
    # Where that task does not count, its score is not needed.
    assert rank(sweep([RECIPE, blind]), "weighted", weights={"sts": 0}).winner.configuration.number == 1


def test_equals_are_ordered_by_mean_and_then_by_number() -> None:
    made = [trial(0, scores(0.5, 0.1, 0.1)), trial(1, scores(0.5, 0.2, 0.1)), trial(2, scores(0.5, 0.2, 0.1))]
    assert _order(rank(sweep(made), "dev/sst/accuracy")) == [1, 2, 0]


def test_baselines_are_those_of_the_sweep_unless_given() -> None:
    own = [baseline(task, score) for task, score in BASELINES.items()]
    trained = rank(sweep([*TRIALS, *own]), "worst")
    assert trained.baselines == BASELINES
    assert _order(trained) == [3, 2, 0, 1]
    assert rank(sweep([*TRIALS, *own]), "worst", baselines={"sts": 0.9}).winner.score == pytest.approx(-0.10)


def test_population_counts_with_the_sample_of_its_best_report() -> None:
    own = trial(1, *(scores(value, value, value) for value in (0.6, 0.7)), sample={"lr": 1e-3})
    generation = Generation("s-001-g1", 2, 20, "s-000", {"lr": 1e-4})

    def changed(*values: float) -> Trial:
        later = (report(number, scores(value, value, value)) for number, value in enumerate(values, start=3))
        reports = (replace(made, run=generation.run, sample=generation.sample) for made in later)
        return replace(own, generations=(generation,), reports=(*own.reports, *reports))

    attempt = rank(sweep([RECIPE, changed(0.9, 0.8)])).winner.configuration.scored_trials[0]
    assert (attempt.sample, attempt.run, attempt.best.step) == ({"lr": 1e-4}, "s-001-g1", 30)
    # What it reached by its first settings is not what the later ones reached, nor is its donor's score.
    before = configurations(sweep([RECIPE, changed(0.3)]))[1].scored_trials[0]
    assert (before.sample, before.run, before.best.step) == ({"lr": 1e-3}, "s-001", 20)


def test_without_a_rule_it_is_the_score_that_the_sweep_searched_for() -> None:
    searched = sweep(TRIALS, metrics=("dev/sst/accuracy",))
    assert (rank(searched).rule.name, _order(rank(searched))) == ("dev/sst/accuracy", [1, 3, 0, 2])
    several = sweep(TRIALS, metrics=("dev/sst/accuracy", "dev/sts/pearson"))
    assert (rank(several).rule.name, rank(sweep(TRIALS)).rule.name) == ("dev/mean", "dev/mean")


@pytest.mark.parametrize(
    ("by", "options", "message"),
    [
        ("dev/sst/acuracy", {}, "did you mean 'dev/sst/accuracy'"),
        ("coarse", {}, "did you mean 'course'"),
        ("worst", {"baselines": {"sst": 0.5}}, "--baseline quora=SCORE --baseline sts=SCORE.*concord sweep … --baselines"),
        ("no-worse", {}, "single-task score of sst, quora, sts"),
        ("no-worse", {"baselines": BASELINES}, r"nearest is s-003, 0.0100 below: --margin 0.01 admits it"),
        ("weighted", {}, "--weight TASK=NUMBER"),
        ("weighted", {"weights": {"stss": 1}}, "no task 'stss'.*did you mean 'sts'"),
        ("weighted", {"weights": {"sst": -1}}, "0 or more"),
        ("weighted", {"weights": dict.fromkeys(KEYS, 0)}, "all tasks are 0"),
        ("dev/mean", {"weights": {"sst": 1}}, "--weight is for --by weighted"),
        ("worst", {"margin": 0.1}, "--margin is for --by no-worse"),
        ("no-worse", {"margin": -0.1}, "0 or more"),
        ("worst", {"baselines": {"stt": 1.0}}, "--baseline: the sweep has no task 'stt'"),
    ],
)  # fmt: skip
def test_question_that_does_not_fit_is_refused(by: str, options: dict, message: str) -> None:
    with pytest.raises(UserError, match=message):
        rank(sweep(TRIALS), by, **options)


def test_sweep_without_a_score_is_refused() -> None:
    for made in ([], [trial(0, status="waiting")]):
        empty: Sweep = sweep(made)
        with pytest.raises(UserError, match="s: no trial has been evaluated yet"):
            rank(empty)


def test_refits_and_baselines_are_no_candidates() -> None:
    refit = trial(9, scores(0.99, 0.99, 0.99), role="refit", run="s-refit-0")
    ranking = rank(sweep([*TRIALS, refit, baseline("sst", 0.99)]))
    assert {own.configuration.number for own in ranking.ranked} == {0, 1, 2, 3}
