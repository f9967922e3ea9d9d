"""Gaussian process, CMA-ES and quasi-random search, beside their libraries by hand and beside chance."""

import math
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy.stats import qmc

from cluster.sweeps.records import Options, Status, Trial
from cluster.sweeps.samplers import create_sampler
from tests.unit.sweeps.recipes import recipe, report
from tune_spaces import Space, open_space

RATES = """
parameters:
  optimizer.lr: {loguniform: [1.0e-6, 1.0e-2]}
  encoder.dropout: {uniform: [0.0, 0.5]}
  encoder.pooling: {choice: [cls, mean]}
  data.pool_batches: {randint: [1, 9]}
"""
LOW, HIGH = math.log(1e-6), math.log(1e-2)


@pytest.fixture(scope="module")
def space(tmp_path_factory: pytest.TempPathFactory) -> Space:
    path: Path = tmp_path_factory.mktemp("space") / "rates.yaml"
    path.write_text(RATES, encoding="utf-8")
    return open_space(str(path), recipe())


def _sample(space: Space, number: int, told: Sequence[Trial], **options: Any) -> dict[str, Any]:
    sample = create_sampler(space, Options(**{"trials": 40, **options})).sample(number, told)
    assert sample is not None
    return sample


def _score(sample: dict[str, Any]) -> float:
    """Best at a rate of 1e-4, a dropout of .2 and the mean."""
    far = abs(math.log10(sample["optimizer.lr"]) + 4) / 2 + 2 * abs(sample["encoder.dropout"] - 0.2)
    return 1 - far + 0.5 * (sample["encoder.pooling"] == "mean")


def _trial(number: int, sample: dict[str, Any], *scores: float, status: Status = "finished", repeat: int = 0) -> Trial:
    reports = tuple(report(place, score) for place, score in enumerate(scores, start=1))
    return Trial(number, repeat, "sample", f"s-{number:03d}-{repeat}", sample, status, reports=reports)


def _random(space: Space, count: int) -> list[Trial]:
    samples = [space.draw(np.random.default_rng([7, number])) for number in range(count)]
    return [_trial(number, sample, _score(sample)) for number, sample in enumerate(samples)]


def _late(space: Space, search: str) -> float:
    """Mean score of the last six of 16 configurations, tried one after the other."""
    told: list[Trial] = []
    for number in range(16):
        sample = _sample(space, number, told, search=search, trials=16)
        told.append(_trial(number, sample, _score(sample)))
    return float(np.mean([trial.reports[0].scores["dev/mean"] for trial in told[10:]]))


@pytest.mark.parametrize("search", ["gp", "cmaes"])
def test_search_finds_the_good_region_sooner_than_chance(space: Space, search: str) -> None:
    if search == "cmaes":
        pytest.importorskip("cmaes")
    by_chance = float(np.mean([trial.reports[0].scores["dev/mean"] for trial in _random(space, 100)]))
    assert _late(space, search) > by_chance + 0.3


@pytest.mark.parametrize("search", ["gp", "cmaes", "qmc"])
def test_proposal_is_a_function_of_seed_number_and_records(space: Space, search: str) -> None:
    if search == "cmaes":
        pytest.importorskip("cmaes")
    told = _random(space, 15)
    first = _sample(space, 15, told, search=search)
    np.random.seed(5)
    assert _sample(space, 15, told, search=search) == first
    assert _sample(space, 15, told, search=search, seed=1) != first
    assert _sample(space, 16, told, search=search) != first
    assert space.refusal(first) is None
    other = [replace(trial, reports=(report(1, -trial.reports[0].scores["dev/mean"]),)) for trial in told]
    assert (_sample(space, 15, other, search=search) == first) is (search == "qmc")


def test_process_keeps_away_from_what_breaks(space: Space) -> None:
    """The higher the rate the better, but for one above 1e-4 a trial fails, or does not."""

    def high(fails: bool) -> int:
        told = []
        for number, trial in enumerate(_random(space, 30)):
            rate = trial.sample["optimizer.lr"]
            broken = _trial(number, trial.sample, status="failed")
            told.append(broken if fails and rate > 1e-4 else _trial(number, trial.sample, math.log10(rate)))
        return sum(_sample(space, number, told, search="gp")["optimizer.lr"] > 2e-4 for number in range(30, 34))

    assert high(fails=False) == 4
    assert high(fails=True) == 0


