"""What goes wrong with Ray Tune over Ray Train elsewhere: resources that stay taken, trials that hang, populations that never exploit."""

import os
import signal
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import ray
import yaml
from ray._private.state import state as ray_state

from cluster.launch.launch import ray_cluster
from cluster.storage.storage import Storage
from cluster.sweeps.cleanup import orphaned_placement_groups
from cluster.sweeps.concurrency import plan_concurrency
from cluster.sweeps.create import create_sweep
from cluster.sweeps.driver import run_driver, shared_config
from cluster.sweeps.driver_settings import DriverSettings
from cluster.sweeps.records import Options, Sweep
from cluster.sweeps.search import open_search
from cluster.sweeps.store import SweepStore
from cluster.sweeps.sweep_board import create_sweep_board
from cluster.sweeps.trials import open_ledger
from cluster.tracking.tracker import trackers
from multitask.data import prepare_tables
from tests.builders import tiny_config
from tests.integration.commands import write_recipe

pytestmark = [pytest.mark.ray, pytest.mark.slow]
Watch = Callable[[Sweep], None]


@pytest.fixture(scope="module")
def nodes(folder: Path, tiny_bert: Path) -> Iterator[list[dict[str, float]]]:
    with ray_cluster(_search(folder, tiny_bert).base) as found:
        yield found


def _search(folder: Path, bert: Path, space: dict[str, Any] | None = None, steps: int = 60, cpus: float = 1.0) -> Any:
    settings: dict[str, Any] = {
        "encoder": {"name": str(bert)},
        "phases": [{"sampling": {"name": "round_robin"}, "epochs": 1, "steps_per_epoch": steps}],
        "optimizer": {"name": "adamw", "lr": 3e-3},
        "cluster": {"cpus_per_worker": cpus},
    }
    recipe = write_recipe(folder / "tiny.yaml", tiny_config(folder, **settings))
    space = space or {"parameters": {"optimizer.lr": {"loguniform": [1.0e-9, 1.0e-2]}}}
    (folder / "space.yaml").write_text(yaml.safe_dump(space, sort_keys=False), encoding="utf-8")
    return open_search(str(recipe), [], str(folder / "space.yaml"))


@dataclass
class Ran:
    """A sweep that was driven here, and what was seen of Ray on the way."""

    sweep: Sweep
    reason: str | None
    seen: list[Sweep] = field(default_factory=list)


def _run(name: str, search: Any, nodes: list, options: Options, folder: Path, watch: Watch = lambda sweep: None) -> Ran:
    place = SweepStore(Storage(str(folder / "runs" / name)))
    sweep = create_sweep(search, name, options, place)
    fits = plan_concurrency(search.base.cluster, nodes, options.concurrent)
    board = create_sweep_board()
    ledger = open_ledger(
        place, sweep, search, prepare_tables(search.base), shared_config(board, fits.resources, trackers)
    )
    reason = run_driver(ledger, board, DriverSettings.of(search, options, nodes, fits, watch))
    ray.kill(board)
    return Ran(place.read(), reason)


def _alive() -> list[dict[str, Any]]:
    """Actors of trials; the coordinator is one that Ray Train keeps for the whole job."""
    alive = [actor for actor in ray_state.actor_table(None).values() if actor["State"] == "ALIVE"]
    return [actor for actor in alive if actor["ActorClassName"] != "_AutoscalingCoordinatorActor"]


def _pid_of(kind: str) -> int | None:
    return next((actor["Pid"] for actor in _alive() if kind in actor["ActorClassName"]), None)


def _settles(check: Callable[[], bool], seconds: float = 90) -> bool:
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if check():
            return True
        time.sleep(0.2)
    return False


def _is_all_released(nodes: list[dict[str, float]]) -> bool:
    free = ray.available_resources().get("CPU", 0)
    return free == sum(node["CPU"] for node in nodes) and not _groups() and not _alive()


def _groups() -> list[str]:
    table = ray.util.placement_group_table()
    return [identity for identity, group in table.items() if group["state"] != "REMOVED"]


def test_stopped_trials_release_everything(folder: Path, tiny_bert: Path, nodes: list[dict[str, float]]) -> None:
    points = [{"optimizer.lr": rate} for rate in (1e-9, 2e-9)]
    space = {"parameters": {"optimizer.lr": {"loguniform": [1.0e-9, 1.0e-2]}}, "points": points}
    options = Options(trials=3, scheduler="asha", reduction=2, evaluations=4, concurrent=1)
    ran = _run(
        "stopped",
        _search(folder, tiny_bert, space, steps=200, cpus=sum(n["CPU"] for n in nodes)),
        nodes,
        options,
        folder,
    )
    # Each trial takes the whole cluster, so that the next one could not train if anything were still held.
    assert [trial.status for trial in ran.sweep.trials] == ["finished", "stopped", "stopped"]
    assert _settles(lambda: _is_all_released(nodes)), (_groups(), _alive(), ray.available_resources())


