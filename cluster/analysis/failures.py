"""Why trials failed, like with like."""

from collections.abc import Iterable

from cluster.sweeps.records import Trial
from cluster.sweeps.trial_failures import kind_of


def grouped_failures(trials: Iterable[Trial]) -> list[tuple[str, list[str]]]:
    """Each reason with the runs that failed for it, the most frequent first; reasons of one kind are one."""
    groups: dict[str, list[Trial]] = {}
    for trial in trials:
        if trial.status == "failed":
            groups.setdefault(kind_of(trial.reason or "", trial.run), []).append(trial)
    found = [(alike[0].reason or "no reason is known", [trial.run for trial in alike]) for alike in groups.values()]
    return sorted(found, key=lambda pair: -len(pair[1]))
