"""Signals that ask first."""

import os
import signal

import pytest

from multitask.interrupt import interruptible, sigterm_like_ctrl_c


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_the_first_signal_asks_and_the_second_acts_as_ever(number: signal.Signals) -> None:
    with sigterm_like_ctrl_c():
        before = [signal.getsignal(own) for own in (signal.SIGINT, signal.SIGTERM)]
        with pytest.raises(KeyboardInterrupt):
            _signalled_twice(number)
        assert [signal.getsignal(own) for own in (signal.SIGINT, signal.SIGTERM)] == before


def _signalled_twice(number: signal.Signals) -> None:
    told = []
    with interruptible(lambda: told.append(1)) as interrupted:
        assert not interrupted()
        os.kill(os.getpid(), number)
        assert (interrupted(), told) == (True, [1])
        os.kill(os.getpid(), number)
        raise AssertionError("the second signal was not heard")


def test_sigterm_is_ctrl_c_inside_and_what_it_was_outside() -> None:
    before = signal.getsignal(signal.SIGTERM)
    with pytest.raises(KeyboardInterrupt), sigterm_like_ctrl_c():
        os.kill(os.getpid(), signal.SIGTERM)
    assert signal.getsignal(signal.SIGTERM) == before
