"""What `concord diagnose` found, on a screen."""

from rich import box
from rich.console import Console
from rich.table import Table

from multitask.diagnosis import Diagnosis

_MOST_PAIRS = 15


def show_diagnosis(found: Diagnosis) -> None:
    """Print tables of pairs, tasks and methods, then what they come to."""
    console = Console()
    print(f"{found.recipe}: {found.looks} looks in {found.steps} steps, {found.seconds:.0f} s")
    for table in (_pairs(found), _noise(found), _methods(found)):
        console.print(table)
    for sentence in found.verdict:
        console.print(f"• {sentence}", highlight=False)
    console.print(f"• Worth a sweep: {', '.join(found.try_next)}.", highlight=False)


def _table(*headings: str, title: str) -> Table:
    table = Table(box=box.SIMPLE_HEAD, title=title, title_justify="left")
    for number, heading in enumerate(headings):
        table.add_column(heading, justify="left" if number == 0 else "right", no_wrap=number == 0)
    return table


def _pairs(found: Diagnosis) -> Table:
    table = _table(
        "pair", "cosine", "without noise", "below 0", "both halves", "by chance", title="How tasks get along"
    )
    for pair in found.pairs[:_MOST_PAIRS]:
        table.add_row(
            f"{pair.first}–{pair.second}" + (" *" if pair.is_real else ""),
            f"{pair.cosine:+.3f}±{pair.error:.3f}",
            "–" if pair.true_cosine is None else f"{pair.true_cosine:+.2f}",
            f"{pair.rate:.0%}",
            f"{pair.both:.0%}",
            f"{pair.chance:.0%}",
        )
    left = len(found.pairs) - _MOST_PAIRS
    table.caption = "* below 0 beyond the noise" + (f"; {left} more pairs in --json" if left > 0 else "")
    return table


def _noise(found: Diagnosis) -> Table:
    table = _table("task", "gradient", "noise", "rows", "half noise at", title="How clear their gradients are")
    for own in found.noise:
        rows = "–" if own.balanced_rows is None else f"{own.balanced_rows:,}"
        table.add_row(own.task, f"{own.norm:.3g}", f"{own.noise:.0%}", f"{own.rows}", rows)
    return table


def _methods(found: Diagnosis) -> Table:
    table = _table("method", "cosine to sum", "against a task", "as", title="What each would have done")
    for own in found.methods:
        table.add_row(own.name, f"{own.to_sum:.3f}", f"{own.harm:.0%}", own.like or "")
    return table
