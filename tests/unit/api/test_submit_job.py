"""`cluster.submit` against a job server on loopback."""

from importlib.metadata import version
from pathlib import Path

import pytest

import cluster
from multitask.errors import UserError
from tests.unit.jobs.fake_job_server import FakeJobServer, serving


def test_job_is_sent_read_waited_for_and_stopped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("RAY_AUTH_TOKEN", "mine")
    fake = FakeJobServer(token="mine", pieces=("one\n",))
    fake.version["ray_version"], fake.jobs = version("ray"), []
    with serving(fake):
        words = ["train", "main", "+sample", "cluster.storage=/shared"]
        job = cluster.submit(words, address=fake.address, name="job")
        assert fake.submitted[0]["entrypoint"] == "concord train main +sample cluster.storage=/shared name=job"
        assert (job.id, job.status, job.log) == ("job", "SUCCEEDED", "one\n")
        fake.details |= {"status": "FAILED", "driver_exit_code": 2}
        assert job.wait() == 2
        assert job.stop() == "STOPPED"


def test_command_is_a_list() -> None:
    with pytest.raises(UserError, match="a command is a list of words"):
        cluster.submit("train main")
