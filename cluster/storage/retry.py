"""Trying again what a disk or a store refused for a moment."""

import errno
import time
from collections.abc import Callable
from typing import TypeVar

import pyarrow as pa

T = TypeVar("T")
PAUSES_S = (0.1, 0.3, 1.0, 3.0)

# What does not pass by itself: answers, and what the user has to mend.
_ANSWERS = (FileNotFoundError, FileExistsError, PermissionError, IsADirectoryError, NotADirectoryError, UnicodeError)
# A disk of this host answers for good; a folder of the network may be away for a moment.
_PASSING = {
    errno.EIO,
    errno.EAGAIN,
    errno.EBUSY,
    errno.EINTR,
    errno.ESTALE,
    errno.ETIMEDOUT,
    errno.ENETDOWN,
    errno.ENETUNREACH,
    errno.EHOSTDOWN,
    errno.EHOSTUNREACH,
    errno.ECONNRESET,
}


def retried(action: Callable[[], T], *, is_local: bool) -> T:
    """`action`, tried again after pauses that grow, where its error may pass by itself; the last error comes through."""
    for pause in PAUSES_S:
        try:
            return action()
        except Exception as error:
            if not _may_pass(error, is_local):
                raise
        time.sleep(pause)
    return action()


def _may_pass(error: Exception, is_local: bool) -> bool:
    if isinstance(error, (*_ANSWERS, pa.ArrowInvalid, pa.ArrowNotImplementedError, TypeError)):
        return False
    return not is_local or (isinstance(error, OSError) and error.errno in _PASSING)
