"""W&B at its worst: a module that fails wherever it is told to."""

import pickle
import socket
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from cluster.tracking.tracker import WandbTracker
from multitask.config.cluster import TrackingConfig
from multitask.errors import UserError
from tests.unit.training.samples import dev_record, outcome, run_info, train_record


class FakeRun:
    """A W&B run that raises in the methods named by `broken`."""

    id, name, step, dir, offline, url, resumed = "main-1", "main", 0, "/x/files", True, None, False

    def __init__(self, broken=()):
        self._broken, self.rows, self.exit_code, self.summary = broken, [], None, {}

    def define_metric(self, *_, **__):
        self._do("define_metric")

    def log(self, row, step, commit):
        self._do("log")
        self.rows.append((step, row, commit))

    def finish(self, exit_code):
        self._do("finish")
        self.exit_code = exit_code

    def _do(self, what):
        if what in self._broken:
            raise ConnectionError(f"{what} is broken\nwith details")


@pytest.fixture
def fake_wandb(monkeypatch):
    """Puts a stand-in for the wandb module in place: `init` takes one answer after another, the last one for ever."""
    module = SimpleNamespace(calls=[], teardowns=[], run=None, Settings=SimpleNamespace)
    module.Table = module.plot_table = SimpleNamespace

    def put(*answers):
        def init(**arguments):
            module.calls.append(arguments)
            answer = answers[min(len(module.calls), len(answers)) - 1]
            if isinstance(answer, Exception):
                raise answer
            return answer

        def teardown(exit_code):
            module.teardowns.append(len(module.calls))

        module.init, module.teardown = init, teardown
        monkeypatch.setitem(sys.modules, "wandb", module)
        return module

    return put


def drive(tmp_path, mode="offline", end=None):
    tracker = WandbTracker(TrackingConfig(mode=mode))
    tracker.start(run_info(str(tmp_path)))
    tracker.report(train_record(10))
    tracker.report(dev_record(10, 0.5))
    tracker.finish(end or outcome())
    return tracker


@pytest.mark.parametrize("broken", [("log",), ("finish",), ("define_metric",), ("log", "finish")])
def test_a_broken_run_costs_one_line_and_nothing_else(tmp_path, fake_wandb, capfd, broken):
    fake_wandb(FakeRun(broken))
    drive(tmp_path)
    assert capfd.readouterr().err == f"W&B: ConnectionError: {broken[0]} is broken; the run goes on without it\n"


def test_the_file_is_written_when_finish_returns_but_another_run_of_the_process_lives_on(tmp_path, fake_wandb):
    fake = fake_wandb(FakeRun())
    drive(tmp_path)
    assert fake.teardowns == [1]
    fake.run = object()
    drive(tmp_path)
    assert fake.teardowns == [1]


def test_init_that_fails_costs_one_line(tmp_path, fake_wandb, capfd):
    fake = fake_wandb(OSError("no space"))
    drive(tmp_path)
    assert capfd.readouterr().err == "W&B: OSError: no space; the run goes on without it\n"
    assert len(fake.calls) == 1


def test_online_that_fails_falls_back_to_offline(tmp_path, fake_wandb, monkeypatch, capfd):
    monkeypatch.setenv("WANDB_API_KEY", "x" * 40)
    run = FakeRun()
    fake = fake_wandb(TimeoutError("unreachable"), run)
    drive(tmp_path, "online")
    assert [call["mode"] for call in fake.calls] == ["online", "offline"]
    assert fake.teardowns == [1, 2]
    assert [row["step"] for _, row, _ in run.rows[:2]] == [10, 10]
    assert run.exit_code == 0
    assert (
        capfd.readouterr().err
        == "W&B: TimeoutError: unreachable; recording offline; `concord wandb sync` sends it later\n"
    )


def test_online_without_a_login_is_refused_where_the_run_is_begun(tmp_path, monkeypatch):
    monkeypatch.setattr("cluster.tracking.login.logged_in", lambda: False)
    with pytest.raises(UserError, match=r"nobody is logged in; `wandb login`.* or tracking\.mode=offline"):
        drive(tmp_path, "online")


