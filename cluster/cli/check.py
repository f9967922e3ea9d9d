"""`concord data check`."""

from typing import TYPE_CHECKING, Annotated

import typer

from cluster.terminal.json_output import print_json

if TYPE_CHECKING:
    from multitask.data import SplitReport


def check(
    recipe: Annotated[str, typer.Argument(help="A recipe file, or the name of a shipped one.", metavar="RECIPE")],
    overrides: Annotated[
        list[str] | None, typer.Argument(help="Changes, such as data.root=…", metavar="[KEY=VALUE]...")
    ] = None,
    json: Annotated[bool, typer.Option("--json", help="Print a JSON object.")] = False,
) -> None:
    """Read and validate every file of RECIPE, and show what is in it."""
    from multitask.config import load_recipe
    from multitask.data import check as check_data

    config = load_recipe(recipe, overrides or [])
    reports = check_data(config)
    if json:
        print_json({"splits": [report.to_dict() for report in reports]})
    else:
        _show(reports, config.data.max_length)


def _show(reports: "list[SplitReport]", max_length: int) -> None:
    from rich.console import Console
    from rich.table import Table

    table, labels = Table(), Table("task", "split", "labels (share of each class, or quartiles)")
    for heading in ("task", "split"):
        table.add_column(heading, no_wrap=True)
    for heading in ("rows", "bad", "duplicates", "in train", "tokens\nmedian/p95/max", "cut"):
        table.add_column(heading, justify="right", no_wrap=True)
    for report in reports:
        tokens, overlap = report.token_lengths, report.train_overlap
        counts = (str(len(report.bad_rows)), str(report.duplicates), "" if overlap is None else str(overlap))
        lengths = (f"{tokens.median:g}/{tokens.p95:g}/{tokens.maximum}", str(tokens.truncated))
        table.add_row(report.task, report.split, f"{report.rows:,}", *counts, *lengths)
        labels.add_row(report.task, report.split, _labels(report))
    console = Console()
    console.print(table)
    console.print(labels)
    for report in reports:
        for line in (_cut(report, max_length), *(f"left out: {row}" for row in report.bad_rows)):
            if line:
                console.print(line, markup=False, highlight=False, soft_wrap=True)


def _cut(report: "SplitReport", max_length: int) -> str:
    cut = report.token_lengths.truncated
    told = f"cut: {report.task}/{report.split}: {cut:,} of {report.rows:,} rows ({cut / report.rows:.1%})"
    return f"{told} are longer than data.max_length={max_length} tokens; what is beyond is not read" if cut else ""


def _labels(report: "SplitReport") -> str:
    if report.label_counts:
        total = sum(report.label_counts.values())
        return "  ".join(f"{label}: {count / total:.0%}" for label, count in report.label_counts.items())
    if report.label_quantiles:
        return "  ".join(f"{value:.3g}" for value in report.label_quantiles.values())
    return "none"
