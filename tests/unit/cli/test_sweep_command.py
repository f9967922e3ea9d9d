"""What `concord sweep` refuses, before anything starts: one line that names the option, exit code 2, nothing written."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.builders import build_tiny_bert, tiny_config, write_tiny_tasks

Refuse = Callable[..., str]


@pytest.fixture(scope="module")
def recipe(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("refused")
    write_tiny_tasks(folder)
    build_tiny_bert(folder / "encoder")
    path = folder / "tiny.yaml"
    path.write_text(yaml.safe_dump(tiny_config(folder)), encoding="utf-8")
    return path


@pytest.fixture
def refuse(recipe: Path, tmp_path: Path, concord: Callable[..., Any]) -> Refuse:
    """Runs the command and gives the one line that it ends with."""

    def run(*arguments: str) -> str:
        ended = concord(*arguments)
        lines = ended.err.strip().splitlines()
        assert ended.code == 2
        assert len(lines) == 1, lines
        assert not list((tmp_path / "runs").glob("*"))
        return lines[0]

    def sweep(*arguments: str) -> str:
        return run("sweep", str(recipe), "--storage", str(tmp_path / "runs"), *arguments)

    sweep.command = run  # type: ignore[attr-defined]
    return sweep


@pytest.mark.parametrize(
    ("arguments", "parts"),
    [
        (["--space", "defalt"], ["defalt", "default"]),
        (["--space", "nothing.here:space"], ["nothing.here"]),
        (["--metric", "dev/maen"], ["--metric", "dev/maen", "dev/mean"]),
        (["--metric", "dev/sst/pearson"], ["--metric", "dev/sst/accuracy"]),
        (["--search", "cmase"], ["--search", "did you mean 'cmaes'"]),
        (["--scheduler", "hyperband"], ["--scheduler", "asha"]),
        (["--search", "grid"], ["optimizer.lr"]),
        (["--search", "nsga2"], ["--search nsga2", "--metric"]),
        (["--scheduler", "pbt", "--space", "encodings"], ["--scheduler pbt", "population"]),
        (["--scheduler", "pbt", "--space", "population", "--trials", "3"], ["--trials 3"]),
        (["--scheduler", "asha", "--evaluations", "2", "--grace", "5"], ["--grace 5"]),
        (["--budget", "soon"], ["--budget", "'soon'"]),
        (["--budget-tokens", "many"], ["--budget-tokens", "'many'"]),
        (["--name", "a/b"], ["--name", "a/b"]),
        (["sampling.name=anealed"], ["sampling.name", "annealed"]),
        (["optimizer.lr=fast"], ["optimizer.lr", "fast"]),
        (["optimiser.lr=1e-5"], ["optimiser", "optimizer"]),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else None,
)
def test_a_mistake_is_one_line_that_names_it(refuse: Refuse, arguments: list[str], parts: list[str]) -> None:
    line = refuse(*arguments)
    for part in parts:
        assert part in line


def test_a_space_whose_samples_cannot_be_trained_is_named(refuse: Refuse, tmp_path: Path) -> None:
    space: dict[str, Any] = {"parameters": {"data.max_length": {"choice": [2, 3]}}}
    (tmp_path / "bad.yaml").write_text(yaml.safe_dump(space), encoding="utf-8")
    line = refuse("--space", str(tmp_path / "bad.yaml"))
    assert "data.max_length" in line
    assert "bad.yaml" in line or "bad" in line


def test_more_workers_than_the_cluster_has_are_refused_at_once(refuse: Refuse) -> None:
    assert "cluster.workers=640" in refuse("--space", "learning_rate", "--workers-per-trial", "640", "--dry-run")


def test_a_name_that_is_taken_by_another_plan_is_refused(
    recipe: Path, tmp_path: Path, concord: Callable[..., Any]
) -> None:
    from cluster.storage.storage import Storage
    from cluster.sweeps.create import create_sweep
    from cluster.sweeps.records import Options, Trial
    from cluster.sweeps.search import open_search
    from cluster.sweeps.store import SweepStore

    folder = SweepStore(Storage(str(tmp_path / "taken")))
    create_sweep(open_search(str(recipe), [], "learning_rate"), "taken", Options(trials=3), folder)
    folder.write_trial(Trial(0, 0, "recipe", "taken-000", {}, attempts=1))
    before = (tmp_path / "taken" / "sweep.json").read_bytes()
    ended = concord("sweep", str(recipe), "--storage", str(tmp_path), "--name", "taken", "--space", "combination")
    assert ended.code == 2
    assert "--resume" in ended.err
    assert "--new" in ended.err
    assert (tmp_path / "taken" / "sweep.json").read_bytes() == before


@pytest.mark.parametrize("command", ["status", "resume", "stop"])
def test_a_sweep_that_is_not_there_is_said(refuse: Refuse, tmp_path: Path, command: str) -> None:
    line = refuse.command("sweep", command, "nowhere", "--storage", str(tmp_path / "runs"))  # type: ignore[attr-defined]
    assert "there is no sweep 'nowhere'" in line


def test_space_without_sample_is_refused(refuse: Refuse, recipe: Path) -> None:
    line = refuse.command("train", str(recipe), "--space", "default")  # type: ignore[attr-defined]
    assert "--space and --sample belong together" in line
