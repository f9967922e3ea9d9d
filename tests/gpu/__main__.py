"""What can only be shown on a GPU, in one call and one table.

    python -m tests.gpu                         # on a CUDA machine, some ten minutes
    python -m tests.gpu --small                 # the same with tiny encoders, on anything
    python -m tests.gpu --only speed --output gpu.json

Exactness of ZeRO 1 to 3 beside the plain trainer on the CPU, resuming to the bit, waits for the device in a step, tokens a second and share
of the peak beside a bare loop, Hugging Face's Trainer and two PCGrads of others, what each way of computing the encoder's passes gives
(attention, compiled layers, checkpointing, TF32, deterministic operations), and for how long a checkpoint holds training up.
A row that cannot be measured here says why; the exit code is 1 where something is not exact.
"""

import argparse
import json
import os
import sys
import tempfile
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path

# Before CUDA starts: what makes its matrix products repeatable.
os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")

import torch
from rich.console import Console
from rich.table import Table

from cluster.training.session import LocalSession
from tests.gpu import exactness, passes, saving, speed, waiting
from tests.gpu.row import Place, Row

SECTIONS: dict[str, Callable[[Place], Iterator[Row]]] = {
    "exactness": exactness.rows,
    "waits": waiting.rows,
    "speed": speed.rows,
    "passes": passes.rows,
    "checkpoint": saving.rows,
}


def measure(only: str | None, small: bool, folder: Path) -> list[Row]:
    """The rows of all sections, or of one."""
    warnings.filterwarnings("ignore")
    session = LocalSession("auto")
    place = Place(session, folder, small)
    try:
        return [row for name, rows in SECTIONS.items() if only in (None, name) for row in rows(place)]
    finally:
        session.close()


def show(rows: list[Row], device: str) -> None:
    """One table."""
    table = Table(title=device, title_justify="left")
    for number, heading in enumerate(("section", "what", "value", "beside", "")):
        table.add_column(heading, justify="right" if number in (2, 3) else "left")
    for row in rows:
        table.add_row(
            row.section, row.what, row.value, row.beside, {True: "ok", False: "WRONG", None: ""}[row.is_right]
        )
    Console().print(table)


def main() -> None:
    """Measure, print, and end with 1 where something is wrong."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--small", action="store_true")
    parser.add_argument("--only", choices=sorted(SECTIONS))
    parser.add_argument("--output", type=Path)
    arguments = parser.parse_args()
    device = torch.cuda.get_device_name() if torch.cuda.is_available() else "cpu"
    with tempfile.TemporaryDirectory() as folder:
        rows = measure(arguments.only, arguments.small, Path(folder))
    show(rows, f"{device}, torch {torch.__version__}")
    if arguments.output:
        told = {"device": device, "torch": torch.__version__, "rows": [row._asdict() for row in rows]}
        arguments.output.write_text(json.dumps(told, indent=1))
    sys.exit(any(row.is_right is False for row in rows))


if __name__ == "__main__":
    main()
