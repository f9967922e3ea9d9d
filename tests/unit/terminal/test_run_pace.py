import math

import pytest

from cluster.terminal.run_pace import Average, Progress
from tests.unit.training.samples import dev_record, run_info, train_record


class Clock:
    now = 0.0

    def __call__(self):
        return self.now


@pytest.fixture
def clock():
    return Clock()


def test_average_is_exact_for_a_constant_and_weighs_late_values_more():
    average = Average()
    assert average.value is None
    average.add(3.0)
    assert average.value == pytest.approx(3.0)
    average.add(1.0)
    assert average.value == pytest.approx((0.9 * 3 + 1) / 1.9)


def test_average_leaves_out_values_that_are_not_finite():
    average = Average()
    for value in (2.0, math.nan, math.inf):
        average.add(value)
    assert average.value == pytest.approx(2.0)


def test_time_left_follows_the_pace_of_the_reports_and_runs_down(clock):
    progress = Progress(run_info(total_steps=100), clock)
    clock.now = 50.0  # data preparation must not count
    progress.update(train_record(10))
    assert progress.seconds_left is None
    clock.now = 60.0
    progress.update(train_record(30))
    assert progress.seconds_left == pytest.approx(35.0)
    clock.now = 65.0
    assert progress.seconds_left == pytest.approx(30.0)


def test_time_left_is_unknown_while_all_reports_came_at_once(clock):
    progress = Progress(run_info(), clock)
    progress.update(train_record(10))
    progress.update(train_record(20))
    assert progress.seconds_left is None


def test_a_restart_goes_back_in_steps_and_measures_the_pace_anew(clock):
    progress = Progress(run_info(total_steps=100), clock)
    for step in (10, 20):
        clock.now += 1
        progress.update(train_record(step))
    progress.restart(run_info(total_steps=100, resumed_step=10))
    assert progress.step == 10
    assert progress.seconds_left is None
    clock.now = 100.0
    progress.update(train_record(20))
    clock.now = 102.0
    progress.update(train_record(40))
    assert progress.seconds_left == pytest.approx(6.0)


def test_dev_scores_are_kept_with_the_ones_before_them(clock):
    progress = Progress(run_info(), clock)
    for record in (dev_record(10, 0.3), train_record(20), dev_record(20, 0.5)):
        progress.update(record)
    assert (progress.previous_dev["dev/sst/accuracy"], progress.dev["dev/sst/accuracy"]) == (0.3, 0.5)
    assert "dev/best" not in progress.dev
