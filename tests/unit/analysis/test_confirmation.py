"""The winner of a search is provisional until fresh seeds have confirmed it against the recipe."""

import io
import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from rich.console import Console

from cluster.analysis.confirmation_plan import plan_confirmation
from cluster.analysis.confirmed import confirmation_of
from cluster.analysis.dunnett import critical_value
from cluster.analysis.ranking import rank
from cluster.analysis.summary import summarise
from cluster.analysis.verdict import judge_winner
from cluster.analysis.winner_checkpoints import confirmed_winner
from cluster.storage.checkpoint import PREDICTIONS
from cluster.storage.dev_predictions import TaskPredictions, encode_dev_predictions
from cluster.sweeps.confirmation import Confirmation
from cluster.sweeps.store import SweepStore
from cluster.terminal.best_display import show_summary
from multitask.config import parse_config
from multitask.errors import UserError
from tests.unit.analysis.sweeps import scores, sweep, trial, write

SEARCH = [trial(n, scores(own, own, own)) for n, own in enumerate((0.5, 0.56, 0.58, 0.54))]
NOISE = (0.0, 0.01, -0.01, 0.005, -0.005)


@pytest.fixture
def store(tmp_path: Path) -> SweepStore:
    """A search of four configurations with one seed each: 2 leads, then 1 and 3, and the recipe is the last."""
    found = write(sweep(SEARCH), str(tmp_path))
    found.write_plan(replace(found.read(), location=found.location))
    return found


def _confirm(
    store: SweepStore, means: Mapping[int, float], top: int = 2, seeds: int = 5, **rank_by: Any
) -> Confirmation:
    """A confirmation that has ended with these means, each configuration with `NOISE` in its own order."""
    plan = plan_confirmation(store, rank(store.read(), **rank_by), top, seeds)
    store.write_confirmations([*(own for own in store.read().confirmations if own.place != plan.place), plan])
    for place, one in enumerate(plan.everything):
        for repeat, seed in enumerate(plan.seeds):
            own = means[one.number] + NOISE[(repeat + 2 * place) % len(NOISE)]
            run = plan.run("s", one.number, seed)
            store.write_trial(
                trial(one.number, scores(own, own, own), repeat=repeat, role="confirm", run=run, sample=one.sample)
            )
    return plan


def test_a_search_alone_is_provisional_and_names_the_command_that_confirms(store: SweepStore) -> None:
    verdict = judge_winner(rank(store.read()))
    assert (verdict.status, verdict.confirmed) == ("provisional", None)
    assert verdict.gap == pytest.approx(0.02)
    assert verdict.command == f"concord best {store.location} --confirm"
    assert verdict.words.startswith("Provisional: s-002 is the best of 4 ")
    assert f"`{verdict.command}` trains the best 3 and the recipe with 5 fresh seeds each" in verdict.words
    several = [trial(n, scores(own, own, own), repeat=r) for n, own in enumerate((0.5, 0.7)) for r in range(3)]
    assert judge_winner(rank(sweep(several))).status == "provisional"
    alone = judge_winner(rank(sweep(SEARCH[:1])))
    assert (alone.gap, alone.command, alone.words) == (None, None, "There is no other configuration to compare with.")


def test_the_command_asks_by_the_same_rule(store: SweepStore) -> None:
    ranking = rank(store.read(), "weighted", {"sst": 3.0})
    assert judge_winner(ranking).command == f"concord best {store.location} --by weighted --weight sst=3 --confirm"
    worst = rank(store.read(), "no-worse", None, {"sst": 0.5, "quora": 0.5, "sts": 0.5}, 0.01)
    assert str(judge_winner(worst).command).endswith(
        "--by no-worse --baseline sst=0.5 --baseline quora=0.5 --baseline sts=0.5 --margin 0.01 --confirm"
    )


def test_the_plan_takes_the_best_and_the_recipe_and_seeds_that_nothing_had(store: SweepStore) -> None:
    store.write_trial(trial(2, scores(0.45, 0.45, 0.45), repeat=1))
    plan = plan_confirmation(store, rank(store.read()))
    first = store.read().base["seed"]
    assert plan.recipe.number == 0
    assert [one.number for one in plan.finalists] == [1, 3, 2]
    assert (plan.seeds, plan.searched, plan.place) == (tuple(range(first + 2, first + 7)), 3, 1)
    store.write_confirmations([plan])
    assert store.read().confirmations == (plan,)
    assert json.loads(store.storage.read("confirmations.json"))["confirmations"][0]["seeds"] == list(plan.seeds)


