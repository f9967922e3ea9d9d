"""A sweep in the terminal and as lines."""

import io
import json
import math
from dataclasses import replace
from typing import Any

import pytest
from rich.console import Console

from cluster.sweeps.records import Generation, Options, Report, Sweep, Trial
from cluster.terminal.sweep_display import SHOWN, SweepDisplay, describe_sample, score_columns, seconds_left, sweep_view
from tests.unit.sweeps.recipes import recipe

SCORES = ("dev/sst/accuracy", "dev/quora/accuracy", "dev/quora/macro_f1", "dev/sts/pearson")
SAMPLE = {
    "optimizer.lr": 0.000123456,
    "encoder.dropout": 0.25,
    "sampling.name": "annealed",
    "combination.name": "pcgrad",
}


def _report(iteration: int, score: float) -> Report:
    scores = dict.fromkeys(SCORES, score) | {"dev/mean": score}
    return Report(iteration, 10 * iteration, 100 * iteration, 1000 * iteration, 1.0, scores)


def _trial(number: int, status: Any, *scores: float, **more: Any) -> Trial:
    reports = tuple(_report(place, score) for place, score in enumerate(scores, start=1))
    values = {"role": "sample" if number else "recipe", "sample": SAMPLE, "planned_rows": 400, "planned_iterations": 4}
    return Trial(number, 0, run=f"long-name-of-a-sweep-{number:03d}", status=status, reports=reports, **values | more)


def _sweep(*trials: Trial, number: int = 20, **more: Any) -> Sweep:
    values = {"status": "running", "elapsed": 600.0, "space": {"name": "default"}} | more
    base = recipe().to_dict()
    return Sweep("long-name-of-a-sweep", "", "tiny", base, options=Options(number), trials=trials, **values)


def _text(sweep: Sweep, width: int = 80) -> str:
    console = Console(file=io.StringIO(), width=width)
    console.print(sweep_view(sweep))
    return console.file.getvalue()  # type: ignore[attr-defined, no-any-return]


EVERYTHING = (
    _trial(0, "finished", 0.5, 0.6, 0.55, 0.5),
    _trial(1, "running", 0.4),
    _trial(2, "stopped", 0.3, reason="asha: dev/mean 0.300 after 1 of 4 evaluations"),
    _trial(3, "failed", reason="worker 0: a very long reason " + "that goes on " * 12),
    _trial(4, "failed", 0.1, reason="2 steps had a loss that is not finite"),
    _trial(5, "failed", reason="2 steps had a loss that is not finite"),
    _trial(6, "waiting"),
)


@pytest.mark.parametrize("width", [80, 120])
def test_view_keeps_to_the_terminal_s_width(width: int) -> None:
    lines = _text(_sweep(*EVERYTHING), width).splitlines()
    assert max(map(len, lines)) <= width
    (row,) = [line for line in lines if line.startswith("001 ")]
    assert row.split()[:7] == ["001", "running", "1/4", "0.400", "0.400", "0.400", "0.400"]
    assert "annealed pcgrad" in row


def test_view_has_states_best_scores_and_reasons() -> None:
    text = _text(_sweep(*EVERYTHING), 200)
    heading = text.splitlines()[0]
    assert "random/fifo over default" in heading
    assert "1 running  1 finished  1 stopped early  3 failed  1 waiting" in heading
    assert "10:00 so far" in heading
    rows = {line.split()[0]: line for line in text.splitlines()[2:]}
    # The best of its course, and what it is.
    assert rows["000"].split()[1:4] == ["finished", "4/4", "0.600"]
    assert "the recipe" in rows["000"]
    assert "2 failed: 2 steps had a loss that is not finite" in text
    assert "1 failed: worker 0: a very long reason" in text
    assert "006" not in rows


def test_view_is_of_running_trials_and_the_best_of_the_others() -> None:
    trials = [_trial(n, "finished", 0.01 * n) for n in range(20)] + [_trial(20, "running", 0.0)]
    rows = [line.split()[0] for line in _text(_sweep(*trials), 200).splitlines()[2:]]
    assert rows == ["020", *(f"{n:03d}" for n in range(19, 19 - SHOWN, -1))]


def test_scores_are_one_of_each_task_and_the_mean() -> None:
    assert score_columns(_sweep(*EVERYTHING)) == [
        "dev/sst/accuracy",
        "dev/quora/accuracy",
        "dev/sts/pearson",
        "dev/mean",
    ]
    base = recipe(tasks={"quora": {"metric": "macro_f1"}}).to_dict()
    found = score_columns(replace(_sweep(*EVERYTHING), base=base))
    assert found == ["dev/sst/accuracy", "dev/quora/macro_f1", "dev/sts/pearson", "dev/mean"]
    assert score_columns(_sweep()) == ["dev/mean"]


