"""Commands in environments whose encoding is not UTF-8: a line or replaced characters, never a traceback."""

import json
import os
import subprocess
import sys

import pytest

ASCII = {"PYTHONIOENCODING": "ascii"}
C = {"LANG": "C", "LC_ALL": "C"}
OFF = {"PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}


def _run(environment: dict[str, str], *arguments: str | bytes) -> subprocess.CompletedProcess[bytes]:
    command = [sys.executable, "-m", "cluster.cli", *arguments]
    kept = {name: value for name, value in os.environ.items() if name not in (*ASCII, *C, *OFF)}
    return subprocess.run(command, env=kept | environment, capture_output=True, timeout=120, check=False)


def test_characters_that_the_output_does_not_have_are_replaced() -> None:
    plain, ascii = _run({"PYTHONIOENCODING": "utf-8"}, "recipes"), _run(ASCII, "recipes")
    assert (ascii.returncode, ascii.stderr) == (0, b"")
    assert b"?" in ascii.stdout
    assert "λ".encode() in plain.stdout


def test_programs_get_what_utf8_would_say() -> None:
    plain, ascii = (_run({"PYTHONIOENCODING": name}, "recipes", "--json") for name in ("utf-8", "ascii"))
    assert ascii.stdout.isascii()
    assert not plain.stdout.isascii()
    assert json.loads(ascii.stdout) == json.loads(plain.stdout)


@pytest.mark.parametrize(
    ("environment", "argument", "told"),
    [
        (ASCII, "optimizer.lrä=1", b"concord: "),
        (C | OFF, "seed=1", b"concord: this environment's encoding is ascii, in which torch does not load: set PYTHONUTF8=1"),
        ({"PYTHONUTF8": "1"}, b"data.root=\xe4", b"concord: 'data.root=\\udce4' is no text in this environment's encoding, utf-8"),
    ],
)  # fmt: skip
def test_what_cannot_be_read_is_one_line(environment: dict[str, str], argument: str | bytes, told: bytes) -> None:
    done = _run(environment, "train", "main", argument)
    assert done.returncode == 2
    assert done.stderr.startswith(told)
    assert len(done.stderr.splitlines()) == 1