def test_fresh_seeds_are_those_of_no_refit(store: SweepStore, tmp_path: Path) -> None:
    refit = trial(4, scores(0.6, 0.6, 0.6), role="refit", run="s-refit-0")
    store.write_trial(refit)
    base = parse_config(store.read().base, "test")
    store.run(refit.run).start(base.model_copy(update={"name": refit.run, "seed": base.seed + 1}))
    assert plan_confirmation(store, rank(store.read()), 1, 2).seeds == (base.seed + 2, base.seed + 3)


def test_an_interval_is_dunnetts_over_the_seeds(store: SweepStore) -> None:
    plan = _confirm(store, {0: 0.5, 1: 0.56, 2: 0.5})
    verdict = judge_winner(rank(store.read()))
    assert verdict.confirmed is not None
    best, other = verdict.confirmed.differences
    table = np.array([[0.5 + 0.01 * 0 + NOISE[(r + 2 * p) % 5] for r in range(5)] for p in range(3)])
    table[2] += 0.06  # the finalists are 2 and 1, in the order of the search
    residual = table - table.mean(1, keepdims=True) - table.mean(0) + table.mean()
    pooled = np.sqrt(2 * (residual**2).sum() / (2 * 4) / 5)
    own = (table[2] - table[0]).std(ddof=1) / np.sqrt(5)
    half = critical_value(2, 8, 0.95) * max(pooled, own)
    assert (best.finalist.number, best.mean) == (1, pytest.approx(0.06))
    assert (best.low, best.high) == (pytest.approx(0.06 - half), pytest.approx(0.06 + half))
    assert (best.is_better, other.is_better) == (True, False)
    assert (best.rows_low, verdict.confirmed.rows) == (None, f"the predictions of {plan.runs('s')[0]} are not kept")
    assert (verdict.status, verdict.command) == ("better", None)
    assert verdict.words.startswith(
        "Confirmed: s-001 is better than the recipe by 0.0600 in dev/mean, 95 % interval +0.0"
    )
    assert "over 5 fresh seeds, for 2 comparisons at once" in verdict.words


def test_what_is_not_shown_is_said_so(store: SweepStore) -> None:
    _confirm(store, {0: 0.5, 1: 0.501, 2: 0.499})
    verdict = judge_winner(rank(store.read()))
    assert verdict.status == "not shown"
    assert "none is shown to be better than the recipe" in verdict.words
    assert "they may be equal" in verdict.words
    assert confirmed_winner(rank(store.read())).number == 1


def test_the_winner_is_who_leads_over_the_fresh_seeds_be_it_the_recipe(store: SweepStore) -> None:
    assert confirmed_winner(rank(store.read())).number == 2
    _confirm(store, {0: 0.5, 1: 0.45, 2: 0.46})
    assert confirmed_winner(rank(store.read())).number == 0


def test_nothing_is_said_before_the_last_trial_has_ended(store: SweepStore) -> None:
    plan = _confirm(store, {0: 0.5, 1: 0.9, 2: 0.9})
    last = next(own for own in store.read().trials if own.run == plan.runs("s")[-1])
    store.write_trial(replace(last, status="waiting"))
    verdict = judge_winner(rank(store.read()))
    assert (verdict.status, verdict.confirmed) == ("provisional", None)
    assert "s-002 is being confirmed, 14 of 15 trials have ended" in verdict.words
    with pytest.raises(UserError, match="by dev/mean with 5 seeds has begun and not ended"):
        plan_confirmation(store, rank(store.read()), None, 7)
    with pytest.raises(UserError, match="has begun and not ended"):
        plan_confirmation(store, rank(store.read(), "course"))
    assert plan_confirmation(store, rank(store.read())) == plan