def test_sample_names_methods_first_and_shortens_numbers() -> None:
    assert describe_sample(_trial(1, "running")) == "annealed pcgrad lr=0.000123 dropout=0.25"
    assert describe_sample(_trial(0, "running")) == "the recipe"
    assert describe_sample(_trial(-1, "running", role="baseline", sample={"task": "sst"})) == "sst alone"
    later = Generation("s-001-g1", 1, 10, "s-002", {"optimizer.lr": 0.5})
    assert describe_sample(_trial(1, "running", generations=(later,))) == "lr=0.5 from s-002"
    weights = {"sampling.name": "draw_weights", "sampling.draw_weights.sst": 2.0, "combination.loss_weights.sst": 3.0}
    assert describe_sample(_trial(1, "running", sample=weights)) == "draw_weights draw_weights.sst=2 loss_weights.sst=3"
    both = {"optimizer.name": "lamb", "encoder.name": "package:a/b", "optimizer.eps": 1e-3}
    assert describe_sample(_trial(1, "running", sample=both)) == (
        "optimizer.name=lamb encoder.name=package:a/b eps=0.001"
    )


def test_time_left_is_that_of_the_rows_to_come() -> None:
    done, half = _trial(0, "finished", 0.1, 0.1, 0.1, 0.1), _trial(1, "running", 0.1, 0.1)
    # 600 rows in 600 s; 200 of the second trial and two whole ones of 400 to come.
    assert seconds_left(_sweep(done, half, number=4)) == pytest.approx(1000)
    assert seconds_left(_sweep(done, half, _trial(2, "waiting"), _trial(3, "running"), number=4)) == pytest.approx(1000)
    assert seconds_left(_sweep(done, half, number=2)) == pytest.approx(200)


def test_time_left_expects_as_many_to_be_stopped_as_were() -> None:
    done, early = _trial(0, "finished", 0.1, 0.1, 0.1, 0.1), _trial(1, "stopped", 0.1)
    # 500 rows in 600 s; ended trials trained 5/8 of theirs, so two more will train 500.
    assert seconds_left(_sweep(done, early, number=4)) == pytest.approx(600)


def test_trials_that_failed_at_once_are_not_waited_for() -> None:
    done, broken = _trial(0, "finished", 0.1, 0.1, 0.1, 0.1), _trial(1, "failed")
    assert seconds_left(_sweep(done, broken, number=3)) == pytest.approx(600)
    assert seconds_left(_sweep(done, broken, number=2)) == pytest.approx(0)


@pytest.mark.parametrize("sweep", [_sweep(_trial(0, "running")), _sweep(*EVERYTHING, status="stopped")])
def test_time_left_is_unknown_before_a_report_and_after_the_end(sweep: Sweep) -> None:
    assert seconds_left(sweep) is None
    assert "left" not in _text(sweep)


def test_lines_say_each_change_once(capsys: pytest.CaptureFixture[str]) -> None:
    display = SweepDisplay(json=False)
    display(_sweep(_trial(0, "waiting"), _trial(1, "waiting")))
    assert capsys.readouterr().out == ""
    first = _trial(0, "running", attempts=1)
    display(_sweep(first, _trial(1, "waiting")))
    display(_sweep(first, _trial(1, "waiting")))
    assert capsys.readouterr().out == "long-name-of-a-sweep-000  running  0/4  the recipe\n"
    reason = "worker 0: [bold]no[/bold] " + "and so on " * 20
    display(_sweep(replace(first, reports=(_report(1, 0.25),)), _trial(1, "failed", reason=reason)))
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "long-name-of-a-sweep-000  running  1/4  dev/mean 0.250"
    assert lines[1].startswith("long-name-of-a-sweep-001  failed  0/4  annealed pcgrad lr=0.000123")
    assert lines[1].rstrip().endswith(reason.rstrip())
    assert len(lines) == 2
    display.close()


def test_json_lines_are_records_of_trials(capsys: pytest.CaptureFixture[str]) -> None:
    display, trial = SweepDisplay(json=True), _trial(1, "running", math.nan, 0.5, attempts=1)
    display(_sweep(trial))
    display(_sweep(trial))
    (line,) = capsys.readouterr().out.splitlines()
    values = json.loads(line)
    assert values.pop("event") == "trial"
    assert values["reports"][0]["scores"]["dev/mean"] is None
    assert Trial.from_dict(values).reports[1] == trial.reports[1]


def test_trials_that_confirm_say_what_they_are_and_count_in_the_time_that_is_left() -> None:
    confirm = {"role": "confirm", "sample": {}}
    trials = [_trial(0, "finished", 0.5, 0.6, 0.55, 0.5, **confirm), _trial(1, "waiting", **confirm)]
    sweep = _sweep(*trials, number=0)
    assert describe_sample(trials[0]) == "the recipe again, with a fresh seed"
    assert describe_sample(trials[1]) == "001 again, with a fresh seed"
    # As long again as the first: 600 seconds for 400 rows, and 400 are left.
    assert seconds_left(sweep) == pytest.approx(600)
