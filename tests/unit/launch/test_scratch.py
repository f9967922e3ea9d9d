"""What is left in the temporary folder."""

import os
import subprocess
from pathlib import Path

import pytest

from cluster.launch.scratch import create_scratch


def test_remains_of_dead_processes_are_removed_and_nothing_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    ended = subprocess.Popen(["true"])
    ended.wait()
    mine = Path(create_scratch("tune"))
    kept = [f"concord-ray-{os.getppid()}-ab_c", f"concord-data-{ended.pid}-abc", f"concord-ray-{ended.pid}"]
    for name in (*kept, f"concord-ray-{ended.pid}-ab_c", f"concord-tune-{ended.pid}-x"):
        (tmp_path / name / "below").mkdir(parents=True)
    second = Path(create_scratch("ray"))
    assert mine.name.startswith(f"concord-tune-{os.getpid()}-")
    assert {path.name for path in tmp_path.iterdir()} == {mine.name, second.name, *kept}
