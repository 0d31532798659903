"""Option negotiation: the table row by row, both sides against each other, and fuzzing."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from blockstep.protocol.errors import ErrorCode, LocalError, RemoteError
from blockstep.protocol.options import (
    KNOWN_OPTIONS,
    NUMBER_LARGEST,
    Agreed,
    Limits,
    Wanted,
    accept,
    decimal_untrusted,
    negotiate,
)
from blockstep.protocol.wire import ErrorPacket, Opcode, OptionAck, Options, Request, parse_request_untrusted

NO_NUMBERS = [
    *("", " ", "-1", "+1", " 512", "512 ", "512\n", "5_12", "1e3", "0x10", "5.0", "abc", "\udcff"),
    *("\u0665", "\uff15\uff11\uff12", "\u00b2"),  # Arabic, full-width and superscript digits
    *("99999999999999999999", "9" * 4301, "0" * 20, str(NUMBER_LARGEST + 1)),
]


def short(value: object) -> str:
    """A test id that fits on a line."""
    return ascii(value)[:30]


def read(*options: tuple[str, str], mode: str = "octet") -> Request:
    return Request(Opcode.RRQ, "f", mode, options)


def write(*options: tuple[str, str], mode: str = "octet") -> Request:
    return Request(Opcode.WRQ, "f", mode, options)


def answer(request: Request, limits: Limits | None = None, size_bytes: int | None = None) -> Options:
    """The options of the OACK, () for none."""
    oack = negotiate(request, limits or Limits(), size_bytes)[1]
    return oack.options if oack else ()


def check_refusal(error: RemoteError) -> None:
    assert error.code is ErrorCode.OPTION_REFUSED
    assert len(ErrorPacket(error.code, str(error)).to_bytes()) <= 64


def granted(name: str, value: str, limits: Limits | None = None) -> str | None:
    return dict(answer(read((name, value)), limits)).get(name)


@pytest.mark.parametrize(
    ("text", "number"), [("0", 0), ("512", 512), ("000512", 512), (str(NUMBER_LARGEST), NUMBER_LARGEST)]
)
def test_decimal(text: str, number: int) -> None:
    assert decimal_untrusted(text) == number


@pytest.mark.parametrize("text", NO_NUMBERS, ids=short)
def test_no_decimal(text: str) -> None:
    assert decimal_untrusted(text) is None


def test_decimal_largest() -> None:
    assert decimal_untrusted("255", 255) == 255
    assert decimal_untrusted("256", 255) is None


@given(st.one_of(st.text(), st.integers().map(str), st.text(st.characters(categories=["Nd", "No"]))))
def test_decimal_takes_what_int_takes_and_ascii_digits_write(text: str) -> None:
    number = decimal_untrusted(text)
    ascii_digits = 0 < len(text) <= 19 and set(text) <= set("0123456789")
    assert number == (int(text) if ascii_digits and int(text) <= NUMBER_LARGEST else None)


def test_without_options_there_is_no_oack() -> None:
    assert negotiate(read(), Limits(), 100) == (Agreed(), None)
    assert negotiate(write(), Limits(), None) == (Agreed(512, 1, None, None, 0), None)


@pytest.mark.parametrize(("rollover", "windowsize"), [("0", 65535), ("1", 65534)])
def test_a_window_is_shorter_than_the_period_of_the_numbers(rollover: str, windowsize: int) -> None:
    limits = Limits(windowsize_max=65535, in_flight_max_bytes=1 << 40)
    agreed, oack = negotiate(read(("windowsize", "65535"), ("rollover", rollover)), limits, None)
    assert agreed == Agreed(windowsize=windowsize, rollover=int(rollover))
    assert oack == OptionAck((("windowsize", str(windowsize)), ("rollover", rollover)))


def test_unknown_options_are_ignored() -> None:
    assert negotiate(read(("multicast", ""), ("x-y", "\u0665"), ("", "")), Limits(), 1) == (Agreed(), None)


def test_the_answer_keeps_the_order_and_holds_nothing_else() -> None:
    asked = (
        ("windowsize", "8"),
        ("foo", "1"),
        ("tsize", "0"),
        ("timeout", "3"),
        ("blksize", "1428"),
        ("rollover", "1"),
    )
    agreed, oack = negotiate(read(*asked), Limits(), 99)
    assert agreed == Agreed(1428, 8, 3.0, 99, 1)
    assert oack is not None
    assert oack.options == (
        *(("windowsize", "8"), ("tsize", "99"), ("timeout", "3"), ("blksize", "1428"), ("rollover", "1")),
    )


@pytest.mark.parametrize("name", sorted(KNOWN_OPTIONS))
@pytest.mark.parametrize("value", NO_NUMBERS, ids=short)
def test_a_known_option_that_is_no_number_is_refused(name: str, value: str) -> None:
    with pytest.raises(RemoteError) as caught:
        negotiate(read((name, value)), Limits(), 1)
    assert caught.value.code is ErrorCode.OPTION_REFUSED


@pytest.mark.parametrize(
    ("name", "value"),
    [
        *(("blksize", "0"), ("blksize", "7"), ("blksize2", "0"), ("blksize2", "7")),
        *(("windowsize", "0"), ("windowsize", "65536"), ("windowsize", str(NUMBER_LARGEST))),
    ],
)
def test_a_value_without_a_legal_answer_is_refused(name: str, value: str) -> None:
    with pytest.raises(RemoteError) as caught:
        negotiate(read((name, value)), Limits(), 1)
    assert caught.value.code is ErrorCode.OPTION_REFUSED


@pytest.mark.parametrize(
    ("name", "value", "expected"),
    [
        *(("blksize", "8", "8"), ("blksize", "65464", "65464"), ("blksize", "65465", "65464")),
        *(("blksize", "0512", "512"), ("blksize", str(NUMBER_LARGEST), "65464")),
        *(("blksize2", "8", "8"), ("blksize2", "1023", "512"), ("blksize2", "1024", "1024")),
        *(("blksize2", "65464", "32768"), ("blksize2", "99999", "32768")),
        *(("timeout", "1", "1"), ("timeout", "255", "255"), ("timeout", "0", None), ("timeout", "256", None)),
        *(("utimeout", "10000", "10000"), ("utimeout", "255000000", "255000000")),
        *(("utimeout", "9999", None), ("utimeout", "255000001", None)),
        *(("windowsize", "1", "1"), ("windowsize", "64", "64"), ("windowsize", "65535", "64")),
        *(("rollover", "0", "0"), ("rollover", "1", "1"), ("rollover", "2", None)),
    ],
)
def test_ranges(name: str, value: str, expected: str | None) -> None:
    assert granted(name, value) == expected


@pytest.mark.parametrize(
    ("limits", "name", "value", "expected"),
    [
        (Limits(blksize_max=1468), "blksize", "8192", "1468"),
        (Limits(blksize_max=1468), "blksize2", "8192", "1024"),
        (Limits(blksize_max=8), "blksize2", "8192", "8"),
        (Limits(windowsize_max=16), "windowsize", "17", "16"),
        (Limits(timeout_max_s=10), "timeout", "11", None),
        (Limits(timeout_max_s=10), "utimeout", "10000001", None),
        (Limits(in_flight_max_bytes=2047), "windowsize", "9", "3"),
        (Limits(in_flight_max_bytes=1), "windowsize", "9", "1"),
    ],
)
def test_limits(limits: Limits, name: str, value: str, expected: str | None) -> None:
    assert granted(name, value, limits) == expected


def test_the_byte_cap_counts_the_agreed_block_size() -> None:
    limits = Limits(windowsize_max=65535, in_flight_max_bytes=1 << 20)
    agreed, _ = negotiate(read(("windowsize", "60000"), ("blksize", "65464")), limits, None)
    assert (agreed.windowsize, agreed.blksize) == (16, 65464)


@pytest.mark.parametrize("value", ["512", "0", "rubbish"])
def test_refused_options_are_unknown(value: str) -> None:
    limits = Limits(refuse=frozenset({"blksize"}))
    assert negotiate(read(("blksize", value)), limits, None) == (Agreed(), None)


@pytest.mark.parametrize(
    ("asked", "expected"),
    [
        ([("blksize", "1000"), ("blksize2", "1000")], (("blksize", "1000"),)),
        ([("blksize2", "1000"), ("blksize", "1000")], (("blksize2", "512"),)),
        ([("timeout", "2"), ("utimeout", "50000")], (("timeout", "2"),)),
        ([("utimeout", "50000"), ("timeout", "2")], (("utimeout", "50000"),)),
        ([("timeout", "0"), ("utimeout", "50000")], (("utimeout", "50000"),)),
    ],
)
def test_of_two_options_for_one_thing_the_first_holds(asked: list[tuple[str, str]], expected: Options) -> None:
    assert answer(read(*asked)) == expected


def test_utimeout_is_in_microseconds() -> None:
    assert negotiate(read(("utimeout", "50000")), Limits(), None)[0].timeout_s == 0.05


@pytest.mark.parametrize(
    ("request_", "size_bytes", "expected"),
    [
        (read(("tsize", "0")), 1234, 1234),
        (read(("tsize", "77")), 1234, 1234),
        (read(("tsize", "0")), 6 * 1024**3, 6 * 1024**3),
        (read(("tsize", "0")), 0, None),
        (read(("tsize", "0")), None, None),
        (read(("tsize", "0"), mode="netascii"), None, None),
        (read(("tsize", "0"), mode="netascii"), 1300, 1300),
        (read(), 1234, None),
        (write(("tsize", "77")), None, 77),
        (write(("tsize", "77")), 5, 77),
        (write(("tsize", "0")), None, None),
        (write(("tsize", "77"), mode="netascii"), None, None),
    ],
)
def test_tsize(request_: Request, size_bytes: int | None, expected: int | None) -> None:
    agreed, oack = negotiate(request_, Limits(), size_bytes)
    assert agreed == Agreed(tsize=expected)
    assert oack == (None if expected is None else OptionAck((("tsize", str(expected)),)))


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        ({"blksize_max": 7}, "blksize_max"),
        ({"blksize_max": 65465}, "blksize_max"),
        ({"windowsize_max": 0}, "windowsize_max"),
        ({"in_flight_max_bytes": 0}, "in_flight_max_bytes"),
        ({"timeout_max_s": 256}, "timeout_max_s"),
        ({"refuse": frozenset({"blocksize"})}, "blocksize"),
    ],
)
def test_limits_are_checked(arguments: dict[str, int], text: str) -> None:
    with pytest.raises(LocalError, match=text):
        Limits(**arguments)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("wanted", "options"),
    [
        (Wanted(), ()),
        (Wanted(blksize=1428), (("blksize", "1428"),)),
        (Wanted(timeout_s=2.0), (("timeout", "2"),)),
        (Wanted(timeout_s=0.25), (("utimeout", "250000"),)),
        (Wanted(tsize=0, rollover=0), (("tsize", "0"), ("rollover", "0"))),
    ],
)
def test_wanted_as_options(wanted: Wanted, options: Options) -> None:
    assert wanted.to_options() == options


@pytest.mark.parametrize(
    "arguments",
    [
        *({"blksize": 7}, {"blksize": 65465}, {"windowsize": 0}, {"windowsize": 65536}),
        *({"timeout_s": 0}, {"timeout_s": 256}, {"timeout_s": float("nan")}, {"tsize": -1}, {"rollover": 2}),
    ],
)
def test_wanted_is_checked(arguments: dict[str, int]) -> None:
    with pytest.raises(LocalError):
        Wanted(**arguments)


EVERYTHING = Wanted(blksize=1428, windowsize=16, timeout_s=2, tsize=0, rollover=1)


@pytest.mark.parametrize(
    ("wanted", "options", "agreed"),
    [
        (EVERYTHING, (), Agreed()),
        (EVERYTHING, (("blksize", "1428"),), Agreed(blksize=1428)),
        (EVERYTHING, (("blksize", "8"), ("windowsize", "1")), Agreed(blksize=8)),
        (EVERYTHING, (("tsize", "5"), ("timeout", "2")), Agreed(tsize=5, timeout_s=2.0)),
        (EVERYTHING, (("tsize", "0"), ("rollover", "1")), Agreed(tsize=0, rollover=1)),
        (Wanted(tsize=7), (("tsize", "7"),), Agreed(tsize=7)),
        (Wanted(timeout_s=0.25), (("utimeout", "250000"),), Agreed(timeout_s=0.25)),
    ],
)
def test_accept(wanted: Wanted, options: Options, agreed: Agreed) -> None:
    assert accept(wanted, OptionAck(options)) == agreed


@pytest.mark.parametrize(
    ("wanted", "options"),
    [
        (Wanted(), (("blksize", "512"),)),
        (Wanted(), (("x", ""),)),
        (Wanted(timeout_s=2), (("utimeout", "2000000"),)),
        (Wanted(tsize=7), (("tsize", "8"),)),
        (Wanted(tsize=7), (("tsize", "0"),)),
        (EVERYTHING, (("blksize", "1429"),)),
        (EVERYTHING, (("blksize", "7"),)),
        (EVERYTHING, (("blksize", "0"),)),
        (EVERYTHING, (("windowsize", "17"),)),
        (EVERYTHING, (("windowsize", "0"),)),
        (EVERYTHING, (("timeout", "3"),)),
        (EVERYTHING, (("rollover", "0"),)),
        (EVERYTHING, (("blksize", "512"), ("blksize", "512"))),
        *((EVERYTHING, (("blksize", text),)) for text in NO_NUMBERS),
    ],
    ids=short,
)
def test_an_oack_that_grants_something_else_is_refused(wanted: Wanted, options: Options) -> None:
    with pytest.raises(RemoteError) as caught:
        accept(wanted, OptionAck(options))
    assert caught.value.code is ErrorCode.OPTION_REFUSED


wanteds = st.builds(
    Wanted,
    blksize=st.none() | st.integers(8, 65464),
    windowsize=st.none() | st.integers(1, 65535),
    timeout_s=st.none() | st.integers(1, 255) | st.integers(10_000, 255_000_000).map(lambda us: us / 1_000_000),
    tsize=st.none() | st.integers(0, NUMBER_LARGEST),
    rollover=st.none() | st.integers(0, 1),
)
limits_values = st.builds(
    Limits,
    blksize_max=st.integers(8, 65464),
    windowsize_max=st.integers(1, 65535),
    in_flight_max_bytes=st.integers(1, 1 << 24),
    timeout_max_s=st.integers(1, 255),
    refuse=st.frozensets(st.sampled_from(sorted(KNOWN_OPTIONS)), max_size=3),
)
opcodes = st.sampled_from([Opcode.RRQ, Opcode.WRQ])
values = st.one_of(
    st.integers(0, 300).map(str), st.integers(0, 10**20).map(str), st.sampled_from(NO_NUMBERS), st.text()
)
option_lists = st.dictionaries(st.sampled_from(sorted(KNOWN_OPTIONS)) | st.text(), values, max_size=7)


@given(wanteds, limits_values, opcodes, st.none() | st.integers(0, NUMBER_LARGEST))
def test_both_sides_of_this_house_agree(wanted: Wanted, limits: Limits, opcode: Opcode, size: int | None) -> None:
    if opcode == Opcode.RRQ and wanted.tsize:
        wanted = Wanted(tsize=0)
    request = parse_request_untrusted(Request(opcode, "f", "octet", wanted.to_options()).to_bytes())
    agreed, oack = negotiate(request, limits, size)
    assert agreed == (accept(wanted, oack) if oack else Agreed())


@given(option_lists, limits_values, opcodes, st.none() | st.integers(0, NUMBER_LARGEST))
def test_any_options_are_agreed_or_refused(
    options: dict[str, str], limits: Limits, opcode: Opcode, size: int | None
) -> None:
    try:
        agreed, oack = negotiate(Request(opcode, "f", "octet", tuple(options.items())), limits, size)
    except RemoteError as error:
        check_refusal(error)
        return
    assert 8 <= agreed.blksize <= max(512, limits.blksize_max)
    assert 1 <= agreed.windowsize <= limits.windowsize_max
    assert agreed.windowsize == 1 or agreed.windowsize * agreed.blksize <= limits.in_flight_max_bytes
    answered = [name for name, _ in oack.options] if oack else []
    assert answered == [name for name in options if name in answered]
    assert oack is None or ("tsize", "0") not in oack.options
    assert not set(answered) & limits.refuse


@given(wanteds, option_lists)
def test_any_oack_is_accepted_or_refused(wanted: Wanted, options: dict[str, str]) -> None:
    try:
        agreed = accept(wanted, OptionAck(tuple(options.items())))
    except RemoteError as error:
        check_refusal(error)
        return
    assert agreed.blksize <= max(512, wanted.blksize or 0)  # an option left out leaves 512
    assert agreed.windowsize <= (wanted.windowsize or 1)
