"""Work is made by a thread ahead of need, and is what would be made when it is needed."""

import threading
from typing import Any, cast

import pytest
import torch

from cluster.training.work_ahead import WorkAhead
from multitask.errors import UserError
from multitask.work import RoundWork

CPU = torch.device("cpu")


class Made:
    """Stands in for a round's work."""

    def __init__(self, step: int) -> None:
        self.step, self.device, self.thread = step, cast(Any, None), threading.get_ident()

    def to(self, device: torch.device) -> "Made":
        self.device = device
        return self


class Source:
    def __init__(self, wrong: int | None = None) -> None:
        self.steps: list[int] = []
        self.wrong = wrong
        self.made = threading.Condition()

    def share(self, step: int) -> RoundWork:
        with self.made:
            self.steps.append(step)
            self.made.notify_all()
        if step == self.wrong:
            raise UserError("the table is gone")
        return cast(RoundWork, Made(step))

    def wait_for(self, steps: list[int]) -> None:
        with self.made:
            assert self.made.wait_for(lambda: self.steps == steps, timeout=20), self.steps


def test_next_rounds_are_made_while_one_trains_each_once_and_none_after_the_last() -> None:
    source = Source()
    ahead = WorkAhead(source.share, 5, CPU)
    for step in range(5):
        work = cast(Made, ahead.of(step))
        assert (work.step, work.device) == (step, CPU)
        assert work.thread != threading.get_ident()
        source.wait_for(list(range(min(step + 3, 5))))


def test_going_on_at_another_step_drops_what_was_made_for_others() -> None:
    source = Source()
    ahead = WorkAhead(source.share, 100, CPU)
    assert cast(Made, ahead.of(0)).step == 0
    assert cast(Made, ahead.of(50)).step == 50
    assert cast(Made, ahead.of(51)).step == 51
    assert len(ahead._made) <= 3


def test_what_goes_wrong_ahead_is_told_at_its_step() -> None:
    ahead = WorkAhead(Source(wrong=2).share, 5, CPU)
    ahead.of(0)
    ahead.of(1)
    with pytest.raises(UserError, match="the table is gone"):
        ahead.of(2)
