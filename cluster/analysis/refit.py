"""The winner's config trained again: with other seeds, longer, or both."""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

from cluster.analysis.configurations import Configuration, configurations
from cluster.analysis.ranking import Ranked, Ranking
from cluster.sweeps.records import Report, Trial
from cluster.sweeps.store import TRIALS, SweepStore
from cluster.training.observer import Observer, Outcome, RunInfo
from multitask.config import RunConfig, override_config, parse_config
from multitask.errors import UserError

Train = Callable[[RunConfig, Observer], Outcome]


@dataclass(frozen=True)
class RefitPlan:
    """A trial to train, with its config."""

    trial: Trial
    config: RunConfig


def plan_refits(
    store: SweepStore, ranking: Ranking, seeds: int, epochs_factor: float, overrides: Sequence[str] = ()
) -> list[RefitPlan]:
    """One refit of the winner for each of `seeds` seeds that its own trials did not have, with so many times its epochs.

    A refit that an earlier call began is planned again under its name, so that its run goes on or is found finished.

    Raises:
        UserError: an option is out of range, or the winner's run folder is gone.
    """
    if seeds < 1:
        raise UserError(f"--seeds must be at least 1, got {seeds}")
    winner = ranking.winner.configuration
    config = override_config(_longer(_config(store, winner), epochs_factor), overrides)
    used = {
        past.seed for past in (_config_in(store, scored.run) for scored in winner.scored_trials) if past is not None
    }
    free = (seed for seed in range(min(used) + 1, 2**31) if seed not in used)
    wanted = [_refit_config(store, ranking, config, next(free)) for _ in range(seeds)]
    return _name(store, ranking, wanted)


def _config(store: SweepStore, winner: Configuration) -> RunConfig:
    """The config of the winner's first seed; a population's trial is trained with its last settings throughout."""
    run = winner.scored_trials[0].run
    config = _config_in(store, run)
    if config is None:
        raise UserError(f"--refit: {store.run(run).location} holds no config.yaml, so its config is not known")
    return config


def _config_in(store: SweepStore, run: str) -> RunConfig | None:
    folder = store.run(run)
    return folder.config() if folder.storage.exists("config.yaml") else None


def _longer(config: RunConfig, factor: float) -> RunConfig:
    tree = config.to_dict()
    for number, phase in enumerate(tree["phases"]):
        epochs = phase["epochs"] * factor
        if epochs < 1 or abs(epochs - round(epochs)) > 1e-9:
            raise UserError(
                f"--epochs-factor {factor:g} makes {epochs:g} epochs of phase {number}: a whole number it must be"
            )
        phase["epochs"] = round(epochs)
    return parse_config(tree, config.name)


def _refit_config(store: SweepStore, ranking: Ranking, config: RunConfig, seed: int) -> RunConfig:
    tree = config.to_dict()
    tree["seed"] = seed
    tree["cluster"] |= {"storage": f"{store.location}/{TRIALS}"}
    tree["tracking"] |= {"group": ranking.sweep.name, "job_type": "refit"}
    return parse_config(tree, "refit")


def _name(store: SweepStore, ranking: Ranking, wanted: list[RunConfig]) -> list[RefitPlan]:
    """Give each config the trial that was begun for it, or a new one; those of one call share their number."""
    begun = [trial for trial in ranking.sweep.trials if trial.role == "refit"]
    configs = {trial.run: _config_in(store, trial.run) for trial in begun}
    by_trajectory = {found.trajectory_hash(): trial for trial in begun if (found := configs[trial.run]) is not None}
    matched = [by_trajectory.get(config.trajectory_hash()) for config in wanted]
    numbers = [trial.number for trial in ranking.sweep.trials]
    number = next((trial.number for trial in matched if trial), max(*numbers, ranking.sweep.options.trials - 1) + 1)
    # One that was killed before its run folder had a config is as good as new.
    taken = {trial.run for trial in begun if configs[trial.run] is not None}
    fresh = (name for place in range(2**31) if (name := f"{ranking.sweep.name}-refit-{place}") not in taken)
    plans = []
    for repeat, (config, trial) in enumerate(zip(wanted, matched, strict=True)):
        trial = trial or _new_trial(ranking, number, repeat, next(fresh))
        plans.append(RefitPlan(trial, config.model_copy(update={"name": trial.run})))
    return plans


def _new_trial(ranking: Ranking, number: int, repeat: int, run: str) -> Trial:
    return Trial(number, repeat, "refit", run, ranking.winner.configuration.sample)


def run_refit(store: SweepStore, plan: RefitPlan, display: Observer, train: Train) -> Trial:
    """Train `plan` from where its run folder stands, with its record beside it; one that has finished is left as it is.

    Raises:
        UserError: as training does.
    """
    if plan.trial.status == "finished":
        return plan.trial
    keeper = _RecordKeeper(store, plan.trial, display)
    outcome = train(plan.config, keeper)
    status = "failed" if outcome.status == "failed" else "finished"
    return keeper.end(status, outcome.error)


def refitted(ranking: Ranking, plans: Sequence[RefitPlan]) -> Ranked | None:
    """What the rule of `ranking`, read after the refits, says of those of `plans`; None if none has a score."""
    runs = {plan.trial.run for plan in plans}
    for configuration in configurations(ranking.sweep, ("refit",)):
        scored = tuple(trial for trial in configuration.scored_trials if trial.trial.run in runs)
        if scored:
            return ranking.judge(replace(configuration, scored_trials=scored))
    return None


class _RecordKeeper:
    """Passes a run's stream on to the display, and keeps `trial.json`."""

    def __init__(self, store: SweepStore, trial: Trial, display: Observer) -> None:
        self._store, self._display = store, display
        self._began, self._before = time.time(), trial.seconds
        self._trial = replace(
            trial, status="running", reason=None, attempts=trial.attempts + 1, started=trial.started or self._began
        )
        store.write_trial(self._trial)

    def start(self, run: RunInfo) -> None:
        self._display.start(run)

    def report(self, metrics: dict[str, Any]) -> None:
        self._display.report(metrics)
        if "train/evaluations" in metrics:
            self._trial = replace(self._with_history(), seconds=self._seconds())
            self._store.write_trial(self._trial)

    def finish(self, outcome: Outcome) -> None:
        self._display.finish(outcome)

    def end(self, status: Any, reason: str | None) -> Trial:
        """Write the last record."""
        ended = replace(self._with_history(), status=status, reason=reason, ended=time.time(), seconds=self._seconds())
        self._store.write_trial(ended)
        return ended

    def _seconds(self) -> float:
        return self._before + time.time() - self._began

    def _with_history(self) -> Trial:
        """With all evaluations that the run folder knows of, also of an attempt that was killed before it could write them."""
        trial = self._trial
        history = (self._store.run(trial.run).result() or {}).get("history", [])
        for iteration, point in enumerate(history[len(trial.reports) :], start=len(trial.reports) + 1):
            scores = {key: value for key, value in point.items() if key.startswith("dev/")}
            seconds = round(self._seconds(), 1)
            position = (point["step"], point["rows"], point["tokens"])
            trial = trial.with_report(Report(iteration, *position, seconds, scores, trial.run, trial.sample))
        return trial
