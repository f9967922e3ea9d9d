"""What a confirmation found, as tables that fit into 80 columns."""

from collections.abc import Sequence
from statistics import fmean
from typing import TYPE_CHECKING

from cluster.analysis.confirmed import Confirmed, Difference
from cluster.terminal.narrow_tables import plain_table

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table


def show_confirmation(found: Confirmed, sweep: str, console: "Console") -> None:
    """Print the differences to the recipe, and the test scores where there are any."""
    test = _test_table(found, sweep)
    console.print(_differences(found, sweep), markup=False, highlight=False)
    if found.rows:
        console.print(f"No interval over dev rows: {found.rows}.", markup=False, highlight=False)
    if test is not None:
        console.print(test, markup=False, highlight=False)
        console.print("Test scores took part in no choice.", markup=False, highlight=False)


def _differences(found: Confirmed, sweep: str) -> "Table":
    """One row for the recipe and each finalist: means over the fresh seeds, differences and their intervals."""
    interval = f"{found.level * 100:g} % interval"
    headings = [
        "trial",
        "score",
        "difference",
        f"{interval}\nover {len(found.seeds)} seeds",
        f"{interval}\nover dev rows",
    ]
    table = plain_table(*headings, "")
    table.add_row("recipe", f"{found.recipe.mean:.4f}")
    for one in found.differences:
        cells = [f"{one.score.mean:.4f}", f"{one.mean:+.4f}", f"{one.low:+.4f} … {one.high:+.4f}", _rows(one)]
        table.add_row(one.name.removeprefix(f"{sweep}-"), *cells, "better" if one.is_better else "")
    return table


def _rows(one: Difference) -> str:
    return "" if one.rows_low is None else f"{one.rows_low:+.4f} … {one.rows_high:+.4f}"


def _test_table(found: Confirmed, sweep: str) -> "Table | None":
    """Means of the test scores over the seeds, of the recipe and of the best finalist."""
    if not found.differences:
        return None
    plan = found.confirmation
    shown = [plan.recipe, found.differences[0].finalist]
    scores = [[plan.test.get(plan.run(sweep, one.number, seed), {}) for seed in found.seeds] for one in shown]
    names = [name for name in scores[0][0] if all(name in own for group in scores for own in group)]
    if not names:
        return None
    table = plain_table("test score", "recipe", found.differences[0].name.removeprefix(f"{sweep}-"))
    for name in names:
        table.add_row(name.removeprefix("test/").replace("/", " "), *(_mean(group, name) for group in scores))
    return table


def _mean(group: Sequence[dict[str, float]], name: str) -> str:
    return f"{fmean(own[name] for own in group):.4f}"
