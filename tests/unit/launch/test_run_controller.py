"""What the controller asks of its workers and when, without a Ray."""

import asyncio
from types import SimpleNamespace
from typing import Any

import pytest
from ray.train import ScalingConfig
from ray.train.v2._internal.execution.controller import TrainController

from cluster.launch import run_controller
from cluster.launch.elastic import ElasticPolicy
from cluster.launch.run_controller import RunController
from cluster.training.stop_request import GROWTH, INTERRUPTED, PREEMPTION


@pytest.fixture
def controller(monkeypatch: pytest.MonkeyPatch) -> RunController:
    """A controller of a run on hosts `a` and `b`, which Ray has not started."""
    monkeypatch.setattr(TrainController, "__init__", lambda self, **arguments: None)
    monkeypatch.setattr(TrainController, "_start_worker_group", lambda self, *arguments, **named: None)
    monkeypatch.setattr(run_controller, "draining_nodes", set)
    controller = RunController(callbacks=[])
    workers = [SimpleNamespace(metadata=SimpleNamespace(node_id=node)) for node in ("a", "b")]
    own: Any = controller
    own._worker_group = SimpleNamespace(get_workers=lambda: workers)
    own._scaling_policy = ElasticPolicy(ScalingConfig(num_workers=(1, 3)))
    return controller


def _poll(controller: RunController, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the controller look after its workers once, some time after the last look."""

    async def poll(self: TrainController) -> None:
        return None

    monkeypatch.setattr(TrainController, "_poll_workers", poll)
    controller._looked = float("-inf")
    asyncio.run(controller._poll_workers())


async def _told(controller: RunController) -> str | None:
    """What rank 0 is told of a wish that is there already."""
    try:
        return await asyncio.wait_for(controller.stop_asked(), 0.05)
    except TimeoutError:
        return None


def test_workers_go_on_where_nothing_has_changed(controller: RunController, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(run_controller, "draining_nodes", lambda: {"another host"})
    _poll(controller, monkeypatch)
    assert asyncio.run(_told(controller)) is None


def test_workers_on_a_host_that_leaves_are_asked_to_save(
    controller: RunController, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(run_controller, "draining_nodes", lambda: {"b"})
    _poll(controller, monkeypatch)
    assert asyncio.run(_told(controller)) == PREEMPTION


def test_workers_are_asked_to_save_where_more_have_room(
    controller: RunController, monkeypatch: pytest.MonkeyPatch
) -> None:
    own: Any = controller
    own._scaling_policy.can_grow = True
    _poll(controller, monkeypatch)
    assert asyncio.run(_told(controller)) == GROWTH


def test_new_workers_are_not_asked_again(controller: RunController, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(run_controller, "draining_nodes", lambda: {"b"})
    _poll(controller, monkeypatch)
    controller._start_worker_group(num_workers=2, resources_per_worker={})
    assert asyncio.run(_told(controller)) is None


def test_wish_to_end_outlives_a_restart(controller: RunController, monkeypatch: pytest.MonkeyPatch) -> None:
    """Asked while the workers are saving for another reason: the next ones are told at once."""
    monkeypatch.setattr(run_controller, "draining_nodes", lambda: {"b"})
    _poll(controller, monkeypatch)
    asyncio.run(controller.ask_to_stop(INTERRUPTED))
    controller._start_worker_group(num_workers=2, resources_per_worker={})
    assert asyncio.run(_told(controller)) == INTERRUPTED
