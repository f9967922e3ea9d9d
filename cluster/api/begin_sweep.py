"""Begin a sweep, or go on with the one of its name."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, TypedDict, Unpack

from cluster.api.durations import read_amount, read_duration
from cluster.api.show import OnChange, Show
from cluster.api.sweep_result import SweepResult, run_opened
from cluster.sweeps.create import open_sweep
from cluster.sweeps.records import Options
from cluster.sweeps.samplers import grid_samples
from cluster.sweeps.search import Search, open_search
from multitask.config import Overrides, Recipe, override_texts

if TYPE_CHECKING:
    from cluster.sweeps.dry_run import DryRun

TRIALS = 20


class SweepSettings(TypedDict, total=False):
    """How a sweep searches; what is not given, or None, is as `cluster.sweeps.records.Options` has it.

    `trials`: configurations, the recipe among them; 20, or the grid. `search`: random, grid, tpe, gp, cmaes, qmc or nsga2.
    `scheduler`: fifo, asha, median or pbt. `metrics`: dev scores to maximise; several ask for their Pareto front. `repeats`:
    trials of each configuration, with other seeds. `baselines`: also train every task alone. `budget`: time for the sweep as a
    whole, as seconds or "2h"; `budget_tokens`: tokens, as a number or "5M". `workers_per_trial`: the recipe's `cluster.workers` if
    not given. `concurrent`: trials at a time; as many as fit if not given. `evaluations`: of a trial as long as the recipe.
    `grace`: evaluations before a trial may be stopped or changed. `reduction`: for asha, of so many trials one goes on.
    `seed`: of the search. `keep`: configurations whose checkpoints are kept. `trial_budget`: time for each trial, as seconds or
    "2h"; one that takes longer is stopped.
    """

    trials: int | None
    search: str
    scheduler: str
    metrics: str | Sequence[str] | None
    repeats: int
    baselines: bool
    budget: str | float | None
    budget_tokens: str | int | None
    workers_per_trial: int | None
    concurrent: int | None
    evaluations: int
    grace: int
    reduction: int
    seed: int
    keep: int
    trial_budget: str | float | None


def sweep(
    recipe: Recipe,
    overrides: Overrides = (),
    *,
    space: str = "default",
    name: str | None = None,
    storage: str | None = None,
    resume: bool = False,
    new: bool = False,
    show: Show = False,
    on_change: OnChange | None = None,
    **settings: Unpack[SweepSettings],
) -> SweepResult:
    """Search `space` around `recipe`, the recipe itself being trial 0, as `concord sweep` does. The same call again goes on.

    Trials that fail are told in the result, and so is why a sweep ended before it was through.

    Args:
        recipe: name of a shipped recipe, a file, its keys, or a whole config.
        overrides: changes of the recipe, as a list or a mapping; one that names a parameter of the space fixes it.
        space: a shipped space, a file `*.yaml`, or `package.module:function`.
        name: the sweep's name; recipe and space if not given.
        storage: folder or URI for the sweep; the recipe's `cluster.storage` if not given.
        resume: go on with the sweep of this name as it was planned.
        new: begin another sweep under the next free name.
        show: show the sweep as the command does: True for people, `"json"` for programs.
        on_change: called with the sweep's records (`cluster.sweeps.records.Sweep`) every few seconds.
        **settings: how it searches; see `SweepSettings`.

    Raises:
        UserError: recipe, space, settings, data, resources or storage are not as they must be.
    """
    search, options = _asked(recipe, overrides, space, settings)
    place = storage or search.base.cluster.storage
    opened = open_sweep(search, options, name or _default_name(search), place, resume=resume, new=new)
    return run_opened(opened, show, on_change)


def plan_sweep(
    recipe: Recipe,
    overrides: Overrides = (),
    *,
    space: str = "default",
    name: str | None = None,
    **settings: Unpack[SweepSettings],
) -> "DryRun":
    """What `sweep` would do: its trials, their resources and the time. Nothing is trained but a few steps, to measure them.

    Raises:
        UserError: as `sweep`.
    """
    search, options = _asked(recipe, overrides, space, settings)
    from cluster.sweeps.dry_run import dry_run

    return dry_run(search, options, name or _default_name(search))


def _asked(recipe: Recipe, overrides: Overrides, space: str, settings: SweepSettings) -> tuple[Search, Options]:
    given: dict[str, Any] = {key: value for key, value in settings.items() if value is not None}
    changes, workers = override_texts(overrides), given.pop("workers_per_trial", None)
    if workers is not None:
        changes.append(f"cluster.workers={workers}")
    search = open_search(recipe, changes, space)
    if "metrics" in given:
        metrics = given["metrics"]
        given["metrics"] = (metrics,) if isinstance(metrics, str) else tuple(metrics)
    if "budget" in given:
        given["budget_seconds"] = read_duration("--budget", given.pop("budget"))
    if "trial_budget" in given:
        given["trial_seconds"] = read_duration("--trial-budget", given.pop("trial_budget"))
    if "budget_tokens" in given:
        given["budget_tokens"] = read_amount("--budget-tokens", given["budget_tokens"])
    if "trials" not in given:
        given["trials"] = _grid_size(search) if given.get("search") == "grid" else TRIALS
    return search, Options(**given)


def _grid_size(search: Search) -> int:
    return 1 + len(search.space.first) + len(grid_samples(search.space))


def _default_name(search: Search) -> str:
    """Recipe and space."""
    return f"{search.base.name}-{search.space.name}"
