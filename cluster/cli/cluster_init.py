"""`concord cluster`: the files that start a cluster."""

from pathlib import Path
from typing import Annotated, Any

import typer

from cluster.terminal.json_output import print_json

Storage = Annotated[str | None, typer.Option(help="Folder or URI of the runs, which every machine can write.")]
Identity = Annotated[str | None, typer.Option(help="AWS instance profile's ARN, GCP or Kubernetes service account.")]

cluster = typer.Typer(help="Make a cluster of your own.", no_args_is_help=True)


@cluster.callback()
def _group() -> None:
    """Make a cluster of your own."""


@cluster.command()
def init(
    kind: Annotated[str, typer.Argument(help="local, ssh, slurm, aws, gcp or kuberay.", metavar="KIND")],
    name: Annotated[str | None, typer.Option(help="Of the cluster and of its run; concord if not given.")] = None,
    storage: Storage = None,
    recipe: Annotated[str | None, typer.Option(help="What it trains first; main if not given.")] = None,
    workers: Annotated[int | None, typer.Option(help="Machines beside the head, at most; 2 if not given.")] = None,
    min_workers: Annotated[int | None, typer.Option(help="Machines that always stay; 0 if not given.")] = None,
    gpus: Annotated[int | None, typer.Option(help="GPUs of each; 1 if not given.")] = None,
    cpus: Annotated[int | None, typer.Option(help="CPUs of each; 8, or those of the machine.")] = None,
    memory: Annotated[int | None, typer.Option(help="GiB of each; 32 if not given.")] = None,
    host: Annotated[list[str] | None, typer.Option(help="ssh: [USER@]HOST, the first is the head.")] = None,
    image: Annotated[str | None, typer.Option(help="Image that you build and the machines pull, with its tag.")] = None,
    identity: Identity = None,
    region: Annotated[str | None, typer.Option(help="aws: the region.")] = None,
    zone: Annotated[str | None, typer.Option(help="gcp: the zone.")] = None,
    project: Annotated[str | None, typer.Option(help="gcp: the project.")] = None,
    machine: Annotated[str | None, typer.Option(help="aws, gcp: type of a worker; by --gpus if not given.")] = None,
    machine_image: Annotated[str | None, typer.Option(help="aws, gcp: a worker's disk image.")] = None,
    out: Annotated[Path | None, typer.Option(help="Folder to write; cluster-KIND if not given.")] = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace files that are there.")] = False,
    json: Annotated[bool, typer.Option("--json", help="Print a JSON object.")] = False,
) -> None:
    """Write what starts a cluster of KIND, made for your numbers, and say what follows."""
    from cluster.api.cluster_files import init_cluster

    given: dict[str, Any] = {"name": name, "storage": storage, "recipe": recipe, "workers": workers}
    given |= {"min_workers": min_workers, "gpus": gpus, "cpus": cpus, "memory": memory, "hosts": host}
    given |= {"image": image, "identity": identity}
    given |= {"region": region, "zone": zone, "project": project, "machine": machine, "machine_image": machine_image}
    written = init_cluster(kind, out, overwrite, **given)
    if json:
        print_json({"folder": str(written.folder), "files": written.files, "commands": written.commands})
        return
    print(f"wrote {len(written.files)} files to {written.folder}: {', '.join(written.files)}")
    print("what follows:")
    for command in written.commands:
        print(f"  {command}")
