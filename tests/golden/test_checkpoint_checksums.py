"""The code trains to the same bits as the code that wrote the golden file."""

import json
from pathlib import Path

import pytest

from tests.golden.checkpoint_checksums import FILE, PORTABLE, checksums


@pytest.mark.slow
def test_ten_steps_end_in_the_golden_checksums(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in PORTABLE.items():
        monkeypatch.setenv(name, value)
    found, wanted = checksums(tmp_path), json.loads(FILE.read_text())
    assert set(found) == set(wanted)
    assert {name: own for name, own in found.items() if own != wanted[name]} == {}
