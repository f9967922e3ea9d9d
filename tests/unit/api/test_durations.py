"""Times and amounts on the command line."""

import re

import pytest

from cluster.api.durations import read_amount, read_duration
from multitask.errors import UserError


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("2h", 7200), ("90m", 5400), ("1h30m", 5400), ("45s", 45), ("1.5h", 5400), ("1d", 86400), ("1h 30m", 5400)],
)
def test_times(text: str, seconds: float) -> None:
    assert read_duration("--budget", text) == seconds


@pytest.mark.parametrize("text", ["", "2", "h", "2 hours", "2x", "-2h", "2h30", "h2", "1,5h", "2H", "0s", "0h0m"])
def test_what_is_no_time_is_refused_with_examples(text: str) -> None:
    with pytest.raises(UserError, match=rf"--budget is a time such as 2h, 90m or 1h30m, got {re.escape(repr(text))}"):
        read_duration("--budget", text)


@pytest.mark.parametrize(
    ("text", "number"),
    [
        ("5M", 5_000_000),
        ("200k", 200_000),
        ("1000000", 1_000_000),
        ("1.5m", 1_500_000),
        ("2G", 2 * 10**9),
        ("2b", 2 * 10**9),
        ("1,000,000", 1_000_000),
        ("1_000", 1000),
    ],
)
def test_amounts(text: str, number: int) -> None:
    assert read_amount("--budget-tokens", text) == number


@pytest.mark.parametrize("text", ["", "many", "5T", "-5", "0", "0k", "5 M", "M"])
def test_what_is_no_amount_is_refused_with_examples(text: str) -> None:
    with pytest.raises(UserError, match=rf"--budget-tokens .*5M, 200k or 1000000, got {re.escape(repr(text))}"):
        read_amount("--budget-tokens", text)
