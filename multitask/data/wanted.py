"""Which columns of a file or table are read."""

from collections.abc import Mapping, Sequence

from multitask.config import TaskConfig
from multitask.errors import UserError

_ROLES = ("id", "text", "text_pair", "negative", "label")


def wanted_columns(task: TaskConfig, split: str, available: Sequence[str]) -> dict[str, str]:
    """Column by role. Only a test split may lack the label."""
    wanted = {role: column for role in _ROLES if (column := getattr(task.columns, role)) is not None}
    if split == "test" and task.columns.label not in available:
        wanted.pop("label", None)
    return wanted


def check_columns(name: str, wanted: Mapping[str, str], available: Sequence[str]) -> None:
    """The file or table `name` has every column that is wanted, by the key that names it, once.

    Raises:
        UserError: it has not.
    """
    if not available:
        raise UserError(f"{name} is empty")
    for key, column in wanted.items():
        if available.count(column) != 1:
            found = "occurs twice" if column in available else "is missing"
            raise UserError(
                f"{name}: column {column!r} ({key}) {found}; its columns: {list(available)}{_hint(available)}"
            )


def _hint(columns: Sequence[str]) -> str:
    """Where the header is one field that holds what other files put between fields."""
    found = next((mark for mark in "\t;,|" if len(columns) == 1 and mark in columns[0]), None)
    return f"; is the delimiter {found!r}? then set layout.delimiter" if found else ""
