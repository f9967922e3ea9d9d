"""What a job looks for before it begins."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from cluster.jobs.job_environment import own_versions
from cluster.storage.storage import Storage
from multitask.errors import UserError

Concord = Callable[..., Any]


def test_a_variable_that_the_node_lacks_ends_the_job(concord: Concord, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CONCORD_NEEDS", "PATH,NO_SUCH_KEY")
    ended = concord("recipes")
    assert (ended.code, ended.out) == (2, "")
    assert ended.err.startswith("concord: NO_SUCH_KEY: not in the environment of this node")


@pytest.mark.parametrize("what", ["concord", "Ray", "Python"])
def test_other_versions_are_said_in_one_line(concord: Concord, monkeypatch: pytest.MonkeyPatch, what: str) -> None:
    monkeypatch.setenv("CONCORD_SUBMITTED_WITH", json.dumps(own_versions() | {what: "0.0"}))
    ended = concord("recipes")
    assert ended.code == 0
    assert ended.err == f"concord: the cluster has {what} {own_versions()[what]} (submitted with 0.0)\n"


def test_same_versions_say_nothing(concord: Concord, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CONCORD_SUBMITTED_WITH", json.dumps(own_versions()))
    assert concord("recipes").err == ""


def test_runs_in_the_jobs_own_folder_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "session_1/runtime_resources/working_dir_files/_ray_pkg_1"
    folder.mkdir(parents=True)
    monkeypatch.chdir(folder)
    with pytest.raises(UserError, match=r"cluster\.storage: 'runs' lies in the job's own folder"):
        Storage("runs")
    Storage(str(tmp_path / "runs"))
