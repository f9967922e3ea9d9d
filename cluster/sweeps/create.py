"""A sweep that is new, or one that goes on: from what the user says to a book."""

import os
import re
import socket
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cluster.launch.absolute_paths import absolute
from cluster.launch.launch import ray_cluster
from cluster.sweeps.options import check_options
from cluster.sweeps.records import Options, Sweep
from cluster.sweeps.store import STOP, SweepFolder
from multitask.config import RunConfig, load_recipe, parse_config
from multitask.config.loading import read_value
from multitask.errors import UserError
from tune_spaces import Space, check_space, open_space

if TYPE_CHECKING:
    from cluster.sweeps.driver import Trackers
    from cluster.sweeps.trials import Book
    from multitask.data import Tables

# A driver writes its heartbeat every few seconds; one that has been silent for longer is dead.
SILENCE_S = 60.0


@dataclass(frozen=True)
class Search:
    """What a sweep searches: the recipe with the user's changes, and the space around it."""

    recipe: str
    base: RunConfig
    space: Space
    spec: str
    fixed: dict[str, Any]


def open_search(recipe: str, changes: Sequence[str], spec: str) -> Search:
    """The recipe and the space of a new sweep. A change that names a parameter of the space fixes it there.

    Raises:
        UserError: recipe, space or a change is not right, or no sample of the space can be trained.
    """
    plain = load_recipe(recipe, [change for change in changes if change.startswith("+")])
    names = _names(open_space(spec, plain))
    fixed = [change for change in changes if change.partition("=")[0] in names]
    base = absolute(_recipe_with(recipe, [change for change in changes if change not in fixed], fixed, names))
    values = {names[key]: read_value(text) for key, _, text in (change.partition("=") for change in fixed)}
    space = open_space(spec, base, values)
    check_space(space, base)
    return Search(recipe, base, space, spec, values)


def _recipe_with(recipe: str, changes: list[str], fixed: list[str], names: dict[str, str]) -> RunConfig:
    """The recipe, also with the fixed values of the parameters that are keys of it, so that trial 0 has them, too.

    Where it cannot be trained with them as they stand, the space may make it so; then trial 0 is the recipe without.
    """
    keys = {name: key for key, name in names.items() if key != name}
    as_keys = [f"{keys.get(key, key)}={text}" for key, _, text in (change.partition("=") for change in fixed)]
    plain = load_recipe(recipe, changes)
    try:
        return load_recipe(recipe, [*changes, *as_keys])
    except UserError:
        return plain


def _names(space: Space) -> dict[str, str]:
    """What a change may call a parameter: its name, or the key that it stands for."""
    own = {name: name for name in space.parameters}
    return own | {p.key: name for name, p in space.parameters.items() if p.key is not None}


def check_name(name: str) -> None:
    """Raises:
    UserError: `name` cannot name a folder.
    """
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9_.-]*", name):
        raise UserError(
            f"--name may hold letters, digits, '.', '_' and '-' and starts with a letter or digit, got {name!r}"
        )


def create_sweep(search: Search, name: str, options: Options, folder: SweepFolder) -> Sweep:
    """Write a new sweep's plan.

    Raises:
        UserError: options that cannot work.
    """
    from multitask.export.versions import installed_versions

    check_options(options, search)
    about = search.space.describe() | {"spec": search.spec, "fixed": search.fixed}
    sweep = Sweep(
        name=name,
        place=folder.location,
        recipe=search.recipe,
        base=search.base.to_dict(),
        space=about,
        options=options,
        created=time.time(),
        versions=installed_versions(),
    )
    folder.write_plan(sweep)
    return sweep


def reopen_search(sweep: Sweep) -> Search:
    """The recipe and the space of an old sweep, as its folder holds them.

    Raises:
        UserError: the space means something else by now.
    """
    base = parse_config(sweep.base, f"{sweep.place}/sweep.json")
    space = open_space(sweep.space["spec"], base, sweep.space["fixed"])
    if space.describe()["identity"] != sweep.space["identity"]:
        raise UserError(
            f"sweep {sweep.name}: the space {sweep.space['spec']} is not what it was when the sweep began; "
            "begin another sweep with --name"
        )
    return Search(sweep.recipe, base, space, sweep.space["spec"], sweep.space["fixed"])


def check_alone(folder: SweepFolder) -> None:
    """Raises:
    UserError: another driver is at this sweep.
    """
    state = folder.state()
    if state.get("status") == "running" and time.time() - state["heartbeat"] < SILENCE_S and is_alive(state):
        raise UserError(
            f"{folder.location} is being run by process {state['pid']} on {state['host']}; "
            "stop it with concord sweep stop, or wait until it has been silent for a minute"
        )


def is_alive(state: dict[str, Any]) -> bool:
    """Whether the driver that wrote `state` may be alive: on another host its heartbeat alone can tell."""
    if state["host"] != socket.gethostname():
        return True
    if _is_zombie(state["pid"]):
        return False
    try:
        os.kill(state["pid"], 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


def _is_zombie(pid: int) -> bool:
    """Whether the process has ended, and its parent has not asked for its exit code."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except OSError:
        return False


def run_sweep(
    folder: SweepFolder, sweep: Sweep, search: Search, watch: Callable[[Sweep], None], trackers: "Trackers"
) -> str | None:
    """Run the sweep until it is through; gives the reason where something is left to do.

    `watch` is shown the sweep as it stands; `trackers` gives what watches a trial's run, in its controller's process.

    Raises:
        UserError: data, resources or storage are not as the config wants them.
    """
    folder.storage.delete_file(STOP)
    with ThreadPoolExecutor(1) as background:
        tables = background.submit(_prepare, search.base)
        with ray_cluster(search.base) as nodes:
            from cluster.sweeps.concurrency import driver_bundle, plan_trials
            from cluster.sweeps.driver import Drive, create_board, drive, shared_config

            plan, concurrent = plan_trials(search.base.cluster, nodes, sweep.options.concurrent)
            is_population = sweep.options.scheduler == "pbt"
            bundle = driver_bundle(nodes, concurrent, is_population=is_population)
            at_a_time = sweep.options.trials if is_population else concurrent
            board = create_board()
            book = open_book(folder, sweep, search, tables.result(), shared_config(board, plan, trackers))
            return drive(book, board, Drive(bundle, at_a_time, search.space, watch))


def open_book(folder: SweepFolder, sweep: Sweep, search: Search, tables: "Tables", shared: dict[str, Any]) -> "Book":
    """The sweep's book with all that is planned beforehand."""
    from cluster.sweeps.plan import measure_budget
    from cluster.sweeps.samplers import create_proposer
    from cluster.sweeps.trials import Book

    budget = measure_budget(search.base, tables, sweep.options.evaluations)
    proposer = create_proposer(search.space, sweep.options)
    book = Book(folder, sweep, search.base, search.space, proposer, budget, shared)
    book.prepare()
    return book


def extended(sweep: Sweep, **changes: Any) -> Sweep:
    """The sweep with other bounds (`trials`, budgets, `concurrent`), where they are given."""
    given = {key: value for key, value in changes.items() if value is not None}
    return replace(sweep, options=replace(sweep.options, **given))


def _prepare(config: RunConfig) -> "Tables":
    """Read, check and tokenise the data, once for all trials."""
    from multitask.data import prepare_tables

    return prepare_tables(config)
