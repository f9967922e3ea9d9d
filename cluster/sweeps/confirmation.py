"""What confirms the winner of a search: which configurations are trained again, beside the recipe, on which fresh seeds."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from typing import Any


@dataclass(frozen=True)
class Finalist:
    """A configuration of the search, or the recipe, which has number 0. `sample`: the values of its active parameters."""

    number: int
    sample: dict[str, Any]


@dataclass(frozen=True)
class Question:
    """By what the finalists were chosen and are compared; see `cluster.analysis.ranking.rank`."""

    by: str
    weights: dict[str, float] = field(default_factory=dict)
    baselines: dict[str, float] = field(default_factory=dict)
    margin: float = 0.0


@dataclass(frozen=True)
class Confirmation:
    """The plan of one confirmation, written down before its first trial.

    `place` counts those of a sweep from 1. `finalists`: the best of the search, without the recipe. `seeds`: all of them
    train with each, and so does the recipe; nothing in the sweep was trained with one of them before. `searched`: how many
    configurations beside the recipe the finalists were chosen from. `test`: after its end, run to the scores on the labelled
    test split; they choose nothing.
    """

    place: int
    question: Question
    recipe: Finalist
    finalists: tuple[Finalist, ...]
    seeds: tuple[int, ...]
    searched: int
    created: float
    test: dict[str, dict[str, float]] = field(default_factory=dict)

    @property
    def everything(self) -> tuple[Finalist, ...]:
        """The recipe, then the finalists, the best of the search first."""
        return (self.recipe, *self.finalists)

    def run(self, sweep: str, number: int, seed: int) -> str:
        """The name of the trial of configuration `number` with `seed`."""
        return f"{sweep}-confirm{self.place}-{number:03d}-s{seed}"

    def runs(self, sweep: str) -> list[str]:
        """The names of all its trials, seed by seed."""
        return [self.run(sweep, one.number, seed) for seed in self.seeds for one in self.everything]

    def with_test(self, test: Mapping[str, dict[str, float]]) -> "Confirmation":
        """With scores on the test split."""
        return replace(self, test={**self.test, **test})

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON values."""
        return asdict(self) | {"finalists": [asdict(one) for one in self.finalists], "seeds": list(self.seeds)}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> "Confirmation":
        """The confirmation that `to_dict` wrote."""
        tree = dict(values)
        tree["question"], tree["recipe"] = Question(**tree["question"]), Finalist(**tree["recipe"])
        tree["finalists"] = tuple(Finalist(**one) for one in tree["finalists"])
        tree["seeds"] = tuple(tree["seeds"])
        return cls(**tree)
