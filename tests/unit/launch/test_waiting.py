"""What is said while a run waits for resources, and when it gives up."""

import pytest

from cluster.launch.resources import ResourcePlan
from cluster.launch.waiting import PendingWatch, Wait
from multitask.errors import UserError

PLAN = ResourcePlan(2, True, {"CPU": 1.0, "GPU": 1.0})
NODE = {"CPU": 8.0, "GPU": 2.0}
BUSY = {"CPU": 6.0, "GPU": 0.0}
ONE_FREE = {"CPU": 7.0, "GPU": 1.0}


def test_busy_gpus_are_waited_for_without_end_and_said_once_a_minute_or_when_they_change() -> None:
    said: list[str] = []
    wait = Wait(PLAN, 10, said.append)
    for now in range(0, 120, 2):
        wait.look([NODE], [BUSY], now)
    line = "waiting for 2 workers with 1 CPU, 1 GPU each: busy, 6 of 8 CPU, 0 of 2 GPU free on 1 node"
    assert said == [line] * 2
    wait.look([NODE], [ONE_FREE], 120)
    assert "1 of 2 GPU free" in said[2]


def test_nodes_that_must_come_are_waited_for_as_long_as_is_configured() -> None:
    said: list[str] = []
    wait = Wait(PLAN, 300, said.append)
    wait.look([], [], 0)
    wait.look([], [], 299)
    assert said[0] == (
        "waiting for nodes: 2 workers with 1 CPU, 1 GPU each asked for, 0 of 0 CPU, 0 of 0 GPU free on 0 nodes "
        "(0 of cluster.wait=300 s)"
    )
    with pytest.raises(UserError, match=r"asks for 2 CPU .* no more came in cluster\.wait=300 seconds"):
        wait.look([], [], 300)


def test_a_node_that_came_and_went_is_waited_for_anew() -> None:
    wait = Wait(PLAN, 300, lambda line: None)
    for nodes, now in (([], 0), ([NODE], 290), ([], 310), ([], 600)):
        wait.look(nodes, nodes, now)
    with pytest.raises(UserError):
        wait.look([], [], 610)


def test_demand_is_said_once_it_has_stood_for_two_looks() -> None:
    said: list[str] = []
    watch = PendingWatch(said.append)
    watch.look({"a": "2 × (1 GPU)"})
    watch.look({"b": "1 × (1 CPU)"})
    assert said == []
    watch.look({"a": "2 × (1 GPU)", "b": "1 × (1 CPU)"})
    assert said == ["waiting for resources: 1 × (1 CPU)"]
