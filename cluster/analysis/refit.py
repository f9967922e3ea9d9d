"""The winner's config trained again: with other seeds, longer, or both."""

import itertools
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

from cluster.analysis.configurations import configurations
from cluster.analysis.ranking import Ranked, Ranking
from cluster.analysis.replay import Stretch, replayed, stretches_of
from cluster.storage.lease_record import Launch
from cluster.sweeps.records import Generation, Trial
from cluster.sweeps.run_history import with_history
from cluster.sweeps.store import TRIALS, SweepStore
from cluster.sweeps.trial_checkpoints import take_over_checkpoints
from cluster.training.observer import Observer, Outcome, RunInfo
from multitask.config import RunConfig, override_config, parse_config
from multitask.errors import UserError

Train = Callable[[RunConfig, Observer], Outcome]


@dataclass(frozen=True)
class RefitPlan:
    """A trial to train, with its config; of a population's winner `before` are those of the stretches before the last.

    `generations`: one for each config after the first, which goes on with the weights of the one before.
    """

    trial: Trial
    config: RunConfig
    before: tuple[RunConfig, ...] = ()
    generations: tuple[Generation, ...] = ()


def plan_refits(
    store: SweepStore, ranking: Ranking, seeds: int, epochs_factor: float, overrides: Sequence[str] = ()
) -> list[RefitPlan]:
    """One refit of the winner for each of `seeds` seeds that its own trials did not have, with so many times its epochs.

    A refit that an earlier call began is planned again under its name, so that its run goes on or is found finished. That of a
    population's winner goes through the settings that led to it, each as far as they did.

    Raises:
        UserError: an option is out of range, or the run folder of the winner or of one of its donors is gone.
    """
    if seeds < 1:
        raise UserError(f"--seeds must be at least 1, got {seeds}")
    winner = ranking.winner.configuration
    stretches = stretches_of(ranking.sweep, winner.scored_trials[0].run, winner.sample)
    if len(stretches) > 1 and epochs_factor != 1:
        raise UserError("--epochs-factor: the winner's settings changed on its way, and are gone through as they were")
    configs = [override_config(_longer(_config(store, stretch.run), epochs_factor), overrides) for stretch in stretches]
    used = {
        past.seed for past in (_config_in(store, scored.run) for scored in winner.scored_trials) if past is not None
    }
    free = (seed for seed in range(min(used) + 1, 2**31) if seed not in used)
    wanted = [
        [
            _refit_config(store, ranking, config, seed, stretch.step)
            for config, stretch in zip(configs, stretches, strict=True)
        ]
        for seed in itertools.islice(free, seeds)
    ]
    return _name(store, ranking, wanted, stretches)


def _config(store: SweepStore, run: str) -> RunConfig:
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


def _refit_config(
    store: SweepStore, ranking: Ranking, config: RunConfig, seed: int, stop_after: int | None
) -> RunConfig:
    tree = config.to_dict()
    tree["seed"] = seed
    tree["training"]["stop_after"] = stop_after
    tree["cluster"] |= {"storage": store.storage.place(TRIALS)}
    tree["tracking"] |= {"group": ranking.sweep.group, "job_type": "refit"}
    return parse_config(tree, "refit")


def _name(
    store: SweepStore, ranking: Ranking, wanted: list[list[RunConfig]], stretches: Sequence[Stretch]
) -> list[RefitPlan]:
    """Give each seed's configs the trial that was begun for them, or a new one; those of one call share their number."""
    winner = stretches[-1].run
    begun = [trial for trial in ranking.sweep.trials if trial.role == "refit" and trial.winner in (None, winner)]
    configs = {trial.run: _config_in(store, trial.run) for trial in begun}
    by_trajectory = {found.trajectory_hash(): trial for trial in begun if (found := configs[trial.run]) is not None}
    matched = [by_trajectory.get(own[0].trajectory_hash()) for own in wanted]
    numbers = [trial.number for trial in ranking.sweep.trials]
    number = next((trial.number for trial in matched if trial), max(*numbers, ranking.sweep.options.trials - 1) + 1)
    # One that was killed before its run folder had a config is as good as new.
    refits = (trial.run for trial in ranking.sweep.trials if trial.role == "refit")
    taken = {run for run in refits if store.run(run).storage.exists("config.yaml")}
    fresh = (name for place in range(2**31) if (name := f"{ranking.sweep.name}-refit-{place}") not in taken)
    plans = []
    for repeat, (own, trial) in enumerate(zip(wanted, matched, strict=True)):
        trial = trial or Trial(number, repeat, "refit", next(fresh), stretches[0].sample, winner=winner)
        generations = replayed(stretches, trial.run)
        names = [trial.run, *(generation.run for generation in generations)]
        *before, last = (config.model_copy(update={"name": name}) for config, name in zip(own, names, strict=True))
        plans.append(RefitPlan(trial, last, tuple(before), generations))
    return plans


def run_refit(store: SweepStore, plan: RefitPlan, display: Observer, train: Train) -> Trial:
    """Train `plan` from where its run folder stands, with its record beside it; one that has finished is left as it is.

    Raises:
        KeyboardInterrupt: it was interrupted, and goes on the next time.
        UserError: as training does.
    """
    if plan.trial.status == "finished":
        return plan.trial
    keeper = _RecordKeeper(store, plan.trial, display)
    configs = (*plan.before, plan.config)
    first = max((place for place, config in enumerate(configs) if store.run(config.name).has_begun), default=0)
    for place in range(first, len(configs)):
        if place:
            before = configs[place - 1].name
            take_over_checkpoints(configs[place], before, before, Launch.here())
            keeper.go_on(plan.generations[place - 1])
        outcome = train(configs[place], keeper)
        if outcome.status == "interrupted":
            raise KeyboardInterrupt  # and none of the other seeds
        if outcome.status == "failed":
            return keeper.end("failed", outcome.error)
    return keeper.end("finished", outcome.error)


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
            self._trial = self._with_history()
            self._store.write_trial(self._trial)

    def finish(self, outcome: Outcome) -> None:
        self._display.finish(outcome)

    def go_on(self, generation: Generation) -> None:
        """The next stretch begins, with the weights of the one before."""
        if generation.run != self._trial.current_run:
            # A report comes before its evaluation is written; the stretch has ended, so all of them are.
            self._trial = self._with_history()
            self._trial = replace(self._trial, generations=(*self._trial.generations, generation))
        self._store.write_trial(self._trial)

    def end(self, status: Any, reason: str | None) -> Trial:
        """Write the last record."""
        ended = replace(self._with_history(), status=status, reason=reason, ended=time.time())
        self._store.write_trial(ended)
        return ended

    def _seconds(self) -> float:
        return self._before + time.time() - self._began

    def _with_history(self) -> Trial:
        """With all evaluations that the run folder knows of, also of an attempt that was killed before it could write them."""
        trial = replace(self._trial, seconds=round(self._seconds(), 1))
        return with_history(trial, self._store.run(trial.current_run))
