"""Jobs against `ray start --head` with a token, on loopback: `concord submit`, `logs`, `stop`, and Ray's own `ray job submit`."""

import json
import os
import secrets
import shutil
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.builders import build_tiny_bert, tiny_config, write_tiny_tasks
from tests.integration.commands import CONCORD, ROOT, descendants, final_files, result, write_recipe

pytestmark = pytest.mark.ray

RAY = [sys.executable, "-m", "ray.scripts.scripts"]


class Head:
    """A Ray head with a token, its dashboard on loopback."""

    def __init__(self, temporary: Path) -> None:
        with socket.socket() as free, socket.socket() as other:
            free.bind(("127.0.0.1", 0))
            other.bind(("127.0.0.1", 0))
            self.port, gcs = free.getsockname()[1], other.getsockname()[1]
        token = temporary / "token"
        token.write_text(secrets.token_hex(32))
        token.chmod(0o600)
        binaries = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
        self.environment = os.environ | {
            "RAY_AUTH_MODE": "token",
            "RAY_AUTH_TOKEN_PATH": str(token),
            "PATH": binaries,
            "PYTHONPATH": str(ROOT),
        }
        self.environment.pop("RAY_ADDRESS", None)
        self.address = f"http://127.0.0.1:{self.port}"
        command = [*RAY, "start", "--head", f"--port={gcs}", "--dashboard-host=127.0.0.1", "--num-cpus=2"]
        command += [f"--dashboard-port={self.port}", f"--temp-dir={temporary}/r", "--disable-usage-stats", "--block"]
        command += [
            f"--object-store-memory={128 * 2**20}",
            "--node-ip-address=127.0.0.1",
            "--include-log-monitor=false",
        ]
        self.log = (temporary / "head.log").open("w")
        self.process = subprocess.Popen(
            command, env=self.environment, stdout=self.log, stderr=subprocess.STDOUT, start_new_session=True
        )

    def ray_submit(self, folder: Path, *entrypoint: str) -> subprocess.CompletedProcess[str]:
        """Ray's own command, to the job's end."""
        command = [*RAY, "job", "submit", "--address", self.address, "--working-dir", str(folder), "--", *entrypoint]
        return subprocess.run(command, env=self.environment, capture_output=True, text=True, timeout=500)

    def concord(self, folder: Path, *words: str) -> subprocess.CompletedProcess[str]:
        """`concord WORD…` in `folder`, with the token in its file and no word of how to use it."""
        environment = self.environment | {"RAY_API_SERVER_ADDRESS": self.address, "PYTHONUNBUFFERED": "1"}
        environment.pop("RAY_AUTH_MODE")
        command = [*CONCORD, *words]
        return subprocess.run(command, env=environment, cwd=folder, capture_output=True, text=True, timeout=500)

    def details(self, job: str) -> dict[str, Any]:
        """What Ray says of a job."""
        found: dict[str, Any] = self.get(f"/api/jobs/{job}", token=True)  # type: ignore[assignment]
        return found

    def get(self, path: str, *, token: bool) -> object:
        """GET of the job API."""
        request = urllib.request.Request(self.address + path)
        if token:
            secret = Path(self.environment["RAY_AUTH_TOKEN_PATH"]).read_text()
            request.add_header("Authorization", f"Bearer {secret}")
        with urllib.request.urlopen(request, timeout=20) as answer:
            return json.load(answer)

    def stop(self) -> None:
        """End this head's own processes, by their ids."""
        for pid in [*descendants(self.process.pid), self.process.pid]:
            try:
                os.kill(pid, 9)
            except ProcessLookupError:
                continue
        self.process.wait()
        self.log.close()


@pytest.fixture(scope="module")
def head() -> Iterator[Head]:
    # Socket paths below it are limited to 107 characters.
    temporary = Path(tempfile.mkdtemp(prefix="cj-"))
    head = Head(temporary)
    try:
        for _ in range(360):
            try:
                head.get("/api/version", token=True)
                break
            except (urllib.error.URLError, ConnectionError, TimeoutError):
                time.sleep(0.5)
        else:
            raise AssertionError((temporary / "head.log").read_text()[-3000:])
        yield head
    finally:
        head.stop()
        shutil.rmtree(temporary, ignore_errors=True)


