"""Population based training (Jaderberg et al. 2017): bad trials go on with the weights of good ones and other settings."""

from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import numpy as np
from ray.tune.schedulers import PopulationBasedTraining

from cluster.sweeps.records import Generation
from cluster.sweeps.schedulers import TakeReport
from cluster.sweeps.trial_actor import CURRENT, ITERATION
from multitask.errors import UserError

if TYPE_CHECKING:
    from cluster.sweeps.trials import TrialLedger
    from tune_spaces import Space

FACTORS = (0.8, 1.25)
RESAMPLED = 0.25
_ATTEMPTS = 20


class Population(PopulationBasedTraining):
    """Tune's scheduler with our donors: weights come from the donor's run folder, settings from the space.

    Tune exploits a donor only when it has a checkpoint of Tune's own, which trials that drive a Train run do not have; ours
    save a note of where their weights are (`TrialRunner.save`).
    """

    def __init__(self, ledger: "TrialLedger", space: "Space", take_report: TakeReport) -> None:
        super().__init__(
            time_attr=ITERATION,
            metric=CURRENT,
            mode="max",
            perturbation_interval=ledger.options.grace,
            # What Tune is told to change; what is changed is the space's affair.
            hyperparam_mutations={"generation": [0]},
            log_config=False,
        )
        self._ledger, self._space, self._take_report = ledger, space, take_report

    def on_trial_add(self, tune_controller: Any, trial: Any) -> None:
        """A trial begins or goes on. Tune refuses searchers here since they would not hear of changes; ours has them in its ledger."""
        super().on_trial_add(SimpleNamespace(search_alg=None), trial)  # type: ignore[arg-type]
        record = self._ledger.trial(trial.config["run"])
        if record.iteration:
            state = self._trial_state[trial]
            state.last_perturbation_time = state.last_train_time = record.iteration

    def on_trial_result(self, tune_controller: Any, trial: Any, result: dict[str, Any]) -> str:
        """Whether the trial goes on as it is."""
        self._take_report(trial.config["run"], result)
        if result[ITERATION] >= self._ledger.trial(trial.config["run"]).planned_iterations:
            return self.CONTINUE
        decision: str = super().on_trial_result(tune_controller, trial, result)
        return decision

    def _exploit(self, tune_controller: Any, trial: Any, trial_to_clone: Any) -> None:
        """The recipe stays what it is: others are compared with it."""
        if self._ledger.trial(trial.config["run"]).role != "recipe":
            super()._exploit(tune_controller, trial, trial_to_clone)

    def _get_new_config(self, trial: Any, trial_to_clone: Any) -> tuple[dict[str, Any], dict[str, Any]]:
        run, donor = trial.config["run"], trial_to_clone.config["run"]
        record, donor_record = self._ledger.trial(run), self._ledger.trial(donor)
        number = len(record.generations) + 1
        generator = np.random.default_rng([self._ledger.options.seed, record.number + 1000, number])
        position = donor_record.position
        assert position is not None, "a donor has been evaluated"
        generation = Generation(
            run=f"{run}-g{number}",
            iteration=position.iteration,
            step=position.step,
            donor=donor_record.current_run,
            sample=self._mutated(donor_record.current_sample, generator),
            rows=position.rows,
            tokens=position.tokens,
        )
        return self._ledger.tune_config(self._ledger.exploit(run, generation)), {}

    def _mutated(self, sample: dict[str, Any], generator: np.random.Generator) -> dict[str, Any]:
        """Another sample near this one that the recipe can be trained with."""
        for _ in range(_ATTEMPTS):
            changed = mutate(self._space, sample, generator)
            try:
                self._ledger.sampled_config(changed)
            except UserError:
                continue
            return changed
        return sample


def mutate(space: "Space", sample: dict[str, Any], generator: np.random.Generator) -> dict[str, Any]:
    """Each number that may change is multiplied by 0.8 or 1.25, within its range, or with probability 1/4 drawn anew; choices are drawn anew."""
    fresh = space.draw(generator)
    changed = dict(sample)
    for name in space.mutable:
        if name not in sample:
            continue
        resample = generator.random() < RESAMPLED
        factor = FACTORS[int(generator.integers(2))]
        parameter = space.parameters[name]
        if parameter.kind == "choice":
            changed[name] = fresh.get(name, sample[name]) if resample else sample[name]
        elif resample and name in fresh:
            changed[name] = fresh[name]
        else:
            value = min(max(sample[name] * factor, parameter.low), parameter.high)
            changed[name] = round(value) if parameter.kind == "int" else value
    return changed
