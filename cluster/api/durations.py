"""Times and amounts as people write them."""

import re

from multitask.errors import UserError

_SECONDS = {"d": 86400, "h": 3600, "m": 60, "s": 1}
_FACTORS = {"": 1, "k": 10**3, "m": 10**6, "g": 10**9, "b": 10**9}


def read_duration(option: str, text: str | float) -> float:
    """Seconds of `2h`, `90m`, `1h30m` or `45s`; a number is seconds already.

    Raises:
        UserError: it is none of these.
    """
    if not isinstance(text, str) and text > 0:
        return float(text)
    text = str(text)
    parts = re.findall(r"(\d+(?:\.\d+)?)([dhms])", text)
    seconds = sum(float(number) * _SECONDS[unit] for number, unit in parts)
    if not seconds or "".join(number + unit for number, unit in parts) != text.replace(" ", ""):
        raise UserError(f"{option} is a time such as 2h, 90m or 1h30m, got {text!r}")
    return seconds


def read_amount(option: str, text: str | int) -> int:
    """The number that `5M`, `200k` or `1000000` means.

    Raises:
        UserError: it is none of these.
    """
    found = re.fullmatch(r"(\d+(?:\.\d+)?)([kmgb]?)", str(text).lower().replace(",", "").replace("_", ""))
    if found is None or not float(found[1]):
        raise UserError(f"{option} is a number such as 5M, 200k or 1000000, got {text!r}")
    return round(float(found[1]) * _FACTORS[found[2]])
