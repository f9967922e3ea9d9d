"""The trials of a confirmation: trained by the driver, seed by seed, in the sweep's folder, and told to no sampler."""

from dataclasses import replace
from pathlib import Path

import pytest

from cluster.sweeps.confirmation import Confirmation, Finalist, Question
from cluster.sweeps.confirmation_ledger import ConfirmationLedger, open_confirmation_ledger
from cluster.sweeps.create import confirmation_options
from cluster.sweeps.search import reopen_search
from cluster.sweeps.store import SweepStore
from cluster.sweeps.trials import TrialLedger
from tests.unit.sweeps.tiny_sweeps import TABLES, open_tiny, reported

SEEDS = (101, 102)


@pytest.fixture
def search(tmp_path: Path) -> TrialLedger:
    """A search that has ended, stopped early and over its budget."""
    ledger = open_tiny(tmp_path, "learning_rate", trials=3, scheduler="asha", budget_seconds=1.0, budget_tokens=1)
    for own in iter(ledger.next, None):
        reported(ledger, own, 0.5 + 0.1 * own.number)
        ledger.end(own.run, "stopped" if own.number else "finished", None)
    return ledger


def _open(search: TrialLedger) -> ConfirmationLedger:
    """The ledger of a confirmation of configuration 2, as a driver opens it."""
    store: SweepStore = search.store
    sweep = store.read()
    chosen = Finalist(2, search.trial("s-002").sample)
    recipe = Finalist(0, search.trial("s-000").sample)
    plan = Confirmation(1, Question("dev/mean"), recipe, (chosen,), SEEDS, 2, 0.0)
    store.write_confirmations([plan])
    planned = replace(sweep, options=confirmation_options(sweep.options, plan), confirmations=(plan,))
    return open_confirmation_ledger(store, planned, reopen_search(sweep), TABLES, {"board": []})


def test_all_train_on_the_same_fresh_seeds_to_their_end(search: TrialLedger) -> None:
    ledger = _open(search)
    trials = list(iter(ledger.next, None))
    assert [(own.number, own.repeat) for own in trials] == [(0, 0), (2, 0), (0, 1), (2, 1)]
    assert {own.role for own in trials} == {"confirm"}
    configs = [ledger.config(own) for own in trials]
    assert [config.seed for config in configs] == [101, 101, 102, 102]
    assert [config.name for config in configs] == [own.run for own in trials]
    for own, config in zip(trials, configs, strict=True):
        searched = search.config(search.trial(f"s-{own.number:03d}"))
        moved = searched.model_copy(update={"seed": config.seed, "name": config.name, "tracking": config.tracking})
        assert config == moved
        assert (config.tracking.job_type, own.planned_rows) == ("confirm", search.trial("s-000").planned_rows)
    options = ledger.options
    assert (options.scheduler, options.budget_seconds, options.budget_tokens, options.keep) == ("fifo", None, None, 4)


def test_the_time_that_is_shown_is_its_own(search: TrialLedger) -> None:
    search.store.write_state({"status": "finished", "elapsed": 5000.0})
    assert _open(search).snapshot("running", 5030.0).elapsed == 30


def test_it_goes_on_where_it_was_cut_off(search: TrialLedger) -> None:
    ledger = _open(search)
    first, second = ledger.next(), ledger.next()
    assert first is not None
    assert second is not None
    ledger.end(reported(ledger, first, 0.6).run, "finished", None)
    again = _open(search)
    assert [own.run for own in iter(again.next, None)] == [own.run for own in ledger.trials if own.run != first.run]
    assert again.trial(first.run).reports[0].scores["dev/mean"] == 0.6


def test_the_search_knows_nothing_of_it(search: TrialLedger) -> None:
    before, options = search.trials, search.store.read().options
    ledger = _open(search)
    for own in iter(ledger.next, None):
        ledger.end(reported(ledger, own, 0.99).run, "finished", None)
    again = open_tiny(Path(search.store.location).parent, "learning_rate")
    assert again.trials == before
    assert again.next() is None
    assert search.store.read().options == options
    assert len(search.store.read().trials) == len(before) + 4


def test_a_folder_of_an_older_version_has_no_confirmation_and_no_tries(search: TrialLedger) -> None:
    plan = search.store._read("sweep.json")
    del plan["tries"]
    search.store._write("sweep.json", plan)
    sweep = search.store.read()
    assert (sweep.confirmations, sweep.tries) == ((), ())
