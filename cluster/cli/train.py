"""`concord train`."""

import os
import sys
import time
from typing import TYPE_CHECKING, Annotated

import typer

from cluster.cli.output import print_json
from multitask.config import RunConfig, load_recipe

if TYPE_CHECKING:
    from cluster.observers import Outcome

_STARTED = time.time()


def train(
    recipe: Annotated[str, typer.Argument(help="A recipe file, or the name of a shipped one.", metavar="RECIPE")],
    overrides: Annotated[
        list[str] | None, typer.Argument(help="Changes, such as optimizer.lr=1e-5.", metavar="[KEY=VALUE]...")
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Print config and resource plan, train nothing.")] = False,
    restart: Annotated[bool, typer.Option("--restart", help="Remove the run of this name and start over.")] = False,
    no_ray: Annotated[
        bool, typer.Option("--no-ray", help="One plain process; under torchrun this is always so.")
    ] = False,
    json: Annotated[bool, typer.Option("--json", help="One JSON object per line.")] = False,
) -> None:
    """Fine-tune one encoder for the tasks of RECIPE.

    A run whose name has been used goes on where it stopped.
    """
    config = load_recipe(recipe, overrides or [])
    under_torchrun = "TORCHELASTIC_RUN_ID" in os.environ
    if dry_run:
        from cluster.dry_run import describe_run

        describe_run(config, json=json)
        return
    if restart and os.environ.get("RANK", "0") == "0":
        _remove(config)
    outcome = _train_here(config, json) if no_ray or under_torchrun else _train_on_ray(config, json)
    if under_torchrun:
        _leave(1 if outcome.status == "failed" else 0)
    if outcome.status == "failed":
        if json:
            print_json({"error": outcome.error})
        raise typer.Exit(1)


def _train_on_ray(config: RunConfig, json: bool) -> "Outcome":
    from cluster.launch import train_on_ray
    from cluster.observers import Display

    return train_on_ray(config, Display(json=json), _STARTED)


def _train_here(config: RunConfig, json: bool) -> "Outcome":
    from cluster.observers import Display, ObserverGroup, WandbTracker
    from cluster.session import LocalSession
    from cluster.worker import train as train_loop

    session = LocalSession(config.cluster.device, [ObserverGroup([WandbTracker(config.tracking), Display(json=json)])])
    try:
        return train_loop(config, session, _STARTED)
    finally:
        session.close()


def _leave(code: int) -> None:
    """End this rank at once: gloo's threads sometimes abort the interpreter's exit, after all work is done."""
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)


def _remove(config: RunConfig) -> None:
    from cluster.run_folder import RunFolder
    from multitask.errors import UserError

    folder = RunFolder.of(config)
    if folder.storage.exists("") and not folder.storage.exists("run.json"):
        raise UserError(f"--restart: {folder.location} is no run folder, it has no run.json; nothing was removed")
    folder.storage.delete_folder("")
