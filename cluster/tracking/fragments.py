"""Fragments of W&B runs on this disk: one folder for each process that recorded a run."""

import json
import os
import socket
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from cluster.tracking.offline_log import LogEnd, read_log
from cluster.tracking.resume_state import kinds_of
from cluster.training.history import FILE

PATTERN = "wandb/*run-*-*"
OFFLINE = "offline-run-"
QUIET_S = 600.0  # a fragment of another host that nobody has written to for so long is taken for a dead one's

State = Literal["whole", "torn", "empty", "damaged", "live"]


@dataclass(frozen=True)
class Fragment:
    """What one process recorded of the W&B run `run_id`.

    `state`: `whole`; `torn` in its last record, since the process was killed while writing; `empty`, so that not even the
    run is named; `damaged` after `readable` bytes; `live`, still being written. `ended` where the process said so itself.
    `started` is in Unix seconds. `sent` where `wandb sync` has sent it.
    """

    file: Path
    run_id: str
    name: str
    project: str
    started: float
    rows: int
    state: State
    readable: int
    ended: bool
    sent: bool

    @property
    def waits(self) -> bool:
        """Whether it holds what W&B's server lacks: the end of an online run is lost there when its process is killed."""
        return not self.sent and not (self.ended and not self.offline)

    @property
    def offline(self) -> bool:
        """Whether it was recorded without a server."""
        return self.file.parent.name.startswith(OFFLINE)


def find_fragments(run_folder: Path) -> list[Fragment]:
    """The fragments of the runs recorded in a run folder, in the order in which they began."""
    files = {file.resolve() for folder in run_folder.glob(PATTERN) for file in folder.glob("*.wandb")}
    return sorted((read_fragment(file) for file in files), key=lambda fragment: (fragment.started, fragment.file))


def read_fragment(file: Path) -> Fragment:
    """What a `.wandb` file holds."""
    run_id, name, project, host, started = file.stem.removeprefix("run-"), "", "", "", file.stat().st_mtime
    rows, named, ended, end = 0, False, False, LogEnd(0)
    for record in read_log(file.read_bytes()):
        if isinstance(record, LogEnd):
            end = record
            continue
        kind = record.WhichOneof("record_type")
        rows += kind == "history"
        ended |= kind == "exit"
        if kind == "run":
            named, run = True, record.run
            run_id, name, project, host = run.run_id, run.display_name, run.project, run.host
            started = run.start_time.ToNanoseconds() / 1e9
    return Fragment(
        file=file,
        run_id=run_id,
        name=name or run_id,
        project=project,
        started=started,
        rows=rows,
        state=_state(end, named, not ended and _is_live(file, host)),
        readable=end.whole,
        ended=ended,
        sent=file.with_suffix(".wandb.synced").exists(),
    )


def lost_rows(fragment: Fragment, first: int) -> list[dict[str, Any]]:
    """The rows of a fragment from number `first` (`_step`) on: numbers and words, no tables."""
    rows = []
    for record in read_log(fragment.file.read_bytes()):
        if isinstance(record, LogEnd) or record.WhichOneof("record_type") != "history":
            continue
        row = {item.key or "/".join(item.nested_key): json.loads(item.value_json) for item in record.history.item}
        if row["_step"] >= first:
            rows.append({key: value for key, value in row.items() if isinstance(value, int | float | str)})
    return rows


def recorded_steps(folder: Path, run_id: str) -> dict[str, int] | None:
    """The last step of each kind of row that W&B run `run_id` has recorded in `folder`; None if no fragment of it is there."""
    fragments = [own for own in find_fragments(folder) if own.run_id == run_id and own.state != "live"]
    steps: dict[str, int] = {}
    for row in (row for fragment in fragments for row in lost_rows(fragment, 0)):
        steps |= {kind: max(steps.get(kind, -1), row["step"]) for kind in kinds_of(row) if "step" in row}
    return steps if fragments else None


def unwritten_rows(folder: Path, run_id: str, resumed_step: int) -> list[dict[str, Any]]:
    """Rows of the run in `folder` up to `resumed_step` that come after all that W&B run `run_id` recorded there.

    W&B writes once a second, so a process that is killed may leave out what the run has saved with its checkpoint. Later steps
    are trained again. None where no fragment of it is here: other places may hold it.
    """
    fragments = [own for own in find_fragments(folder) if own.run_id == run_id and own.state != "live"]
    if not fragments or not (folder / FILE).is_file():
        return []
    last = max((row.get("step", -1) for fragment in fragments for row in lost_rows(fragment, 0)), default=-1)
    history = json.loads((folder / FILE).read_text(encoding="utf-8"))
    rows: dict[int, dict[str, Any]] = {}
    for point in (*history["train"], *history["dev"]):
        if last < point["step"] <= resumed_step:
            known = {key: value for key, value in point.items() if value is not None}
            rows.setdefault(point["step"], {}).update(known)
    return [rows[step] for step in sorted(rows)]


def mark_sent(fragment: Fragment) -> None:
    """Mark a fragment as W&B itself does."""
    fragment.file.with_suffix(".wandb.synced").touch()


def _state(end: LogEnd, named: bool, live: bool) -> State:
    if live:
        return "live"
    if end.damaged:
        return "damaged"
    if not named:
        return "empty"
    return "torn" if end.torn else "whole"


def _is_live(file: Path, host: str) -> bool:
    """Whether a process writes the file: on this host one that has it open, elsewhere one that wrote to it of late.

    It may have its own open, of which this one is a copy; the name of the folder above is the process's alone.
    """
    if host in ("", socket.gethostname()) and Path("/proc/self/fd").exists():
        return file.parts[-2:] in {own.parts[-2:] for own in _open_files()}
    return time.time() - file.stat().st_mtime < QUIET_S


def _open_files() -> set[Path]:
    """The `.wandb` files that processes of this user have open on this host."""
    found: set[Path] = set()
    for descriptors in Path("/proc").glob("[0-9]*/fd"):
        try:
            links = [os.readlink(entry) for entry in os.scandir(descriptors)]
        except OSError:  # another user's process, or one that has just gone
            continue
        found.update(Path(link) for link in links if link.endswith(".wandb"))
    return found
