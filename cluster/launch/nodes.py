"""The nodes of the connected Ray cluster."""

from collections.abc import Mapping

from multitask.errors import UserError


def live_nodes() -> tuple[list[dict[str, float]], list[dict[str, float]]]:
    """The resources of each node that is alive, and what of them is free."""
    import ray
    from ray._private.state import state

    free = state.available_resources_per_node()
    nodes = [node for node in ray.nodes() if node["Alive"]]
    return [dict(node["Resources"]) for node in nodes], [dict(free.get(node["NodeID"], {})) for node in nodes]


def connected_ray() -> dict[str, str]:
    """What must live of the Ray to which this process is connected, to HOST:PORT."""
    import ray

    context = ray.get_runtime_context()
    node = next(node for node in ray.nodes() if node["NodeID"] == context.get_node_id())
    raylet = f"{node['NodeManagerAddress']}:{node['NodeManagerPort']}"
    return {"Ray's head": context.gcs_address, "the raylet of this host": raylet}


def free_nodes() -> list[dict[str, float]]:
    """What is free on each node that is alive and stays."""
    import ray
    from ray._private.state import state

    free, leaving = state.available_resources_per_node(), draining_nodes()
    staying = [node["NodeID"] for node in ray.nodes() if node["Alive"] and node["NodeID"] not in leaving]
    return [dict(free.get(node, {})) for node in staying]


def draining_nodes() -> set[str]:
    """The ids of the nodes that will be taken away, as a provider of spot machines or `ray drain-node` has announced."""
    from ray._private.state import state

    return set(state.get_draining_nodes())


def driver_nodes(labels: Mapping[str, str], *, can_grow: bool) -> list[dict[str, float]] | None:
    """The resources of the nodes that have all `labels`; None where every node will do, or where theirs may come yet.

    Raises:
        UserError: no node has them, and the cluster cannot grow.
    """
    import ray

    nodes = [node for node in ray.nodes() if node["Alive"]]
    chosen = [dict(node["Resources"]) for node in nodes if labels.items() <= node.get("Labels", {}).items()]
    if labels and not chosen and not can_grow:
        wanted = ", ".join(f"{name}={value}" for name, value in labels.items())
        raise UserError(f"cluster.driver_labels: none of {len(nodes)} nodes has {wanted}")
    return chosen if labels and chosen else None
