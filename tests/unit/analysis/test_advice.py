"""What to try next: wider ranges, values to hold, and configurations with the commands that try them."""

import math
import shlex
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import typer

from cluster.analysis.advice import Advice, advise
from cluster.analysis.commands import sweep_argument
from cluster.analysis.importance import Importance, importances
from cluster.analysis.ranking import Ranking, rank
from cluster.analysis.value_text import exact_assignments, read_assignments
from cluster.cli.app import app
from cluster.cli.sweep_options import read_sample
from cluster.sweeps.create import OpenedSweep, reopen_sweep
from cluster.sweeps.trials import TrialLedger, open_ledger
from multitask.errors import UserError
from tests.unit.analysis.sweeps import PARAMETERS, scores, searched, sweep, trial
from tests.unit.sweeps.tiny_sweeps import TABLES, open_tiny, reported

NOTHING = Importance({})
# Without weights, which are numbers, the space of combinations is a grid.
# All that is a number in the space of combinations, so that a grid can go over it.
FIXED = (
    *(f"combination.loss_weights.{task}=1" for task in ("sst", "quora", "sts")),
    *("combination.uncertainty.lr=0.01", "combination.imtl_l.lr=0.01", "combination.dwa.temperature=2"),
    *(
        "combination.famo.lr=0.02",
        "combination.stch.mu=0.1",
        "combination.gradvac.beta=0.01",
        "combination.cagrad.c=0.4",
    ),
    *("combination.fairgrad.alpha=1", "combination.sdmgrad.lambda_=0.3", "combination.gradnorm.alpha=1.5"),
    "combination.graddrop.leak=0.1",
)


def _advise(ranking: Ranking, importance: Importance = NOTHING) -> Advice:
    """Advice on a sweep of which no space exists."""
    return advise(ranking, importance, lambda sample: True)


def test_range_whose_end_is_best_is_to_be_widened() -> None:
    ranking = rank(sweep(searched(30, lambda s: 0.5 + 0.05 * math.log10(s["lr"]))))
    advice = _advise(ranking)
    assert [line.split(":")[0] for line in advice.widen] == ["lr"]
    assert "from 0.01 to 0.1" in advice.widen[0]


def test_range_that_ends_by_nature_is_left_alone() -> None:
    made = searched(40, lambda s: s.get("mix.power", 0.0))
    assert rank(sweep(made)).winner.configuration.sample["mix.power"] > 0.9
    assert not any("mix.power" in line for line in _advise(rank(sweep(made))).widen)
    few_layers = rank(sweep(searched(40, lambda s: -s["layers"])))
    assert few_layers.winner.configuration.sample["layers"] == 1
    assert not any("layers" in line for line in _advise(few_layers).widen)


def test_parameter_of_no_importance_is_to_be_held_at_the_winners_value() -> None:
    made = searched(40, lambda s: 0.5 - 0.05 * (math.log10(s["lr"]) + 4) ** 2)
    ranking = rank(sweep(made))
    held = _advise(ranking, importances(ranking.sweep, "dev/mean")).hold
    layers = ranking.winner.configuration.sample["layers"]
    assert any(f"layers={layers}" in line for line in held)
    assert not any(line.startswith("lr ") for line in held)


def test_proposals_are_new_valid_and_near_the_best() -> None:
    made = searched(40, lambda s: 0.5 - 0.05 * (math.log10(s["lr"]) + 4) ** 2)
    proposals = _advise(rank(sweep(made))).proposals
    assert len(set(proposals)) == 3
    for proposal in proposals:
        values = dict(text.split("=") for text in proposal)
        assert ("mix.power" in values) == (values["mix"] == "drawn")
        assert set(values) - {"mix.power"} == set(PARAMETERS) - {"mix.power"}
        assert 1 <= int(values["layers"]) <= 12
        assert abs(math.log10(float(values["lr"])) + 4) < 1.5
    assert _advise(rank(sweep(made))).proposals == proposals


def test_what_the_space_refuses_is_not_proposed() -> None:
    ranking = rank(sweep(searched(40, lambda s: s["layers"] / 12)))
    first = _advise(ranking).proposals
    refused = "plain" if any("mix=plain" in own for own in first) else "drawn"
    proposals = advise(ranking, NOTHING, lambda sample: sample["mix"] != refused).proposals
    assert proposals
    assert not any(f"mix={refused}" in own for own in proposals)


def test_few_results_give_no_proposals_and_say_so() -> None:
    advice = _advise(rank(sweep(searched(5, lambda s: s["lr"]))))
    assert (advice.proposals, advice.widen) == ((), ())
    assert "Too few configurations" in str(advice.reason)


def test_what_was_tried_is_not_proposed_again() -> None:
    choices = {"mix": PARAMETERS["mix"], "layers": PARAMETERS["layers"] | {"high": 4}}
    pairs = [{"mix": mix, "layers": layers} for mix in ("plain", "drawn") for layers in range(1, 5)]
    made = [trial(n, scores(0.1 * n, 0.5, 0.5), sample=own) for n, own in enumerate(pairs[:-1])]
    assert _advise(rank(sweep(made, choices))).proposals in ((), (("mix=drawn", "layers=4"),))


def _advised(folder: Path, space: str, **options: Any) -> tuple[TrialLedger, Advice]:
    """A sweep of a real space whose eight configurations have ended, and the advice on it."""
    ledger = open_tiny(folder, space, trials=8, **options)
    for place in range(8):
        own = ledger.next()
        assert own is not None
        reported(ledger, own, 0.5 + 0.01 * (place % 5))
        ledger.end(own.run, "finished", None)
    return ledger, advise(rank(ledger.store.read()), Importance({}))


