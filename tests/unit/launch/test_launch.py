"""What Ray says in the driver's process."""

import pytest
from ray._private import worker

from cluster.launch.launch import warnings_to_stderr


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
