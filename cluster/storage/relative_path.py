"""Paths that stay below the folder that they are relative to, whatever wrote them down."""

from multitask.errors import UserError


def stays_inside(path: str) -> bool:
    """Whether the relative `path` names something below its folder, or the folder itself."""
    return not path.startswith("/") and "\\" not in path and "\0" not in path and ".." not in path.split("/")


def checked_path(path: str) -> str:
    """`path`, as it is.

    Raises:
        UserError: it leaves its folder.
    """
    if not stays_inside(path):
        raise UserError(f"{path!r} leaves its folder: a name in the folder's files was altered")
    return path
