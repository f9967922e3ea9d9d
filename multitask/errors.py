"""The one exception that stands for everything a user can mend."""


class UserError(ValueError):
    """Something the user can mend: one clear line naming the key, file or row.

    The command line prints it without a traceback and exits with code 2. Everything else that goes wrong
    keeps its traceback.
    """
