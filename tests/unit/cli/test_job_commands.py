"""`concord submit`, `jobs`, `logs` and `stop` against a job server on loopback."""

import json
import os
import signal
import time
from collections.abc import Callable, Iterator
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pytest

from tests.integration.commands import CONCORD, Command
from tests.unit.jobs.fake_job_server import FakeJobServer, serving

Concord = Callable[..., Any]
TRAIN = ("--", "train", "main", "+sample", "cluster.storage=/shared/runs")


@pytest.fixture
def fake(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[FakeJobServer]:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("RAY_AUTH_TOKEN_PATH", str(tmp_path / "none"))
    server = FakeJobServer(pieces=("one\n", "two\n"))
    server.version["ray_version"] = version("ray")
    with serving(server):
        monkeypatch.setenv("RAY_API_SERVER_ADDRESS", server.address)
        yield server


def test_submit_follows_and_ends_with_the_commands_exit_code(fake: FakeJobServer, concord: Concord) -> None:
    fake.jobs = []
    fake.details |= {"status": "FAILED", "driver_exit_code": 2}
    ended = concord("submit", "--submission-id", "job", *TRAIN)
    assert (ended.code, ended.out) == (2, "one\ntwo\n")
    assert ended.err == "concord: submitted as job\n"


def test_without_waiting_it_prints_the_id(fake: FakeJobServer, concord: Concord) -> None:
    ended = concord("submit", "--no-wait", "--name", "night", *TRAIN)
    assert (ended.code, ended.out, ended.err) == (0, "night\n", "")


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (("train", "main", "--restrat"), "No such option"),
        (("sweep", "main", "--trails", "3"), "No such option"),
        (("sweep", "status"), "Missing argument"),
        (("trian", "main"), "No such command"),
    ],
)
def test_a_command_that_is_none_is_not_sent(
    fake: FakeJobServer, concord: Concord, words: tuple[str, ...], told: str
) -> None:
    ended = concord("submit", "--", *words)
    assert ended.code == 2
    assert told in ended.err
    assert fake.tokens == []


def test_jobs_are_listed(fake: FakeJobServer, concord: Concord) -> None:
    told = concord("jobs").out
    assert "succeeded" in told
    assert "concord train main" in told
    assert json.loads(concord("jobs", "--json").out)["jobs"][0]["submission_id"] == "job"


def test_logs_are_printed_and_followed(fake: FakeJobServer, concord: Concord) -> None:
    assert concord("logs", "job").out == "one\ntwo\n"
    fake.details |= {"status": "FAILED", "driver_exit_code": 3}
    ended = concord("logs", "job", "--follow")
    assert (ended.code, ended.out) == (3, "one\ntwo\n")


def test_stop_says_how_it_ended(fake: FakeJobServer, concord: Concord) -> None:
    assert concord("stop", "job").out == "job: stopped\n"


def test_ctrl_c_without_a_terminal_leaves_the_job_alone(
    fake: FakeJobServer, concord: Concord, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(log: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("cluster.jobs.watched_job.FollowedLog.follow", interrupted)
    ended = concord("logs", "job", "--follow", stdin="s\n")
    assert (ended.code, fake.stopped) == (130, 0)
    assert "job goes on; `concord logs job --follow`, `concord stop job`" in ended.err


@pytest.mark.parametrize(("answer", "stopped"), [("s", 1), ("stop", 1), ("l", 0), ("", 0)])
def test_ctrl_c_at_a_terminal_asks(
    fake: FakeJobServer, concord: Concord, monkeypatch: pytest.MonkeyPatch, answer: str, stopped: int
) -> None:
    from cluster.jobs.followed_log import FollowedLog

    follow, calls = FollowedLog.follow, iter([True])

    def interrupted(log: FollowedLog) -> Any:
        if next(calls, False):
            raise KeyboardInterrupt
        return follow(log)

    monkeypatch.setattr(FollowedLog, "follow", interrupted)
    monkeypatch.setattr("builtins.input", lambda prompt: answer)
    monkeypatch.setattr("cluster.cli.jobs._has_terminal", lambda: True)
    assert concord("logs", "job", "--follow").code == 130
    assert fake.stopped == stopped


def test_a_real_ctrl_c_reaches_the_command(fake: FakeJobServer) -> None:
    """In a process of its own, with its event loop; the job's log has more to come."""
    fake.silences = 1
    with Command([*CONCORD, "logs", "job", "--follow"], RAY_API_SERVER_ADDRESS=fake.address) as running:
        while fake.silences:
            time.sleep(0.05)
        time.sleep(0.5)
        os.kill(running.pid, signal.SIGINT)
        code, out, err = running.finish(60)
    assert (code, fake.stopped) == (130, 0)
    assert out == "one\ntwo\n"
    assert err == "concord: job goes on; `concord logs job --follow`, `concord stop job`\n"
