"""The ledger is on disk after every change, and a second attempt goes on where it stands."""

import json
import math
from pathlib import Path
from typing import Any

from cluster.sweeps.records import Generation
from cluster.sweeps.trials import TrialLedger
from tests.unit.sweeps.tiny_sweeps import open_tiny, reported


def _history(ledger: TrialLedger, run: str, *scores: float, status: str = "running") -> None:
    """What the workers of trial `run` leave in its run folder."""
    points = [
        {"step": 10 * n, "epoch": 1.0, "rows": 100 * n, "tokens": 1000 * n, "dev/mean": score}
        for n, score in enumerate(scores, start=1)
    ]
    ledger.store.run(run).write_result({"status": status, "history": points})


def _next(ledger: TrialLedger) -> Any:
    trial = ledger.next()
    assert trial is not None
    return trial


def test_another_ledger_finds_everything(tmp_path: Path) -> None:
    ledger = open_tiny(tmp_path)
    reported(ledger, _next(ledger), 0.3, 0.4)
    second = _next(ledger)
    ledger.end(second.run, "failed", "a reason")
    trials = ledger.store.read().trials
    assert trials == ledger.trials
    assert [report.scores["dev/mean"] for report in trials[0].reports] == [0.3, 0.4]
    assert (trials[1].status, trials[1].reason) == ("failed", "a reason")


def test_what_was_cut_off_comes_first_and_what_has_ended_never_again(tmp_path: Path) -> None:
    ledger = open_tiny(tmp_path, trials=3)
    first, second = _next(ledger), _next(ledger)
    reported(ledger, first, 0.3)
    ledger.end(second.run, "stopped", "early")
    ledger = open_tiny(tmp_path, trials=3)
    assert [trial.status for trial in ledger.trials] == ["waiting", "stopped"]
    assert _next(ledger).run == first.run
    assert ledger.trial(first.run).attempts == 2
    assert _next(ledger).number == 2
    assert ledger.next() is None


def test_a_trial_that_ended_without_its_driver_is_not_run_again(tmp_path: Path) -> None:
    ledger = open_tiny(tmp_path, trials=1)
    run = _next(ledger).run
    reported(ledger, ledger.trial(run), 0.3)
    _history(ledger, run, 0.3, 0.5, 0.4, status="finished")
    ledger = open_tiny(tmp_path, trials=1)
    assert ledger.trial(run).status == "finished"
    assert [report.scores["dev/mean"] for report in ledger.trial(run).reports] == [0.3, 0.5, 0.4]
    assert ledger.next() is None


def test_evaluations_that_were_not_heard_of_are_filled_in(tmp_path: Path) -> None:
    ledger = open_tiny(tmp_path)
    trial = _next(ledger)
    _history(ledger, trial.run, 0.1, math.nan, 0.3)
    values = {"train/evaluations": 3, "step": 30, "train/rows": 300, "train/tokens": 3000, "dev/mean": 0.3}
    ledger.report(trial.run, values)
    ended = ledger.end(trial.run, "finished", None)
    assert [report.iteration for report in ended.reports] == [1, 2, 3]
    assert math.isnan(ended.reports[1].scores["dev/mean"])
    assert ended.best("dev/mean").iteration == 3  # type: ignore[union-attr]


def test_evaluations_after_a_restart_take_the_place_of_old_ones(tmp_path: Path) -> None:
    ledger = open_tiny(tmp_path)
    trial = reported(ledger, _next(ledger), 0.1, 0.2, 0.3)
    values = {"train/evaluations": 2, "step": 20, "train/rows": 200, "train/tokens": 2000, "dev/mean": 0.25}
    again = ledger.report(trial.run, values)
    assert [report.scores["dev/mean"] for report in again.reports] == [0.1, 0.25]


def test_each_configuration_is_repeated_before_the_next(tmp_path: Path) -> None:
    ledger = open_tiny(tmp_path, trials=2, repeats=2)
    found = []
    while (trial := ledger.next()) is not None:
        found.append((trial.number, trial.repeat))
    assert found == [(0, 0), (0, 1), (1, 0), (1, 1)]
    assert ledger.trial("s-001").sample == ledger.trial("s-001-r1").sample


def test_the_recipe_and_the_baselines_come_first(tmp_path: Path) -> None:
    ledger = open_tiny(tmp_path, "learning_rate", trials=3, repeats=2, baselines=True)
    runs = [_next(ledger).run for _ in range(12)]
    assert runs[:2] == ["s-000", "s-000-r1"]
    assert runs[2:8] == [f"s-base-{task}{seed}" for task in ("sst", "quora", "sts") for seed in ("", "-r1")]
    assert runs[8:] == ["s-001", "s-001-r1", "s-002", "s-002-r1"]


