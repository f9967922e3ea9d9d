"""Tables that fit into a narrow screen."""

import textwrap
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.table import Table

_GAP = 3  # blanks between two columns of a table


def plain_table(*headings: str, right: bool = True) -> "Table":
    """A table under these headings, all but the first column to the right with `right`."""
    from rich import box
    from rich.table import Table

    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for place, heading in enumerate(headings):
        table.add_column(heading, justify="right" if place and right else "left", overflow="fold")
    return table


def tables_within(width: int, columns: Sequence[Sequence[str]], kept: int) -> Iterator["Table"]:
    """The columns, heading first, as tables no wider than `width`: the first `kept` stand in each, the rest are shared out.

    No name and no number is broken; headings and remarks are, at spaces, where they must.
    """
    least = [max(map(len, " ".join(column).split()), default=1) for column in columns]
    for part in _parts(least, kept, width):
        places = [*range(kept), *part]
        fits = sum(max(map(len, columns[place])) + _GAP for place in places) <= width
        table = plain_table(
            *(columns[place][0] if fits else _folded(columns[place][0], least[place]) for place in places)
        )
        for place, column in zip(places, table.columns, strict=True):
            own = columns[place]
            column.no_wrap = True
            column.justify = "right" if own[1][:1].isdigit() and place != kept - 1 else "left"
        for row in range(1, len(columns[0])):
            cells = (columns[place][row] for place in places)
            table.add_row(*(cell if fits else _folded(cell, least[at]) for at, cell in zip(places, cells, strict=True)))
        yield table


def _parts(least: Sequence[int], kept: int, width: int) -> list[list[int]]:
    """The columns after the first `kept`, in groups that fit beside them."""
    room = width - sum(size + _GAP for size in least[:kept])
    parts: list[list[int]] = [[]]
    for place in range(kept, len(least)):
        if parts[-1] and sum(least[own] + _GAP for own in [*parts[-1], place]) > room:
            parts.append([])
        parts[-1].append(place)
    return parts


def _folded(text: str, width: int) -> str:
    return textwrap.fill(text, width, break_long_words=False, break_on_hyphens=False)
