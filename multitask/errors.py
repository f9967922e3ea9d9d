"""The one exception that stands for everything a user can mend."""

from multitask.redaction import redacted


class UserError(ValueError):
    """Something the user can mend: one clear line naming the key, file or row, without what URIs carry of secrets.

    The command line prints it without a traceback and exits with code 2. Everything else that goes wrong
    keeps its traceback.
    """

    def __init__(self, message: object = "") -> None:
        super().__init__(redacted(str(message)))
