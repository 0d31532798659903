from __future__ import annotations

import random
import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from blockstep_server.sandbox.bpf import Check, Verdict, assemble

HERE, OTHERWISE, FOREIGN = 0xC000003E, 7, 9
ALLOWED = 1


def execute(program: bytes, number: int, arguments: tuple[int, ...] = (), architecture: int = HERE) -> int:
    """A machine for the six operations that seccomp programs of ours are made of."""
    data = struct.pack("=IIQ6Q", number, architecture, 0, *arguments, *[0] * (6 - len(arguments)))
    instructions = list(struct.iter_unpack("=HBBI", program))
    accumulator = at = 0
    while True:
        operation, if_true, if_false, operand = instructions[at]
        at += 1
        match operation:
            case 0x20:
                (accumulator,) = struct.unpack_from("=I", data, operand)
            case 0x54:
                accumulator &= operand
            case 0x15:
                at += if_true if accumulator == operand else if_false
            case 0x35:
                at += if_true if accumulator >= operand else if_false
            case 0x06:
                return int(operand)
            case _:
                raise AssertionError(f"operation {operation:#x}")


def program(verdicts: dict[int, Verdict]) -> bytes:
    return assemble(HERE, verdicts, otherwise=OTHERWISE, foreign=FOREIGN)


@given(st.dictionaries(st.integers(0, 500), st.integers(10, 99), max_size=120))
def test_every_number_gets_its_own_verdict(actions: dict[int, int]) -> None:
    found = program({number: Verdict(action) for number, action in actions.items()})
    for number in range(502):
        assert execute(found, number) == actions.get(number, OTHERWISE)


@given(st.lists(st.integers(0, 20), min_size=1, max_size=5), st.integers(0, 5), st.integers(0, 2**64 - 1))
def test_an_argument_is_one_of_the_values(values: list[int], argument: int, actual: int) -> None:
    found = program({3: Verdict(ALLOWED, (Check(argument, tuple(values)),))})
    for given_value in (actual, *values):
        arguments = tuple(given_value if at == argument else 77 for at in range(6))
        expected = ALLOWED if given_value & 0xFFFFFFFF in values else OTHERWISE
        assert execute(found, 3, arguments) == expected


def test_all_checks_must_hold_and_a_mask_hides_the_rest() -> None:
    found = program({5: Verdict(ALLOWED, (Check(0, (1, 2)), Check(2, (0,), mask=4)))})
    assert execute(found, 5, (2, 0, 3)) == ALLOWED
    assert execute(found, 5, (3, 0, 3)) == OTHERWISE
    assert execute(found, 5, (2, 0, 6)) == OTHERWISE


def test_another_architecture_has_other_numbers() -> None:
    assert execute(program({5: Verdict(ALLOWED)}), 5, architecture=0x40000003) == FOREIGN


def test_a_program_of_full_size_finds_its_way() -> None:
    """Jumps have eight bits: more than the lists of `syscalls` need still fits."""
    rng = random.Random(1)
    numbers = rng.sample(range(500), 45)
    found = program({number: Verdict(number + 1000, (Check(1, (1, 2, 3)),)) for number in numbers})
    for number in numbers:
        assert execute(found, number, (0, 3)) == number + 1000
        assert execute(found, number, (0, 4)) == OTHERWISE


def test_what_does_not_fit_is_refused_and_not_cut() -> None:
    with pytest.raises(ValueError, match="too long"):
        program({number: Verdict(1, (Check(0, (1, 2, 3, 4)),)) for number in range(400)})
