"""`concord train`."""

import os
import sys
import time
from json import JSONDecodeError, loads
from typing import Annotated, Any

import typer

from cluster.cli.arguments import Recipe
from cluster.terminal.json_output import print_json
from multitask.errors import UserError

_STARTED = time.time()
_INTERRUPTED = 130


def train(
    recipe: Recipe,
    overrides: Annotated[
        list[str] | None, typer.Argument(help="Changes, such as optimizer.lr=1e-5.", metavar="[KEY=VALUE]...")
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Print config and resource plan, train nothing.")] = False,
    restart: Annotated[bool, typer.Option("--restart", help="Remove the run of this name and start over.")] = False,
    no_ray: Annotated[
        bool, typer.Option("--no-ray", help="One plain process; under torchrun this is always so.")
    ] = False,
    space: Annotated[
        str | None, typer.Option(help="With --sample: a search space's name or file.", metavar="SPACE")
    ] = None,
    sample: Annotated[
        str | None, typer.Option(help="Values of the space's parameters as JSON, laid over RECIPE.", metavar="JSON")
    ] = None,
    json: Annotated[bool, typer.Option("--json", help="One JSON object per line.")] = False,
) -> None:
    """Fine-tune one encoder for the tasks of RECIPE.

    A run whose name has been used goes on where it stopped.
    """
    from cluster.api.train_run import train as train_run
    from cluster.api.train_run import under_torchrun

    sampled: dict[str, Any] = {"space": space or None, "sample": _values(sample) if sample else None}
    if dry_run:
        _show_plan(recipe, overrides or [], sampled, json)
        return
    settings: dict[str, Any] = {"restart": restart, "ray": not no_ray, "started": _STARTED}
    result = train_run(recipe, overrides or [], show="json" if json else True, **sampled, **settings)
    failed = result.status == "failed"
    if under_torchrun():
        _leave(1 if failed else _INTERRUPTED if result.status == "interrupted" else 0)
    if result.status == "interrupted":
        raise typer.Exit(_INTERRUPTED)
    if failed:
        if json:
            print_json({"error": result.error})
        raise typer.Exit(1)


def _values(sample: str) -> dict[str, Any]:
    try:
        values = loads(sample)
    except JSONDecodeError as error:
        raise UserError(f"--sample is not valid JSON: {error}") from None
    if not isinstance(values, dict):
        raise UserError(f"--sample must be a JSON object of parameters and values, got {sample}")
    return values


def _show_plan(recipe: str, overrides: list[str], sampled: dict[str, Any], json: bool) -> None:
    from rich.console import Console

    from cluster.api.train_run import open_recipe
    from cluster.launch.run_plan import plan_run
    from cluster.terminal.run_plan_display import show_run_plan

    plan = plan_run(open_recipe(recipe, overrides, **sampled))
    if json:
        print_json(plan.to_dict())
    else:
        show_run_plan(plan, Console())


def _leave(code: int) -> None:
    """End this rank at once: gloo's threads sometimes abort the interpreter's exit, after all work is done."""
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)
