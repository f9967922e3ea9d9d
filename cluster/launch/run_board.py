"""The run's stream under Ray: from Train's controller to the observers there, and by a board to the driver's terminal."""

import sys
import threading
from collections.abc import Sequence
from dataclasses import asdict, replace
from typing import TYPE_CHECKING, Any, cast

import ray
from ray.exceptions import GetTimeoutError
from ray.train.v2._internal.execution.callback import ControllerCallback
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from cluster.launch.worker_failures import describe_failure, restart_reason
from cluster.training.observer import Observer, ObserverGroup, Outcome, RunInfo, one_line
from multitask.score_names import is_dev_score

if TYPE_CHECKING:
    from ray.actor import ActorHandle
    from ray.train import Result

POLL_S = 0.3
DELIVERY_TIMEOUT_S = 10.0


class ControllerObserver(ControllerCallback):
    """Feeds observers in Ray Train's controller, which outlives the workers and their restarts; it never raises there.

    It takes rank 0's reports, which are already reduced over the ranks. The first report of each attempt carries
    `run_info` (a `RunInfo` as a dict), the last one `outcome` (an `Outcome` as a dict). The outcome is passed on when the
    controller ends, so that nothing keeps the workers waiting for an upload. A run that ends without one has failed.

    The observers are pickled on their way to the controller.
    """

    def __init__(self, observers: Sequence[Observer], when_aborted: str = "interrupted") -> None:
        self._observers = ObserverGroup(observers)
        self._checks = [check for observer in observers if (check := getattr(observer, "check", None)) is not None]
        self._when_aborted = when_aborted
        self._run: RunInfo | None = None
        self._best: dict[str, Any] = {}
        self._outcome: Outcome | None = None
        self._finished = False
        self._lost: list[str] = []

    def after_controller_state_update(self, previous_state: object, current_state: object) -> None:
        """Why workers were lost, or asked to begin anew, is told with the next start of them."""
        error = getattr(current_state, "training_failed_error", None)
        if error is not None:
            reason = restart_reason(error)
            self._lost.append(
                f"they were lost: {describe_failure(error)}" if reason is None else f"started anew: {reason}"
            )

    def after_controller_start(self, train_run_context: object) -> None:
        """Nothing has been started yet: what an observer lacks here ends the run.

        Raises:
            UserError: an observer cannot watch from this host.
        """
        for check in self._checks:
            check()

    def take(self, record: dict[str, Any]) -> None:
        """A report of rank 0 has come in; what comes after the end is left out."""
        if self._finished:
            return
        try:
            self._take(dict(record))
        except Exception as error:
            print(f"a report was not shown: {one_line(error)}", file=sys.stderr)

    def after_controller_finish(self, result: "Result") -> None:
        """The run is over, the workers are gone."""
        if result.error is not None:
            self._fail(describe_failure(result.error))
        elif self._outcome is None:
            self._fail("the workers ended without an outcome")
        self._finish()

    def before_controller_abort(self) -> None:
        """The driver was interrupted, or a sweep ends the run."""
        if self._outcome is None:
            self._outcome = self._unfinished("stopped", self._when_aborted)
        self._finish()

    def _take(self, record: dict[str, Any]) -> None:
        run, outcome = record.pop("run_info", None), record.pop("outcome", None)
        if run is not None:
            self._run = RunInfo(**run | {"notes": [*run["notes"], *self._lost]})
            self._lost = []
            self._observers.start(self._run)
        if record:
            if record.get("dev/best"):
                self._best = record
            self._observers.report(record)
        if outcome is not None:
            self._outcome = Outcome(**outcome)

    def _fail(self, error: str) -> None:
        outcome = self._outcome or self._unfinished("failed", error)
        self._outcome = replace(outcome, status="failed", error=outcome.error or error)

    def _unfinished(self, status: Any, error: str) -> Outcome:
        """What is known of a run that could not tell it itself: its best evaluation so far."""
        selection = self._run.config["training"]["selection"] if self._run else "dev/mean"
        return Outcome(
            status=status,
            error=error,
            selection=selection,
            best_step=self._best.get("step"),
            best_score=self._best.get(selection),
            dev={key: value for key, value in self._best.items() if is_dev_score(key)},
            files={"run folder": self._run.folder} if self._run else {},
        )

    def _finish(self) -> None:
        if self._outcome is not None and not self._finished:
            self._finished = True
            self._observers.finish(self._outcome)


class Board:
    """A Ray actor on which the controller posts what happened, for the driver to read."""

    def __init__(self) -> None:
        self._events: list[tuple[str, dict[str, Any]]] = []

    def post(self, event: str, values: dict[str, Any]) -> None:
        """Add one event: `start`, `report` or `finish` with its values."""
        self._events.append((event, values))

    def take_events(self) -> list[tuple[str, dict[str, Any]]]:
        """All events since the last call, oldest first."""
        events, self._events = self._events, []
        return events


def create_board() -> "ActorHandle[Board]":
    """Start a board on this node, which the run depends on anyway; it takes no resources."""
    here = NodeAffinitySchedulingStrategy(ray.get_runtime_context().get_node_id(), soft=False)
    return cast("ActorHandle[Board]", ray.remote(Board).options(num_cpus=0, scheduling_strategy=here).remote())


class BoardObserver:
    """Posts everything on a board. Only the last call waits, so that nothing is lost when the controller ends."""

    def __init__(self, board: "ActorHandle[Board]") -> None:
        self._board = board

    def start(self, run: RunInfo) -> None:
        """Post the start."""
        self._board.post.remote("start", asdict(run))

    def report(self, metrics: dict[str, Any]) -> None:
        """Post one record."""
        self._board.post.remote("report", metrics)

    def finish(self, outcome: Outcome) -> None:
        """Post the outcome and wait until it is there."""
        ray.get(self._board.post.remote("finish", asdict(outcome)), timeout=DELIVERY_TIMEOUT_S)


class BoardReader:
    """Reads events off a board in a thread and feeds an observer with them, between `start` and `stop` or in a `with`."""

    def __init__(self, board: "ActorHandle[Board]", observer: Observer) -> None:
        self._board = board
        self._observer = ObserverGroup([observer])
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="board-reader", daemon=True)

    def start(self) -> None:
        """Begin to read."""
        self._thread.start()

    def stop(self) -> None:
        """Read what is left, and end."""
        self._stopping.set()
        self._thread.join()

    def __enter__(self) -> "BoardReader":
        self.start()
        return self

    def __exit__(self, *error: object) -> None:
        self.stop()

    def _watch(self) -> None:
        stopping = False
        while not stopping:
            stopping = self._stopping.wait(POLL_S)
            try:
                events = self._take_events()
            except Exception as error:
                print(f"the run can no longer be watched from here: {one_line(error)}", file=sys.stderr)
                return
            for event, values in events:
                self._pass_on(event, values)

    def _take_events(self) -> list[tuple[str, dict[str, Any]]]:
        """What was posted since the last call. A busy machine is waited for: the board gives an event once, and an answer
        that nobody waits for would lose it. Whoever wants to end waits once.
        """
        request: ray.ObjectRef[list[tuple[str, dict[str, Any]]]] = self._board.take_events.remote()
        while True:
            stopping = self._stopping.is_set()
            try:
                return ray.get(request, timeout=DELIVERY_TIMEOUT_S)
            except GetTimeoutError:
                if stopping:
                    raise

    def _pass_on(self, event: str, values: dict[str, Any]) -> None:
        if event == "start":
            self._observer.start(RunInfo(**values))
        elif event == "report":
            self._observer.report(values)
        else:
            self._observer.finish(Outcome(**values))
