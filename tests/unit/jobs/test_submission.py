"""What is sent: the files that the command names, a name of its own, and never a secret."""

import io
import json
import re
import tomllib
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from cluster.jobs import package, submission
from cluster.jobs.command_check import check_folders
from cluster.jobs.job_server import JobServer, connect
from cluster.jobs.submission import Submission
from multitask.config import parse_config
from multitask.errors import UserError
from tests.integration.commands import ROOT
from tests.unit.jobs.fake_job_server import FakeJobServer, serving

SHARED = "cluster.storage=/shared/runs"


@pytest.fixture
def fake() -> Iterator[FakeJobServer]:
    server = FakeJobServer()
    server.version["ray_version"] = submission_ray_version()
    with serving(server):
        yield server


def submission_ray_version() -> str:
    from importlib.metadata import version

    return version("ray")


@pytest.fixture(autouse=True)
def work(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A user's working folder, with much that no job needs."""
    monkeypatch.setenv("RAY_AUTH_TOKEN_PATH", str(tmp_path / "none"))
    # Ray's own client would prefer it.
    monkeypatch.setenv("RAY_ADDRESS", "http://127.0.0.1:1")
    folder = tmp_path / "work"
    for name in (
        "data/train.csv",
        ".git/config",
        ".venv/bin/python",
        "runs/old/result.json",
        "notes.txt",
        "extra/.venv/x",
        "extra/runs/x",
    ):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text("x" * 1000)
    (folder / "recipes").mkdir()
    (folder / "recipes/base.yaml").write_text("extends: main\nname: base\n")
    (folder / "mine.yaml").write_text("extends: recipes/base.yaml\nname: mine\n")
    (folder / "grid.yaml").write_text("{}\n")
    (folder / "mine.py").write_text("def space(): ...\n")
    (folder / "extra/words.txt").write_text("a\n")
    monkeypatch.chdir(folder)
    return folder


def _submit(fake: FakeJobServer, *words: str, **asked: Any) -> dict[str, Any]:
    submission.submit(connect(fake.address), Submission(words, **asked))
    return fake.submitted[-1]


def _refused(fake: FakeJobServer, *words: str, **asked: Any) -> str:
    with pytest.raises(UserError) as refused:
        submission.submit(connect(fake.address), Submission(words, **asked))
    assert (fake.submitted, fake.packages) == ([], {})
    (line,) = str(refused.value).splitlines()
    return line


def _packed(fake: FakeJobServer) -> list[str]:
    (data,) = fake.packages.values()
    return sorted(name for name in zipfile.ZipFile(io.BytesIO(data)).namelist() if not name.endswith("/"))


def test_a_recipe_takes_what_it_extends_and_nothing_else(fake: FakeJobServer) -> None:
    job = _submit(fake, "train", "mine.yaml", "+sample", SHARED)
    assert _packed(fake) == ["mine.yaml", "recipes/base.yaml"]
    assert job["entrypoint"] == f"concord train mine.yaml +sample {SHARED}"
    assert (job["submission_id"], job["metadata"]) == ("mine-sample", {"name": "mine-sample"})


def test_a_sweep_takes_its_space(fake: FakeJobServer) -> None:
    _submit(fake, "sweep", "mine.yaml", "--space=grid.yaml", "--storage", "/shared")
    assert _packed(fake) == ["grid.yaml", "mine.yaml", "recipes/base.yaml"]


def test_a_space_in_python_takes_its_module(work: Path) -> None:
    assert sorted(package.package_files(["sweep", "main", "--space", "mine:space"])) == ["mine.py"]


def test_folders_are_sent_when_they_are_named(fake: FakeJobServer) -> None:
    _submit(fake, "train", "mine.yaml", "+sample", SHARED, included=["extra"])
    assert _packed(fake) == ["extra/words.txt", "mine.yaml", "recipes/base.yaml"]


def test_what_no_job_needs_stays_here(work: Path) -> None:
    assert sorted(package.package_files(["train", "main"], ["extra"])) == ["extra/words.txt"]


def test_absolute_names_inside_the_folder_become_relative(fake: FakeJobServer, work: Path) -> None:
    assert _submit(fake, "train", f"{work}/mine.yaml", "+sample", SHARED)["entrypoint"].startswith(
        "concord train mine.yaml "
    )


def test_files_outside_of_the_folder_are_refused(fake: FakeJobServer, work: Path) -> None:
    (work.parent / "other.yaml").write_text("extends: main\n")
    assert "lies outside of the working folder" in _refused(fake, "train", "../other.yaml", "+sample", SHARED)


def test_size_is_checked_before_anything_is_sent(
    fake: FakeJobServer, work: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(package, "LIMIT_BYTES", 2 * 2**20)
    (work / "big.bin").write_bytes(bytes(3 * 2**20))
    told = _refused(fake, "train", "mine.yaml", "+sample", SHARED, included=["big.bin"])
    assert told.startswith("the job's files have 3.0 MiB, Ray takes 2 MiB; put data where")
    assert "Largest: big.bin 3.0 MiB, mine.yaml 0.0 MiB" in told


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (("train", "mine.yaml", "+sample"), "cluster.storage: 'runs' would lie in the job's own folder"),
        (("train", "mine.yaml", SHARED), "is not sent along; set data.root to a folder or URI"),
        (("train", "mine.yaml", "+sample", SHARED, "encoder.name=extra"), "encoder.name: extra is not sent along"),
        (("train", "mine.yaml", "optimizer.lrr=1"), "unknown key 'optimizer.lrr'"),
        (("sweep", "mine.yaml"), "--storage: 'runs' would lie in the job's own folder"),
        (("best", "mine", "--storage=here"), "--storage: 'here' would lie"),
        (("jobs",), "a job's command is one such as train RECIPE"),
        ((), "got none"),
    ],
)
def test_what_would_be_missing_there_is_refused_here(fake: FakeJobServer, words: tuple[str, ...], told: str) -> None:
    assert told in _refused(fake, *words)