def test_one_that_failed_is_left_out_and_still_counts(store: SweepStore) -> None:
    plan = _confirm(store, {0: 0.5, 1: 0.6, 2: 0.6})
    run = plan.run("s", 2, plan.seeds[1])
    failed = next(own for own in store.read().trials if own.run == run)
    store.write_trial(replace(failed, status="failed"))
    verdict = judge_winner(rank(store.read()))
    assert verdict.confirmed is not None
    assert [own.finalist.number for own in verdict.confirmed.differences] == [1]
    assert verdict.words.endswith(f"Left out, since it failed: {run}.")
    assert "for 2 comparisons at once" in verdict.words
    for own in (own for own in store.read().trials if own.role == "confirm" and own.number):
        store.write_trial(replace(own, status="failed"))
    assert "what is left cannot be compared" in judge_winner(rank(store.read())).words


def test_a_seed_on_which_the_recipe_failed_is_left_out_for_all(store: SweepStore) -> None:
    plan = _confirm(store, {0: 0.5, 1: 0.6, 2: 0.6})
    own = next(own for own in store.read().trials if own.run == plan.run("s", 0, plan.seeds[0]))
    store.write_trial(replace(own, status="failed"))
    confirmed = judge_winner(rank(store.read())).confirmed
    assert confirmed is not None
    assert confirmed.seeds == plan.seeds[1:]
    assert [len(one.score.each) for one in confirmed.differences] == [4, 4]


def test_each_further_confirmation_has_half_the_risk_and_seeds_of_its_own(store: SweepStore) -> None:
    first = _confirm(store, {0: 0.5, 1: 0.501, 2: 0.499})
    assert plan_confirmation(store, rank(store.read()), 2, 5) == plan_confirmation(store, rank(store.read())) == first
    second = _confirm(store, {0: 0.5, 1: 0.6, 2: 0.5}, seeds=4)
    assert not set(first.seeds) & set(second.seeds)
    confirmed = judge_winner(rank(store.read())).confirmed
    assert confirmed is not None
    assert (confirmed.level, confirmed.seeds) == (0.975, second.seeds)


def test_who_leads_since_the_last_confirmation_is_provisional_again(store: SweepStore) -> None:
    _confirm(store, {0: 0.5, 1: 0.6, 2: 0.5})
    store.write_trial(trial(4, scores(0.7, 0.7, 0.7)))
    verdict = judge_winner(rank(store.read()))
    assert verdict.status == "provisional"
    assert "s-004 has taken the lead since the last confirmation" in verdict.words
    assert verdict.confirmed is not None
    assert confirmation_of(rank(store.read(), "course")) is None
    assert judge_winner(rank(store.read(), "course")).status == "provisional"


def _write_rows(store: SweepStore, plan: Confirmation, rights: Mapping[int, float], rows: int) -> None:
    """Predictions of the three tasks, of which a share of rows is right; the same rows go wrong first in each."""
    generator = np.random.default_rng(0)
    hard = generator.permutation(rows) / rows
    labels, numbers = generator.integers(2, size=rows).astype(float), generator.uniform(0, 5, size=rows)
    for one in plan.everything:
        wrong = hard >= rights[one.number]
        classes, values = np.where(wrong, 1 - labels, labels), np.where(wrong, 5 - numbers, numbers)
        tasks = {task: TaskPredictions(labels, classes) for task in ("sst", "quora")}
        tasks |= {"sts": TaskPredictions(numbers, values)}
        for seed in plan.seeds:
            run = store.run(plan.run("s", one.number, seed))
            run.storage.write(PREDICTIONS, encode_dev_predictions(10, tasks))


@pytest.mark.parametrize(("rows", "enough"), [(60, False), (6000, True)])
def test_dev_rows_have_a_sampling_error_of_their_own(store: SweepStore, rows: int, enough: bool) -> None:
    plan = _confirm(store, {0: 0.5, 1: 0.56, 2: 0.5})
    _write_rows(store, plan, {0: 0.80, 1: 0.84, 2: 0.80}, rows)
    verdict = judge_winner(rank(store.read(), "dev/mean"))
    assert verdict.confirmed is not None
    best = verdict.confirmed.differences[0]
    assert best.is_better_over_seeds
    assert best.rows_low is not None
    assert (best.rows_low > 0, best.is_better) == (enough, enough)
    assert verdict.status == ("better" if enough else "not shown")
    assert ("too few to say so of others" in verdict.words) is not enough


