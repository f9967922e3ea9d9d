"""`concord submit`, `jobs`, `logs` and `stop`."""

import sys
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from cluster.terminal.json_output import print_json

if TYPE_CHECKING:
    from cluster.jobs.job_server import JobServer

_Address = Annotated[
    str | None,
    typer.Option(
        help="URL of the job server; RAY_API_SERVER_ADDRESS or http://127.0.0.1:8265 if not given.", metavar="URL"
    ),
]
_Insecure = Annotated[bool, typer.Option("--insecure", help="Also to a server elsewhere that wants no token.")]
_Job = Annotated[str, typer.Argument(help="A job's id.", metavar="ID")]
_Json = Annotated[bool, typer.Option("--json", help="Print a JSON object.")]


def submit(
    context: typer.Context,
    command: Annotated[list[str], typer.Argument(help="After --: a command of concord.", metavar="-- COMMAND...")],
    address: _Address = None,
    name: Annotated[
        str | None,
        typer.Option(
            "--name", "--submission-id", help="Of job and run, which goes on under it; the recipe's if not given."
        ),
    ] = None,
    no_wait: Annotated[bool, typer.Option("--no-wait", help="Print the job's id and leave it alone.")] = False,
    include: Annotated[list[str] | None, typer.Option(help="Send this file or folder along.", metavar="PATH")] = None,
    env: Annotated[
        list[str] | None, typer.Option(help="For the job's environment; no secrets.", metavar="NAME=VALUE")
    ] = None,
    needs: Annotated[
        list[str] | None, typer.Option(help="The cluster's nodes must have this variable.", metavar="NAME")
    ] = None,
    dependencies: Annotated[
        Literal["image", "pip", "uv"], typer.Option("--with", help="Whence concord and its packages come.")
    ] = "image",
    insecure: _Insecure = False,
) -> None:
    """Run a command of concord on a Ray cluster: concord submit -- train RECIPE. Ends with the command's exit code."""
    from cluster.jobs.job_server import connect
    from cluster.jobs.submission import Submission
    from cluster.jobs.submission import submit as send

    _check_command(context, command)
    asked: dict[str, Any] = {"included": include or (), "variables": env or (), "needs": needs or ()}
    submission = Submission(tuple(command), name, dependencies=dependencies, **asked)
    server = connect(address, insecure=insecure)
    job = send(server, submission)
    if no_wait:
        print(job)
        return
    print(f"concord: submitted as {job}", file=sys.stderr)
    _watch(server, job)


def jobs(address: _Address = None, json: _Json = False, insecure: _Insecure = False) -> None:
    """List the jobs of a cluster, the oldest first."""
    from rich.console import Console

    from cluster.jobs.job_server import connect
    from cluster.terminal.job_display import job_list

    found = connect(address, insecure=insecure).jobs()
    if json:
        print_json({"jobs": found})
    else:
        Console().print(job_list(found) if found else "no jobs")


def logs(
    job: _Job,
    follow: Annotated[bool, typer.Option("--follow", help="To the job's end, with its exit code.")] = False,
    address: _Address = None,
    insecure: _Insecure = False,
) -> None:
    """Print what a job has printed."""
    from cluster.jobs.job_server import connect

    server = connect(address, insecure=insecure)
    if follow:
        _watch(server, job)
    print(server.log(job), end="")


def stop(job: _Job, address: _Address = None, insecure: _Insecure = False) -> None:
    """Have a job save after its step and end, and wait until it has."""
    from cluster.jobs.job_server import connect
    from cluster.jobs.watched_job import stop as end

    details = end(connect(address, insecure=insecure), job)
    print(f"{job}: {details['status'].lower()}")


def _watch(server: "JobServer", job: str) -> None:
    from cluster.jobs.watched_job import watch

    raise typer.Exit(watch(server, job, _write, _asks_to_stop))


def _write(text: str) -> None:
    print(text, end="", flush=True)


def _asks_to_stop() -> bool:
    """Without a terminal there is nobody to ask: the job is left alone."""
    if not _has_terminal():
        return False
    try:
        return input("\nstop the job, or leave it running? [s/L] ").strip().lower().startswith("s")
    except (EOFError, KeyboardInterrupt):
        return False


def _has_terminal() -> bool:
    return sys.stdin.isatty()


def _check_command(context: typer.Context, words: list[str]) -> None:
    """Parse the command as it will be there, so that a wrong option is told here."""
    parser: Any = context.find_root().command
    parent, rest = None, words
    while hasattr(parser, "resolve_command"):
        parent = parser.make_context(parser.name, list(rest), parent=parent)
        _, parser, rest = parser.resolve_command(parent, [*parent._protected_args, *parent.args])
    parser.make_context(parser.name, list(rest), parent=parent)
