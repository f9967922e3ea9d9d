"""`concord data check`."""

from typing import Annotated

import typer

from cluster.terminal.json_output import print_json


def check(
    recipe: Annotated[str, typer.Argument(help="A recipe file, or the name of a shipped one.", metavar="RECIPE")],
    overrides: Annotated[
        list[str] | None, typer.Argument(help="Changes, such as data.root=…", metavar="[KEY=VALUE]...")
    ] = None,
    json: Annotated[bool, typer.Option("--json", help="Print a JSON object.")] = False,
) -> None:
    """Read and validate every file of RECIPE, and show what is in it."""
    from multitask.config import load_recipe
    from multitask.data import check as check_data

    config = load_recipe(recipe, overrides or [])
    reports = check_data(config)
    if json:
        print_json({"splits": [report.to_dict() for report in reports]})
    else:
        from rich.console import Console

        from cluster.terminal.data_display import show_splits

        show_splits(reports, config.data.max_length, Console())
