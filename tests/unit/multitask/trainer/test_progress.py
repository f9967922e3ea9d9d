"""When a run has failed, and what is kept of how far it is."""

import json
import math

import pytest
import torch

from multitask.plain_json import encode_json
from multitask.trainer.progress import Progress
from multitask.trainer.result import StepResult


def _step(applied: bool) -> StepResult:
    return StepResult(
        losses={"sst": 1.0, "sts": 1.0 if applied else math.nan},
        terms={},
        weights={"sst": 1.0, "sts": 1.0},
        groups=(("sst", "sts"),),
        gramian=None,
        norm=1.0 if applied else math.nan,
        tokens=4,
        slots=4,
        extra_tokens=0,
        applied=applied,
        culprits=() if applied else ("sts",),
    )


def test_isolated_skips_are_no_failure_and_many_in_a_row_are() -> None:
    progress = Progress()
    for number in range(1100):
        progress.trained(_step(applied=number % 100 != 0), rows=2)
        assert progress.non_finite_problem(10) is None
    assert progress.skipped_steps == 11
    for _ in range(10):
        progress.trained(_step(applied=False), rows=2)
    assert progress.non_finite_problem(10) is None
    progress.trained(_step(applied=False), rows=2)
    problem = progress.non_finite_problem(10)
    assert problem == (
        "11 steps in a row, up to step 1111, had a loss or gradient that is not finite (in all: sts 22); "
        "the limit is training.non_finite_limit=10"
    )


@pytest.mark.parametrize(("scores", "failed"), [([], False), ([math.nan], True), ([math.nan, 0.5, math.nan], False)])
def test_run_that_was_never_scored_by_a_number_has_diverged(scores: list[float], failed: bool) -> None:
    progress = Progress()
    for score in scores:
        progress.trained(_step(applied=True), rows=2)
        progress.evaluated(1.0, {"dev/mean": score}, "dev/mean")
    assert (progress.diverged_problem("dev/mean") is not None) == failed


def test_progress_survives_json_which_has_no_nan() -> None:
    progress = Progress()
    progress.trained(_step(applied=False), rows=2)
    progress.evaluated(1.0, {"dev/mean": 0.5, "dev/sts/pearson": math.nan}, "dev/mean")
    progress.baseline = {"dev/mean": math.nan}
    data = encode_json(progress.to_dict())
    assert b"NaN" not in data
    again = Progress.from_dict(json.loads(data))
    torch.testing.assert_close(again.history[0]["dev/sts/pearson"], math.nan, equal_nan=True)
    assert math.isnan(again.baseline["dev/mean"])
    assert (again.step, again.best_step, again.skipped, again.skipped_in_a_row) == (1, 1, {"sts": 1}, 1)
