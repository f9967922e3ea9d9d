"""Luck or gain, importance, and what to try next."""

import math
from typing import Any

import numpy as np
import pytest

from cluster.analysis.advice import advise
from cluster.analysis.configurations import Values, pooled_spread
from cluster.analysis.importance import Importance, importances
from cluster.analysis.ranking import rank
from cluster.analysis.verdict import judge_gap
from cluster.sweeps.records import Trial
from tests.unit.analysis.sweeps import PARAMETERS, scores, sweep, trial


def _seeds(number: int, *values: float, **more: Any) -> list[Trial]:
    return [trial(number, scores(own, own, own), repeat=place, **more) for place, own in enumerate(values)]


def test_gap_with_one_seed_each_says_nothing_of_luck() -> None:
    verdict = judge_gap(rank(sweep([*_seeds(0, 0.5), *_seeds(1, 0.6)])))
    assert (verdict.larger, verdict.spread, verdict.seeds) == (None, None, (1, 1))
    assert verdict.gap == pytest.approx(0.1)
    assert "nothing can be said" in verdict.words
    assert "--refit" in verdict.words


@pytest.mark.parametrize(("second", "larger"), [((0.50, 0.52), True), ((0.57, 0.61), False)])
def test_gap_is_compared_with_the_spread_over_both_ones_seeds(second: tuple[float, float], larger: bool) -> None:
    verdict = judge_gap(rank(sweep([*_seeds(0, *second), *_seeds(1, 0.59, 0.61)])))
    deviations = [(own - np.mean(pair)) ** 2 for pair in (second, (0.59, 0.61)) for own in pair]
    assert verdict.spread == pytest.approx(math.sqrt(sum(deviations) / 2))
    assert verdict.larger is larger
    assert verdict.seeds == (2, 2)
    assert ("is larger than" in verdict.words) is larger


def test_spread_of_other_configurations_stands_in_and_that_is_said() -> None:
    verdict = judge_gap(rank(sweep([*_seeds(0, 0.3, 0.32), *_seeds(1, 0.6), *_seeds(2, 0.5)])))
    assert verdict.spread == pytest.approx(np.std([0.3, 0.32], ddof=1))
    assert verdict.larger
    assert "other configurations" in verdict.words
    assert "one seed each" in verdict.words


def test_equal_winner_and_runner_up_are_called_equal() -> None:
    assert "are equal" in judge_gap(rank(sweep([*_seeds(0, 0.5), *_seeds(1, 0.5)]))).words
    assert "no other configuration" in judge_gap(rank(sweep(_seeds(0, 0.5)))).words


def test_pooled_spread_takes_each_group_around_its_own_mean() -> None:
    assert pooled_spread([Values((1.0, 3.0)), Values((10.0, 12.0)), Values((99.0,))]) == pytest.approx(math.sqrt(2))
    assert pooled_spread([Values((1.0,))]) is None


def _searched(count: int, response: Any, seed: int = 0) -> list[Trial]:
    generator = np.random.default_rng(seed)
    made = []
    for number in range(count):
        mix = ["plain", "drawn"][generator.integers(2)]
        sample = {"lr": float(10 ** generator.uniform(-6, -2)), "layers": int(generator.integers(1, 13)), "mix": mix}
        sample |= {"mix.power": float(generator.uniform())} if mix == "drawn" else {}
        score = response(sample)
        made.append(trial(number, scores(score, score, score), sample=sample))
    return made


def test_importance_finds_the_one_parameter_that_matters() -> None:
    found = importances(sweep(_searched(40, lambda s: 0.5 - 0.05 * (math.log10(s["lr"]) + 4) ** 2)), "dev/mean")
    assert next(iter(found.values)) == "lr"
    assert found.values["lr"] > 0.85
    assert found.trials["lr"] == 40


def test_importance_of_a_conditional_parameter_is_that_within_the_trials_that_have_it() -> None:
    made = _searched(40, lambda s: 0.9 if s["mix"] == "plain" else 0.5 * s["mix.power"])
    found = importances(sweep(made), "dev/mean")
    assert found.values["mix.power"] > 0.85
    assert found.trials["mix.power"] == sum("mix.power" in own.sample for own in made) < 40
    assert found.values["mix"] > found.values["lr"]
    assert found.reason is not None
    assert "mix.power" in found.reason


