"""The scores of a model."""

from collections.abc import Mapping

from rich.table import Table


def scores_table(scores: Mapping[str, Mapping[str, float]], split: str, reported: Mapping[str, float]) -> Table:
    """Each task's metrics on `split`, beside those that training `reported`, if there are any."""
    table = Table("task", "metric")
    table.add_column(split, justify="right")
    if reported:
        table.add_column("in training", justify="right")
    for task, own in scores.items():
        for number, (metric, value) in enumerate(own.items()):
            before = reported.get(f"dev/{task}/{metric}")
            cells = [task if number == 0 else "", metric, f"{value:.4f}"]
            table.add_row(*cells, *(["" if before is None else f"{before:.4f}"] if reported else []))
    return table
