"""Ray Train's trainer as runs and trials use it."""

import secrets
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Any, cast

import ray
import ray.train
from ray._raylet import RAY_NODE_ID_KEY  # type: ignore[attr-defined]
from ray.exceptions import RayError
from ray.train import FailureConfig, ScalingConfig
from ray.train.v2._internal.callbacks.datasets import DatasetsCallback
from ray.train.v2._internal.callbacks.placement_group_callback import PlacementGroupCleanerCallback
from ray.train.v2._internal.constants import get_env_vars_to_propagate
from ray.train.v2.api.data_parallel_trainer import DataParallelTrainer

from cluster.launch.absolute_paths import absolute
from cluster.launch.elastic import ElasticPolicy
from cluster.launch.process_group import RunGroup
from cluster.launch.resources import ResourcePlan
from cluster.launch.run_controller import RunController
from cluster.launch.spare import worker_environment
from cluster.launch.stuck_ranks import StuckWatch
from cluster.launch.worker_failures import RunFailurePolicy, user_error
from cluster.storage.lease_record import Launch
from cluster.storage.storage import Storage
from cluster.training.stop_request import INTERRUPTED
from multitask.config import RunConfig
from multitask.interrupt import interruptible
from multitask.signature import key_name

# Each starts a process of its own. Batches come from mapped files and not from Ray Data; of the cleaner see `RunTrainer`.
_UNUSED = (PlacementGroupCleanerCallback, DatasetsCallback)
_ANSWER_S = 10.0  # of a controller that is asked to end
# The controller waits inside its event loop, which Ray would warn of, and looks itself for hosts that will be taken away.
_ENVIRONMENT = {"RAY_WARN_BLOCKING_GET_INSIDE_ASYNC": "0", "RAY_TRAIN_ENABLE_PREEMPTION_WATCHER": "0"}
# What was free a moment ago may be gone: fewer workers are tried then.
_ELASTIC_ENVIRONMENT = {"RAY_TRAIN_WORKER_GROUP_START_TIMEOUT_S": "15"}


def train_on_worker(arguments: dict[str, Any]) -> dict[str, Any]:
    """The train function. Only workers import what trains: a driver starts seconds faster without torch."""
    from cluster.launch.ray_session import train_worker

    return train_worker(arguments)


class FunctionByValue:
    """What `ObjectRefWrapper` of Ray Train is, without its object in Ray's store.

    An object that this process owns there ends it without a word, from within Ray, when its raylet ends in good order, as by
    `ray stop`: Ray marks the object as lost, in the store that is gone. Source: `connection.cc`, "Terminate the process".
    """

    def __init__(self, function: Callable[[], Any]) -> None:
        self._function = function

    def get(self) -> Callable[[], Any]:
        """As the workers ask for it."""
        return self._function

    @classmethod
    def instead_of(cls, kept: Any) -> "FunctionByValue":
        """Of what `kept` keeps; its object goes."""
        function = kept.get()
        kept._ref = None
        return cls(function)


class ObservedTrainer(DataParallelTrainer):
    """Ray Train over a function that reports by a `cluster.launch.ray_session.Reporter`; `controller` is its controller's name.

    `on_controller` is given the handle of the controller before it runs. It starts no cleaner of placement groups: that needs Ray's dashboard, and what is left of a controller that was killed is
    found by the sweep (`cluster.sweeps.cleanup`), or ends with the job.
    """

    def __init__(self, controller: str, on_controller: Callable[[Any], None] | None = None, **arguments: Any) -> None:
        self._controller, self._on_controller = controller, on_controller
        super().__init__(**arguments)

    def _create_default_callbacks(self) -> list[Any]:
        own: list[Any] = super()._create_default_callbacks()
        return [callback for callback in own if not isinstance(callback, _UNUSED)]

    def _initialize_and_run_controller(self, **arguments: Any) -> Any:
        """As Ray's own, with a controller of our own, its handle given away, and our policy of trying again."""
        here = {RAY_NODE_ID_KEY: ray.get_runtime_context().get_node_id()}
        environment = get_env_vars_to_propagate() | _ENVIRONMENT
        scaling: Any = self.scaling_config
        if scaling.elasticity_enabled:
            environment |= _ELASTIC_ENVIRONMENT
            arguments |= {"scaling_policy": ElasticPolicy(scaling)}
        actor: Any = ray.remote(RunController).options(
            name=self._controller, num_cpus=0, label_selector=here, runtime_env={"env_vars": environment}
        )
        policy = RunFailurePolicy(arguments["failure_policy"].failure_config)
        function = FunctionByValue.instead_of(arguments["train_fn_ref"])
        controller = actor.remote(**(arguments | {"failure_policy": policy, "train_fn_ref": function}))
        if self._on_controller is not None:
            self._on_controller(controller)
        with interruptible(lambda: _stop_run(controller)):
            ray.get(controller.run.remote())
        return ray.get(controller.get_result.remote())


