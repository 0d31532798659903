from __future__ import annotations

import errno
from collections.abc import Callable, Sequence
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from blockstep.protocol.errors import End, ErrorCode
from blockstep.transport.vectored import IOV_MAX, beyond, read_failed, read_fully, write_failed, write_fully

Shape = tuple[int, int, int]
Runs = st.tuples(st.integers(1, 9), st.integers(0, 2100), st.integers(0, 8))


def make_run(slot_bytes: int, full_slots: int, rest_bytes: int) -> tuple[bytearray, list[memoryview]]:
    whole = bytearray(slot_bytes * full_slots + min(rest_bytes, slot_bytes))
    view = memoryview(whole)
    return whole, [view[at : at + slot_bytes] for at in range(0, len(whole), slot_bytes)]


class ShortCalls:
    """A system call that moves as few bytes as it likes, and checks what a kernel would."""

    def __init__(self, sizes: Sequence[int], data: bytes, move: Callable[[memoryview, bytes], None]) -> None:
        self.sizes = list(sizes)
        self.data = data
        self.move = move

    def __call__(self, batch: Sequence[memoryview], done: int) -> int:
        assert 0 < len(batch) <= IOV_MAX
        wanted = min(sum(map(len, batch)), len(self.data) - done, self.sizes.pop() if self.sizes else 1 << 30)
        at = done
        for view in batch:
            piece = self.data[at : min(at + len(view), done + wanted)]
            self.move(view[: len(piece)], piece)
            at += len(piece)
        return wanted


def fill(view: memoryview, piece: bytes) -> None:
    view[:] = piece


@given(shape=Runs, sizes=st.lists(st.integers(1, 700), max_size=20), missing=st.integers(0, 20), seed=st.randoms())
def test_reads_are_repeated_until_the_views_are_full_or_the_input_ends(
    shape: Shape, sizes: list[int], missing: int, seed: Random
) -> None:
    whole, views = make_run(*shape)
    data = seed.randbytes(max(0, len(whole) - missing))
    assert read_fully(ShortCalls(sizes, data, fill), views) == len(data)
    assert whole[: len(data)] == data


@given(shape=Runs, sizes=st.lists(st.integers(1, 700), max_size=20), seed=st.randoms())
def test_writes_are_repeated_until_everything_is_out(shape: Shape, sizes: list[int], seed: Random) -> None:
    whole, views = make_run(*shape)
    whole[:] = seed.randbytes(len(whole))
    taken = bytearray()

    def take(view: memoryview, _piece: bytes) -> None:
        taken.extend(view)

    assert write_fully(ShortCalls(sizes, bytes(whole), take), views) == len(whole)
    assert taken == whole


def test_a_write_that_moves_nothing_is_an_error_and_not_an_endless_loop() -> None:
    _, views = make_run(4, 3, 0)
    with pytest.raises(OSError) as caught:
        write_fully(lambda _batch, _done: 0, views)
    assert caught.value.errno == errno.EIO


@given(lengths=st.lists(st.integers(0, 5)), count=st.integers(0, 30))
def test_beyond_drops_exactly_the_first_bytes(lengths: list[int], count: int) -> None:
    views = [memoryview(bytes([index] * length)) for index, length in enumerate(lengths)]
    assert b"".join(beyond(views, count)) == b"".join(views)[count:]


@pytest.mark.parametrize(
    ("number", "code"),
    [
        (errno.ENOSPC, ErrorCode.DISK_FULL),
        (errno.EDQUOT, ErrorCode.DISK_FULL),
        (errno.EFBIG, ErrorCode.DISK_FULL),
        (errno.EACCES, ErrorCode.ACCESS_VIOLATION),
        (errno.EPERM, ErrorCode.ACCESS_VIOLATION),
        (errno.EROFS, ErrorCode.ACCESS_VIOLATION),
        (errno.EEXIST, ErrorCode.FILE_EXISTS),
        (errno.EIO, ErrorCode.UNDEFINED),
        (None, ErrorCode.UNDEFINED),
    ],
)
def test_write_errors_become_codes_and_never_show_a_path(number: int | None, code: ErrorCode) -> None:
    error = OSError(number, "x", "/srv/secret") if number else OSError("/srv/secret")
    failure = write_failed(error)
    assert (failure.end, failure.code) == (End.LOCAL_WRITE, code)
    assert "/srv" not in failure.detail


def test_read_errors_become_codes_and_never_show_a_path() -> None:
    codes = [read_failed(OSError(number, "x", "/srv")).code for number in (errno.ENOENT, errno.EACCES, errno.EIO)]
    assert codes == [ErrorCode.FILE_NOT_FOUND, ErrorCode.ACCESS_VIOLATION, ErrorCode.UNDEFINED]
    assert "/srv" not in read_failed(OSError(errno.EIO, "x", "/srv")).detail
