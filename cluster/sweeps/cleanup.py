"""End the processes of trials that are over, and give their resources back to Ray at once."""

import time
from typing import Any

import ray
from ray._private.state import state
from ray.core.generated import gcs_pb2
from ray.util.placement_group import PlacementGroup, remove_placement_group

ABORT_TIMEOUT_S = 30.0
_INTERVAL_S = 1.0
# So often placement groups are looked at after a controller has ended, and after one was killed or has died with its trial's
# process: Ray may take a while to see that.
_LOOKS, _LOOKS_AFTER_DEATH = 3, 30


class TrialCleanup:
    """Ends the Train controllers of stopped trials and removes placement groups that nobody owns any more.

    A controller that is asked to abort ends its W&B run, its workers and its placement group by itself; one that does not
    answer in time is killed. Ray keeps the placement group of an actor that was killed until the whole job ends.
    """

    def __init__(self, board: Any) -> None:
        self._board = board
        self._leaving: list[tuple[Any, Any, float]] = []
        self._looked, self._looks = 0.0, 0

    def end_training(self, run: str) -> None:
        """End the training of `run`, if it is still at it; `poll` sees it through."""
        for controller in ray.get(self._board.unregister.remote(run)):
            self._leaving.append((controller, controller.abort.remote(), time.monotonic() + ABORT_TIMEOUT_S))

    def expect_orphans(self) -> None:
        """A controller has died with its trial's process, or is about to: `poll` looks for its placement group."""
        self._looks = _LOOKS_AFTER_DEATH

    def poll(self) -> None:
        """Forget controllers that are gone, kill those that linger, and remove orphaned placement groups after them."""
        self._leaving = [ending for ending in self._leaving if not self._is_gone(*ending)]
        if self._looks and time.monotonic() - self._looked >= _INTERVAL_S:
            self._looked, self._looks = time.monotonic(), self._looks - 1
            remove_orphaned_placement_groups()

    @property
    def is_idle(self) -> bool:
        """Whether no controller is being ended."""
        return not self._leaving

    def wait(self) -> None:
        """Until all is given back."""
        while self._leaving:
            self.poll()
            time.sleep(0.05)
        remove_orphaned_placement_groups()

    def _is_gone(self, controller: Any, aborted: Any, deadline: float) -> bool:
        done, _ = ray.wait([aborted], timeout=0)
        if not done and time.monotonic() < deadline:
            return False
        self._looks = max(self._looks, _LOOKS if done else _LOOKS_AFTER_DEATH)
        # Also after an abort: a controller whose run had just ended ignores it and stays as long as there are handles.
        ray.kill(controller)
        return True


def orphaned_placement_groups() -> list[bytes]:
    """Ids of this job's placement groups whose creator, an actor, is dead."""
    table = state._connect_and_get_accessor().get_placement_group_table()
    kinds: Any = gcs_pb2
    groups = [kinds.PlacementGroupTableData.FromString(data) for data in table]
    job, removed = ray.get_runtime_context().get_job_id(), kinds.PlacementGroupTableData.PlacementGroupState.REMOVED
    return [
        group.placement_group_id
        for group in groups
        if group.creator_job_id.hex() == job and _has_lost_creator(group) and group.state != removed
    ]


def _has_lost_creator(group: Any) -> bool:
    """Whether an actor made it, and is dead. The id of no actor is all ones."""
    return bool(group.creator_actor_id.strip(b"\xff")) and group.creator_actor_dead


def remove_orphaned_placement_groups() -> int:
    """Give back their resources; gives how many there were."""
    orphans = orphaned_placement_groups()
    for identity in orphans:
        remove_placement_group(PlacementGroup(ray.PlacementGroupID(identity)))
    return len(orphans)


def release_dead_controller() -> None:
    """Give back what a controller held that has just died, as soon as Ray knows of it."""
    for _ in range(_LOOKS):
        if remove_orphaned_placement_groups():
            return
        time.sleep(_INTERVAL_S)
