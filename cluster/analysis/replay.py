"""A population's winner is made by several settings, one after another: its refit goes through the same ones."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from cluster.sweeps.records import Generation, Sweep


@dataclass(frozen=True)
class Stretch:
    """A stretch of training: by the settings of the run `run`, which are `sample`, up to `step`; to the end where it is None."""

    run: str
    sample: dict[str, Any]
    step: int | None


def stretches_of(sweep: Sweep, run: str, sample: dict[str, Any]) -> list[Stretch]:
    """What led to the weights of `run`, which went by `sample`, the first stretch first; one alone outside of a population.

    The weights of a generation's donor are themselves a donor's, and so on, back to a trial's first run.
    """
    generations = {own.run: own for trial in sweep.trials for own in trial.generations}
    firsts = {trial.run: trial.sample for trial in sweep.trials}
    found = [Stretch(run, sample, None)]
    while (generation := generations.get(found[0].run)) is not None:
        donor = generations.get(generation.donor)
        settings = donor.sample if donor is not None else firsts[generation.donor]
        found.insert(0, Stretch(generation.donor, settings, generation.step))
    return found


def replayed(stretches: Sequence[Stretch], run: str) -> tuple[Generation, ...]:
    """The generations of a trial called `run` that goes through `stretches`: one for each after the first."""
    names = [run, *(f"{run}-g{number}" for number in range(1, len(stretches)))]
    return tuple(
        Generation(name, 0, before.step or 0, donor, own.sample)
        for name, donor, before, own in zip(names[1:], names, stretches, stretches[1:], strict=False)
    )
