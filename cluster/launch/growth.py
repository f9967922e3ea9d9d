"""What an autoscaler can add to a Ray cluster."""

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

# Set by `ray up`, KubeRay and the autoscaler itself on the nodes that they start.
NODE_GROUP = "ray.io/node-group"
# What Ray's monitor calls the nodes of a cluster that it only watches.
_WATCHED = "node_"
_UNBOUNDED = 1000


@dataclass(frozen=True)
class Growth:
    """`nodes`: the resources of each node that can still come; `is_open`: others can come, whose resources are not told."""

    nodes: tuple[Mapping[str, float], ...] = ()
    is_open: bool = False

    def __bool__(self) -> bool:
        return self.is_open or bool(self.nodes)


FIXED = Growth()


def read_growth() -> Growth:
    """What can be added to the connected cluster: by its autoscaler's node groups where it tells them."""
    import ray
    from ray._private.state import state
    from ray.experimental.internal_kv import _internal_kv_get

    nodes = [node for node in ray.nodes() if node["Alive"]]
    config = state.get_cluster_config()
    groups = list(config.node_group_configs) if config is not None else []
    if groups:
        return growth_of_groups(groups, [node.get("Labels", {}).get(NODE_GROUP) for node in nodes])
    report = _internal_kv_get("__autoscaling_status")
    return Growth(is_open=is_scaled(nodes, json.loads(report) if report else {}))


def growth_of_groups(groups: Iterable[Any], alive: Iterable[str | None]) -> Growth:
    """Growth by `groups`, each with `name`, `resources` and `max_count` (−1: no bound), of which `alive` names the nodes there."""
    there = list(alive)
    nodes: list[Mapping[str, float]] = []
    for group in groups:
        most = group.max_count if 0 <= group.max_count < _UNBOUNDED else _UNBOUNDED
        nodes += [dict(group.resources)] * max(0, most - there.count(group.name))
    return Growth(tuple(nodes))


def is_scaled(nodes: Iterable[Mapping[str, Any]], status: Mapping[str, Any]) -> bool:
    """Whether an autoscaler started one of `nodes`, or reports node types of its own in `status`, as Ray's monitor writes it."""
    if any(NODE_GROUP in node.get("Labels", {}) for node in nodes):
        return True
    report = status.get("autoscaler_report") or {}
    kinds = [*report.get("active_nodes", {}), *report.get("pending_launches", {})]
    return any(not kind.startswith(_WATCHED) for kind in kinds)
