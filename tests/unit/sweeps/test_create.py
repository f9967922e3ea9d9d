"""From what the user says to a sweep: fixed values, names, and sweeps that go on."""

import json
import os
import socket
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

from cluster.storage.fence import LeaseLostError
from cluster.storage.lease import LeaseHeldError
from cluster.storage.storage import Storage
from cluster.sweeps.create import (
    check_name,
    create_sweep,
    open_sweep,
    reopen_sweep,
    with_bounds,
)
from cluster.sweeps.records import Options, Trial
from cluster.sweeps.search import Search, open_search, reopen_search
from cluster.sweeps.store import SweepStore
from multitask.errors import UserError
from tests.builders import tiny_config
from tests.integration.commands import write_recipe
from tests.unit.sweeps.tiny_sweeps import open_tiny

SPACE: dict[str, Any] = {"parameters": {"optimizer.lr": {"loguniform": [1e-6, 1e-3]}}}


@pytest.fixture
def recipe(tmp_path: Path) -> str:
    return str(write_recipe(tmp_path / "tiny.yaml", tiny_config(tmp_path)))


def _store(place: Path, name: str = "s") -> SweepStore:
    return SweepStore(Storage(str(place / name)))


def _draws(search: Search, number: int = 30) -> list[dict[str, Any]]:
    return [search.space.draw(np.random.default_rng(seed)) for seed in range(number)]


@pytest.mark.parametrize("change", ["sampling.name=annealed", "phases.0.sampling.name=annealed"])
def test_change_that_names_a_parameter_or_its_key_fixes_it(recipe: str, change: str) -> None:
    search = open_search(recipe, [change], "default")
    assert search.fixed == {"sampling.name": "annealed"}
    assert "sampling.name" not in search.space.parameters
    samples = _draws(search)
    assert all("sampling.name" not in sample and "sampling.annealed.start" in sample for sample in samples)
    configs = [search.space.config(search.base, sample) for sample in samples]
    assert {config.phases[0].sampling.name for config in configs} == {"annealed"}


def test_value_that_is_fixed_may_be_a_number_outside_of_the_range(recipe: str) -> None:
    search = open_search(recipe, ["optimizer.lr=0.5"], "default")
    assert search.fixed == {"optimizer.lr": 0.5}
    assert {search.space.config(search.base, sample).optimizer.lr for sample in _draws(search)} == {0.5}
    assert search.base.optimizer.lr == 0.5


def test_other_changes_are_the_recipe_s(recipe: str) -> None:
    search = open_search(recipe, ["optimizer.weight_decay=0.25", "seed=9"], "default")
    assert search.fixed == {}
    assert search.base.seed == 9
    for sample in _draws(search, 5):
        assert search.space.config(search.base, sample).optimizer.weight_decay == 0.25


