"""A log comes whole and once, however often its connection breaks; the exit code is the command's."""

import pytest

from cluster.jobs import followed_log, watched_job
from cluster.jobs.followed_log import FollowedLog, exit_code
from cluster.jobs.job_server import connect
from cluster.jobs.watched_job import stop, watch
from multitask.errors import UserError
from tests.unit.jobs.fake_job_server import FakeJobServer, serving

PIECES = ("step 1\nstep 2\n", "ste", "p 3\n", "größer\n", "step 5\n")


@pytest.mark.parametrize("breaks", [(), (0,), (2,), (1, 3, 2, 4), (5,), (0, 0, 0)])
def test_no_line_is_lost_or_doubled(breaks: tuple[int, ...], capsys: pytest.CaptureFixture[str]) -> None:
    written: list[str] = []
    with serving(FakeJobServer(pieces=PIECES, breaks=breaks)) as fake:
        details = FollowedLog(connect(fake.address), "job", written.append).follow()
        assert (fake.breaks, details["status"]) == ([], "SUCCEEDED")
    assert "".join(written) == "".join(PIECES)
    assert capsys.readouterr().err == ""


@pytest.mark.timeout(90)
def test_a_connection_that_is_dead_is_left(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody closes it: the heartbeat finds out."""
    monkeypatch.setattr(followed_log, "_HEARTBEAT_S", 0.2)
    written: list[str] = []
    with serving(FakeJobServer(pieces=PIECES, breaks=(2,))) as fake:
        fake.silences = 1
        FollowedLog(connect(fake.address), "job", written.append).follow()
        assert fake.silences == 0
    assert "".join(written) == "".join(PIECES)


def test_a_server_that_is_away_is_waited_for(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(followed_log, "_SAID_AFTER_S", 0.05)
    written: list[str] = []
    with serving(FakeJobServer(pieces=PIECES)) as fake:
        fake.away = 3
        FollowedLog(connect(fake.address), "job", written.append).follow()
    assert "".join(written) == "".join(PIECES)
    told = capsys.readouterr().err
    assert told.count("the connection is lost, the job goes on") == told.count("connected again") == 1


def test_patience_ends_with_how_to_go_on() -> None:
    with serving(FakeJobServer()) as fake:
        server = connect(fake.address)
    with pytest.raises(UserError, match=r"has not answered for 0\.1 s; `concord logs job --follow` shows the rest"):
        FollowedLog(server, "job", str, patience_s=0.1).follow()


def test_job_that_the_server_forgot_ends_it() -> None:
    with serving(FakeJobServer()) as fake, pytest.raises(UserError, match="knows no job 'gone'"):
        FollowedLog(connect(fake.address), "gone", str).follow()


@pytest.mark.parametrize(
    ("status", "driver", "code"),
    [
        ("SUCCEEDED", 0, 0),
        ("FAILED", 1, 1),
        ("FAILED", 2, 2),
        ("FAILED", 130, 130),
        ("FAILED", -9, 137),
        ("FAILED", None, 1),
        ("STOPPED", None, 130),
    ],
)
def test_exit_code_is_the_commands(status: str, driver: int | None, code: int) -> None:
    assert exit_code({"status": status, "driver_exit_code": driver}) == code


def _interrupt_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Ctrl-C in the first following, as the terminal sends it."""
    follow, calls = FollowedLog.follow, iter([True])

    def interrupted(log: FollowedLog) -> dict:
        if next(calls, False):
            raise KeyboardInterrupt
        return follow(log)

    monkeypatch.setattr(watched_job.FollowedLog, "follow", interrupted)


def test_ctrl_c_leaves_the_job_alone(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    _interrupt_once(monkeypatch)
    with serving(FakeJobServer(pieces=PIECES)) as fake:
        assert watch(connect(fake.address), "job", str, lambda: False) == 130
        assert fake.stopped == 0
    assert capsys.readouterr().err == "concord: job goes on; `concord logs job --follow`, `concord stop job`\n"


def test_ctrl_c_stops_the_job_and_shows_its_end(monkeypatch: pytest.MonkeyPatch) -> None:
    _interrupt_once(monkeypatch)
    written: list[str] = []
    with serving(FakeJobServer(pieces=PIECES)) as fake:
        assert watch(connect(fake.address), "job", written.append, lambda: True) == 130
        assert fake.stopped == 1
    assert "".join(written) == "".join(PIECES)


def test_stop_waits_for_the_end() -> None:
    with serving(FakeJobServer()) as fake:
        fake.away = 0
        assert stop(connect(fake.address), "job")["status"] == "STOPPED"


@pytest.mark.parametrize(
    ("details", "told"),
    [
        ({"status": "FAILED", "driver_exit_code": 127}, "the cluster's image has no concord"),
        (
            {"status": "FAILED", "driver_exit_code": None, "message": "no node\nmore"},
            "failed before its command ended: no node",
        ),
        ({"status": "STOPPED"}, "was stopped; submitted under its name again, it goes on"),
    ],
)
def test_an_end_that_the_log_does_not_tell_is_told(
    details: dict, told: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with serving(FakeJobServer()) as fake:
        fake.details |= details
        watch(connect(fake.address), "job", str, lambda: False)
    assert told in capsys.readouterr().err
