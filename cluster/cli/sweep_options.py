"""The options of `concord sweep`, as its commands take them."""

import shlex
from typing import Annotated

import typer

from multitask.config.yaml_text import read_value
from multitask.errors import UserError

Json = Annotated[bool, typer.Option("--json", help="JSON for programs.")]
Runs = Annotated[str, typer.Option("--storage", help="Folder or URI in which sweeps lie.")]
NewRuns = Annotated[
    str | None,
    typer.Option("--storage", help="Folder or URI for the sweep; the recipe's cluster.storage if not given."),
]
Name = Annotated[str, typer.Argument(help="A sweep's name, or its folder.", metavar="NAME")]

Changes = Annotated[
    list[str] | None,
    typer.Argument(help="Changes of the recipe; one that names a parameter fixes it.", metavar="[KEY=VALUE]..."),
]
Space = Annotated[str, typer.Option(help="A shipped space, FILE.yaml, or package.module:function.")]
NewName = Annotated[str | None, typer.Option(help="The sweep's name; recipe and space if not given.")]
Trials = Annotated[int | None, typer.Option(min=1, help="Configurations, the recipe among them; 20, or the grid.")]
Search = Annotated[str, typer.Option(help="random, grid, tpe, gp, cmaes, qmc or nsga2.")]
Scheduler = Annotated[str, typer.Option(help="fifo, asha, median or pbt.")]
Metric = Annotated[list[str] | None, typer.Option(help="Score to maximise; several ask for their Pareto front.")]
Repeats = Annotated[int, typer.Option(min=1, help="Trials of each configuration, with other seeds.")]
Baselines = Annotated[bool, typer.Option("--baselines", help="Also train every task alone.")]
Budget = Annotated[str | None, typer.Option(help="Time for the sweep as a whole: 2h, 90m.")]
BudgetTokens = Annotated[str | None, typer.Option(help="Tokens for the sweep as a whole: 5M.")]
TrialBudget = Annotated[str | None, typer.Option(help="Time for each trial: 30m; one that takes longer is stopped.")]
Workers = Annotated[int | None, typer.Option(min=1, help="The recipe's cluster.workers if not given.")]
Concurrent = Annotated[int | None, typer.Option(min=1, help="Trials at a time; as many as fit if not given.")]
Evaluations = Annotated[int, typer.Option(min=1, help="Evaluations of a trial as long as the recipe.")]
Grace = Annotated[int, typer.Option(min=1, help="Evaluations before a trial may be stopped or changed.")]
Reduction = Annotated[int, typer.Option(min=2, help="asha: of so many trials one goes on.")]
Seed = Annotated[int, typer.Option(min=0, help="Seed of the search.")]
Keep = Annotated[int, typer.Option(min=1, help="Configurations whose checkpoints are kept.")]
Resume = Annotated[bool, typer.Option("--resume", help="Go on with the sweep of this name as it was planned.")]
New = Annotated[bool, typer.Option("--new", help="Begin another sweep under the next free name.")]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Print trials, resources and time; train nothing.")]

MoreTrials = Annotated[int | None, typer.Option(min=1, help="Configurations from now on.")]
Try = Annotated[
    list[str] | None,
    typer.Option("--try", help="Train this configuration, too; again for another one.", metavar="'KEY=VALUE ...'"),
]
NewBudget = Annotated[str | None, typer.Option(help="Time for the sweep as a whole from now on: 4h.")]
NewBudgetTokens = Annotated[str | None, typer.Option(help="Tokens for the sweep as a whole from now on.")]
NewTrialBudget = Annotated[str | None, typer.Option(help="Time for each trial from now on.")]
NewConcurrent = Annotated[int | None, typer.Option(min=1, help="Trials at a time.")]


def read_sample(text: str) -> dict[str, object]:
    """A configuration as `--try` takes it: `KEY=VALUE` words, quoted as in a shell where one holds a blank.

    Raises:
        UserError: it is something else.
    """
    try:
        words = shlex.split(text)
    except ValueError as error:
        raise UserError(f"--try {text!r}: {error}") from None
    pairs = [word.partition("=") for word in words]
    if not pairs or any(not key or not sign for key, sign, _ in pairs):
        raise UserError(f"--try takes 'KEY=VALUE KEY=VALUE …', got {text!r}")
    return {key: read_value(value) for key, _, value in pairs}
