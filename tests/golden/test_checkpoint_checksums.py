"""The code trains to the same bits as the code that wrote the golden file."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.golden.checkpoint_checksums import FILE, PORTABLE


@pytest.mark.slow
def test_ten_steps_end_in_the_golden_checksums(tmp_path: Path) -> None:
    # A process of its own: torch chooses its kernels once, and the encoder's random weights depend on them.
    command = [sys.executable, "-m", "tests.golden.checkpoint_checksums", str(tmp_path / "found.json")]
    subprocess.run(command, cwd=FILE.parents[2], env=os.environ | PORTABLE, check=True, timeout=600)
    found, wanted = json.loads((tmp_path / "found.json").read_text()), json.loads(FILE.read_text())
    assert set(found) == set(wanted)
    assert {name: own for name, own in found.items() if own != wanted[name]} == {}
