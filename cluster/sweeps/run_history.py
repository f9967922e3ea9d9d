"""What a trial's run folder knows of it that its record may lack: what was reported while no driver listened."""

import math
from dataclasses import replace

from cluster.storage.run_folder import INHERITED, RunFolder
from cluster.sweeps.records import Generation, Report, Trial
from multitask.score_names import is_dev_score


def with_history(trial: Trial, folder: RunFolder) -> Trial:
    """The trial with the evaluations of its own that `folder`, its current run's, knows of and its record lacks."""
    trial = with_start(trial, folder)
    run, sample = trial.current_run, trial.current_sample
    known = {report.iteration: report for report in trial.reports if report.run == run}
    inherited = trial.generations[-1].iteration if trial.generations else 0
    for iteration, point in enumerate((folder.result() or {}).get("history", []), start=1):
        if iteration > inherited and iteration not in known:
            scores = {key: math.nan if value is None else value for key, value in point.items() if is_dev_score(key)}
            position = (point["step"], point["rows"], point["tokens"])
            known[iteration] = Report(iteration, *position, trial.seconds, scores, run, sample)
    earlier = (report for report in trial.reports if report.run != run)
    return replace(trial, reports=(*earlier, *(known[iteration] for iteration in sorted(known))))


def with_start(trial: Trial, folder: RunFolder) -> Trial:
    """With where its generation began, once that is known: the donor trains on until its heir takes the weights."""
    if isinstance(trial.position, Generation) and (start := folder.read_json(INHERITED)):
        return replace(trial, generations=(*trial.generations[:-1], replace(trial.position, **start)))
    return trial
