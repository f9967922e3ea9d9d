"""`concord plan`."""

from typing import Annotated

import typer

from cluster.cli.arguments import Recipe
from cluster.terminal.json_output import print_json


def plan(
    recipe: Recipe,
    overrides: Annotated[
        list[str] | None, typer.Argument(help="Changes, such as data.batch_size=256.", metavar="[CHANGE]...")
    ] = None,
    gpus: Annotated[int, typer.Option("--gpus", min=1, help="How many GPUs.")] = 8,
    gpu: Annotated[
        str, typer.Option("--gpu", help="Which, such as h100 or a100; or a .json file of constants.", metavar="NAME")
    ] = "h100",
    network: Annotated[
        str, typer.Option("--network", help="Bits a second out of a host, all its GPUs together.", metavar="BITS")
    ] = "200Gb",
    per_host: Annotated[int, typer.Option("--gpus-per-host", min=1, help="GPUs of a host.")] = 8,
    rows: Annotated[
        int | None,
        typer.Option("--rows-per-gpu", min=1, help="Rows of a step for each GPU, instead of RECIPE's batches."),
    ] = None,
    price: Annotated[float | None, typer.Option("--price", min=0, help="Of an hour of one GPU.")] = None,
    json: Annotated[bool, typer.Option("--json", help="Print a JSON object.")] = False,
) -> None:
    """Work out step time, efficiency, memory, messages and cost of RECIPE on GPUs that are not there, and what to change.

    Reads the data and the encoder's config.json; loads no weights and trains nothing.
    """
    from cluster.scale.forecast import forecast
    from multitask.config import load_recipe

    config = load_recipe(recipe, overrides or [])
    found = forecast(config, gpus, gpu, network, per_host=per_host, rows_per_gpu=rows, price=price)
    if json:
        print_json(found.to_dict())
        return
    from rich.console import Console

    from cluster.terminal.forecast_display import show_forecast

    show_forecast(found, Console())
