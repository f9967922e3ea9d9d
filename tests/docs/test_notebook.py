"""docs/notebook.py, cell after cell in a fresh process, on few rows with a tiny encoder."""

import os
import subprocess
import sys
from pathlib import Path

import multitask

NOTEBOOK = Path(__file__).parents[2] / "docs" / "notebook.py"


def test_notebook_trains_draws_exports_and_predicts(tiny_bert: Path, tmp_path: Path) -> None:
    overrides = [f"encoder.name={tiny_bert}", f"data.cache={tmp_path / 'cache'}", "phases.0.steps_per_epoch=4"]
    environment = os.environ | {"MPLBACKEND": "agg", "PYTHONPATH": str(NOTEBOOK.parents[1])}
    done = subprocess.run(
        [sys.executable, NOTEBOOK, *overrides],
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr
    assert "finished after 4 of 4 steps" in done.stderr
    sst, quora, sts = (eval(line) for line in done.stdout.strip().splitlines()[-3:])
    assert (len(sst), len(quora), len(sts)) == (2, 1, 1)
    assert (tmp_path / "curves.png").stat().st_size > 10_000
    assert multitask.load(tmp_path / "exported", "cpu").tasks == ("sst", "quora", "sts")
