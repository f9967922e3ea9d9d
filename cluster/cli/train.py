"""`concord train`."""

import os
import sys
import time
from json import JSONDecodeError, loads
from typing import TYPE_CHECKING, Annotated

import typer

from cluster.terminal.json_output import print_json
from multitask.config import RunConfig, load_recipe

if TYPE_CHECKING:
    from cluster.training.observer import Outcome

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
    config = load_recipe(recipe, overrides or [])
    if space or sample:
        config = _sampled(config, space, sample)
    under_torchrun = "TORCHELASTIC_RUN_ID" in os.environ
    if dry_run:
        from cluster.cli.dry_run import describe_run

        describe_run(config, json=json)
        return
    if restart and os.environ.get("RANK", "0") == "0":
        _remove(config)
    outcome = _train(config, json, here=no_ray or under_torchrun)
    if under_torchrun:
        _leave(1 if outcome.status == "failed" else 0)
    if outcome.status == "failed":
        if json:
            print_json({"error": outcome.error})
        raise typer.Exit(1)


def _sampled(config: RunConfig, spec: str | None, text: str | None) -> RunConfig:
    """The config with a sample of a space, as a W&B agent hands it over."""
    from multitask.errors import UserError
    from tune_spaces import open_space

    if spec is None or text is None:
        raise UserError("--space and --sample belong together: the space says what the sample's values mean")
    try:
        values = loads(text)
    except JSONDecodeError as error:
        raise UserError(f"--sample is not valid JSON: {error}") from None
    if not isinstance(values, dict):
        raise UserError(f"--sample must be a JSON object of parameters and values, got {text}")
    space = open_space(spec, config)
    sample = space.active(values)
    sampled = space.config(config, sample)
    extra = {**sampled.tracking.extra, "sample": sample}
    return sampled.model_copy(update={"tracking": sampled.tracking.model_copy(update={"extra": extra})})


def _train(config: RunConfig, json: bool, *, here: bool) -> "Outcome":
    from cluster.launch.launch import train_here, train_on_ray
    from cluster.terminal.run_display import Display
    from cluster.tracking.tracker import trackers

    return (train_here if here else train_on_ray)(config, trackers(config), Display(json=json), _STARTED)


def _leave(code: int) -> None:
    """End this rank at once: gloo's threads sometimes abort the interpreter's exit, after all work is done."""
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)


def _remove(config: RunConfig) -> None:
    from cluster.storage.run_folder import RunFolder
    from multitask.errors import UserError

    folder = RunFolder.of(config)
    if folder.storage.exists("") and not folder.has_begun:
        raise UserError(f"--restart: {folder.location} is no run folder, it has no run.json; nothing was removed")
    folder.storage.delete_folder("")
