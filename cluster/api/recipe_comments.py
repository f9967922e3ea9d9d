"""The comments of a YAML file."""

from pathlib import Path
from typing import NamedTuple

import yaml


class Line(NamedTuple):
    """A line of a file, by its number from 1."""

    number: int
    text: str


def commented_lines(path: Path) -> list[Line]:
    """The lines of a valid YAML file that carry a comment, and the line that follows a comment of whole lines."""
    text = path.read_text(encoding="utf-8")
    starts = _comment_starts(text)
    found, follows = [], False
    for number, line in enumerate(text.splitlines(), start=1):
        start = starts.get(number)
        if start is not None or follows:
            found.append(Line(number, line))
        follows = start is not None and not line[:start].strip()
    return found


def _comment_starts(text: str) -> dict[int, int]:
    """Line number to the column at which its comment starts: a `#` after a blank that is no part of a value."""
    values = [t for t in yaml.scan(text, yaml.SafeLoader) if isinstance(t, yaml.ScalarToken)]
    inside = {index for token in values for index in range(token.start_mark.index, token.end_mark.index)}
    starts, position = {}, 0
    for number, line in enumerate(text.splitlines(keepends=True), start=1):
        for column, character in enumerate(line):
            begins = character == "#" and (column == 0 or line[column - 1].isspace())
            if begins and position + column not in inside:
                starts[number] = column
                break
        position += len(line)
    return starts
