"""An idle process beside each worker, with all imports done: whoever takes the place of a lost worker begins at once.

Ray tears all workers of a run down when one is lost, and most of what a new one needs is Python's imports. Ray gives a new actor an
idle process that was started for the same job and the same environment, and starts such processes when it is asked.
"""

import importlib
import os
from contextlib import suppress
from typing import Any, cast

import grpc  # type: ignore[import-untyped]
import ray
from ray._private.grpc_utils import init_grpc_channel
from ray._private.ray_constants import WORKER_PROCESS_SETUP_HOOK_ENV_VAR
from ray.core.generated import common_pb2, node_manager_pb2, node_manager_pb2_grpc, runtime_environment_pb2

# For so long the process may wait; it ends with its job in any case.
_KEEP_S = 30 * 24 * 3600
_ANSWER_S = 10.0


def worker_environment(*, use_gpu: bool) -> dict[str, str]:
    """The variables with which Ray starts a worker's process, so that it imports what trains before it is needed.

    A hook of the user's own job is left alone.
    """
    if WORKER_PROCESS_SETUP_HOOK_ENV_VAR in os.environ:
        return {}
    hook = {WORKER_PROCESS_SETUP_HOOK_ENV_VAR: f"{__name__}.{import_training.__name__}"}
    return hook if use_gpu else hook | {"DS_ACCELERATOR": "cpu"}


def import_training() -> None:
    """Import what a worker trains with. DeepSpeed looks for GPUs, which a process has only once it is a worker's."""
    importlib.import_module("cluster.launch.ray_session")
    if os.environ.get("DS_ACCELERATOR") == "cpu":
        from cluster.zero.engine import import_deepspeed

        import_deepspeed()


def keep_spare() -> None:
    """Have this host's raylet keep one idle process in which a worker like this one can begin; without it, one begins later."""
    context = ray.get_runtime_context()
    node = next(node for node in ray.nodes() if node["NodeID"] == context.get_node_id())
    kinds: Any = node_manager_pb2
    environment = cast(Any, runtime_environment_pb2).RuntimeEnvInfo(
        serialized_runtime_env=context.get_runtime_env_string()
    )
    request = kinds.PrestartWorkersRequest(
        language=cast(Any, common_pb2).Language.PYTHON,
        job_id=bytes.fromhex(context.get_job_id()),
        runtime_env_info=environment,
        keep_alive_duration_secs=_KEEP_S,
        num_workers=1,
    )
    channel = init_grpc_channel(f"{node['NodeManagerAddress']}:{node['NodeManagerPort']}")
    with channel, suppress(grpc.RpcError):
        node_manager_pb2_grpc.NodeManagerServiceStub(channel).PrestartWorkers(request, timeout=_ANSWER_S)
