"""Why trials failed, like with like."""

import re
from collections.abc import Iterable

from cluster.sweeps.records import Trial

_NUMBER = re.compile(r"\d[\d.,]*")


def grouped_failures(trials: Iterable[Trial]) -> list[tuple[str, list[str]]]:
    """Each reason with the runs that failed for it, the most frequent first; reasons that differ in numbers alone are one."""
    groups: dict[str, list[Trial]] = {}
    for trial in trials:
        if trial.status == "failed":
            groups.setdefault(_NUMBER.sub("#", trial.reason or ""), []).append(trial)
    found = [(alike[0].reason or "no reason is known", [trial.run for trial in alike]) for alike in groups.values()]
    return sorted(found, key=lambda pair: -len(pair[1]))