STEPS = 400


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A working folder as a user has it, `work`, with recipes that extend each other; data, encoder and runs lie elsewhere."""
    folder = tmp_path_factory.mktemp("jobs")
    write_tiny_tasks(folder / "data")
    build_tiny_bert(folder / "encoder")
    tree = tiny_config(
        folder / "data",
        name="base",
        data={"root": str(folder / "data"), "cache": str(folder / "cache")},
        encoder={"name": str(folder / "encoder"), "dropout": 0.2},
        cluster={"workers": 2, "cpus_per_worker": 0.5, "storage": str(folder / "runs")},
        training={"log_every": 1},
    )
    (folder / "work").mkdir()
    write_recipe(folder / "work" / "base.yaml", tree)
    write_recipe(folder / "work" / "job.yaml", {"extends": "base.yaml", "name": "job"})
    (folder / "work" / "notes.txt").write_text("of no use to a job")
    long = {"phases": [{"sampling": {"name": "round_robin"}, "epochs": 1, "steps_per_epoch": STEPS}]}
    write_recipe(folder / "work" / "long.yaml", {"extends": "base.yaml", "name": "long", **long})
    return folder


@pytest.fixture(scope="module")
def whole(head: Head, place: Path) -> subprocess.CompletedProcess[str]:
    """A job that nothing happens to, followed to its end."""
    return head.concord(
        place / "work", "submit", "--name", "whole", "--env", "HF_HUB_OFFLINE=1", "--", "train", "long.yaml"
    )


def test_job_is_followed_to_its_end_and_its_result_is_read_back(
    head: Head, place: Path, whole: subprocess.CompletedProcess[str]
) -> None:
    assert whole.returncode == 0, whole.stdout[-3000:] + whole.stderr[-2000:]
    assert f"step {STEPS}/{STEPS}" in whole.stdout
    assert whole.stdout == head.get("/api/jobs/whole/logs", token=True)["logs"]  # type: ignore[index]
    assert result(place / "runs" / "whole")["status"] == "finished"
    details = head.details("whole")
    assert (details["status"], details["driver_exit_code"]) == ("SUCCEEDED", 0)
    assert details["entrypoint"] == "concord train long.yaml name=whole"
    assert Path(head.environment["RAY_AUTH_TOKEN_PATH"]).read_text() not in json.dumps(details)


def test_mistake_that_shows_there_alone_has_the_commands_own_exit_code(head: Head, place: Path) -> None:
    words = ["train", "job.yaml", "name=missing", f"data.root={place}/nowhere"]
    done = head.concord(place / "work", "submit", "--", *words)
    assert done.returncode == 2, done.stdout + done.stderr
    assert "nowhere" in done.stdout
    assert head.details("missing")["driver_exit_code"] == 2


def test_stopped_job_saves_its_last_step_and_goes_on_under_its_name(
    head: Head, place: Path, whole: subprocess.CompletedProcess[str]
) -> None:
    """Detached, listed, stopped, submitted again: the bits of a run that nothing happened to."""
    work, run = place / "work", place / "runs" / "long"
    began = head.concord(work, "submit", "--no-wait", "--", "train", "long.yaml")
    assert (began.returncode, began.stdout) == (0, "long\n"), began.stderr
    twice = head.concord(work, "submit", "--", "train", "long.yaml")
    assert twice.returncode == 2
    assert "under the name long: `concord logs long` or `concord stop long`" in twice.stderr
    assert "concord train long.yaml" in head.concord(work, "jobs").stdout
    for _ in range(1200):
        if "step 5/" in head.get("/api/jobs/long/logs", token=True)["logs"]:  # type: ignore[index]
            break
        time.sleep(0.2)
    stopped = head.concord(work, "stop", "long")
    assert (stopped.returncode, stopped.stdout) == (0, "long: stopped\n"), stopped.stderr
    told = result(run)
    assert told["status"] == "interrupted"
    assert 5 <= told["step"] < STEPS
    assert final_files(run)["step"] == str(told["step"])
    assert head.concord(work, "logs", "long", "--follow").returncode == 130
    again = head.concord(work, "submit", "--", "train", "long.yaml")
    assert again.returncode == 0, again.stdout[-2000:] + again.stderr[-2000:]
    assert "submitted as long-2" in again.stderr
    assert result(run)["resumed_step"] == told["step"]
    runs = [place / "runs" / name for name in ("long", "whole")]
    one, other = ({k: v for k, v in final_files(own).items() if k != "state.json"} for own in runs)
    assert one == other


def test_plain_ray_job_submit_works_and_runs_in_the_jobs_own_folder_are_refused(head: Head, place: Path) -> None:
    done = head.ray_submit(place / "work", "concord", "train", "job.yaml", "cluster.storage=runs")
    assert done.returncode == 1
    assert "cluster.storage: 'runs' lies in the job's own folder, which is removed with it" in done.stdout
    assert "Traceback" not in done.stdout


def test_job_api_wants_the_token(head: Head) -> None:
    for path in ("/api/jobs/", "/api/version"):
        with pytest.raises(urllib.error.HTTPError) as refused:
            head.get(path, token=False)
        assert refused.value.code == 401
