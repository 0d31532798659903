from __future__ import annotations

import pytest

from blockstep.protocol.options import Wanted
from blockstep.protocol.wire import Opcode
from blockstep_client.settings import Settings


def test_the_defaults_ask_for_what_crosses_every_path() -> None:
    assert Settings().wanted(1428, 16, 0).to_options() == (("tsize", "0"), ("blksize", "1428"), ("windowsize", "16"))


def test_a_timeout_is_asked_of_the_server_too() -> None:
    assert ("timeout", "2") in Settings(timeout_s=2.0).wanted(512, 1, None).to_options()
    assert ("utimeout", "250000") in Settings(timeout_s=0.25).wanted(512, 1, None).to_options()


def test_without_options_nothing_is_asked() -> None:
    assert Settings(use_options=False, timeout_s=2.0).wanted(1428, 16, 0) == Wanted()


@pytest.mark.parametrize(
    ("opcode", "mode", "windowsize"),
    [(Opcode.RRQ, "octet", 16), (Opcode.WRQ, "octet", 16), (Opcode.RRQ, "netascii", 1), (Opcode.WRQ, "netascii", 16)],
)
def test_only_text_that_is_fetched_travels_in_lock_step(opcode: Opcode, mode: str, windowsize: int) -> None:
    assert Settings().windowsize_for(opcode, mode) == windowsize
    assert Settings(windowsize=8).windowsize_for(opcode, mode) == 8


def test_the_time_to_give_up_is_every_try_together() -> None:
    assert Settings(timeout_s=2.0, retries=3).give_up_s == 8.0
    assert Settings(timeout_s=2.0, retries=0).give_up_s == 2.0
    assert Settings().give_up_s == 24.0


def test_on_a_stream_blocks_are_larger_and_windows_unknown() -> None:
    assert Settings().wanted_on_stream(0).to_options() == (("tsize", "0"), ("blksize", "262144"))
    assert Settings(blksize="auto").wanted_on_stream(0) == Settings().wanted_on_stream(0)
    asked = Settings(blksize=1428, windowsize=64, timeout_s=2.0).wanted_on_stream(None)
    assert asked.to_options() == (("blksize", "1428"), ("timeout", "2"))
    assert Settings(use_options=False).wanted_on_stream(0) == Wanted()


def test_an_address_that_names_a_mode_wins() -> None:
    assert Settings(mode="netascii").mode_for("octet") == "octet"
    assert Settings(mode="netascii").mode_for(None) == "netascii"
    assert Settings().mode_for(None) == "octet"
