"""The trials of a sweep as a table."""

from typing import TYPE_CHECKING, Any

from cluster.analysis.configurations import scored_trial
from cluster.sweeps.records import Sweep, Trial

if TYPE_CHECKING:
    import pandas as pd

_COLUMNS = ("run", "number", "repeat", "role", "status", "reason", "rows", "tokens", "seconds", "best_step")


def trials_frame(sweep: Sweep) -> "pd.DataFrame":
    """One row a trial: what it is, how far it came, the scores of its best checkpoint, and what it tried.

    Scores stand under their metric names, parameters under `sample.<name>`; both are missing where a trial has none. Of a
    population's trial the parameters are those that led to its best checkpoint.
    """
    import pandas as pd

    rows = [_row(trial, sweep.options.selection) for trial in sweep.trials]
    names = list(dict.fromkeys(name for row in rows for name in row if name not in _COLUMNS))
    # Scores before parameters; both in the order in which they were met.
    names.sort(key=lambda name: name.startswith("sample."))
    return pd.DataFrame(rows, columns=[*_COLUMNS, *names])


def _row(trial: Trial, selection: str) -> dict[str, Any]:
    scored = scored_trial(trial, selection)
    row = {name: getattr(trial, name) for name in _COLUMNS if name != "best_step"}
    if scored is not None:
        row |= {"best_step": scored.best.step, **scored.best.scores}
    sample = trial.sample if scored is None else scored.sample
    return row | {f"sample.{name}": value for name, value in sample.items()}
