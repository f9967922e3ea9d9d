import json
from dataclasses import asdict

import pytest

from cluster.training.observer import ObserverGroup, Outcome, RunInfo
from tests.unit.training.samples import outcome, run_info, train_record


class Recorder:
    def __init__(self, fails_on=None, files=None):
        self.calls, self._fails_on, self.files = [], fails_on, files or {}

    def start(self, run):
        self._take("start", run)

    def report(self, metrics):
        self._take("report", metrics)

    def finish(self, outcome):
        self._take("finish", outcome)

    def _take(self, event, value):
        if event == self._fails_on:
            raise RuntimeError("broken\nsecond line")
        self.calls.append((event, value))


def test_run_and_outcome_survive_json():
    for value, kind in ((run_info(), RunInfo), (outcome(), Outcome)):
        assert kind(**json.loads(json.dumps(asdict(value)))) == value


@pytest.mark.parametrize("event", ["start", "report", "finish"])
def test_an_observer_that_raises_is_left_out_and_the_others_go_on(event, capsys):
    broken, well = Recorder(fails_on=event), Recorder()
    group = ObserverGroup([broken, well])
    group.start(run_info())
    group.report(train_record(1))
    group.report(train_record(2))
    group.finish(outcome())
    assert [name for name, _ in well.calls] == ["start", "report", "report", "finish"]
    assert [name for name, _ in broken.calls] == ["start", "report", "report"][
        : {"start": 0, "report": 1, "finish": 3}[event]
    ]
    assert capsys.readouterr().err == "Recorder failed and is left out: RuntimeError: broken\n"


def test_later_observers_learn_what_earlier_ones_left_behind():
    tracker, display = Recorder(files={"W&B": "http://x"}), Recorder()
    ObserverGroup([tracker, display]).finish(outcome())
    assert tracker.calls[0][1].files == {"run folder": "runs/main"}
    assert display.calls[0][1].files == {"run folder": "runs/main", "W&B": "http://x"}
