"""How much each hyperparameter matters."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from cluster.analysis.configurations import SEARCHED, scored_trial
from cluster.analysis.study import Parameters, frozen_trial, quiet_optuna
from cluster.sweeps.records import Sweep

if TYPE_CHECKING:
    import optuna

FEWEST = 8


@dataclass(frozen=True)
class Importance:
    """`values`: parameter to the share (0 … 1) of the score's variance that it explains, the highest first.

    `trials`: parameter to the number of trials that its share comes from. `reason`: what has to be known about `values`, or why
    there are none; None if there is nothing to say.
    """

    values: dict[str, float]
    reason: str | None = None
    trials: dict[str, int] = field(default_factory=dict)


@dataclass(frozen=True)
class Observation:
    """A sample and the score it got."""

    sample: Mapping[str, Any]
    score: float


def importances(sweep: Sweep, metric: str) -> Importance:
    """FANOVA (Hutter et al. 2014) of the dev score `metric` over the trials' best reports; see `fanova`."""
    found = []
    for trial in sweep.trials:
        scored = scored_trial(trial, sweep.options.selection) if trial.role in SEARCHED else None
        if scored is not None:
            found.append(Observation(scored.sample, scored.best.scores.get(metric, math.nan)))
    cut = any(trial.status != "finished" and trial.reports for trial in sweep.trials if trial.role in SEARCHED)
    return fanova(found, sweep.space["parameters"], cut)


def fanova(observations: Sequence[Observation], parameters: Parameters, some_cut: bool = False) -> Importance:
    """The importance of each of `parameters`, as `optuna.importance` computes fANOVA, with a fixed seed.

    A parameter that only some trials have is judged within them, beside all other parameters that they share: its share is
    one of the differences among those trials. `some_cut`: trials that were not trained to their end take part.
    """
    with quiet_optuna():
        trials = [
            trial
            for seen in observations
            if math.isfinite(seen.score) and (trial := frozen_trial(seen.sample, seen.score, parameters)) is not None
        ]
        if len(trials) < FEWEST:
            return Importance({}, f"Too few trials with a score: {len(trials)}, at least {FEWEST} are needed.")
        if len({trial.value for trial in trials}) == 1:
            return Importance({}, f"All {len(trials)} trials have the same score.")
        values, counts = _shares(trials, list(parameters))
    ordered = dict(sorted(values.items(), key=lambda pair: -pair[1]))
    return Importance(ordered, _reason(list(parameters), values, counts, len(trials), some_cut), counts)


def _shares(trials: "list[optuna.trial.FrozenTrial]", names: list[str]) -> tuple[dict[str, float], dict[str, int]]:
    """Shares of those parameters that enough trials have, and how many trials have each."""
    known: dict[tuple[int, ...], dict[str, float]] = {}
    values, counts = {}, {}
    for name in names:
        having = tuple(place for place, trial in enumerate(trials) if name in trial.params)
        counts[name] = len(having)
        if len(having) < FEWEST:
            continue
        if having not in known:
            known[having] = _evaluate([trials[place] for place in having])
        values[name] = known[having].get(name, 0.0)
    return values, counts


def _evaluate(trials: "list[optuna.trial.FrozenTrial]") -> dict[str, float]:
    """Share of each parameter that all of `trials` have and that varies among them."""
    import optuna

    shared = [name for name in trials[0].params if all(name in trial.params for trial in trials)]
    varying = [name for name in shared if len({trial.params[name] for trial in trials}) > 1]
    if not varying or len({trial.value for trial in trials}) == 1:
        return {}
    study = optuna.create_study(direction="maximize")
    study.add_trials(trials)
    evaluator = optuna.importance.FanovaImportanceEvaluator(seed=0)
    found = optuna.importance.get_param_importances(study, evaluator=evaluator, params=varying)
    return {name: float(value) for name, value in found.items()}


def _reason(names: list[str], values: dict[str, float], counts: dict[str, int], trials: int, cut: bool) -> str | None:
    parts = []
    within = [f"{name} ({counts[name]})" for name in values if counts[name] < trials]
    if within:
        parts.append(f"Judged within the trials that have it: {', '.join(within)}.")
    few = [f"{name} ({counts[name]})" for name in names if name not in values]
    if few:
        parts.append(f"Too few trials to judge: {', '.join(few)}.")
    if cut:
        parts.append("Trials that were not trained to their end count with the best they had reached.")
    return " ".join(parts) or None
