"""Sends what W&B runs recorded without a server, the fragments of one run as one.

`wandb sync` appends the fragments that it is given of one run to each other, in the order in which they began. Around that:

- it exits with 0 whatever happens; what was sent is told by the marker `<file>.synced` that it leaves;
- it never marks a file that ends in a torn record, and would send all of its rows again each time;
- it marks a file that is still being written, and would never send the rest;
- it tries for ever where there is no server.
"""

import os
import subprocess
import sys
from collections.abc import Iterable
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path

from cluster.tracking.fragments import Fragment, find_fragments, read_fragment
from cluster.tracking.login import sign_in

COMMAND = [sys.executable, "-m", "wandb", "sync", "--yes", "--include-online"]


@dataclass(frozen=True)
class TrackedRun:
    """A W&B run and the fragments that it was recorded in, in the order in which they began."""

    run_id: str
    name: str
    fragments: tuple[Fragment, ...]

    @property
    def sendable(self) -> tuple[Fragment, ...]:
        """The fragments to send now: none while one of the run is being written, since later ones go after it."""
        if any(fragment.state == "live" for fragment in self.fragments):
            return ()
        return tuple(own for own in self.fragments if own.waits and own.state in ("whole", "torn"))

    @property
    def held_back(self) -> tuple[Fragment, ...]:
        """The fragments that wait, hold something, and cannot be sent now."""
        held = set(self.fragments) - set(self.sendable)
        return tuple(own for own in self.fragments if own in held and own.waits and own.state != "empty")


def find_tracked_runs(folders: Iterable[Path]) -> list[TrackedRun]:
    """The W&B runs recorded in run folders, by name."""
    fragments = [fragment for folder in folders for fragment in find_fragments(folder)]
    runs = []
    for run_id, own in groupby(sorted(fragments, key=lambda fragment: fragment.run_id), lambda own: own.run_id):
        ordered = tuple(sorted(own, key=lambda fragment: (fragment.started, fragment.file)))
        runs.append(TrackedRun(run_id, ordered[-1].name, ordered))
    return sorted(runs, key=lambda run: (run.name, run.run_id))


def send(runs: Iterable[TrackedRun], again: str) -> list[Fragment]:
    """Send what can be sent; gives the fragments that were not, although they could.

    `again` is the command that does it later.

    Raises:
        UserError: nobody is logged in, or there is no network.
    """
    fragments = [fragment for run in runs for fragment in run.sendable]
    if not fragments:
        return []
    sign_in(f"{len(fragments)} fragments wait; `{again}` sends them later")
    for fragment in fragments:
        if fragment.state == "torn":
            os.truncate(fragment.file, fragment.readable)
    subprocess.run([*COMMAND, *(str(fragment.file) for fragment in fragments)], check=False)
    return [fragment for fragment in fragments if not read_fragment(fragment.file).sent]
