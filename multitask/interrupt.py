"""Ctrl-C or SIGTERM that ends after the step."""

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

_SIGNALS = (signal.SIGINT, signal.SIGTERM)


@contextmanager
def interruptible(tell: Callable[[], None] = lambda: None) -> Iterator[Callable[[], bool]]:
    """Inside, the first Ctrl-C or SIGTERM only makes what is given return True, and calls `tell`; the second one acts as ever.

    Outside the main thread, which alone is told of signals, nothing changes.
    """
    asked = False

    def restore() -> None:
        for number, handler in before.items():
            signal.signal(number, handler)

    def ask(number: int, frame: FrameType | None) -> None:
        nonlocal asked
        asked = True
        restore()
        tell()

    if threading.current_thread() is not threading.main_thread():
        yield lambda: False
        return
    before = {number: signal.signal(number, ask) for number in _SIGNALS}
    try:
        yield lambda: asked
    finally:
        restore()