def test_a_killed_controller_leaves_no_placement_group_and_its_trial_goes_on(
    folder: Path, tiny_bert: Path, nodes: list[dict[str, float]]
) -> None:
    killed: list[int] = []

    def watch(sweep: Sweep) -> None:
        if not killed and sweep.trials and sweep.trials[0].reports and (pid := _pid_of("RunController")):
            killed.append(pid)
            os.kill(pid, signal.SIGKILL)

    options = Options(trials=1, evaluations=6, concurrent=1)
    search = _search(folder, tiny_bert, steps=700, cpus=sum(n["CPU"] for n in nodes))
    ran = _run("killed", search, nodes, options, folder, watch)
    assert killed
    assert [trial.status for trial in ran.sweep.trials] == ["finished"]
    assert [report.iteration for report in ran.sweep.trials[0].reports] == [1, 2, 3, 4, 5, 6]
    assert orphaned_placement_groups() == []
    assert _settles(lambda: _is_all_released(nodes)), (_groups(), _alive())


@pytest.mark.long
def test_a_trial_goes_on_when_its_driver_dies(folder: Path, tiny_bert: Path, nodes: list[dict[str, float]]) -> None:
    killed: list[int] = []

    def watch(sweep: Sweep) -> None:
        if not killed and sweep.trials and sweep.trials[0].reports and (pid := _pid_of("Trainable")):
            killed.append(pid)
            os.kill(pid, signal.SIGKILL)

    search = _search(folder, tiny_bert, steps=700)
    ran = _run("driver", search, nodes, Options(trials=1, evaluations=6, concurrent=1), folder, watch)
    assert killed
    assert [trial.status for trial in ran.sweep.trials] == ["finished"]
    assert [report.iteration for report in ran.sweep.trials[0].reports] == [1, 2, 3, 4, 5, 6]
    assert _settles(lambda: _is_all_released(nodes)), (_groups(), _alive())


@pytest.mark.long
def test_a_population_gives_a_bad_trial_the_weights_of_a_good_one(
    folder: Path, tiny_bert: Path, nodes: list[dict[str, float]]
) -> None:
    points = [{"optimizer.lr": rate} for rate in (1e-9, 1e-3, 2e-3)]
    space = {
        "parameters": {"optimizer.lr": {"loguniform": [1.0e-9, 1.0e-2]}},
        "points": points,
        "mutable": ["optimizer.lr"],
    }
    options = Options(trials=4, scheduler="pbt", evaluations=6, grace=2)
    search = _search(folder, tiny_bert, space, steps=1200, cpus=sum(n["CPU"] for n in nodes) / 4)
    ran = _run("population", search, nodes, options, folder)
    bad = ran.sweep.trials[1]
    assert [trial.status for trial in ran.sweep.trials] == ["finished"] * 4
    assert bad.sample == {"optimizer.lr": 1e-9}
    assert bad.generations
    assert bad.generations[0].donor != bad.run
    donor = next(trial for trial in ran.sweep.trials if trial.run == bad.generations[0].donor)
    heir = bad.generations[0]
    own = [report for report in bad.reports if report.run == heir.run]
    # Its first evaluation follows on the donor's last one before, and is its own; what came before was by its first settings.
    assert own[0].iteration == heir.iteration + 1
    assert own[0].scores != next(report for report in donor.reports if report.iteration == own[0].iteration).scores
    assert own[0].sample == heir.sample != bad.sample
    assert {report.run for report in bad.reports} == {bad.run, *(generation.run for generation in bad.generations)}
    assert heir.rows == next(report.rows for report in donor.reports if report.iteration == heir.iteration)
    assert _settles(lambda: _is_all_released(nodes)), (_groups(), _alive())


@pytest.mark.long
def test_the_same_seed_gives_the_same_trials(folder: Path, tiny_bert: Path, nodes: list[dict[str, float]]) -> None:
    options = Options(trials=2, evaluations=1, concurrent=1, seed=5)
    search = _search(folder, tiny_bert, steps=10)
    first, second = (_run(name, search, nodes, options, folder).sweep.trials for name in ("once", "again"))
    assert [trial.sample for trial in first] == [trial.sample for trial in second]
    assert [trial.reports[-1].scores for trial in first] == [trial.reports[-1].scores for trial in second]
