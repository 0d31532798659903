from __future__ import annotations

import itertools

import pytest

from blockstep.protocol.arena import Arena
from blockstep.protocol.errors import LocalError, RemoteError, TransferFailed
from blockstep.protocol.machine import Machine, TransferStats
from blockstep.protocol.options import Agreed
from blockstep.protocol.receiver import Receiver
from blockstep.protocol.sender import Sender
from blockstep.protocol.states import TABLE, Input, Role, State
from blockstep.protocol.timer import ResendTimer
from blockstep.protocol.wire import ErrorPacket, Opcode, OptionAck, Request, ack_bytes
from support.drivers import Driver, ReceiveDriver, SendDriver
from support.playbook import block

OACK = OptionAck((("blksize", "8"),)).to_bytes()
PACKETS = {
    Input.REQUEST: Request(Opcode.RRQ, "name", "octet").to_bytes(),
    Input.DATA: block(1),
    Input.ACK: ack_bytes(0),
    Input.OACK: OACK,
    Input.ERROR: ErrorPacket(0, "no more").to_bytes(),
}
SENDERS = {Role.PUT, Role.SERVE_READ}
CASES = [
    (role, state)
    for role, state in itertools.product(Role, [State.OFFERED, State.MOVING, State.DALLYING])
    if state in TABLE[role]
]


def driver_in(role: Role, state: State) -> Driver:
    """A fresh driver whose machine is in this state, at 0 s."""
    agreed, timer = Agreed(blksize=8), ResendTimer()
    opening = OACK if state is State.OFFERED or role is Role.SERVE_WRITE else None
    if role in SENDERS:
        return SendDriver(Sender(role, agreed, timer, arena=Arena(2, 8), now=0.0, opening=opening), b"sixteen of bytes")
    driver = ReceiveDriver(Receiver(role, agreed, timer, now=0.0, opening=opening))
    if state is not State.OFFERED:
        driver.take(block(1), 0.0)
    if state is State.DALLYING:
        driver.take(block(2, 0), 0.0)
    return driver


@pytest.mark.parametrize(("role", "state"), CASES)
def test_a_fresh_machine_is_in_the_state_that_the_test_wants(role: Role, state: State) -> None:
    assert driver_in(role, state).machine.state is state


@pytest.mark.parametrize("packet", PACKETS)
@pytest.mark.parametrize(("role", "state"), CASES)
def test_every_packet_in_every_state_does_what_the_table_says(role: Role, state: State, packet: Input) -> None:
    driver = driver_in(role, state)
    driver.flush(0.0)
    expected = TABLE[role][state].get(packet)
    if expected is None:
        with pytest.raises(RemoteError):
            driver.take(PACKETS[packet], 0.1)
        # a file that is whole stays whole
        assert driver.machine.state is (State.DONE if state is State.DALLYING else State.FAILED)
    elif packet is Input.ERROR:
        with pytest.raises(TransferFailed, match="no more"):
            driver.take(PACKETS[packet], 0.1)
        assert driver.machine.state is expected
    else:
        driver.take(PACKETS[packet], 0.1)
        moved_on = {State.MOVING} if state is State.OFFERED else set()  # the answer to the opening
        assert driver.machine.state in {expected} | moved_on


@pytest.mark.parametrize("packet", PACKETS)
@pytest.mark.parametrize(("role", "state"), CASES)
def test_after_the_end_nothing_comes_in_and_nothing_goes_out(role: Role, state: State, packet: Input) -> None:
    driver = driver_in(role, state)
    driver.machine.fail()
    with pytest.raises(LocalError):
        driver.take(PACKETS[packet], 0.1)
    with pytest.raises(LocalError):
        driver.expire(1000.0)
    assert driver.flush(1000.0) == []
    assert driver.machine.state is State.FAILED


@pytest.mark.parametrize(("role", "state"), CASES)
def test_a_deadline_that_has_not_come_does_nothing(role: Role, state: State) -> None:
    driver = driver_in(role, state)
    driver.flush(0.0)
    deadline = driver.machine.next_deadline()
    assert driver.expire(deadline - 0.0001) == []
    assert (driver.machine.state, driver.machine.next_deadline()) == (state, deadline)


@pytest.mark.parametrize(("role", "state"), CASES)
def test_a_silent_peer_ends_every_transfer(role: Role, state: State) -> None:
    driver = driver_in(role, state)
    machine, now, calls = driver.machine, 0.0, 0
    driver.flush(now)
    try:
        while not machine.finished:
            assert machine.next_deadline() > now, "a deadline that does not move would keep the driver busy"
            now = machine.next_deadline()
            driver.expire(now)
            calls += 1
    except TransferFailed:
        assert state is not State.DALLYING
    assert now <= machine.timer.give_up_s
    assert calls < 50
    assert machine.state is (State.DONE if state is State.DALLYING else State.FAILED)


def test_clients_need_no_proof_of_a_peer_that_they_have_asked() -> None:
    proven = {role: driver_in(role, State.MOVING).machine.proven for role in SENDERS}
    assert proven == {Role.PUT: True, Role.SERVE_READ: False}
    assert driver_in(Role.GET, State.MOVING).machine.proven
    assert not driver_in(Role.SERVE_WRITE, State.OFFERED).machine.proven


def test_an_answer_to_the_opening_is_proof_and_a_round_trip() -> None:
    driver = driver_in(Role.SERVE_READ, State.OFFERED)
    assert driver.flush(0.0) == [OACK]
    driver.take(ack_bytes(0), 0.3)
    assert driver.machine.proven
    assert driver.machine.timer.srtt_s == pytest.approx(0.3)


def test_counters_start_at_zero() -> None:
    counters = TransferStats()
    assert {getattr(counters, name) for name in counters.__slots__} == {0}


def test_a_machine_is_one_of_the_two() -> None:
    with pytest.raises(TypeError, match="abstract"):
        Machine(Role.GET, Agreed(), ResendTimer(), opening=None, now=0.0)  # type: ignore[abstract]
