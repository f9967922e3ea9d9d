"""What `concord diagnose` found, on a screen."""

from rich import box
from rich.console import Console
from rich.table import Table

from multitask.diagnosis import Diagnosis

# From so many tasks on all pairs are a matrix, and those most at odds are told in full.
_MANY_TASKS, _MOST_PAIRS, _MOST_AT_ODDS = 8, 21, 5


def show_diagnosis(found: Diagnosis) -> None:
    """Print tables of pairs, tasks and methods, then what they come to."""
    console = Console()
    after = f", the first after {found.after:,}" if found.after else ""
    start = f", from the weights of {found.start}" if found.start else ""
    print(f"{found.recipe}: {found.looks} looks in {found.steps:,} steps{after}{start}, {found.seconds:.0f} s")
    tasks = list(dict.fromkeys(task for pair in found.pairs for task in (pair.first, pair.second)))
    matrix = [_matrix(found, tasks)] if len(tasks) >= _MANY_TASKS else []
    for table in (*matrix, _pairs(found), _noise(found), _methods(found)):
        console.print(table)
    for sentence in found.verdict:
        console.print(f"• {sentence}", highlight=False)
    console.print(f"• Worth a sweep: {', '.join(found.try_next)}.", highlight=False)


def _table(*headings: str, title: str) -> Table:
    table = Table(box=box.SIMPLE_HEAD, title=title, title_justify="left")
    for number, heading in enumerate(headings):
        table.add_column(heading, justify="left" if number == 0 else "right", no_wrap=number == 0)
    return table


def _matrix(found: Diagnosis, tasks: list[str]) -> Table:
    """Every pair's cosine in hundredths, so that many fit a line; `*` as in the other table, which then holds those most at odds."""
    cells = {frozenset((own.first, own.second)): f"{100 * own.cosine:.0f}{'*' * own.is_real}" for own in found.pairs}
    table = _table("", *map(str, range(1, len(tasks))), title="Cosines in hundredths")
    for number, task in enumerate(tasks, start=1):
        known = [cells.get(frozenset((task, other)), "–") for other in tasks[: number - 1]]
        table.add_row(f"{number} {task}", *known)
    return table


def _pairs(found: Diagnosis) -> Table:
    table = _table(
        "pair",
        "cosine",
        "without noise",
        "below 0",
        "both halves",
        "by chance",
        "sign from rows",
        title="How tasks get along",
    )
    shown = found.pairs[: _MOST_PAIRS if len(found.pairs) < _MANY_TASKS * (_MANY_TASKS - 1) // 2 else _MOST_AT_ODDS]
    for pair in shown:
        table.add_row(
            f"{pair.first}–{pair.second}" + (" *" if pair.is_real else ""),
            f"{pair.cosine:+.3f}±{pair.error:.3f}",
            "–" if pair.true_cosine is None else f"{pair.true_cosine:+.2f}",
            f"{pair.rate:.0%}",
            f"{pair.both:.0%}",
            f"{pair.chance:.0%}",
            "–"
            if pair.sign_rows is None
            else "≥ " * (pair.sign == 0) + "/".join(f"{rows:,}" for rows in pair.sign_rows),
        )
    left = len(found.pairs) - len(shown)
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