def test_folders_are_absolute_whatever_a_process_s_own(recipe: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(Path(recipe).parent)
    base = open_search(recipe, ["cluster.storage=runs", "data.root=."], "learning_rate").base
    assert base.cluster.storage == str(Path(recipe).parent / "runs")
    assert base.data.root == str(Path(recipe).parent)


@pytest.mark.parametrize("name", ["a", "my-sweep_2.1", "0"])
def test_names_that_can_be_folders(name: str) -> None:
    check_name(name)


@pytest.mark.parametrize("name", ["", "a/b", "..", ".hidden", "-x", "a b", "ä", "a:b", "a\n"])
def test_names_that_cannot_be_folders_are_refused(name: str) -> None:
    with pytest.raises(UserError, match="--name may hold letters"):
        check_name(name)


def test_sweep_goes_on_with_the_recipe_and_space_of_its_beginning(recipe: str, tmp_path: Path) -> None:
    search = open_search(recipe, ["sampling.name=annealed", "seed=4"], "default")
    create_sweep(search, "s", Options(3), _store(tmp_path))
    Path(recipe).write_text("nothing of it", encoding="utf-8")
    again = reopen_search(_store(tmp_path).read())
    assert again.base == search.base
    assert again.fixed == search.fixed
    assert again.space.describe() == search.space.describe()
    assert _draws(again) == _draws(search)


def test_sweep_of_an_older_version_goes_on_under_the_new_names(recipe: str, tmp_path: Path) -> None:
    search = open_search(recipe, [], "learning_rate")
    create_sweep(search, "s", Options(3), _store(tmp_path))
    plan = tmp_path / "s" / "sweep.json"
    old = plan.read_text().replace("rows_per_pass", "rows_per_epoch")
    assert old != plan.read_text()
    plan.write_text(old)
    assert reopen_search(_store(tmp_path).read()).base == search.base


def test_space_that_has_changed_since_is_refused(recipe: str, tmp_path: Path) -> None:
    path = tmp_path / "space.yaml"
    path.write_text(yaml.safe_dump(SPACE), encoding="utf-8")
    create_sweep(open_search(recipe, [], str(path)), "s", Options(3), _store(tmp_path))
    reopen_search(_store(tmp_path).read())
    wider = {"parameters": {"optimizer.lr": {"loguniform": [1e-6, 1e-2]}}}
    path.write_text(yaml.safe_dump(wider), encoding="utf-8")
    with pytest.raises(UserError, match=r"sweep s: the space .*space\.yaml is not what it was.*--name"):
        reopen_search(_store(tmp_path).read())


def test_options_that_cannot_work_leave_no_folder(recipe: str, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="--search"):
        create_sweep(open_search(recipe, [], "learning_rate"), "s", Options(3, search="best"), _store(tmp_path))
    assert not (tmp_path / "s").exists()


def test_same_command_again_goes_on_and_new_begins_another(recipe: str, tmp_path: Path) -> None:
    search, options = open_search(recipe, [], "learning_rate"), Options(3, metrics=("dev/mean",), budget_seconds=60.0)
    place = str(tmp_path / "sweeps")

    def opened(options: Options, *, resume: bool = False, new: bool = False) -> tuple[str, int]:
        found = open_sweep(search, options, "s", place, resume=resume, new=new)
        found.lease.release()
        assert found.store.location.endswith(f"/{found.sweep.name}")
        return found.sweep.name, found.sweep.options.trials

    assert opened(options) == ("s", 3)
    assert opened(options) == ("s", 3)
    assert opened(options, new=True) == ("s-2", 3)
    assert opened(options, new=True) == ("s-3", 3)
    SweepStore(Storage(place).below("s")).write_trial(Trial(0, 0, "recipe", "s-000", {}, attempts=1))
    with pytest.raises(UserError, match=r"--name s: .*another plan; .*--resume.*--new"):
        opened(Options(4))
    assert opened(Options(4), resume=True) == ("s", 3)
    assert opened(Options(4), new=True) == ("s-4", 4)


def test_a_plan_of_which_no_trial_began_may_be_mended_under_its_name(recipe: str, tmp_path: Path) -> None:
    """As after `--workers-per-trial 50`, which the cluster refuses."""
    place, store = str(tmp_path / "sweeps"), SweepStore(Storage(str(tmp_path / "sweeps")).below("s"))
    for workers in (50, 1):
        search = open_search(recipe, [f"cluster.workers={workers}"], "learning_rate")
        open_sweep(search, Options(3), "s", place).lease.release()
        assert store.read().base["cluster"]["workers"] == workers
        store.write_trial(Trial(0, 0, "recipe", "s-000", {}))


def test_a_sweep_that_is_being_opened_or_run_is_left_alone(recipe: str, tmp_path: Path) -> None:
    """Also one of which no trial has begun, whose folder a second start with another plan would empty."""
    search, place = open_search(recipe, [], "learning_rate"), str(tmp_path / "sweeps")
    first = open_sweep(search, Options(3), "s", place)
    before = {path: path.read_bytes() for path in (tmp_path / "sweeps").rglob("*.json")}
    for second in (lambda: open_sweep(search, Options(4), "s", place), lambda: reopen_sweep("s", place)):
        with pytest.raises(
            LeaseHeldError, match=rf"/s is held by process {os.getpid()} on {socket.gethostname()} since"
        ):
            second()
    assert {path: path.read_bytes() for path in (tmp_path / "sweeps").rglob("*.json")} == before
    assert first.store.read().options == Options(3)
    first.lease.release()
    mended = open_sweep(search, Options(4), "s", place)
    with pytest.raises(LeaseLostError, match="no longer owns it"):
        first.store.write_state({"status": "running"})
    mended.store.write_state({"status": "running"})
    assert json.loads((tmp_path / "sweeps/s/state.json").read_text())["attempt"] == mended.lease.fence.attempt
    mended.lease.release()


def test_bounds_of_a_sweep_may_change(recipe: str, tmp_path: Path) -> None:
    sweep = create_sweep(open_search(recipe, [], "learning_rate"), "s", Options(3, keep=2), _store(tmp_path))
    changed = with_bounds(sweep, trials=9, budget_seconds=None, concurrent=1)
    assert changed.options == Options(9, keep=2, concurrent=1)
    assert changed.space == sweep.space


def test_reopened_sweep_has_its_trials_and_the_new_bounds(recipe: str, tmp_path: Path) -> None:
    search, storage = open_search(recipe, ["seed=4"], "learning_rate"), str(tmp_path / "sweeps")
    first = open_sweep(search, Options(3, concurrent=2), "s", storage)
    first.store.write_trial(Trial(0, 0, "recipe", "s-000", {}, "finished"))
    first.lease.release()
    reopened = reopen_sweep("s", storage, trials=9, concurrent=None)
    assert [trial.run for trial in reopened.sweep.trials] == ["s-000"]
    assert reopened.sweep.options == Options(9, concurrent=2)
    assert reopened.search.base == search.base
    with pytest.raises(UserError, match="there is no sweep 't'"):
        reopen_sweep("t", storage)


def test_sweeps_of_one_name_are_groups_of_their_own_and_a_resumed_one_stays_in_its_own(tmp_path: Path) -> None:
    mine, again, theirs = (open_tiny(tmp_path / user) for user in ("me", "me", "colleague"))
    groups = [ledger.config(ledger.trials[0]).tracking.group for ledger in (mine, again, theirs)]
    assert groups[0] == groups[1] == mine.sweep.id
    assert groups[2] not in (groups[0], "s")
