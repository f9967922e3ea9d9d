"""One trial of a sweep: what it tried, how far it came, and what it failed with."""

from rich.console import Console, Group, RenderableType
from rich.table import Table
from rich.text import Text

from cluster.analysis.value_text import assignments
from cluster.step.clock import clock
from cluster.sweeps.records import Sweep, Trial
from cluster.terminal.sweep_display import score_columns


def show_trial(sweep: Sweep, trial: Trial, folder: str, traceback: str | None, console: Console) -> None:
    """Print all that is known of `trial`, whose run folder is `folder`."""
    console.print(_facts(trial, folder))
    if trial.reports:
        console.print(_report_table(sweep, trial))
    if traceback:
        console.print(traceback.rstrip(), markup=False, highlight=False, soft_wrap=True)


def _facts(trial: Trial, folder: str) -> RenderableType:
    state = f"{trial.status}, attempt {trial.attempts}, {clock(trial.seconds)}" if trial.attempts else trial.status
    of_cluster = " (of the cluster)" if trial.cause == "cluster" else ""
    lines = {
        trial.run: state,
        "reason": f"{trial.reason}{of_cluster}" if trial.reason else "",
        "trained": f"{trial.rows:,} of {trial.planned_rows:,} rows, {trial.tokens:,} tokens",
        "tries": "the recipe" if trial.role == "recipe" else " ".join(assignments(trial.sample)),
        **{own.run: f"{' '.join(assignments(own.sample))} from {own.donor}" for own in trial.generations},
        "folder": folder,
    }
    table = Table(box=None, show_header=False, padding=(0, 2, 0, 0))
    table.add_column(no_wrap=True)
    for name, text in lines.items():
        if text:
            table.add_row(name, Text(text))
    return Group(table, "")


def _report_table(sweep: Sweep, trial: Trial) -> Table:
    """Its evaluations; of a trial of a population also which of its runs made each."""
    known = {name for report in trial.reports for name in report.scores}
    names = [name for name in score_columns(sweep) if name in known]
    table = Table("evaluation", "step", "rows", box=None, padding=(0, 2, 0, 0))
    for name in names:
        table.add_column(name.removeprefix("dev/"), justify="right")
    if trial.generations:
        table.add_column("run")
    best = trial.best(sweep.options.selection)
    for report in trial.reports:
        scores = [f"{report.scores[name]:.3f}" if name in report.scores else "" for name in names]
        own = [report.run] if trial.generations else []
        style = "bold" if report is best else ""
        table.add_row(str(report.iteration), str(report.step), f"{report.rows:,}", *scores, *own, style=style)
    return table
