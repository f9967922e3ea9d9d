"""The commands, and how they fail: what the user can mend is one line and exit code 2, all else a traceback."""

import os
import sys
import traceback
from typing import Annotated, Any

import typer

from cluster.cli.best import best
from cluster.cli.check import check
from cluster.cli.cluster_init import cluster
from cluster.cli.diagnose import diagnose
from cluster.cli.doctor_command import doctor
from cluster.cli.evaluate import evaluate
from cluster.cli.export import export
from cluster.cli.jobs import jobs, logs, stop, submit
from cluster.cli.methods import methods
from cluster.cli.plan_command import plan
from cluster.cli.predict import predict
from cluster.cli.profile_command import profile
from cluster.cli.recipes import recipes
from cluster.cli.report import report
from cluster.cli.streams import check_encoding, prepare_streams
from cluster.cli.sweep import sweep
from cluster.cli.train import train
from cluster.cli.wandb import wandb
from cluster.jobs.job_environment import check_this_job
from cluster.terminal.json_output import print_json
from multitask.errors import UserError
from multitask.redaction import redacted

app = typer.Typer(
    help="Fine-tune one text encoder for many tasks, with gradient surgery that is exact on any number of workers.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    add_completion=False,
    rich_markup_mode=None,
)
data = typer.Typer(help="Look at the data of a recipe.", no_args_is_help=True)


def _version(wanted: bool) -> None:
    if wanted:
        from importlib.metadata import version

        print(f"concord {version('concord-mtl')}")
        raise typer.Exit


@app.callback()
def concord(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    """Fine-tune one text encoder for many tasks, with gradient surgery that is exact on any number of workers."""


app.command()(train)
app.command()(export)
app.command()(evaluate)
app.command()(predict)
app.command()(report)
app.add_typer(sweep, name="sweep")
app.command()(best)
app.add_typer(wandb, name="wandb")
app.command()(doctor)
app.add_typer(recipes, name="recipes")
app.command()(methods)
app.command()(diagnose)
app.command()(plan)
app.command()(profile)
app.add_typer(cluster, name="cluster")
data.command()(check)
app.add_typer(data, name="data")
app.command()(submit)
app.command()(jobs)
app.command()(logs)
app.command()(stop)


def _show_traceback(*error: Any) -> None:
    """As Python shows it, without secrets in URIs."""
    print(redacted("".join(traceback.format_exception(*error))), end="", file=sys.stderr)


def main() -> None:
    """Entry point of the command line."""
    sys.excepthook = _show_traceback
    # The tokenizer's threads and the data loader's fork do not go together; tokenising happens once.
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "true")
    prepare_streams()
    try:
        check_encoding(sys.argv[1:])
        check_this_job()
        app()
    except UserError as error:
        if "--json" in sys.argv:
            print_json({"error": str(error)})
        for line in str(error).splitlines():
            print(f"concord: {line}", file=sys.stderr)
        sys.exit(2)
    except KeyboardInterrupt:
        sys.exit(130)
    except BrokenPipeError:
        # Whoever read our output has gone; a second attempt at the interpreter's exit must not complain.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(0)
