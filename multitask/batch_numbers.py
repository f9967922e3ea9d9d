"""How many batches a pass has."""

import math


def number_of_batches(rows: int, batch_size: int, rows_per_pass: int | None = None, least_rows: int = 1) -> int:
    """Batches of one pass, a short one counted that has at least `least_rows`."""
    drawn = min(rows, rows_per_pass or rows)
    number = math.ceil(drawn / batch_size)
    return number - 1 if number > 1 and drawn - (number - 1) * batch_size < least_rows else number
