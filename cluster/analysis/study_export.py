"""A sweep as an Optuna study that optuna-dashboard opens."""

import math
from datetime import datetime
from typing import TYPE_CHECKING, Any

from cluster.analysis.configurations import SEARCHED, scored_trial
from cluster.analysis.study import quiet_optuna
from cluster.sweeps.optuna_storage import optuna_storage, without_password
from cluster.sweeps.records import Sweep, Trial
from multitask.errors import UserError
from tune_spaces.core.distributions import told_sample

if TYPE_CHECKING:
    import optuna


def export_study(sweep: Sweep, location: str, name: str | None = None, *, replace: bool = False) -> int:
    """Write the sweep to the Optuna storage at `location` as the study `name`, the sweep's own if not given; gives its trials' number.

    The recipe and all samples are trials, each with its seed; `study_trial` says how. Baselines and refits are none.

    Raises:
        UserError: there is such a study already and `replace` is not set, or the storage cannot be written.
    """
    import optuna

    name = name or sweep.name
    with quiet_optuna(), optuna_storage(location, new=True) as storage:
        if name in optuna.study.get_all_study_names(storage):
            if not replace:
                raise UserError(
                    f"storage {without_password(location)} holds a study {name} already: --replace writes it anew, "
                    "--study gives this one another name"
                )
            optuna.delete_study(study_name=name, storage=storage)
        directions: list[Any] = ["maximize"] * len(sweep.options.metrics)
        study = optuna.create_study(study_name=name, storage=storage, directions=directions)
        study.set_metric_names(list(sweep.options.metrics))
        about = {"sweep": sweep.name, "recipe": sweep.recipe, "space": sweep.space["name"]}
        about |= {"search": sweep.options.search, "scheduler": sweep.options.scheduler}
        for key, value in about.items():
            study.set_user_attr(key, value)
        trials = [study_trial(trial, sweep) for trial in sweep.trials if trial.role in SEARCHED]
        study.add_trials(trials)
    return len(trials)


def study_trial(trial: Trial, sweep: Sweep) -> "optuna.trial.FrozenTrial":
    """The trial as Optuna has it.

    A finished one is complete with the scores of its best checkpoint, one that the scheduler stopped is pruned with its last
    score, as Optuna's own; one without a score has failed. With one metric its evaluations are intermediate values, by
    iteration. One that waits is enqueued. User attributes say the run, the role, the seed, what it took and all dev scores.
    """
    import optuna

    scored = scored_trial(trial, sweep.options.selection)
    sample = trial.sample if scored is None else scored.sample
    told = told_sample(sample, sweep.space["parameters"])
    values = [scored.best.scores.get(metric, math.nan) for metric in sweep.options.metrics] if scored else []
    state = _state(trial, bool(values) and all(map(math.isfinite, values)))
    states, curve = optuna.trial.TrialState, _curve(trial, sweep)
    if state == states.PRUNED:
        values = [curve[max(curve)]] if curve else []
    if state == states.WAITING:
        told = {"system_attrs": {"fixed_params": told["params"]}}
    frozen = optuna.trial.create_trial(
        state=state,
        values=values if values and state in (states.COMPLETE, states.PRUNED) else None,
        intermediate_values=curve,
        user_attrs=_attributes(trial, sweep),
        **told,
    )
    if state != states.WAITING:
        frozen.datetime_start = datetime.fromtimestamp(trial.started or sweep.created)
    if state.is_finished():
        frozen.datetime_complete = datetime.fromtimestamp(
            trial.ended or (trial.started or sweep.created) + trial.seconds
        )
    return frozen


def _state(trial: Trial, is_known: bool) -> "optuna.trial.TrialState":
    from optuna.trial import TrialState

    if trial.status == "finished":
        return TrialState.COMPLETE if is_known else TrialState.FAIL
    states = {"stopped": TrialState.PRUNED, "failed": TrialState.FAIL, "running": TrialState.RUNNING}
    return states.get(trial.status, TrialState.WAITING)


def _curve(trial: Trial, sweep: Sweep) -> dict[int, float]:
    """Iteration to score; Optuna has none where there are several scores."""
    if len(sweep.options.metrics) > 1:
        return {}
    scores = {report.iteration: report.scores.get(sweep.options.selection, math.nan) for report in trial.reports}
    return {iteration: score for iteration, score in scores.items() if math.isfinite(score)}


def _attributes(trial: Trial, sweep: Sweep) -> dict[str, Any]:
    scored, last = scored_trial(trial, sweep.options.selection), trial.reports[-1] if trial.reports else None
    about: dict[str, Any] = {"run": trial.run, "role": trial.role, "number": trial.number, "repeat": trial.repeat}
    about |= {"status": trial.status, "seconds": trial.seconds}
    about |= {"rows": last.rows, "tokens": last.tokens} if last else {}
    about |= {"reason": trial.reason} if trial.reason else {}
    if scored is not None:
        known = {name: score for name, score in scored.best.scores.items() if math.isfinite(score)}
        about |= {"best_step": scored.best.step, **known}
    return about
