"""A trial as Ray Tune sees it: an actor that drives a Train run and hands its evaluations on."""

import math
import threading
import time
from collections import deque
from typing import Any

import ray
from pyarrow.fs import LocalFileSystem
from ray import tune
from ray.exceptions import RayActorError
from ray.train._internal.session import _TrainingResult as TrainingResult

from cluster.launch.metrics import RunMetrics
from cluster.launch.resources import ResourcePlan
from cluster.launch.run_board import ControllerObserver
from cluster.launch.trainer import RunTrainer
from cluster.step.clock import clock
from cluster.storage.lease_record import Launch
from cluster.sweeps.cleanup import release_dead_controller
from cluster.sweeps.sweep_board import TrialObserver
from cluster.sweeps.trial_checkpoints import take_over_checkpoints
from cluster.sweeps.trial_failures import failure
from cluster.training.observer import Outcome
from multitask.config import RunConfig, parse_config
from multitask.errors import UserError

# So long the board keeps a trial waiting. Events are seen at once; a longer silence is that of a board that lost some.
WAIT_S = 10.0
MIN_WAIT_S = 0.1
# What the training thread still does after it has said that it ends.
END_S = 1.0
MAX_CONTROLLER_FAILURES = 3
SCORE, CURRENT, ITERATION = "score", "current", "training_iteration"
# Below every dev score: correlations begin at −1.
WORST = -2.0


class TrialRunner(tune.Trainable):
    """Trains the run of `config["config"]` (plain values) and gives one result for each of its evaluations.

    A result's `current` is that of `config["selection"]`, its `score` the best of them so far, by which the checkpoint is chosen.
    The last result has `done`, `status`, `reason` and, of what failed, `cause` and perhaps `traceback`. What fails by itself is a
    result, too: an exception is for Tune to try again.
    """

    def setup(self, config: dict[str, Any]) -> None:
        """Take the config; training starts with the first step."""
        self._take(config)
        self._thread: threading.Thread | None = None

    def reset_config(self, new_config: dict[str, Any]) -> bool:
        """The next trial in the same process, whose imports are done."""
        self.cleanup()
        self._take(new_config)
        return True

    def _take(self, config: dict[str, Any]) -> None:
        self._board, self._selection = config["board"][0], config["selection"]
        self._trackers, self._launch = config["trackers"][0], Launch.from_dict(config["launch"])
        self._plan, self._donor, self._started = ResourcePlan(**config["plan"]), config["donor"], config["started"]
        self._run: RunConfig = parse_config(config["config"], "trial")
        self._events: deque[tuple[str, dict[str, Any]]] = deque()
        self._latest: dict[str, Any] = {} if config["best"] is None else {SCORE: config["best"]}
        self._end: dict[str, Any] | None = None
        self._failure: dict[str, Any] = {}
        self._controller: Any = None
        self._limit, self._until = config["limit"], math.inf
        if self._limit is not None:
            self._until = time.monotonic() + self._limit - config["seconds"]

    def step(self) -> dict[str, Any]:
        """Wait for the next evaluation or the end."""
        if self._thread is None:
            self._thread = threading.Thread(target=self._fit, name="fit", daemon=True)
            self._thread.start()
        while True:
            alive = self._thread.is_alive()
            self._events += ray.get(self._board.take_events.remote(self._run.name, self._wait_s() if alive else 0))
            while self._events:
                event, values = self._events.popleft()
                if event == "report":
                    return self._evaluated(values)
                if event == "finish":
                    self._end = _ending(Outcome(**values))
                if event == "end":
                    self._thread.join(timeout=END_S)
            if alive and time.monotonic() >= self._until and self._controller is not None:
                return self._out_of_time()
            if not alive:
                return self._ended()

    def _wait_s(self) -> float:
        """How long to wait for news: till the trial's time is over, if that is sooner than usual."""
        return min(WAIT_S, max(MIN_WAIT_S, self._until - time.monotonic()))

    def save(self, checkpoint_dir: str | None = None) -> TrainingResult:
        """A note of where the weights are, which stay in the run folder: a file of Tune's own would lie on this host alone."""
        note = tune.Checkpoint(self._run.name, filesystem=LocalFileSystem())
        return TrainingResult(checkpoint=note, metrics=dict(self._latest))

    def restore(self, checkpoint_path: Any) -> None:
        """Nothing: the run folder holds what the run goes on from, a donor's weights, too."""

    def cleanup(self) -> None:
        """End the training, if it is still going on."""
        if self._thread is not None and self._controller is not None and self._thread.is_alive():
            ray.get(self._board.unregister.remote(self._run.name))
            self._controller.abort.remote()
            self._thread.join(timeout=30)
            if self._thread.is_alive():
                ray.kill(self._controller)
                self._thread.join()
        self._thread = None

    def _fit(self) -> None:
        try:
            if self._donor is not None:
                take_over_checkpoints(self._run, **self._donor, launch=self._launch)
            self._end = self._train()
        except UserError as error:
            self._end = {"status": "failed", "reason": str(error).splitlines()[0]}
        except Exception as error:
            self._failure = failure(error)
        finally:
            self._board.post.remote(self._run.name, "end", {})

    def _train(self) -> dict[str, Any]:
        """Train to the end, and once more where the controller dies of itself: the run goes on from its checkpoint."""
        for attempt in range(MAX_CONTROLLER_FAILURES + 1):
            observers = [*self._trackers(self._run), RunMetrics(), TrialObserver(self._board, self._run.name)]
            observer = ControllerObserver(observers, when_aborted="ended early by the sweep")
            try:
                given = (self._run, self._plan, self._started, [observer], self._entered, self._launch)
                result = RunTrainer(*given, acts_on_scores=True).fit()
            except RayActorError:
                ended = not ray.get(self._board.is_registered.remote(self._run.name))
                if ended or attempt == MAX_CONTROLLER_FAILURES:
                    raise
                release_dead_controller()
                continue
            return _ending(Outcome(**result.return_value))
        raise AssertionError("the last attempt returns or raises")

    def _entered(self, controller: Any) -> None:
        self._controller = controller
        ray.get(self._board.register.remote(self._run.name, [controller]))

    def _evaluated(self, values: dict[str, Any]) -> dict[str, Any]:
        self._iteration = values["train/evaluations"] - 1
        score = values.get(self._selection, WORST)
        current = WORST if math.isnan(score) else score
        best = max(self._latest.get(SCORE, WORST), current)
        self._latest = {**values, SCORE: best, CURRENT: current, ITERATION: values["train/evaluations"]}
        return dict(self._latest)

    def _ended(self) -> dict[str, Any]:
        """The outcome says best what happened; what was raised here knows the cause."""
        unknown = {"status": "failed", "reason": "the run ended without an outcome", "cause": "settings"}
        return self._last({**unknown, **self._failure, **(self._end or {})})

    def _out_of_time(self) -> dict[str, Any]:
        self.cleanup()
        return self._last({"status": "stopped", "reason": f"over the limit of {clock(self._limit)} for one trial"})

    def _last(self, ending: dict[str, Any]) -> dict[str, Any]:
        return {SCORE: WORST, CURRENT: WORST, ITERATION: 0, **self._latest, **ending, "done": True}


def _ending(outcome: Outcome) -> dict[str, Any]:
    if outcome.status == "failed":
        return {"status": "failed", "reason": outcome.error}
    return {"status": "finished", "reason": outcome.error, "cause": None}