class TestSobol:
    def test_configurations_are_the_points_of_the_sequence(self, space: Space) -> None:
        points = qmc.Sobol(4, scramble=True, seed=3).random(8)
        for number in (1, 2, 5, 7):
            sample = _sample(space, number, [], search="qmc", seed=3)
            rate, dropout, pooling, pool = (float(x) for x in points[number])
            assert sample["optimizer.lr"] == pytest.approx(math.exp(LOW + rate * (HIGH - LOW)))
            assert sample["encoder.dropout"] == pytest.approx(0.5 * dropout)
            assert sample["encoder.pooling"] == ["cls", "mean"][int(2 * pooling)]
            assert sample["data.pool_batches"] == 1 + int(9 * pool)

    def test_sixteen_in_a_row_have_one_in_each_sixteenth(self, space: Space) -> None:
        samples = [_sample(space, number, [], search="qmc") for number in range(16, 32)]
        sixteenths = [int(16 * (math.log(sample["optimizer.lr"]) - LOW) / (HIGH - LOW)) for sample in samples]
        assert sorted(sixteenths) == list(range(16))

    def test_what_is_not_active_is_left_out(self) -> None:
        default = open_space("default", recipe())
        for number in range(1, 20):
            sample = _sample(default, number, [], search="qmc")
            assert default.active(sample) == sample


class TestCmaEs:
    @pytest.fixture(autouse=True)
    def cmaes(self) -> Any:
        return pytest.importorskip("cmaes")

    def _coordinates(self, sample: dict[str, Any]) -> np.ndarray:
        rate = (math.log(sample["optimizer.lr"]) - LOW) / (HIGH - LOW)
        return np.array([rate, sample["encoder.dropout"] / 0.5, (sample["data.pool_batches"] - 0.5) / 9])

    def test_state_is_the_library_s_after_the_same_generations(self, space: Space, cmaes: Any) -> None:
        told = _random(space, 17)
        evolution = cmaes.CMA(np.full(3, 0.5), 1 / 6, bounds=np.array([[0.0, 1.0]] * 3), seed=1, n_max_resampling=30)
        assert evolution.population_size == 7
        for start in (0, 7):
            solutions = [(self._coordinates(t.sample), -_score(t.sample)) for t in told[start : start + 7]]
            evolution.tell(solutions)
        proposed = [self._coordinates(_sample(space, number, told, search="cmaes")) for number in range(17, 77)]
        drawn = np.array([evolution.ask() for _ in range(4000)])
        spread = drawn.std(axis=0)
        assert np.mean(proposed, axis=0) == pytest.approx(drawn.mean(axis=0), abs=4 * spread.max() / math.sqrt(60))
        assert np.std(proposed, axis=0) == pytest.approx(spread, rel=0.3)

    def test_generation_that_is_not_whole_changes_nothing(self, space: Space) -> None:
        told = _random(space, 9)
        proposals = [_sample(space, 20, told[:count], search="cmaes") for count in (6, 7, 8, 9)]
        numbers = [(own["optimizer.lr"], own["encoder.dropout"]) for own in proposals]
        assert numbers[0] != numbers[1] == numbers[2] == numbers[3]

    def _rate(self, space: Space, told: Sequence[Trial]) -> float:
        return float(_sample(space, 20, told, search="cmaes")["optimizer.lr"])

    def test_ranks_alone_count(self, space: Space) -> None:
        told = _random(space, 7)
        raised = [_trial(t.number, t.sample, math.exp(3 * _score(t.sample))) for t in told]
        assert self._rate(space, raised) == self._rate(space, told)

    def test_what_was_stopped_comes_after_what_was_not_and_what_broke_comes_last(self, space: Space) -> None:
        told = _random(space, 7)
        scores = [0.5, 0.4, 0.3, 0.2, 0.1, 0.0, -0.1]
        plain = [_trial(t.number, t.sample, score) for t, score in zip(told, scores, strict=True)]
        mixed = [
            *plain[:3],
            _trial(3, told[3].sample, 0.9, 0.8, status="stopped"),
            _trial(4, told[4].sample, 0.95, status="stopped"),
            _trial(5, told[5].sample, 0.7, status="stopped"),
            _trial(6, told[6].sample, status="failed"),
        ]
        assert self._rate(space, mixed) == self._rate(space, plain)

    def test_seeds_of_one_configuration_count_once_and_when_all_have_ended(self, space: Space) -> None:
        told = _random(space, 7)
        twice = [*told, *(replace(t, repeat=1, run=f"{t.run}b") for t in told)]
        assert self._rate(space, twice) == self._rate(space, told)
        running = [*twice[:-1], replace(twice[-1], status="running")]
        assert self._rate(space, running) == self._rate(space, told[:6])

    def test_choices_are_left_to_the_parzen_estimator(self, space: Space) -> None:
        told = _random(space, 30)
        chosen = [_sample(space, number, told, search="cmaes")["encoder.pooling"] for number in range(30, 60)]
        assert chosen.count("mean") > 18
