"""`ray job submit … -- concord train RECIPE` against `ray start --head` with a token, on loopback."""

import json
import os
import secrets
import shutil
import socket
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.builders import build_tiny_bert, tiny_config, write_tiny_tasks
from tests.integration.commands import ROOT, result, write_recipe

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

    def submit(self, folder: Path, *entrypoint: str) -> subprocess.CompletedProcess[str]:
        """Submit a job and wait for its end."""
        command = [*RAY, "job", "submit", "--address", self.address, "--working-dir", str(folder), "--", *entrypoint]
        return subprocess.run(command, env=self.environment, capture_output=True, text=True, timeout=500)

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
        from tests.integration.commands import descendants

        for pid in [*descendants(self.process.pid), self.process.pid]:
            try:
                os.kill(pid, 9)
            except ProcessLookupError:
                continue
        self.process.wait()
        self.log.close()


@pytest.fixture(scope="module")
def head() -> Iterator[Head]:
    import tempfile
    import time

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


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A working folder as a user has it: recipe, data and encoder, all named relative to it."""
    write_tiny_tasks(tmp_path / "work")
    build_tiny_bert(tmp_path / "work" / "encoder")
    tree = tiny_config(
        Path("."),
        name="job",
        data={"cache": str(tmp_path / "cache")},
        encoder={"name": "encoder"},
        cluster={"workers": 2, "cpus_per_worker": 0.5, "storage": str(tmp_path / "runs")},
    )
    write_recipe(tmp_path / "work" / "recipe.yaml", tree)
    return tmp_path


def test_job_trains_and_its_result_is_read_back(head: Head, folder: Path) -> None:
    done = head.submit(folder / "work", "concord", "train", "recipe.yaml")
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-2000:]
    assert "succeeded" in done.stdout
    assert "step 10/10" in done.stdout
    told = result(folder / "runs" / "job")
    assert told["status"] == "finished"
    jobs = head.get("/api/jobs/", token=True)
    assert [job["status"] for job in jobs if job["entrypoint"].startswith("concord")] == ["SUCCEEDED"]  # type: ignore[attr-defined]


def test_mistake_ends_the_job_with_its_line_and_exit_code_2(head: Head, folder: Path) -> None:
    done = head.submit(folder / "work", "concord", "train", "recipe.yaml", "optimizer.lrr=1")
    assert done.returncode == 1
    assert "unknown key 'optimizer.lrr'" in done.stdout
    assert "did you mean 'lr'?" in done.stdout
    jobs = head.get("/api/jobs/", token=True)
    failed = [job for job in jobs if job["status"] == "FAILED"]  # type: ignore[attr-defined]
    assert [job["driver_exit_code"] for job in failed] == [2]


def test_job_api_wants_the_token(head: Head) -> None:
    with pytest.raises(urllib.error.HTTPError) as refused:
        head.get("/api/jobs/", token=False)
    assert refused.value.code == 401