def test_importance_says_why_it_is_not_known() -> None:
    few = importances(sweep(_searched(7, lambda s: s["lr"])), "dev/mean")
    assert (few.values, few.reason) == ({}, "Too few trials with a score: 7, at least 8 are needed.")
    assert "same score" in str(importances(sweep(_searched(9, lambda _: 0.5)), "dev/mean").reason)
    cut = [Trial(**{**vars(own), "status": "stopped"}) for own in _searched(9, lambda s: s["lr"])]
    assert "not trained to their end" in str(importances(sweep(cut), "dev/mean").reason)


def test_importance_leaves_out_scores_that_are_not_numbers_and_values_outside_the_space() -> None:
    made = [*_searched(12, lambda s: s["layers"] / 12)]
    made += [trial(20, scores(math.nan, 0.5, 0.5) | {"dev/mean": 0.5}, sample={"lr": 1e-3})]
    made += [trial(21, scores(0.5, 0.5, 0.5), sample={"lr": 9.0, "layers": 1, "mix": "other"})]
    assert importances(sweep(made), "dev/sst/accuracy").trials["layers"] == 12


def test_range_whose_end_is_best_is_to_be_widened() -> None:
    ranking = rank(sweep(_searched(30, lambda s: 0.5 + 0.05 * math.log10(s["lr"]))))
    advice = advise(ranking, Importance({}))
    assert [line.split(":")[0] for line in advice.widen] == ["lr"]
    assert "from 0.01 to 0.1" in advice.widen[0]


def test_range_that_ends_by_nature_is_left_alone() -> None:
    made = _searched(40, lambda s: s.get("mix.power", 0.0))
    assert rank(sweep(made)).winner.configuration.sample["mix.power"] > 0.9
    assert not any("mix.power" in line for line in advise(rank(sweep(made)), Importance({})).widen)
    few_layers = rank(sweep(_searched(40, lambda s: -s["layers"])))
    assert few_layers.winner.configuration.sample["layers"] == 1
    assert not any("layers" in line for line in advise(few_layers, Importance({})).widen)


def test_parameter_of_no_importance_is_to_be_held_at_the_winners_value() -> None:
    made = _searched(40, lambda s: 0.5 - 0.05 * (math.log10(s["lr"]) + 4) ** 2)
    ranking = rank(sweep(made))
    held = advise(ranking, importances(ranking.sweep, "dev/mean")).hold
    layers = ranking.winner.configuration.sample["layers"]
    assert any(f"layers={layers}" in line for line in held)
    assert not any(line.startswith("lr ") for line in held)


def test_proposals_are_new_valid_and_near_the_best() -> None:
    made = _searched(40, lambda s: 0.5 - 0.05 * (math.log10(s["lr"]) + 4) ** 2)
    proposals = advise(rank(sweep(made)), Importance({})).proposals
    assert len(set(proposals)) == 3
    for proposal in proposals:
        values = dict(text.split("=") for text in proposal)
        assert ("mix.power" in values) == (values["mix"] == "drawn")
        assert set(values) - {"mix.power"} == set(PARAMETERS) - {"mix.power"}
        assert 1 <= int(values["layers"]) <= 12
        assert abs(math.log10(float(values["lr"])) + 4) < 1.5
    assert advise(rank(sweep(made)), Importance({})).proposals == proposals


def test_few_results_give_no_proposals_and_say_so() -> None:
    advice = advise(rank(sweep(_searched(5, lambda s: s["lr"]))), Importance({}))
    assert (advice.proposals, advice.widen) == ((), ())
    assert "Too few configurations" in str(advice.reason)


def test_what_was_tried_is_not_proposed_again() -> None:
    choices = {"mix": PARAMETERS["mix"], "layers": PARAMETERS["layers"] | {"high": 4}}
    pairs = [{"mix": mix, "layers": layers} for mix in ("plain", "drawn") for layers in range(1, 5)]
    made = [trial(n, scores(0.1 * n, 0.5, 0.5), sample=own) for n, own in enumerate(pairs[:-1])]
    assert advise(rank(sweep(made, choices)), Importance({})).proposals in ((), (("mix=drawn", "layers=4"),))
