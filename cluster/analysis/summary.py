"""All that is known of a sweep's best trial: the winner, what speaks for it, what to try next."""

from dataclasses import dataclass
from typing import Any

from cluster.analysis.advice import Advice, advise
from cluster.analysis.failures import grouped_failures
from cluster.analysis.importance import Importance, importance_of
from cluster.analysis.ranking import Ranked, Ranking
from cluster.analysis.verdict import Verdict, judge_winner
from cluster.analysis.winner_checkpoints import refits_of


@dataclass(frozen=True)
class SweepSummary:
    """The winner and what speaks for it. `refits`: of the winner. `failures`: reason and runs. `notes`: what else to know."""

    ranking: Ranking
    verdict: Verdict
    importance: Importance
    advice: Advice
    refits: tuple[Ranked, ...]
    failures: list[tuple[str, list[str]]]
    notes: tuple[str, ...]

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON values; `ranking` holds every configuration, the best first."""
        ranking, recipe, second = self.ranking, self.ranking.recipe, self.ranking.runner_up
        return {
            "sweep": ranking.sweep.name,
            "by": ranking.rule.name,
            "about": ranking.rule.about,
            "winner": describe_configuration(ranking, ranking.winner),
            "runner_up": describe_configuration(ranking, second) if second else None,
            "recipe": describe_configuration(ranking, ranking.judge(recipe)) if recipe else None,
            "verdict": self.verdict.to_dict(),
            "importance": self.importance.to_dict(),
            "next": self.advice.to_dict(),
            "refits": [describe_configuration(ranking, entry) for entry in self.refits],
            "baselines": ranking.baselines,
            "front": [scored.trial.run for configuration in ranking.front for scored in configuration.scored_trials],
            "ranking": [describe_configuration(ranking, entry) for entry in ranking.ranked],
            "not_ranked": [
                describe_configuration(ranking, ranking.judge(configuration)) for configuration in ranking.others
            ],
            "failures": [{"reason": reason, "runs": runs} for reason, runs in self.failures],
            "notes": list(self.notes),
        }


def describe_configuration(ranking: Ranking, ranked: Ranked) -> dict[str, Any]:
    """One configuration as plain values: `scores` for every dev score, `score` by the rule.

    The rule's `value` is that of the mean scores; its spread, lowest and highest are over the seeds.
    """
    configuration = ranked.configuration
    seeds = {key: value for key, value in ranked.values.to_dict().items() if key != "mean"}
    return {
        "number": configuration.number,
        "role": configuration.role,
        "runs": [scored.trial.run for scored in configuration.scored_trials],
        "steps": [scored.best.step for scored in configuration.scored_trials],
        "planned_seeds": configuration.planned,
        "mark": configuration.mark,
        "parameters": configuration.sample,
        "score": {"value": ranked.score, **seeds},
        "scores": {name: configuration.reported(name).to_dict() for name in configuration.scores},
    }


def summarise(ranking: Ranking) -> SweepSummary:
    """Judge the winner of `ranking`, and look ahead."""
    importance = _importance(ranking)
    refits = tuple(ranking.judge(configuration) for configuration in refits_of(ranking, ranking.winner.configuration))
    return SweepSummary(
        ranking=ranking,
        verdict=judge_winner(ranking),
        importance=importance,
        advice=advise(ranking, importance),
        refits=refits,
        failures=grouped_failures(ranking.sweep.trials),
        notes=tuple(_notes(ranking)),
    )


def _importance(ranking: Ranking) -> Importance:
    """By the rule's score of each configuration."""
    everything = [*(entry.configuration for entry in ranking.ranked), *ranking.others]
    return importance_of(everything, ranking.sweep, ranking.rule.score)


def _notes(ranking: Ranking) -> list[str]:
    sweep, winner = ranking.sweep, ranking.winner.configuration
    found = []
    if sweep.status == "running":
        found.append("The sweep is still running, or its driver was killed: this is the best so far.")
    if winner.role == "recipe":
        found.append("The winner is the recipe itself: no configuration of the space is better by this rule.")
    if len(winner.scored_trials) < winner.planned:
        found.append(f"{len(winner.scored_trials)} of the winner's {winner.planned} seeds have a score so far.")
    selection = sweep.options.selection
    if ranking.rule.name != selection:
        found.append(f"Each trial is judged by its kept checkpoint, the one with its best {selection}.")
    unfinished = [
        trial.run for trial in sweep.trials if trial.role == "baseline" and trial.reports and trial.status != "finished"
    ]
    if unfinished:
        found.append(f"Not trained to the end: {', '.join(unfinished)}, so that baseline may be too low.")
    return found