@pytest.mark.parametrize(
    ("packed", "missing"),
    [
        ({"in/words.txt"}, None),
        ({"in/x.csv"}, "tasks.t.files.dev: ./in/w*.txt"),
        (set(), "tasks.t.files.train: ./in is not"),
    ],
)
def test_folders_and_patterns_of_data_are_what_is_in_them(packed: set[str], missing: str | None) -> None:
    task = {
        "kind": {"name": "binary"},
        "columns": {"text": "t", "label": "l"},
        "files": {"train": "in", "dev": "in/w*.txt"},
    }
    storage = {"storage": "/shared"}
    config = parse_config({"name": "x", "encoder": {"name": "/e"}, "tasks": {"t": task}, "cluster": storage}, "test")
    if missing is None:
        check_folders(["train"], config, packed)
    else:
        with pytest.raises(UserError, match=re.escape(missing)):
            check_folders(["train"], config, packed)


def test_attempts_have_ids_of_their_own_and_one_run(fake: FakeJobServer) -> None:
    words = ("train", "mine.yaml", "+sample", SHARED)
    fake.jobs = []
    ids = []
    for _ in range(3):
        job = _submit(fake, *words, name="night")
        ids.append(job["submission_id"])
        fake.jobs = [*fake.jobs, {**job, "type": "SUBMISSION", "status": "FAILED", "start_time": 1}]
        assert job["entrypoint"].endswith(" name=night")
        assert job["metadata"] == {"name": "night"}
    assert (ids, fake.refused) == (["night", "night-2", "night-3"], 0)


def test_an_id_that_was_taken_meanwhile_is_passed_over(fake: FakeJobServer, monkeypatch: pytest.MonkeyPatch) -> None:
    words = ("train", "mine.yaml", "+sample", SHARED)
    _submit(fake, *words, name="night")
    monkeypatch.setattr(JobServer, "jobs", lambda self: [])
    assert _submit(fake, *words, name="night")["submission_id"] == "night-2"


def test_a_name_that_is_running_is_refused(fake: FakeJobServer) -> None:
    fake.details |= {"status": "RUNNING", "submission_id": "night-4", "metadata": {"name": "night"}}
    told = _refused(fake, "train", "mine.yaml", "+sample", SHARED, name="night")
    assert told == "night-4 is running under the name night: `concord logs night-4` or `concord stop night-4`"


