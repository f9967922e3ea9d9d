"""The one exception that stands for everything a user can mend."""

from multitask.redaction import redacted


class UserError(ValueError):
    """Something the user can mend: one clear line naming the key, file or row, without what URIs carry of secrets.

    The command line prints it without a traceback and exits with code 2. Everything else that goes wrong
    keeps its traceback.
    """

    def __init__(self, message: object = "") -> None:
        super().__init__(redacted(str(message)))


def first_line(error: Exception) -> str:
    """What an error of somebody else's says first; its kind where it says nothing."""
    return str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
