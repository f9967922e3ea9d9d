"""`concord wandb`: what is done with W&B beside the tracking of runs."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from cluster.cli.arguments import Recipe

if TYPE_CHECKING:
    from cluster.tracking.fragments import Fragment
    from cluster.tracking.sync import TrackedRun

wandb = typer.Typer(
    help="Offline runs, dashboards, published models and sweeps of Weights & Biases.", no_args_is_help=True
)
Storage = Annotated[str, typer.Option("--storage", help="Where sweeps and runs are looked up by name.")]


@wandb.command()
def sync(
    names: Annotated[list[str], typer.Argument(help="Sweeps and runs, by name or folder.", metavar="NAME|RUN...")],
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Print what would be sent, send nothing.")] = False,
    storage: Storage = "runs",
) -> None:
    """Send W&B runs that were recorded offline, each as one run however often it was interrupted.

    Exit code 1 where something was not sent.
    """
    from cluster.tracking.run_lookup import tracked_folders
    from cluster.tracking.sync import find_tracked_runs, send

    with tracked_folders(names, storage) as folders:
        runs = find_tracked_runs(folders)
        for run in runs:
            _print_run(run)
        sendable = sum(len(run.sendable) for run in runs)
        held = sum(len(run.held_back) for run in runs)
        if dry_run:
            print(f"would send {_fragments(sendable)}; nothing was sent")
            return
        unsent = send(runs, f"concord wandb sync {' '.join(names)}")
    _tag_winners(names, storage)
    for fragment in unsent:
        print(f"not sent: {fragment.file}")
    print(f"sent {_fragments(sendable - len(unsent))}" + (f", {held + len(unsent)} not sent" if held or unsent else ""))
    if held or unsent:
        raise typer.Exit(1)


def _tag_winners(names: list[str], storage: str) -> None:
    """Tag the runs of the winners of sweeps among `names`, which are on the server by now."""
    from cluster.sweeps.store import SweepStore
    from cluster.tracking.login import logged_in
    from cluster.tracking.run_lookup import find_run
    from cluster.tracking.sweep_run import tag_winner
    from cluster.training.observer import one_line

    if not logged_in():
        return
    for store in (SweepStore.find(name, storage) for name in names if find_run(name, storage) is None):
        try:
            runs = tag_winner(store, store.read())
        except Exception as error:
            print(f"the winner was not tagged: {one_line(error)}")
        else:
            print(f"tagged as winner: {', '.join(runs) or 'none, no trial has a score'}")


@wandb.command()
def dashboard(
    name: Annotated[str, typer.Argument(help="A sweep's name, or its folder.", metavar="NAME")],
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="File of the spec; SWEEP/dashboard.json if not given.")
    ] = None,
    storage: Storage = "runs",
) -> None:
    """Build the workspace of sweep NAME on W&B, or write its spec where W&B cannot be reached."""
    from cluster.sweeps.store import SweepStore
    from cluster.tracking.run_lookup import local_folder
    from cluster.tracking.workspace import SPEC, make_dashboard

    folder = SweepStore.find(name, storage)
    file = output or local_folder(folder.storage) / SPEC
    url, remains = make_dashboard(folder.read(), file, f"concord wandb dashboard {name}")
    print(f"spec in {file}")
    print(url or remains)


@wandb.command()
def publish(
    name: Annotated[str, typer.Argument(help="A sweep, a run, or the folder of an export.", metavar="NAME|RUN|EXPORT")],
    registry: Annotated[str, typer.Option("--registry", help="Registry to link the model to.")] = "model",
    collection: Annotated[
        str | None, typer.Option("--collection", help="Collection in the registry; the project if not given.")
    ] = None,
    alias: Annotated[
        list[str] | None, typer.Option("--alias", help="Alias of this version; best if not given.")
    ] = None,
    storage: Storage = "runs",
) -> None:
    """Send an exported model to W&B and link it to the registry."""
    from cluster.tracking.publish import find_model, publish_model, registry_target

    model = find_model(name, storage)
    target = registry_target(registry, collection or model.tracking.project)
    published, now = publish_model(model, target, tuple(alias or ["best"]), f"concord wandb publish {name}")
    print(f"{'published' if now else 'published before, unchanged'}: {published.artifact} in {published.target}")


@wandb.command()
def sweep(
    recipe: Recipe,
    changes: Annotated[
        list[str] | None,
        typer.Argument(help="Changes of the recipe; one that names a parameter fixes it.", metavar="[KEY=VALUE]..."),
    ] = None,
    space: Annotated[str, typer.Option("--space", help="A shipped space, FILE.yaml, or package.module:function.")] = (
        "default"
    ),
    method: Annotated[str, typer.Option("--method", help="How W&B searches: bayes, random or grid.")] = "bayes",
    output: Annotated[Path, typer.Option("--output", "-o", help="File to write.")] = Path("sweep.yaml"),
) -> None:
    """Write a space as the definition of a W&B sweep, for those who let W&B search."""
    from cluster.tracking.wandb_sweep import make_definition, write_definition

    definition, project = make_definition(recipe, changes or [], space, method)
    write_definition(definition, output)
    print(f"wrote {output}; these begin the sweep and train its runs:")
    print(f"wandb sweep --project {project} {output}")
    print(f"wandb agent ENTITY/{project}/SWEEP_ID")


def _print_run(run: "TrackedRun") -> None:
    rows = sum(fragment.rows for fragment in run.fragments)
    print(f"{run.name} ({run.run_id}): {_fragments(len(run.fragments))}, {rows} rows")
    for fragment in run.fragments:
        if remark := _remark(fragment):
            print(f"  {fragment.file.parent.name}: {remark}")


def _remark(fragment: "Fragment") -> str:
    """What is unusual of a fragment."""
    if fragment.sent:
        return "sent before"
    if not fragment.waits:
        return "recorded online, complete"
    return {
        "whole": "" if fragment.ended else "its process was killed; every record is whole",
        "torn": f"its process was killed; the torn last record after byte {fragment.readable} is left out",
        "empty": "empty, left out",
        "damaged": f"damaged after byte {fragment.readable}, {fragment.rows} rows before it; not sent",
        "live": "still being written; its run is sent when it has ended",
    }[fragment.state]


def _fragments(count: int) -> str:
    return f"{count} fragment" if count == 1 else f"{count} fragments"
