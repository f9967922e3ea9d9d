"""What a training writes of how it goes."""

import io

import pytest

from multitask.trainer.lines import ProgressLine
from multitask.trainer.result import StepResult

RESULT = StepResult(
    losses={"sst": 1.5, "sts": 0.25},
    terms={},
    weights={"sst": 1.0, "sts": 1.0},
    groups=(("sst", "sts"),),
    gramian=None,
    norm=1.0,
    tokens=1,
    slots=1,
    extra_tokens=0,
    applied=True,
)


class _Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.mark.parametrize("file", [_Terminal(), io.StringIO()])
def test_steps_rewrite_one_line_of_a_terminal_and_evaluations_stay(file: io.StringIO) -> None:
    line = ProgressLine(20, shown=True, file=file)
    line.step(9, RESULT)
    line.evaluation(9, {"dev/mean": 0.5}, best=True)
    line.say("finished")
    steps, _, rest = file.getvalue().rpartition("\r")
    assert steps == ("step 9/20  loss sst 1.500  sts 0.250" if file.isatty() else "")
    assert [text.strip() for text in rest.splitlines()] == ["step 9/20  dev mean 0.500  best", "finished"]
    # Nothing of the longer line before is left behind it.
    assert len(rest.splitlines()[0]) >= len(steps)


def test_silent_training_writes_nothing() -> None:
    file = _Terminal()
    line = ProgressLine(20, shown=False, file=file)
    line.step(1, RESULT)
    line.evaluation(1, {"dev/mean": 0.5}, best=False)
    line.say("finished")
    assert file.getvalue() == ""
