"""`concord cluster init` in this process: what it prints, refuses, and with which code."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest

Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_it_writes_and_says_what_follows(here: Path, concord: Run) -> None:
    code, out, err = concord("cluster", "init", "ssh", "--host", "a", "--host", "b", "--storage", "/nfs/runs")
    assert (code, err) == (0, "")
    first, follows, *commands = out.splitlines()
    assert first.startswith("wrote 6 files to cluster-ssh: cluster.sh, ")
    assert follows == "what follows:"
    assert [line.split()[0] for line in commands] == ["bash", "bash", "RAY_AUTH_MODE=token"]
    assert commands[-1].endswith("-- concord train main name=concord cluster.storage=/nfs/runs cluster.workers=2")
    assert (here / "cluster-ssh" / "cluster.sh").exists()


def test_it_prints_json(here: Path, concord: Run) -> None:
    code, out, _ = concord("cluster", "init", "local", "--out", "made", "--recipe", "demo", "--json")
    told = json.loads(out)
    assert code == 0
    assert told["folder"] == "made"
    assert set(told["files"]) == {str(f.relative_to("made")) for f in Path("made").rglob("*") if f.is_file()}
    assert "concord train demo name=concord" in told["commands"][-1]


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["nomad"], "there is no kind of cluster 'nomad'"),
        (["slurm"], "slurm needs --storage"),
        (["slurm", "--storage", "/r", "--zone", "a"], "slurm does not read --zone"),
        (["kuberay", "--image", "a:latest"], "--image must be"),
    ],
)
def test_mistake_is_one_line_and_code_2(here: Path, concord: Run, arguments: list[str], told: str) -> None:
    code, out, err = concord("cluster", "init", *arguments)
    assert (code, out) == (2, "")
    assert err.startswith(f"concord: {told}")
    assert err.count("\n") == 1
    assert not list(here.iterdir())
