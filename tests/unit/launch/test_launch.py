"""What Ray says in the driver's process, and what is said of a run whose Ray or `torchrun` has died."""

from pathlib import Path

import pytest
from ray._private import worker

from cluster.launch.launch import _goes_on, warnings_to_stderr
from multitask.config import parse_config
from tests.builders import tiny_config


def test_warnings_of_the_cluster_leave_stdout_to_the_command(
    capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(worker, "print_to_stdstream", worker.print_to_stdstream)
    for _ in range(2):
        warnings_to_stderr()
    lines = [
        "WARNING: 8 PYTHON worker processes have been started on node: a",
        "2 workers killed due to memory pressure",
        "Raylet is terminated. Termination is unexpected. Last 20 lines of the Raylet logs:\n    - bytes in use: 3543\n",
    ]
    worker.print_to_stdstream({"lines": lines, "pid": "raylet", "is_err": False}, ignore_prefix=False)
    out, err = capfd.readouterr()
    assert out == ""
    assert err.count("memory pressure") == 1
    assert "8 PYTHON" not in err
    assert "bytes in use" not in err


def test_a_checkpoint_that_was_being_written_is_not_gone_on_with(tmp_path: Path) -> None:
    config = parse_config(tiny_config(tmp_path, cluster={"storage": str(tmp_path / "runs")}), "test")
    assert _goes_on(config) == "start again: the run begins anew"
    for step, files in ((5, ["state.json", "manifest.json"]), (10, ["state.json"])):
        folder = tmp_path / "runs" / config.name / "checkpoints" / f"step-{step:08}"
        folder.mkdir(parents=True)
        for file in files:
            (folder / file).write_text("{}")
    assert _goes_on(config) == "start again: the run goes on from step 5"
