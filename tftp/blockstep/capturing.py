"""`--pcap FILE`, as every command has it.

Decided here: what it is called and that a capture which cannot be begun ends the command (exit code 23), while one that
cannot be finished costs a warning: packets matter more than the record of them. Not known here: sockets and formats.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

import click

from blockstep.exits import ExitCode

if TYPE_CHECKING:
    from blockstep.transport.pcapng_writer import CannotCapture, PcapngWriter
    from blockstep.transport.recording import Recorder

__all__ = ["PCAP", "cannot_write", "captured", "warn_if_cut"]

PCAP = click.option(
    "--pcap",
    type=click.Path(dir_okay=False, path_type=Path),
    metavar="FILE",
    help="Write every packet to this file, for Wireshark and `blockstep trace`.",
)


class _CannotWrite(click.ClickException):
    exit_code: ClassVar[int] = ExitCode.LOCAL_WRITE


def cannot_write(error: CannotCapture) -> click.ClickException:
    """What a command raises where its capture cannot be made."""
    return _CannotWrite(f"--pcap: {error}")


def warn_if_cut(writer: PcapngWriter, path: Path) -> None:
    """One line on stderr if the capture is not whole."""
    if writer.error is not None:
        click.echo(f"blockstep: warning: the capture {path} is not whole: {writer.error.strerror}", err=True)


@contextmanager
def captured(path: Path | None) -> Iterator[Recorder | None]:
    """A recorder for a command that carries packets in its own process; None without a path."""
    if path is None:
        yield None
        return
    from blockstep.transport.pcapng_writer import CannotCapture, PcapngWriter
    from blockstep.transport.recording import Recorder

    try:
        writer = PcapngWriter(path)
    except CannotCapture as error:
        raise cannot_write(error) from error
    try:
        yield Recorder(writer)
    finally:
        writer.close()
        warn_if_cut(writer, path)
