"""Train what confirms the winner of a search, and score it on the labelled test split once nothing is left to choose."""

from collections.abc import Sequence
from dataclasses import replace
from functools import partial

from cluster.analysis.confirmation_plan import has_ended, plan_confirmation
from cluster.analysis.confirmed import Confirmed, judge_confirmation
from cluster.analysis.ranking import Ranking
from cluster.api.show import OnChange, Show, shown_sweep
from cluster.api.test_scores import has_test_files, labelled_test_scores
from cluster.storage.checkpoint import FOLDER
from cluster.sweeps.confirmation import Confirmation, Finalist
from cluster.sweeps.create import open_confirmation
from cluster.sweeps.records import Sweep
from cluster.sweeps.store import SweepStore
from cluster.sweeps.sweep_place import recipe_config


def run_confirmation(
    store: SweepStore, ranking: Ranking, top: int | None, seeds: int | None, show: Show, on_change: OnChange | None
) -> None:
    """Plan a confirmation of the winner of `ranking`, or go on with the one that was begun, and see it through.

    Raises:
        UserError: as `plan_confirmation`, as a sweep, or the test split cannot be read.
    """
    sweep = ranking.sweep
    plan = plan_confirmation(store, ranking, top, seeds)
    if not has_ended(sweep, plan):
        _train(store, plan, show, on_change)
        sweep = store.read()
    confirmed = judge_confirmation(replace(ranking, sweep=sweep), plan)
    if confirmed is not None and confirmed.differences:
        shown = [plan.recipe, confirmed.differences[0].finalist]
        _score_on_test(store, sweep, confirmed, shown)
        _drop_checkpoints(store, sweep, plan, shown)


def _train(store: SweepStore, plan: Confirmation, show: Show, on_change: OnChange | None) -> None:
    from cluster.sweeps.run_sweep import run_sweep
    from cluster.tracking.login import decide_mode
    from cluster.tracking.tracker import trackers

    opened, before = open_confirmation(store.location, plan), store.state()
    mode = decide_mode(opened.search.base.tracking.mode)
    with opened.lease, shown_sweep(show, on_change) as watch:
        run_sweep(opened, watch, partial(trackers, mode=mode))
        if before.get("status") in ("finished", "stopped"):
            # The state is that of the search, which is as far as it was.
            state = opened.store.state()
            opened.store.write_state({**state, "status": before["status"], "reason": before.get("reason")})


def _score_on_test(store: SweepStore, sweep: Sweep, confirmed: Confirmed, shown: Sequence[Finalist]) -> None:
    """Add the test scores of the recipe and of the best finalist to the confirmation, where rows have labels."""
    plan = confirmed.confirmation
    if not has_test_files(recipe_config(sweep)):
        return
    for run in (plan.run(sweep.name, one.number, seed) for one in shown for seed in confirmed.seeds):
        if run not in plan.test:
            plan = plan.with_test({run: labelled_test_scores(store.run(run).location)})
            others = (own for own in sweep.confirmations if own.place != plan.place)
            store.write_confirmations(sorted([*others, plan], key=lambda own: own.place))


def _drop_checkpoints(store: SweepStore, sweep: Sweep, plan: Confirmation, shown: Sequence[Finalist]) -> None:
    """Only the recipe's and the best finalist's are of use from now on."""
    kept = {plan.run(sweep.name, one.number, seed) for one in shown for seed in plan.seeds}
    for run in plan.runs(sweep.name):
        if run not in kept:
            store.run(run).storage.delete_folder(FOLDER)
