"""Values as they stand in files and tables."""


class RowError(ValueError):
    """Why a row cannot be used."""


def spelled(value: object) -> str:
    """A value as a text file would have it; nothing for None and NaN.

    A whole float is a whole number: a column of whole numbers is one of floats where one of them is missing.
    """
    if value is None or (isinstance(value, float) and value != value):
        return ""
    if isinstance(value, float) and value.is_integer() and abs(value) < 2**53:
        return str(int(value))
    return str(value)


def shown(value: object) -> str:
    """A value in a message: printable, and cut where it is long."""
    text = ascii(value) if isinstance(value, str) and not value.isprintable() else repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."
