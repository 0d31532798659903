from __future__ import annotations

import socket

import pytest

from blockstep.protocol.errors import End, ErrorCode, TransferFailed
from blockstep_client.errors import CannotReach
from blockstep_client.in_turn import NEXT_AFTER_S, first_answer
from blockstep_client.resolve import Address

SILENCE, CLOSED = (TransferFailed(end, end.value) for end in (End.TIMED_OUT, End.PEER_GONE))
NO_ROUTE = CannotReach("no route")
NO = TransferFailed(End.PEER_ERROR, "no", ErrorCode.FILE_NOT_FOUND)
ADDRESSES = [Address(socket.AF_INET, ("192.0.2.1", port)) for port in range(3)]

Call = tuple[int, float | None, bool]


class Hosts:
    """Each address has its answers: a failure, or None for success. `calls` is who was tried, how long, how."""

    def __init__(self, *answers: list[TransferFailed | CannotReach | None]) -> None:
        self.calls: list[Call] = []
        self._answers = answers

    def __call__(self, address: Address, at_most_s: float | None, *, tries_elsewhere: bool) -> int:
        number = address.where[1]
        self.calls.append((number, at_most_s, tries_elsewhere))
        if (failure := self._answers[number].pop(0)) is not None:
            raise failure
        return number

    def ask(self) -> int:
        return first_answer(ADDRESSES[: len(self._answers)], self, lambda _: None)


def test_one_address_has_all_the_time() -> None:
    hosts = Hosts([None])
    assert hosts.ask() == 0
    assert hosts.calls == [(0, None, False)]


@pytest.mark.parametrize("failure", [SILENCE, CLOSED, NO_ROUTE])
def test_the_next_one_is_tried(failure: TransferFailed | CannotReach) -> None:
    hosts = Hosts([failure], [None])
    assert hosts.ask() == 1
    assert hosts.calls == [(0, NEXT_AFTER_S, True), (1, None, failure is SILENCE)]


def test_an_answer_is_an_answer() -> None:
    hosts = Hosts([NO], [None])
    with pytest.raises(TransferFailed, match="no"):
        hosts.ask()
    assert len(hosts.calls) == 1


@pytest.mark.parametrize("failure", [CLOSED, NO_ROUTE])
def test_who_was_silent_is_tried_again_when_the_last_cannot_be_reached(failure: TransferFailed | CannotReach) -> None:
    hosts = Hosts([SILENCE, None], [CLOSED], [failure])
    assert hosts.ask() == 0
    assert hosts.calls == [(0, NEXT_AFTER_S, True), (1, NEXT_AFTER_S, True), (2, None, True), (0, None, False)]


def test_and_its_silence_is_what_is_told() -> None:
    hosts = Hosts([SILENCE, SILENCE], [NO_ROUTE])
    with pytest.raises(TransferFailed) as caught:
        hosts.ask()
    assert caught.value is SILENCE


@pytest.mark.parametrize("answers", [([CLOSED], [NO_ROUTE]), ([NO_ROUTE], [CLOSED]), ([SILENCE], [SILENCE])])
def test_else_the_last_says_how_it_ended(answers: tuple[list[TransferFailed | CannotReach | None], ...]) -> None:
    *_, (last,) = answers
    with pytest.raises((TransferFailed, CannotReach)) as caught:
        Hosts(*(list(each) for each in answers)).ask()
    assert caught.value is last
