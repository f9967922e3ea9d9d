import pickle
from dataclasses import asdict, replace
from types import SimpleNamespace

import pytest
from ray.exceptions import GetTimeoutError
from ray.train.v2.api.data_parallel_trainer import DataParallelTrainer
from ray.train.v2.api.exceptions import ControllerError

from cluster.launch import run_board
from cluster.launch.run_board import Board, BoardReader, ControllerObserver
from cluster.launch.trainer import RunTrainer
from cluster.training.rank_failure import OtherRankError, RankError
from cluster.training.stop_request import GROWTH, RestartRequestedError
from multitask.errors import UserError
from tests.unit.training.samples import dev_record, outcome, run_info, train_record
from tests.unit.training.test_observer import Recorder


def result(error=None):
    return SimpleNamespace(error=error)


def test_reports_become_start_report_and_finish():
    seen = Recorder()
    controller = ControllerObserver([seen])
    controller.take({"run_info": asdict(run_info())})
    controller.take(train_record(10))
    controller.take(dev_record(10, 0.5) | {"outcome": asdict(outcome())})
    assert [event for event, _ in seen.calls] == ["start", "report", "report"]
    controller.after_controller_finish(result())
    assert seen.calls == [
        ("start", run_info()),
        ("report", train_record(10)),
        ("report", dev_record(10, 0.5)),
        ("finish", outcome()),
    ]


def test_a_run_without_an_outcome_has_failed_and_names_the_worker():
    seen = Recorder()
    controller = ControllerObserver([seen])
    controller.take({"run_info": asdict(run_info())})
    error = RuntimeError("many\nlines")
    error.worker_failures = {1: ValueError("later"), 0: ValueError("first\ntraceback")}
    controller.after_controller_finish(result(error))
    (_, end) = seen.calls[-1]
    assert (end.status, end.error) == ("failed", "worker 0: ValueError: first")
    assert end.files == {"run folder": "runs/main"}


def test_why_workers_were_lost_is_told_with_their_next_start_alone():
    seen = Recorder()
    controller = ControllerObserver([seen])
    error = RuntimeError()
    error.worker_failures = {0: OtherRankError(0, "a", "Connection closed"), 1: RankError(1, "b", "OSError: no disk")}
    controller.after_controller_state_update(object(), SimpleNamespace(training_failed_error=error))
    for _ in range(2):
        controller.take({"run_info": asdict(run_info())})
    error.worker_failures = {0: RestartRequestedError(GROWTH), 1: OtherRankError(0, "a", "Connection closed")}
    controller.after_controller_state_update(object(), SimpleNamespace(training_failed_error=error))
    controller.take({"run_info": asdict(run_info())})
    lost, anew = "they were lost: rank 1 on b: OSError: no disk", f"started anew: {GROWTH}"
    assert [info.notes for _, info in seen.calls] == [[lost], [], [anew]]


def test_an_error_after_the_outcome_makes_it_a_failure_with_its_scores():
    seen = Recorder()
    controller = ControllerObserver([seen])
    controller.take({"outcome": asdict(outcome())})
    controller.after_controller_finish(result(RuntimeError("late")))
    assert seen.calls == [("finish", replace(outcome(), status="failed", error="RuntimeError: late"))]


def test_silence_is_a_failure_and_an_abort_is_a_stop_and_there_is_one_finish():
    for end, status in (
        (lambda c: c.after_controller_finish(result()), "failed"),
        (lambda c: c.before_controller_abort(), "stopped"),
    ):
        seen = Recorder()
        controller = ControllerObserver([seen])
        end(controller)
        controller.before_controller_abort()
        assert [(event, value.status) for event, value in seen.calls] == [("finish", status)]


def test_nothing_ever_raises_into_the_controller(capsys):
    controller = ControllerObserver([Recorder(fails_on="start")])
    controller.take({"run_info": {"no": "such field"}})
    controller.take({"run_info": asdict(run_info())})
    controller.take({"outcome": 3})
    controller.after_controller_finish(result())
    assert len(capsys.readouterr().err.splitlines()) == 3


def test_a_board_gives_each_event_once_in_order():
    board = Board()
    board.post("start", {"a": 1})
    board.post("report", {"b": 2})
    assert board.take_events() == [("start", {"a": 1}), ("report", {"b": 2})]
    assert board.take_events() == []


class LateBoard:
    """A board whose first answers come too late; what it gave away once it does not give again."""

    def __init__(self, late: int) -> None:
        self.late, self.events = late, [("start", asdict(run_info())), ("finish", asdict(outcome()))]
        self.take_events = SimpleNamespace(remote=self.answer)

    def answer(self) -> list:
        events, self.events = self.events, []
        return events

    def get(self, request: list, timeout: float) -> list:
        self.late -= 1
        if self.late >= 0:
            raise GetTimeoutError("late")
        return request


@pytest.mark.parametrize("late", [0, 3])
def test_answers_that_come_late_are_waited_for_and_lose_nothing(monkeypatch, late):
    board, seen = LateBoard(late), Recorder()
    monkeypatch.setattr(run_board.ray, "get", board.get)
    monkeypatch.setattr(run_board, "POLL_S", 0)
    reader = BoardReader(board, seen)
    assert [event for event, _ in reader._take_events()] == ["start", "finish"]


def test_a_reader_that_is_to_end_does_not_wait_for_ever(monkeypatch, capsys):
    board = LateBoard(10**9)
    monkeypatch.setattr(run_board.ray, "get", board.get)
    with BoardReader(board, Recorder()):
        pass
    assert "can no longer be watched" in capsys.readouterr().err


class _Keyless(Recorder):
    def check(self):
        raise UserError("host a has no key")


def test_an_observer_that_cannot_watch_here_ends_the_run_before_it_starts():
    with pytest.raises(UserError, match="host a has no key"):
        ControllerObserver([Recorder(), _Keyless()]).after_controller_start(None)
    ControllerObserver([Recorder()]).after_controller_start(None)


@pytest.mark.parametrize("failure", [UserError("host a has no key"), RuntimeError("another")])
def test_what_the_user_can_mend_comes_out_of_the_controller_as_it_is(monkeypatch, failure):
    def fit(self):
        raise pickle.loads(pickle.dumps(ControllerError(failure)))

    monkeypatch.setattr(DataParallelTrainer, "fit", fit)
    trainer = RunTrainer.__new__(RunTrainer)
    trainer._storage, trainer._name = SimpleNamespace(delete_folder=lambda path: None), "launch"
    with pytest.raises(UserError if isinstance(failure, UserError) else ControllerError, match=str(failure)):
        trainer.fit()