def test_names_that_are_no_ids_are_refused(fake: FakeJobServer) -> None:
    assert "--name: a job's name has letters" in _refused(fake, "best", "x", "--storage=/s", name="a/b")


@pytest.mark.parametrize(
    "asked",
    [
        {"variables": ["WANDB_API_KEY=abc"]},
        {"variables": ["HF_TOKEN=abc"]},
        {"variables": ["STORE=s3://key:word@bucket"]},
        {"words": ("train", "mine.yaml", "+sample", "cluster.storage=s3://key:word@bucket/runs")},
        {"words": ("train", "mine.yaml", "+sample", "tracking.extra.api_key=word", SHARED)},
    ],
)
def test_secrets_are_refused_and_not_repeated(fake: FakeJobServer, asked: dict[str, Any]) -> None:
    words = asked.pop("words", ("train", "mine.yaml", "+sample", SHARED))
    told = _refused(fake, *words, **asked)
    assert "secret" in told
    assert "abc" not in told
    assert "word" not in told.replace("--words", "")


def test_a_secret_in_a_recipe_is_not_sent(fake: FakeJobServer, work: Path) -> None:
    (work / "mine.yaml").write_text("extends: main\nname: mine\ncluster: {storage: 's3://me:hunter2@bucket/runs'}\n")
    told = _refused(fake, "train", "mine.yaml", "+sample")
    assert told.startswith("mine.yaml: ")
    assert "hunter2" not in told


def test_what_only_sounds_like_a_secret_is_sent(fake: FakeJobServer) -> None:
    _submit(fake, "sweep", "mine.yaml", "--budget-tokens=5M", "encoder.token_types=false", "--storage=/shared")


def test_the_environment_has_names_of_secrets_and_no_values(
    fake: FakeJobServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WANDB_API_KEY", "hush")
    job = _submit(fake, "train", "mine.yaml", "+sample", SHARED, needs=["WANDB_API_KEY"], variables=["A=1"])
    variables = job["runtime_env"]["env_vars"]
    assert "hush" not in json.dumps(job)
    assert (variables["CONCORD_NEEDS"], variables["A"]) == ("WANDB_API_KEY", "1")
    assert int(variables["RAY_JOB_STOP_WAIT_TIME_S"]) > 3


@pytest.mark.parametrize("tool", ["pip", "uv"])
def test_dependencies_are_those_of_here_but_for_ray(fake: FakeJobServer, tool: Any) -> None:
    import torch

    job = _submit(fake, "train", "mine.yaml", "+sample", SHARED, dependencies=tool)
    packages = job["runtime_env"][tool]
    packages = packages["packages"] if isinstance(packages, dict) else packages
    names = {own.partition("==")[0] for own in packages}
    assert {"torch", "deepspeed", "transformers"} <= names
    assert not names & {"ray", "pytest"}
    assert f"torch=={torch.__version__.partition('+')[0]}" in packages
    assert job["entrypoint"].startswith("python -m cluster.cli train mine.yaml ")
    packed = _packed(fake)
    assert {"cluster/cli/__main__.py", "multitask/recipes/main.yaml", "tune_spaces/__init__.py", "mine.yaml"} <= set(
        packed
    )
    assert any(name.endswith(".dist-info/METADATA") for name in packed)
    declared = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]["packages"]["find"]["include"]
    assert {own.rstrip("*") for own in declared} == {
        name.split("/")[0] for name in packed if name.endswith("__init__.py")
    }
    assert not [name for name in packed if "__pycache__" in name]


def test_other_ray_is_said_and_refused_where_it_must_break(
    fake: FakeJobServer, capsys: pytest.CaptureFixture[str]
) -> None:
    fake.version["ray_version"] = "2.40.0"
    words = ("train", "mine.yaml", "+sample", SHARED)
    assert "--with uv needs the same" in _refused(fake, *words, dependencies="uv")
    _submit(fake, *words)
    assert "the cluster has Ray 2.40.0, here is" in capsys.readouterr().err
