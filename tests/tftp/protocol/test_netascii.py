"""netascii: the table, every border, and a slow reference that works byte by byte."""

from __future__ import annotations

from itertools import pairwise, product

import pytest
from hypothesis import given
from hypothesis import strategies as st

from blockstep.protocol.netascii import Decoder, Encoder

# Mostly the bytes that matter: uniformly random ones seldom make a CR LF.
texts = st.one_of(st.binary(max_size=200), st.lists(st.sampled_from(b"\r\n\0a\xff"), max_size=40).map(bytes))
cuts = st.lists(st.integers(0, 400), max_size=12)


def pieces(data: bytes, at: list[int]) -> list[bytes]:
    borders = [0, *sorted(min(border, len(data)) for border in at), len(data)]
    return [data[start:end] for start, end in pairwise(borders)]


def blocks(data: bytes, size: int) -> list[bytes]:
    return [data[start : start + size] for start in range(0, len(data), size)]


def encode(parts: list[bytes]) -> bytes:
    encoder = Encoder()
    return b"".join(map(encoder.encode, parts)) + encoder.finish()


def decode(parts: list[bytes]) -> bytes:
    decoder = Decoder()
    return b"".join(map(decoder.decode, parts)) + decoder.finish()


def slow_decode(data: bytes) -> bytes:
    out = bytearray()
    at = 0
    while at < len(data):
        pair = data[at : at + 2]
        out += {b"\r\n": b"\n", b"\r\0": b"\r"}.get(pair, pair[:1])
        at += 2 if pair in (b"\r\n", b"\r\0") else 1
    return bytes(out)


@pytest.mark.parametrize(
    ("file", "wire"),
    [
        (b"", b""),
        (b"one\ntwo\n", b"one\r\ntwo\r\n"),
        (b"\r", b"\r\0"),
        (b"\r\n", b"\r\0\r\n"),
        (b"\n\r", b"\r\n\r\0"),
        (b"\r\0", b"\r\0\0"),
        (b"\0\n", b"\0\r\n"),
        (bytes(range(128, 256)), bytes(range(128, 256))),
    ],
)
def test_both_directions(file: bytes, wire: bytes) -> None:
    assert encode([file]) == wire
    for size in range(1, len(wire) + 1):
        assert decode(blocks(wire, size)) == file


@pytest.mark.parametrize(
    ("wire", "file"),
    [
        (b"\r", b"\r"),
        (b"a\rb", b"a\rb"),
        (b"\r\r", b"\r\r"),
        (b"\r\r\n", b"\r\n"),
        (b"\r\r\0", b"\r\r"),
        (b"\r\0\n", b"\r\n"),
        (b"\r\n\0", b"\n\0"),
        (b"\n", b"\n"),
        (b"\0", b"\0"),
    ],
)
def test_what_no_encoder_sends(wire: bytes, file: bytes) -> None:
    for size in range(1, len(wire) + 1):
        assert decode(blocks(wire, size)) == file


def test_every_short_text_as_the_reference_says() -> None:
    for length in range(7):
        for letters in product(b"\r\n\0a", repeat=length):
            wire = bytes(letters)
            assert decode([wire]) == decode(blocks(wire, 1)) == slow_decode(wire)


def test_a_lone_cr_waits_for_what_follows() -> None:
    decoder = Decoder()
    assert decoder.decode(b"a\r") == b"a"
    assert decoder.decode(b"") == b""
    assert decoder.decode(b"\n") == b"\n"
    assert decoder.decode(b"\r") == b""
    assert decoder.finish() == b"\r"
    assert decoder.finish() == b""


@pytest.mark.parametrize("size", [8, 511, 512, 513, 1428])
def test_pairs_across_block_borders(size: int) -> None:
    for shift in range(4):
        file = b"x" * (size - shift) + b"\r\n\r\r\n\n" * 3 + b"\r"
        wire = encode([file])
        assert decode(blocks(wire, size)) == file


@given(texts, cuts, cuts)
def test_a_file_comes_back_however_it_is_cut(file: bytes, at: list[int], wire_at: list[int]) -> None:
    wire = encode(pieces(file, at))
    assert wire == encode([file])
    assert decode(pieces(wire, wire_at)) == file


@given(texts, cuts)
def test_any_stream_decodes_alike_however_it_is_cut(wire: bytes, at: list[int]) -> None:
    assert decode(pieces(wire, at)) == decode([wire]) == slow_decode(wire)


@given(texts)
def test_encoded_text_holds_no_bare_cr_or_lf(file: bytes) -> None:
    wire = encode([file])
    assert wire.count(b"\r") == wire.count(b"\r\n") + wire.count(b"\r\0")
    assert wire.count(b"\n") == wire.count(b"\r\n")


@pytest.mark.parametrize("kind", [bytes, bytearray, memoryview])
def test_any_buffer_is_taken(kind: type) -> None:
    assert Encoder().encode(kind(b"a\n")) == b"a\r\n"
    assert Decoder().decode(kind(b"a\r\n")) == b"a\n"
