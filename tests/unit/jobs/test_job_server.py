"""Who may be sent to, and what is said where it may not be."""

import socket
from pathlib import Path

import pytest

from cluster.jobs import job_server
from cluster.jobs.job_server import ServerLostError, connect
from multitask.errors import UserError
from tests.unit.jobs.fake_job_server import FakeJobServer, serving


@pytest.fixture(autouse=True)
def _no_token_of_the_user(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in ("RAY_AUTH_TOKEN", "RAY_API_SERVER_ADDRESS", "RAY_ADDRESS"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("RAY_AUTH_TOKEN_PATH", str(tmp_path / "token"))


def _refused(address: str | None = None, *, insecure: bool = False) -> str:
    with pytest.raises(UserError) as refused:
        connect(address, insecure=insecure)
    (line,) = str(refused.value).splitlines()
    return line


def test_dead_address_is_one_line() -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{free.getsockname()[1]}"
    assert _refused(address) == f"no Ray answers at http://{address}: nobody listens there"


def test_no_token_and_a_wrong_one_are_told_apart(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with serving(FakeJobServer(token="right")) as server:
        assert "wants a token; set RAY_AUTH_TOKEN" in _refused(server.address)
        (tmp_path / "token").write_text("wrong\n")
        assert _refused(server.address) == f"{server.address} does not accept the token of {tmp_path / 'token'}"
        monkeypatch.setenv("RAY_AUTH_TOKEN", "right")
        assert connect(server.address).ray_version == "2.60.0"


def test_token_in_a_file_is_enough(tmp_path: Path) -> None:
    (tmp_path / "token").write_text("right\n")
    with serving(FakeJobServer(token="right")) as server:
        assert [own["submission_id"] for own in connect(server.address).jobs()] == ["job"]


def test_open_server_elsewhere_is_refused_and_gets_no_token(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RAY_AUTH_TOKEN", "mine")
    with serving(FakeJobServer()) as server:
        assert connect(server.address).headers == {}
        monkeypatch.setattr(job_server, "_is_loopback", lambda host: False)
        assert "answers without a token" in _refused(server.address)
        assert connect(server.address, insecure=True).headers == {}
        assert set(server.tokens) == {None}


@pytest.mark.parametrize(
    ("host", "loopback"),
    [("127.0.0.1", True), ("localhost", True), ("::1", True), ("10.0.0.1", False), ("localhost.example", False)],
)
def test_loopback(host: str, loopback: bool) -> None:
    assert job_server._is_loopback(host) is loopback


def test_clear_text_is_said(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(job_server, "_is_loopback", lambda host: False)
    monkeypatch.setenv("RAY_AUTH_TOKEN", "right")
    with serving(FakeJobServer(token="right")) as server:
        connect(server.address)
    assert capsys.readouterr().err == "concord: the token goes to 127.0.0.1 in clear text; https or a tunnel hides it\n"


def test_what_is_no_job_server_is_said() -> None:
    fake = FakeJobServer()
    fake.version = {"version": "1"}
    with serving(fake) as server:
        assert "is no job server of Ray" in _refused(server.address)
    assert "--address must be the job server's URL" in _refused("ray://head:10001")


def test_address_given_is_taken_before_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RAY_ADDRESS", "http://127.0.0.1:1")
    with serving(FakeJobServer()) as server:
        assert connect(server.address).address == server.address
    assert "127.0.0.1:1:" in _refused()


def test_unknown_job_and_a_server_that_is_away() -> None:
    with serving(FakeJobServer()) as fake:
        server = connect(fake.address)
        with pytest.raises(UserError, match="knows no job 'other'"):
            server.details("other")
        fake.away = 1
        with pytest.raises(ServerLostError, match="answers 503"):
            server.details("job")
    with pytest.raises(ServerLostError):
        server.details("job")