def _scaling(plan: ResourcePlan) -> ScalingConfig:
    workers: Any = plan.workers if plan.most is None else (plan.workers, plan.most)
    return ScalingConfig(num_workers=workers, use_gpu=plan.use_gpu, resources_per_worker=plan.per_worker)


def _stop_run(controller: Any) -> None:
    """Ask the run to save and end after its step; one whose workers have not begun is ended at once."""
    print("concord: ends after this step, which is saved; once more ends it at once", file=sys.stderr, flush=True)
    with suppress(RayError):
        if ray.get(controller.ask_to_stop.remote(INTERRUPTED), timeout=_ANSWER_S):
            return
        ray.get(controller.abort.remote(), timeout=_ANSWER_S)
    raise KeyboardInterrupt


class RunTrainer(ObservedTrainer):
    """Ray Train over the workers of one run. `launch`: the start that it belongs to; one of its own if not given.

    `spares`: keep an idle process beside each worker (`cluster.launch.spare`). `acts_on_scores`: see `cluster.training.session`.
    """

    def __init__(
        self,
        config: RunConfig,
        plan: ResourcePlan,
        started: float,
        callbacks: Sequence[object],
        on_controller: Callable[[Any], None] | None = None,
        launch: Launch | None = None,
        spares: bool = False,
        acts_on_scores: bool = False,
    ) -> None:
        # A name of its own for every launch: checkpoints lie in the run folder, and a torn record of Ray's cannot block it.
        name = f"{time.strftime('%Y%m%d-%H%M%S')}-{secrets.token_hex(2)}"
        self._storage, self._name = Storage(config.cluster.storage).below(f"{config.name}/ray"), name
        controller = f"concord-{config.name}-{name}"
        owner = (launch or Launch.here()).to_dict()
        arguments = {
            "config": absolute(config).to_dict(),
            "started": started,
            "launch": owner,
            "controller": controller,
            "signature_key": key_name(),
            "spares": spares,
            "acts_on_scores": acts_on_scores,
        }
        super().__init__(
            controller,
            on_controller,
            train_loop_per_worker=train_on_worker,
            train_loop_config=arguments,
            backend_config=RunGroup(plan.use_gpu, int(config.cluster.collective_timeout)),
            scaling_config=_scaling(plan),
            run_config=cast(Any, ray.train.RunConfig)(
                name=name,
                storage_path=self._storage.place(),
                failure_config=FailureConfig(max_failures=config.cluster.max_failures),
                callbacks=cast(Any, [*callbacks, StuckWatch(config.cluster.collective_timeout)]),
                worker_runtime_env={"env_vars": worker_environment(use_gpu=plan.use_gpu)} if spares else None,
            ),
        )

    def fit(self) -> Any:
        """Train to the end; Ray's own files of it are removed again.

        Raises:
            UserError: a worker met something that the user can mend, or the host of the controller lacks it.
            ray.train.TrainingFailedError: workers failed too often, or Ray itself did.
        """
        try:
            result = super().fit()
        except BaseException as error:
            # The folder may be another launch's, which trains.
            self._storage.delete_folder(self._name)
            if problem := user_error(error):
                raise problem from None
            raise
        self._storage.delete_folder("")
        return result
