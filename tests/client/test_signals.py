from __future__ import annotations

import os
import signal

import pytest

from blockstep_client.errors import Stopped
from blockstep_client.signals import stoppable


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_becomes_an_exception_and_the_handler_comes_back(number: signal.Signals) -> None:
    before = signal.getsignal(number)
    with pytest.raises(Stopped) as caught, stoppable():
        os.kill(os.getpid(), number)
    assert caught.value.exit_code == 128 + number
    assert signal.getsignal(number) is before


def test_a_second_signal_does_not_cut_the_tidying_short() -> None:
    tidied: list[bool] = []
    with pytest.raises(Stopped) as caught, stoppable():
        stop_twice(tidied)
    assert caught.value.exit_code == 128 + signal.SIGTERM
    assert tidied == [True]


def stop_twice(tidied: list[bool]) -> None:
    try:
        os.kill(os.getpid(), signal.SIGTERM)
    finally:
        os.kill(os.getpid(), signal.SIGINT)
        tidied.append(True)


def test_what_was_ignored_stays_ignored() -> None:
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with stoppable():
            os.kill(os.getpid(), signal.SIGHUP)
    finally:
        signal.signal(signal.SIGHUP, before)