def test_the_mode_is_decided_where_the_run_is_begun_and_a_host_without_a_key_is_an_error(tmp_path, monkeypatch, capfd):
    monkeypatch.setattr("cluster.tracking.login.logged_in", lambda: True)
    there = pickle.dumps(WandbTracker(TrackingConfig()))
    assert capfd.readouterr().err == "W&B: online\n"
    monkeypatch.setattr("cluster.tracking.login.logged_in", lambda: False)
    with pytest.raises(UserError, match=f"host {socket.gethostname()} has no key"):
        pickle.loads(there).check()
    offline = WandbTracker(TrackingConfig())
    offline.check()
    assert capfd.readouterr().err == "W&B: offline, nobody is logged in; `concord wandb sync` sends it later\n"


def test_an_offline_run_stays_offline_on_a_host_with_a_key(tmp_path, fake_wandb, monkeypatch):
    fake = fake_wandb(FakeRun())
    monkeypatch.setattr("cluster.tracking.login.logged_in", lambda: False)
    tracker = WandbTracker(TrackingConfig())
    monkeypatch.setattr("cluster.tracking.login.logged_in", lambda: True)
    tracker.start(run_info(str(tmp_path)))
    assert [call["mode"] for call in fake.calls] == ["offline"]


def test_disabled_touches_neither_wandb_nor_the_disk(tmp_path, monkeypatch, capfd):
    monkeypatch.setitem(sys.modules, "wandb", None)  # an import of it would raise
    drive(tmp_path, "disabled")
    assert list(tmp_path.iterdir()) == []
    assert capfd.readouterr().err == ""


@pytest.mark.parametrize(
    ("end", "code"),
    [
        (outcome(), 0),
        (outcome(status="stopped"), 0),
        (outcome(status="failed"), 1),
        (outcome(status="stopped", error="the scheduler ended it"), 0),
    ],
)
def test_exit_code_tells_an_error_from_an_end(tmp_path, fake_wandb, end, code):
    run = FakeRun()
    fake_wandb(run)
    drive(tmp_path, end=end)
    assert run.exit_code == code


def test_steps_that_are_trained_again_are_not_recorded_again_and_each_row_is_committed(tmp_path, fake_wandb):
    run = FakeRun()
    fake_wandb(run)
    tracker = WandbTracker(TrackingConfig(mode="offline"))
    tracker.start(run_info(str(tmp_path)))
    for step in (10, 20, 30):
        tracker.report(train_record(step))
    tracker.start(run_info(str(tmp_path), resumed_step=10))
    for step in (20, 30, 40):
        tracker.report(train_record(step))
    assert [number for number, _, _ in run.rows] == [10, 20, 30, 40]
    assert [row["step"] for _, row, _ in run.rows] == [10, 20, 30, 40]
    assert all(commit for _, _, commit in run.rows)


def test_a_new_process_goes_on_above_the_rows_of_the_one_before(tmp_path, fake_wandb):
    run = FakeRun()
    fake_wandb(run)
    for steps in ((10, 20, 30), (20, 30, 40)):  # the second process resumes from step 10, its W&B run counts from 0
        tracker = WandbTracker(TrackingConfig(mode="offline"))
        tracker.start(run_info(str(tmp_path)))
        for step in steps:
            tracker.report(train_record(step))
            tracker.report(dev_record(step, 0.5))
    assert [number for number, _, _ in run.rows] == [10, 11, 20, 21, 30, 31, 40, 41]
    assert [row["step"] for _, row, _ in run.rows] == [10, 10, 20, 20, 30, 30, 40, 40]


def test_a_folder_that_is_a_uri_is_no_place_for_wandb_files(fake_wandb, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    fake = fake_wandb(FakeRun())
    tracker = drive("memory://bucket/runs/main")
    assert not Path(fake.calls[0]["dir"]).exists()
    assert list(tmp_path.iterdir()) == []
    assert tracker.files["W&B"] == "memory://bucket/runs/main/wandb/x"


def test_tracker_travels_to_another_process():
    tracker = pickle.loads(pickle.dumps(WandbTracker(TrackingConfig(project="p", tags=("a",)))))
    assert tracker._tracking == TrackingConfig(project="p", tags=("a",))
