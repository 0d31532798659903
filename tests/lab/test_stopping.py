from __future__ import annotations

import select
import signal

import pytest

from blockstep_lab.stopping import stop_signals


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_is_something_to_read_and_nothing_else(number: signal.Signals) -> None:
    before = signal.getsignal(number)
    with stop_signals() as stopped:
        assert select.select([stopped], [], [], 0)[0] == []
        signal.raise_signal(number)
        assert select.select([stopped], [], [], 10)[0] == [stopped]
    assert signal.getsignal(number) is before


def test_who_was_woken_by_signals_before_is_again() -> None:
    before = signal.set_wakeup_fd(-1)
    try:
        with stop_signals():
            pass
        assert signal.set_wakeup_fd(-1) == -1
    finally:
        signal.set_wakeup_fd(before)
