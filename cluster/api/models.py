"""A model by name: an export, or a run whose best checkpoint is meant."""

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from multitask.errors import UserError

if TYPE_CHECKING:
    from multitask.export import Predictor


@contextmanager
def open_model(name: str, device: str | None = None) -> Iterator["Predictor"]:
    """Open `name`; a run's best checkpoint is exported to a temporary folder for as long as it is needed.

    Raises:
        UserError: it is neither an export nor a run.
    """
    from cluster.storage.export_checkpoint import export_run
    from cluster.storage.storage import Storage
    from multitask.export import DESCRIPTION, load_export

    if (Path(name) / DESCRIPTION).is_file():
        yield load_export(Path(name), device)
        return
    if not Storage(name).exists("config.yaml"):
        raise UserError(f"{name} is neither an export (with {DESCRIPTION}) nor a run folder (with config.yaml)")
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder) / "export"
        export_run(name, str(place), "best")
        yield load_export(place, device)
