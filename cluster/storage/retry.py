"""Trying again what a disk or a store refused for a moment."""

import errno
import time
from collections.abc import Callable, Sequence
from typing import TypeVar

import pyarrow as pa

from cluster.storage.store_error import is_final
from multitask.errors import UserError

T = TypeVar("T")
PAUSES_S = (0.1, 0.3, 1.0, 3.0)
# Of a store: one that has never answered may be misspelt, one that has answered comes back.
FIRST_PAUSES_S = (*PAUSES_S, 5.0, 10.0)
STORE_PAUSES_S = (*FIRST_PAUSES_S, 15.0, 30.0)

# What does not pass by itself: answers, and what the user has to mend.
_ANSWERS = (
    UserError,
    FileNotFoundError,
    FileExistsError,
    PermissionError,
    IsADirectoryError,
    NotADirectoryError,
    UnicodeError,
)
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


def retried(action: Callable[[], T], *, is_local: bool, pauses: Sequence[float] = PAUSES_S) -> T:
    """`action`, tried again after pauses that grow, where its error may pass by itself; the last error comes through."""
    for pause in pauses:
        try:
            return action()
        except Exception as error:
            if not may_pass(error, is_local):
                raise
        time.sleep(pause)
    return action()


def may_pass(error: Exception, is_local: bool) -> bool:
    """Whether another try may succeed."""
    if isinstance(error, (*_ANSWERS, pa.ArrowInvalid, pa.ArrowNotImplementedError, TypeError)):
        return False
    if not is_local and is_final(error):
        return False
    return not is_local or (isinstance(error, OSError) and error.errno in _PASSING)