def test_the_row_interval_of_an_accuracy_is_bonferronis_paired_one(store: SweepStore) -> None:
    plan = _confirm(store, {0: 0.5, 1: 0.56, 2: 0.5}, by="dev/sst/accuracy")
    _write_rows(store, plan, {0: 0.80, 1: 0.84, 2: 0.80}, 1000)
    confirmed = judge_winner(rank(store.read(), "dev/sst/accuracy")).confirmed
    assert confirmed is not None
    best = confirmed.differences[0]
    assert best.rows_low is not None
    # A share of .04 of the rows is right in one alone; three configurations were searched: z of 1 − .05 / 6.
    error = np.sqrt(0.04 * 0.96 / 1000)
    assert best.mean - best.rows_low == pytest.approx(2.394 * error, rel=0.08)


def test_predictions_of_other_rows_give_no_interval(store: SweepStore) -> None:
    plan = _confirm(store, {0: 0.5, 1: 0.56, 2: 0.5})
    _write_rows(store, plan, {0: 0.8, 1: 0.84, 2: 0.8}, 60)
    run = store.run(plan.runs("s")[0])
    other = {"sst": TaskPredictions(np.ones(3), np.ones(3))}
    run.storage.write(PREDICTIONS, encode_dev_predictions(10, other))
    confirmed = judge_winner(rank(store.read())).confirmed
    assert confirmed is not None
    assert confirmed.rows == "the configurations were not scored on the same dev rows"
    run.storage.write("dev_predictions.safetensors", b"torn")
    confirmed = judge_winner(rank(store.read())).confirmed
    assert confirmed is not None
    assert confirmed.rows == f"the predictions of {plan.runs('s')[0]} are not kept"


def _shown(store: SweepStore) -> list[str]:
    console = Console(file=io.StringIO(), width=80)
    show_summary(summarise(rank(store.read())), console)
    return console.file.getvalue().splitlines()  # type: ignore[attr-defined, no-any-return]


def test_screen_and_json_show_differences_intervals_and_test_scores(store: SweepStore) -> None:
    assert any(line.startswith("Winner so far: s-002") for line in _shown(store))
    plan = _confirm(store, {0: 0.5, 1: 0.56, 2: 0.5})
    _write_rows(store, plan, {0: 0.80, 1: 0.84, 2: 0.80}, 6000)
    test = {plan.run("s", n, seed): {"test/mean": 0.4 + 0.1 * n} for n in (0, 1) for seed in plan.seeds}
    store.write_confirmations([plan.with_test(test)])
    lines = _shown(store)
    assert max(map(len, lines)) <= 80
    assert any(line.startswith("Winner of the search: s-002") for line in lines)
    row = next(line for line in lines if line.split()[:1] == ["001"] and "…" in line)
    assert row.split()[1:3] == ["0.5600", "+0.0600"]
    assert row.split()[-1] == "better"
    assert any(line.split() == ["mean", "0.4000", "0.5000"] for line in lines)
    assert "Test scores took part in no choice." in lines
    told = summarise(rank(store.read())).to_dict()["verdict"]
    assert json.loads(json.dumps(told)) == told
    assert (told["status"], told["confirmed"]["leader"]) == ("better", 1)
    assert told["confirmed"]["differences"][0]["better"] is True
    assert told["confirmed"]["test"] == test


@pytest.mark.parametrize(
    ("options", "message"),
    [({"top": 0}, "--top must be at least 1"), ({"seeds": 1}, "--seeds must be at least 2")],
)
def test_numbers_that_make_no_sense_are_refused(store: SweepStore, options: dict[str, int], message: str) -> None:
    with pytest.raises(UserError, match=message):
        plan_confirmation(store, rank(store.read()), **options)


def test_the_recipe_alone_has_nothing_to_confirm(tmp_path: Path) -> None:
    store = write(sweep(SEARCH[:1]), str(tmp_path))
    with pytest.raises(UserError, match="no configuration with a score beside the recipe"):
        plan_confirmation(store, rank(store.read()))
