"""A few thousand worlds in every run of the suite, and proof that the rules see what they are there for."""

from __future__ import annotations

from collections.abc import Callable
from itertools import islice
from zlib import crc32

import pytest

from blockstep.protocol.machine import Machine
from blockstep.protocol.receiver import Receiver
from blockstep.protocol.states import State
from blockstep_lab.drivers import ReceiveDriver
from blockstep_server.admission import Admission, Place
from blockstep_server.board import Board
from soak.ends import Troubled
from soak.rules import broken
from soak.server import Violation
from soak.world import told

CHUNK = 250


@pytest.mark.parametrize("first", range(0, 8 * CHUNK, CHUNK))
def test_nothing_is_lost_and_nothing_left_whatever_crashes(first: int) -> None:
    for seed in range(first, first + CHUNK):
        complaints = broken(told(seed))
        assert not complaints, f"{complaints}\nrepeat it: python tests/soak/simulate.py --seed {seed}"


def test_worlds_are_not_all_alike() -> None:
    worlds = [told(seed) for seed in range(300)]
    clients = [client for world in worlds for _, client in world.clients]
    children = [child for world in worlds for server in world.servers for child in server.buried]
    assert sum(client.succeeded for client in clients) > 0.5 * len(clients)
    assert sum(client.dead for client in clients) > 20
    assert sum(child.dead for child in children) > 10
    assert sum(len(world.servers) > 1 for world in worlds) > 10
    assert sum(bool(victim.got) for world in worlds for victim in world.victims) > 20
    assert {reason for world in worlds for reason in world.server.tally.facts()["refused"]} >= {  # type: ignore[attr-defined]
        "over --max-per-client",
        "over --max-sessions",
        "over --max-half-open for this address",
        "a stranger among too many has to ask again",
        "too many requests of this address led to nothing",
        "for want of resources (Resource temporarily unavailable)",
    }


def test_the_same_seed_is_the_same_world() -> None:
    first, second = told(7, trace_limit=1000), told(7, trace_limit=1000)
    assert list(first.net.trace) == list(second.net.trace)


# Each fault is put into the code under test; some world of the first thousand must show it.


def complaints_of(fault: str) -> list[str]:
    """What the rules say of the first worlds that are not well."""
    found = (complaint for seed in range(1000) for complaint in _complaints(seed))
    told_of = list(islice(found, 20))
    assert told_of, f"nobody notices {fault}"
    return told_of


def _complaints(seed: int) -> list[str]:
    try:
        return broken(told(seed))
    except (Violation, AssertionError, RuntimeError) as error:
        return [str(error)]


def test_a_last_ack_before_the_disk_is_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    def early(self: Troubled, now: float) -> None:
        driver = self.party.driver
        if isinstance(driver, ReceiveDriver) and driver.receiver.complete and driver.machine.state is State.MOVING:
            driver.receiver.settled(now)
            self.party.step(driver.flush, now)

    monkeypatch.setattr(Troubled, "_look", early)
    assert any("before it was on the disk" in each for each in complaints_of("an early last ACK"))


def test_a_place_that_is_not_given_back_is_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    release = Admission.release

    def forgetful(self: Admission, place: Place) -> None:
        if crc32(place.claim.words) % 8:
            release(self, place)

    monkeypatch.setattr(Admission, "release", forgetful)
    assert any("place" in each for each in complaints_of("a leaked place"))


def test_a_slot_that_is_not_given_back_is_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Board, "give_back", lambda *_: None)
    assert any("slots of the board" in each for each in complaints_of("a leaked slot"))


def test_an_answer_to_strangers_without_end_is_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    init: Callable[..., None] = Machine.__init__

    def generous(self: Machine, *args: object, **named: object) -> None:
        init(self, *args, **named)
        self.unproven_sends = 5

    monkeypatch.setattr(Machine, "__init__", generous)
    assert any("forged requests made" in each for each in complaints_of("amplification"))


def test_a_receiver_that_takes_any_block_is_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    segment = Receiver.receive_segment

    def careless(self: Receiver, view: memoryview, now: float) -> list[memoryview]:
        taken = list(segment(self, view, now))
        return [*taken, *taken] if len(taken) == 1 and self.stats.duplicates == 1 else taken

    monkeypatch.setattr(Receiver, "receive_segment", careless)
    monkeypatch.setattr(Receiver, "receive_burst", lambda *_: 0)
    assert any(
        "that nobody sent" in each or "never had" in each or "has not" in each
        for each in complaints_of("a doubled block")
    )
