"""Run a planned sweep: prepare the data, find or start Ray, and let the driver train the trials."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

from cluster.launch.growth import read_growth
from cluster.launch.launch import ray_cluster
from cluster.launch.nodes import driver_nodes
from cluster.launch.waiting import say_device, wait_for_resources
from cluster.sweeps.concurrency import plan_concurrency
from cluster.sweeps.create import OpenedSweep
from cluster.sweeps.records import Sweep
from cluster.sweeps.store import STOP
from cluster.sweeps.sweep_place import sweep_argument
from multitask.config import RunConfig
from multitask.interrupt import sigterm_like_ctrl_c

if TYPE_CHECKING:
    from cluster.sweeps.driver import Trackers
    from multitask.data import Tables


def run_sweep(opened: OpenedSweep, watch: Callable[[Sweep], None], trackers: "Trackers") -> str | None:
    """Run the sweep, or its confirmation, until it is through; gives the reason where something is left to do.

    `watch` is shown the sweep as it stands; `trackers` gives what watches a trial's run, in its controller's process.

    Raises:
        LeaseLostError: another process has taken the sweep over, this one having been silent for too long.
        UserError: data, resources or storage are not as the config wants them.
    """
    if opened.confirms:
        opened.store.write_confirmations(opened.sweep.confirmations)
    else:
        opened.store.write_plan(opened.sweep)
    opened.store.storage.delete_file(STOP)
    base = opened.search.base
    with ThreadPoolExecutor(1) as background:
        tables = background.submit(_prepare, base)
        with (
            ray_cluster(base, lambda: f"concord sweep resume {sweep_argument(opened.sweep)} goes on") as nodes,
            sigterm_like_ctrl_c(),
        ):
            from cluster.sweeps.confirmation_ledger import open_confirmation_ledger
            from cluster.sweeps.driver import run_driver, shared_config
            from cluster.sweeps.driver_settings import DriverSettings
            from cluster.sweeps.sweep_board import create_sweep_board
            from cluster.sweeps.sweep_metrics import SweepMetrics
            from cluster.sweeps.trials import open_ledger

            options, growth = opened.sweep.options, read_growth()
            drivers = driver_nodes(base.cluster.driver_labels, can_grow=bool(growth))
            fits = plan_concurrency(base.cluster, nodes, options.concurrent, growth, drivers)
            say_device(base.cluster, fits.resources, growth)
            shared = shared_config(board := create_sweep_board(), fits.resources, trackers)
            open_trials = open_confirmation_ledger if opened.confirms else open_ledger
            ledger = open_trials(opened.store, opened.sweep, opened.search, tables.result(), shared)
            wait_for_resources(fits.resources, base.cluster.wait)
            settings = DriverSettings.of(
                opened.search, options, nodes if drivers is None else drivers, fits, SweepMetrics(watch)
            )
            return run_driver(ledger, board, settings)


def _prepare(config: RunConfig) -> "Tables":
    """Read, check and tokenise the data, once for all trials."""
    from multitask.data import prepare_tables

    return prepare_tables(config)
