"""`concord data check`."""

from typing import Annotated

import typer

from cluster.cli.arguments import Recipe
from cluster.terminal.json_output import print_json
from multitask.errors import UserError


def check(
    recipe: Recipe,
    overrides: Annotated[
        list[str] | None, typer.Argument(help="Changes, such as data.root=…", metavar="[KEY=VALUE]...")
    ] = None,
    split: Annotated[
        list[str] | None, typer.Option("--split", help="Only this split (train, dev, test); may be repeated.")
    ] = None,
    json: Annotated[bool, typer.Option("--json", help="Print a JSON object.")] = False,
) -> None:
    """Read and validate the files of RECIPE, and show what is in it."""
    from multitask.config import SPLITS, load_recipe
    from multitask.config.files import is_split
    from multitask.data import check as check_data

    config = load_recipe(recipe, overrides or [])
    if wrong := next((name for name in split or () if not is_split(name)), None):
        raise UserError(f"--split must be train, dev, dev_NAME or test, got {wrong!r}")
    reports = check_data(config, split or SPLITS)
    if json:
        print_json({"splits": [report.to_dict() for report in reports]})
    else:
        from rich.console import Console

        from cluster.terminal.data_display import show_splits

        show_splits(reports, config.data.max_length, Console())
