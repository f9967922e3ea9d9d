"""What Optuna is told of how a trial ended."""

import math
from typing import TYPE_CHECKING, Any

from cluster.sweeps.records import Options, Trial

if TYPE_CHECKING:
    from cluster.sweeps.records import Report


def told(trial: Trial, best: "Report | None", options: Options) -> dict[str, Any]:
    """The `state` of Optuna's trial, with the `values` of the `best` report or the `intermediate_values`.

    Values are those of trials that went to their end alone. One that did not could have got better: Optuna ranks it behind all
    that did, by its course; of several metrics it has no such rank, and is left out. Without a score a trial counts as the worst
    of all, so that the search keeps away from what breaks; but what the cluster broke says nothing of the settings.
    """
    import optuna

    state = optuna.trial.TrialState
    if not trial.has_ended:
        return {"state": state.RUNNING}
    values = [best.scores.get(metric, math.nan) for metric in options.metrics] if best else []
    known = bool(values) and all(map(math.isfinite, values))
    if trial.status == "finished" and known:
        return {"state": state.COMPLETE, "values": values}
    if len(options.metrics) > 1 or trial.cause == "cluster":
        return {"state": state.FAIL}
    curve = {report.iteration: report.scores[options.selection] for report in trial.reports} if known else {}
    return {"state": state.PRUNED, "intermediate_values": curve}
