"""`python -m tests.gpu` in its small form, so that it is ready for when a GPU is at hand."""

import json
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest

from tests.gpu import __main__ as script
from tests.gpu.row import Place, Row
from tests.integration.commands import ROOT, environment


@pytest.mark.slow
def test_small_form_measures_everything_and_finds_nothing_wrong(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "tests.gpu", "--small", "--output", str(tmp_path / "rows.json")]
    done = subprocess.run(command, cwd=ROOT, env=environment(OMP_NUM_THREADS="1"), capture_output=True, text=True)
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    rows = json.loads((tmp_path / "rows.json").read_text())["rows"]
    assert Counter(row["section"] for row in rows) == {
        "exactness": 9,
        "waits": 4,
        "speed": 12,
        "passes": 6,
        "checkpoint": 1,
    }
    assert all(row["is_right"] for row in rows if row["section"] == "exactness")
    ways = {row["what"].partition(": ")[2]: row for row in rows if row["section"] == "passes"}
    assert [name for name, row in ways.items() if row["is_right"] is None] == ["attention flash", "tf32"]
    assert all(row["is_right"] for name, row in ways.items() if name not in ("attention flash", "tf32"))
    assert all(" tok/s" in row["value"] for row in rows if row["section"] == "speed")
    assert "Trainer of Hugging Face" in " ".join(done.stdout.replace("│", " ").split())


@pytest.mark.parametrize(("is_right", "code"), [(True, 0), (None, 0), (False, 1)])
def test_what_is_wrong_ends_with_1(is_right: bool | None, code: int, monkeypatch: pytest.MonkeyPatch) -> None:
    def rows(place: Place) -> list[Row]:
        return [Row("exactness", "a row", "1", "2", is_right)]

    monkeypatch.setattr(script, "SECTIONS", {"exactness": rows})
    monkeypatch.setattr("sys.argv", ["tests.gpu", "--small"])
    with pytest.raises(SystemExit) as ended:
        script.main()
    assert int(ended.value.code or 0) == code
