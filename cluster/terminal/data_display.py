"""The data of a recipe."""

from typing import TYPE_CHECKING

from rich.console import Console
from rich.table import Table

if TYPE_CHECKING:
    from multitask.data import SplitReport


def show_splits(reports: "list[SplitReport]", max_length: int, console: Console) -> None:
    """Print what is in each split, and the rows that are left out or cut."""
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
    console.print(table)
    console.print(labels)
    for report in reports:
        for line in (_cut(report, max_length), _dropped(report), _repeated(report)):
            if line:
                console.print(line, markup=False, highlight=False, soft_wrap=True)
        for row in report.bad_rows:
            console.print(f"left out: {row}", markup=False, highlight=False, soft_wrap=True)


def _cut(report: "SplitReport", max_length: int) -> str:
    cut = report.token_lengths.truncated
    told = f"cut: {report.task}/{report.split}: {cut:,} of {report.rows:,} rows ({cut / report.rows:.1%})"
    return f"{told} are longer than data.max_length={max_length} tokens; what is beyond is not read" if cut else ""


def _dropped(report: "SplitReport") -> str:
    counts = ", ".join(f"{label!r}: {rows:,}" for label, rows in report.dropped.items())
    return f"left out: {report.task}/{report.split}: rows with drop_labels ({counts})" if counts else ""


def _repeated(report: "SplitReport") -> str:
    told = f"ids: {report.task}/{report.split}: ids that an earlier row has: {report.repeated_ids:,}; all rows are used"
    return told if report.repeated_ids else ""


def _labels(report: "SplitReport") -> str:
    if report.label_counts:
        total = sum(report.label_counts.values())
        return "  ".join(f"{label}: {count / total:.0%}" for label, count in report.label_counts.items())
    if report.label_quantiles:
        return "  ".join(f"{value:.3g}" for value in report.label_quantiles.values())
    return "none"