def test_a_halted_sweep_goes_on_with_its_trials(tmp_path: Path) -> None:
    ledger = open_tiny(tmp_path)
    trial = reported(ledger, _next(ledger), 0.3)
    ledger.halt("the budget of 2 h is spent")
    told = json.loads((tmp_path / "s/trials" / trial.run / "trial.json").read_text())
    assert (told["status"], told["reason"], told["ended"]) == ("waiting", "the budget of 2 h is spent", None)
    assert open_tiny(tmp_path).next().run == trial.run  # type: ignore[union-attr]


def test_tokens_of_all_trials_are_counted_once(tmp_path: Path) -> None:
    ledger = open_tiny(tmp_path)
    reported(ledger, _next(ledger), 0.1, 0.2)
    reported(ledger, _next(ledger), 0.1)
    assert ledger.tokens == 2000 + 1000


def test_a_population_s_trial_goes_on_from_its_donor_and_keeps_its_own_reports(tmp_path: Path) -> None:
    ledger = open_tiny(tmp_path, "learning_rate", scheduler="pbt")
    donor, bad = reported(ledger, _next(ledger), 0.5, 0.6, 0.7), reported(ledger, _next(ledger), 0.1, 0.2)
    first, sample, heir = bad.sample, {"optimizer.lr": 3e-4}, f"{bad.run}-g1"
    ledger.exploit(bad.run, Generation(heir, 3, 30, donor.run, sample, 300, 3000))
    changed = ledger.trial(bad.run)
    assert (changed.iteration, changed.best("dev/mean").scores["dev/mean"]) == (3, 0.2)  # type: ignore[union-attr]
    config = ledger.config(changed)
    assert (config.name, config.optimizer.lr) == (f"{bad.run}-g1", 3e-4)
    told = ledger.tune_config(changed)
    assert told["donor"] == {"donor": donor.run, "previous": bad.run}
    assert (told["run"], told["generation"], told["best"]) == (bad.run, 1, 0.2)
    changed = reported(ledger, changed, 0.65)
    assert [(own.iteration, own.run, own.sample) for own in changed.reports] == [
        (1, bad.run, first),
        (2, bad.run, first),
        (4, heir, sample),
    ]
    # Two evaluations' worth by its first settings and one by the later ones; the donor's three are the donor's.
    assert (changed.rows, changed.tokens, ledger.tokens) == (300, 3000, 3000 + 3000)
    assert ledger.store.read().trials == ledger.trials


def test_what_a_donor_trained_until_its_heir_began_is_the_donor_s(tmp_path: Path) -> None:
    """It was chosen after two evaluations, and had four when its weights were taken."""
    ledger = open_tiny(tmp_path, "learning_rate", scheduler="pbt")
    donor, bad = reported(ledger, _next(ledger), 0.5, 0.6), reported(ledger, _next(ledger), 0.1)
    heir = f"{bad.run}-g1"
    ledger.exploit(bad.run, Generation(heir, 2, 20, donor.run, {"optimizer.lr": 3e-4}, 200, 2000))
    ledger.store.run(heir).write_json("inherited.json", {"iteration": 4, "step": 40, "rows": 400, "tokens": 4000})
    _history(ledger, heir, 0.5, 0.6, 0.7, 0.8, 0.3, 0.4)
    ended = ledger.end(bad.run, "finished", None)
    assert [(own.run, own.iteration, own.scores["dev/mean"]) for own in ended.reports] == [
        (bad.run, 1, 0.1),
        (heir, 5, 0.3),
        (heir, 6, 0.4),
    ]
    assert ended.generations[0].iteration == 4
    assert (ended.rows, ended.tokens) == (100 + 200, 1000 + 2000)


def test_refits_are_no_part_of_the_search(tmp_path: Path) -> None:
    ledger = open_tiny(tmp_path, trials=3)
    first = _next(ledger)
    ledger.end(first.run, "finished", None)
    values = ledger.trial(first.run).to_dict() | {"role": "refit", "number": 3, "run": "s-refit-0", "status": "running"}
    ledger.store.storage.write("trials/s-refit-0/trial.json", json.dumps(values).encode())
    ledger = open_tiny(tmp_path, trials=3)
    assert [_next(ledger).number, _next(ledger).number, ledger.next()] == [1, 2, None]
