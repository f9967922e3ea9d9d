"""`concord diagnose`."""

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from cluster.cli.arguments import Recipe
from cluster.terminal.json_output import print_json
from multitask.errors import UserError

if TYPE_CHECKING:
    from multitask.config import RunConfig
    from multitask.diagnosis import Diagnosis, Start


def diagnose(
    recipe: Recipe,
    overrides: Annotated[
        list[str] | None, typer.Argument(help="Changes, such as data.root=…", metavar="[CHANGE]...")
    ] = None,
    steps: Annotated[int, typer.Option("--steps", min=2, help="Steps of training, by the sum of the losses.")] = 200,
    every: Annotated[int, typer.Option("--every", min=1, help="Steps from one look at the gradients to the next.")] = 4,
    after: Annotated[
        int, typer.Option("--after", min=0, help="Steps of training before the first look, besides --steps.")
    ] = 0,
    run: Annotated[
        str | None,
        typer.Option("--from", help="Run whose last checkpoint has the weights to begin with.", metavar="RUN"),
    ] = None,
    output: Annotated[
        str | None, typer.Option("--output", "-o", help="HTML page to write, with figures.", metavar="FILE")
    ] = None,
    space: Annotated[
        str | None,
        typer.Option("--space", help="YAML file to write: a search space of what is worth trying.", metavar="FILE"),
    ] = None,
    json: Annotated[bool, typer.Option("--json", help="Print a JSON object.")] = False,
) -> None:
    """Measure how the tasks of RECIPE get along, how much of that is noise, and which combinations could make a difference.

    Trains in this process and keeps nothing of it.
    """
    import sys

    from multitask.config import load_recipe
    from multitask.diagnosis import diagnose as probe

    config = load_recipe(recipe, overrides or [])
    start = _start(run) if run else None
    found = probe(config, steps=steps, every=every, after=after, start=start, tell=partial(print, file=sys.stderr))
    _write_files(found, config, output, space)
    if json:
        print_json(found.to_dict() | {"page": output, "space": space})
    else:
        _show(found, recipe, output, space)


def _start(run: str) -> "Start":
    from cluster.storage.export_checkpoint import last_weights
    from multitask.diagnosis import Start

    weights, step = last_weights(run)
    return Start(weights, step, f"{run} after {step:,} steps")


def _write_files(found: "Diagnosis", config: "RunConfig", output: str | None, space: str | None) -> None:
    if output is not None:
        from cluster.report.diagnosis_page import render_diagnosis

        _write("--output", output, render_diagnosis(found))
    if space is not None:
        import yaml

        text = yaml.safe_dump(found.space(config.optimizer.lr), sort_keys=False)
        _write("--space", space, f"# What concord diagnose found worth trying for {config.name}.\n{text}")


def _show(found: "Diagnosis", recipe: str, output: str | None, space: str | None) -> None:
    from cluster.terminal.diagnosis_display import show_diagnosis

    show_diagnosis(found)
    for name, path in (("page", output), ("space", space)):
        if path is not None:
            print(f"{name} written to {path}")
    print(f"\nwhat next: concord sweep {recipe} --space {space or 'combination'} --trials {4 * len(found.try_next)}")


def _write(option: str, path: str, text: str) -> None:
    try:
        Path(path).write_text(text, encoding="utf-8")
    except OSError as error:
        raise UserError(f"{option}: cannot write {path}: {error.strerror}") from None
