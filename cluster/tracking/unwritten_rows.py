"""What W&B did not write before its process was killed, read from the run's own history."""

import json
from pathlib import Path
from typing import Any

from cluster.tracking.fragments import find_fragments, lost_rows
from cluster.training.history import FILE


def unwritten_rows(folder: Path, run_id: str, resumed_step: int) -> list[dict[str, Any]]:
    """Rows of the run in `folder` up to `resumed_step` that come after all that W&B run `run_id` recorded there.

    W&B writes once a second, so a process that is killed may leave out what the run has saved with its checkpoint. Later steps
    are trained again. None where nothing was recorded here: other places may hold it.
    """
    written = [
        row.get("step", -1)
        for fragment in find_fragments(folder)
        if fragment.run_id == run_id and fragment.state != "live"
        for row in lost_rows(fragment, 0)
    ]
    if not written or not (folder / FILE).is_file():
        return []
    history = json.loads((folder / FILE).read_text(encoding="utf-8"))
    rows: dict[int, dict[str, Any]] = {}
    for point in (*history["train"], *history["dev"]):
        if max(written) < point["step"] <= resumed_step:
            rows.setdefault(point["step"], {}).update(point)
    return [rows[step] for step in sorted(rows)]