@pytest.mark.parametrize("space", ["learning_rate", "default"])
def test_what_is_printed_is_a_command_that_tries_the_configuration_in_its_sweep(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, space: str
) -> None:
    ledger, advice = _advised(tmp_path, space)
    assert len(advice.commands) == len(advice.proposals) > 0
    opened: list[OpenedSweep] = []
    monkeypatch.setattr("cluster.api.sweep_result.run_opened", lambda own, *_: opened.append(own))
    monkeypatch.setattr("cluster.cli.sweep._conclude", lambda *_: None)
    for command in advice.commands:
        program, *arguments = shlex.split(command)
        assert program == "concord"
        typer.main.get_command(app).main(arguments, standalone_mode=False)
        own = opened[-1]
        assert own.sweep.options.trials == 9
        again = open_ledger(own.store, own.sweep, own.search, TABLES, {"board": []})
        tried = again.next()
        assert tried is not None
        assert (tried.number, tried.role) == (8, "sample")
        assert tried.sample == read_sample(arguments[-1])
        again.config(tried)
        own.store.storage.delete_folder(f"trials/{tried.run}")
        own.lease.release()
    assert ledger.store.read().options.trials == 8


def test_values_that_four_digits_would_move_out_of_their_range_are_written_whole() -> None:
    about = {"rate": {"kind": "float", "low": 1.23456e-5, "high": 1.23459e-5}, "n": {"kind": "choice", "values": ["1"]}}
    about |= {"power": {"kind": "choice", "values": [0.123456]}, "name": {"kind": "choice", "values": ["a b", "plain"]}}
    sample = {"rate": 1.23456e-5, "n": "1", "power": 0.123456, "name": "a b"}
    texts = exact_assignments(sample, about)
    assert read_sample(shlex.join(texts)) == read_assignments(texts) == sample
    assert exact_assignments({"name": "plain"}, about) == ("name=plain",)


def test_a_configuration_that_was_asked_for_is_tried_once(tmp_path: Path) -> None:
    ledger, advice = _advised(tmp_path, "learning_rate")
    sample = read_assignments(advice.proposals[0])
    opened = reopen_sweep(ledger.store.location, "runs", [sample, sample])
    assert (opened.sweep.tries, opened.sweep.options.trials) == ((sample,), 9)
    # Killed before the ledger was opened: the same command again asks for nothing more.
    opened.store.write_plan(opened.sweep)
    opened.lease.release()
    again = reopen_sweep(ledger.store.location, "runs", [sample])
    assert (again.sweep.tries, again.sweep.options.trials) == ((sample,), 9)
    again.lease.release()
    assert reopen_sweep(ledger.store.location, "runs", [ledger.trials[3].sample]).sweep.options.trials == 9


@pytest.mark.parametrize(
    ("sample", "message"),
    [
        ({"optimizer.lr": 1.0}, "optimizer.lr must be"),
        ({}, "no value for optimizer.lr"),
        ({"optimizer.rate": 1e-4}, "no parameter 'optimizer.rate'"),
    ],
)
def test_a_configuration_that_cannot_be_tried_is_refused(tmp_path: Path, sample: dict[str, Any], message: str) -> None:
    ledger = open_tiny(tmp_path, "learning_rate")
    with pytest.raises(UserError, match=message):
        reopen_sweep(ledger.store.location, "runs", [sample])


def test_a_population_takes_no_further_configuration(tmp_path: Path) -> None:
    ledger = open_tiny(tmp_path, "learning_rate", scheduler="pbt")
    with pytest.raises(UserError, match="--try: a population is begun as a whole"):
        reopen_sweep(ledger.store.location, "runs", [{"optimizer.lr": 1e-4}])


@pytest.mark.parametrize("text", ["", "optimizer.lr", "=1", "lr='1"])
def test_try_that_is_no_configuration_is_refused(text: str) -> None:
    with pytest.raises(UserError, match="--try"):
        read_sample(text)


def test_a_grid_goes_on_where_it_was_after_a_try(tmp_path: Path) -> None:
    plain = open_tiny(tmp_path / "plain", "combination", FIXED, search="grid", trials=4)
    grid = [own.sample for own in iter(plain.next, None)]
    ledger = open_tiny(tmp_path / "tried", "combination", FIXED, search="grid", trials=2)
    assert [own.sample for own in iter(ledger.next, None)] == grid[:2]
    opened = reopen_sweep(ledger.store.location, "runs", [grid[3]], trials=4)
    after = open_ledger(opened.store, opened.sweep, opened.search, TABLES, {"board": []})
    for own in iter(after.next, None):
        after.end(own.run, "finished", None)
    assert [own.sample for own in after.trials if own.number >= 2] == [grid[3], grid[2]]


def test_advice_on_a_space_that_is_gone_says_why_nothing_is_proposed() -> None:
    made = sweep(searched(8, lambda s: s["layers"] / 12))
    gone = replace(made, space=made.space | {"spec": "gone.yaml", "fixed": {}})
    advice = advise(rank(gone), Importance({}))
    assert (advice.proposals, advice.commands) == ((), ())
    assert "gone.yaml" in str(advice.reason)


def test_a_sweep_elsewhere_is_named_by_its_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    here = sweep([trial(0, scores(0.5, 0.5, 0.5))])
    assert sweep_argument(here) == "s"
    assert sweep_argument(replace(here, location=str(tmp_path / "runs" / "s"))) == "s"
    assert sweep_argument(replace(here, location="/a b/s")) == "'/a b/s'"
    assert sweep_argument(replace(here, location="s3://bucket/s")) == "s3://bucket/s"
