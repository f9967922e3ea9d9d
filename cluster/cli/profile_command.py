"""`concord profile`."""

from pathlib import Path
from typing import Annotated

import typer

from cluster.cli.arguments import Recipe
from cluster.terminal.json_output import print_json


def profile(
    recipe: Recipe,
    overrides: Annotated[
        list[str] | None, typer.Argument(help="Changes, such as data.root=…", metavar="[CHANGE]...")
    ] = None,
    steps: Annotated[int, typer.Option("--steps", min=1, help="Steps that are timed.")] = 20,
    trace: Annotated[
        Path, typer.Option("--trace", help="File to write: a trace of a few more steps; .gz packs it.", metavar="FILE")
    ] = Path("concord-trace.json"),
    json: Annotated[bool, typer.Option("--json", help="Print a JSON object.")] = False,
) -> None:
    """Train the first steps of RECIPE and tell where their time goes; nothing else is kept of them.

    In this process, or in torchrun's.
    """
    from cluster.profile.profile_run import profile_run
    from cluster.training.session import LocalSession
    from multitask.config import load_recipe

    config = load_recipe(recipe, overrides or [])
    session = LocalSession(config.cluster.device, timeout_s=config.cluster.collective_timeout)
    try:
        found = profile_run(config, session, steps, trace)
    finally:
        session.close()
    if session.rank != 0:
        return
    if json:
        print_json(found.to_dict())
        return
    from rich.console import Console

    from cluster.terminal.profile_display import show_profile

    show_profile(found, Console())
