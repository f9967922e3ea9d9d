"""Train one run, with Ray or in this process."""

import os
import time
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from cluster.api.run_result import RunResult, result_of
from cluster.api.show import Listener, OnReport, Show, shown
from cluster.training.observer import Observer, Outcome
from multitask.config import Overrides, Recipe, RunConfig, load_recipe
from multitask.errors import UserError

if TYPE_CHECKING:
    from cluster.storage.run_folder import RunFolder

# What a start leaves that was refused before the run began, its lease at least.
_BEFORE_RUN = {"lease", "probe", "ray"}


def train(
    recipe: Recipe,
    overrides: Overrides = (),
    *,
    space: str | None = None,
    sample: Mapping[str, Any] | None = None,
    restart: bool = False,
    ray: bool = True,
    show: Show = False,
    on_report: OnReport | None = None,
    observer: Observer | None = None,
    started: float | None = None,
) -> RunResult:
    """Fine-tune one encoder for the tasks of `recipe`, as `concord train` does.

    A run whose name has been used goes on where it stopped. A run that fails gives a result that says so and why.

    Args:
        recipe: name of a shipped recipe, a file, its keys, or a whole config.
        overrides: `["optimizer.lr=1e-5", "+sample"]`, or `{"optimizer.lr": 1e-5}`.
        space: with `sample`, the search space that says what its values mean: a name or a file.
        sample: values of the space's parameters, laid over the recipe.
        restart: remove the run of this name and start over.
        ray: train on Ray workers; otherwise in this process. Under `torchrun` it is always this process.
        show: show the run as the command does: True for people, `"json"` for programs.
        on_report: called with each record of the run's stream, a flat dict of metrics with `step` and `epoch`.
        observer: is shown the whole stream, from its start to its outcome.
        started: `time.time()` from which the start-up is counted; now if not given.

    Raises:
        UserError: recipe, data, resources or storage are not as they must be.
    """
    begun = time.time() if started is None else started
    config = open_recipe(recipe, overrides, space, sample)
    if restart and os.environ.get("RANK", "0") == "0":
        _remove(config)
    listener = Listener(on_report)
    with shown(show, [listener, *([observer] if observer else [])]) as watcher:
        outcome = train_config(config, watcher, begun, ray=ray)
    return result_of(config, listener.outcome or outcome)


def open_recipe(
    recipe: Recipe, overrides: Overrides = (), space: str | None = None, sample: Mapping[str, Any] | None = None
) -> RunConfig:
    """The config of a run: `recipe` with `overrides` and, over it, `sample` of `space`, as a W&B agent hands it over.

    Raises:
        UserError: one of them is not right, or `space` and `sample` are not both there.
    """
    config = load_recipe(recipe, overrides)
    if space is None and sample is None:
        return config
    if space is None or sample is None:
        raise UserError("--space and --sample belong together: the space says what the sample's values mean")
    from tune_spaces import open_space

    opened = open_space(space, config)
    active = opened.active(sample)
    sampled = opened.config(config, active)
    extra = {**sampled.tracking.extra, "sample": active}
    return sampled.model_copy(update={"tracking": sampled.tracking.model_copy(update={"extra": extra})})


def train_config(config: RunConfig, observer: Observer, started: float, *, ray: bool) -> Outcome:
    """Train the run of `config`, tracked as it says and watched by `observer`.

    Raises:
        UserError: data, resources or storage are not as the config wants them.
    """
    from cluster.launch.launch import train_here, train_on_ray
    from cluster.tracking.tracker import trackers

    chosen = train_on_ray if ray and not under_torchrun() else train_here
    # Of torchrun's ranks the first alone is watched.
    watching = trackers(config) if os.environ.get("RANK", "0") == "0" else []
    return chosen(config, watching, observer, started)


def under_torchrun() -> bool:
    """Whether `torchrun` started this process as one of its ranks."""
    return "TORCHELASTIC_RUN_ID" in os.environ


def _remove(config: RunConfig) -> None:
    """Raises:
    LeaseHeldError: another process is at the run.
    UserError: the folder is no run's.
    """
    from cluster.storage.lease import Launch, Lease, clear_folder
    from cluster.storage.run_folder import RunFolder

    folder = RunFolder.of(config)
    if not folder.storage.exists(""):
        return
    if not folder.has_begun and not _was_refused(folder):
        raise UserError(f"--restart: {folder.location} is no run folder, it has no run.json; nothing was removed")
    with Lease.acquire(folder.storage, Launch.here()) as lease:
        clear_folder(lease.storage)


def _was_refused(folder: "RunFolder") -> bool:
    """Whether a start was refused here before the run began."""
    names = {*folder.storage.folders(), *folder.storage.files()}
    return "lease" in names and names <= _BEFORE_RUN
