"""What a store refuses for a moment is asked again."""

import errno
from collections.abc import Callable

import pytest

from cluster.storage import retry
from cluster.storage.retry import retried
from cluster.storage.store_error import StoreError


@pytest.fixture(autouse=True)
def pauses(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The pauses that were made, without making them."""
    made: list[float] = []
    monkeypatch.setattr(retry.time, "sleep", made.append)
    return made


def failing(times: int, error: Exception) -> Callable[[], str]:
    left = [error] * times

    def action() -> str:
        if left:
            raise left.pop()
        return "done"

    return action


@pytest.mark.parametrize(
    ("error", "is_local"),
    [
        (OSError("AWS Error SLOW_DOWN"), False),
        (TimeoutError("no answer"), False),
        (RuntimeError("of the store's own library"), False),
        (OSError(errno.ESTALE, "stale file handle"), True),
        (OSError(errno.EIO, "input/output error"), True),
    ],
)
def test_what_may_pass_is_tried_again(error: Exception, is_local: bool, pauses: list[float]) -> None:
    assert retried(failing(len(retry.PAUSES_S), error), is_local=is_local) == "done"
    assert pauses == list(retry.PAUSES_S)
    with pytest.raises(type(error)):
        retried(failing(len(retry.PAUSES_S) + 1, error), is_local=is_local)


@pytest.mark.parametrize(
    ("error", "is_local"),
    [
        (FileNotFoundError(errno.ENOENT, "none"), False),
        (PermissionError(errno.EACCES, "not yours"), False),
        (OSError(errno.ENOSPC, "the disk is full"), True),
        (ValueError("of the caller"), True),
        (StoreError("said already"), False),
    ],
)
def test_an_answer_is_taken_at_once(error: Exception, is_local: bool, pauses: list[float]) -> None:
    with pytest.raises(type(error)):
        retried(failing(1, error), is_local=is_local)
    assert pauses == []
