"""A folder as the pages speak of it, made from the sample with a tiny encoder; commands run in this process."""

import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml
from typer.testing import CliRunner

from cluster.cli.app import app
from tests.builders import build_tiny_bert
from tests.docs.pages import PAGES, blocks
from tests.unit.report.fake_sweep import make_trials, write_sweep

TINY = "tracking.mode=disabled data.max_length=64 cluster.workers=1 cluster.device=cpu cluster.address=null".split()


@pytest.fixture(scope="session")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder as the pages speak of it: runs, exports, a sweep, and the files that they show."""
    folder = tmp_path_factory.mktemp("pages")
    build_tiny_bert(folder / "encoder")
    for block in (block for page in PAGES for block in blocks(page)):
        if block.language == "yaml":
            tree = yaml.safe_load(block.text)
            (folder / f"{tree.get('name', 'mine')}.yaml").write_text(block.text)
        elif block.text.startswith("# mine.py"):
            (folder / "mine.py").write_text(block.text)
    (folder / "RECIPE.yaml").write_text("extends: main\nname: recipe\n")
    (folder / "tiny-demo.yaml").write_text(yaml.safe_dump(tiny_demo(folder)))
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        short = ["phases=[{epochs: 1, steps_per_epoch: 2}]", "tasks.sst.files.test=[sst-dev.parquet]"]
        run(["train", "main", "+sample", "--no-ray", "name=main", *tiny(folder), *short])
    for other in ("demo", "proportional", "c-b2", "e-mix"):
        shutil.copytree(folder / "runs" / "main", folder / "runs" / other)
    for sweep in ("main-default", "demo-learning_rate"):
        trials = [replace(trial, run=trial.run.replace("fake", sweep, 1)) for trial in make_trials(8)]
        write_sweep(folder / "runs", trials, name=sweep)
    return folder


def tiny_demo(folder: Path) -> dict[str, Any]:
    """The recipe `demo` with a tiny encoder and few steps."""
    return {
        "extends": "demo",
        "encoder": {"name": str(folder / "encoder")},
        "data": {"cache": str(folder / "cache")},
        "phases": [{"epochs": 1, "steps_per_epoch": 2}],
        "cluster": {"workers": 1, "device": "cpu"},
        "tracking": {"mode": "disabled"},
    }


def tiny(folder: Path) -> list[str]:
    """Changes that make any recipe small enough."""
    return [*TINY, f"encoder.name={folder / 'encoder'}", f"data.cache={folder / 'cache'}"]


def run(arguments: list[str]) -> str:
    """Run `concord …` in this process, and give what it prints."""
    done = CliRunner().invoke(app, arguments)
    if done.exception is not None and not isinstance(done.exception, SystemExit):
        raise done.exception
    assert done.exit_code == 0, done.output
    return done.output
