from __future__ import annotations

import io
import threading

import pytest

from blockstep_client.progress import BarProgress, NoProgress, colour_wanted, make_progress


class Terminal(io.StringIO):
    """A stream that says it is a terminal and keeps what was drawn."""

    def isatty(self) -> bool:
        return True

    @property
    def frames(self) -> list[str]:
        return [frame for frame in self.getvalue().replace("\n", "\r").split("\r") if frame.strip()]


def test_no_bar_without_a_terminal_or_when_quiet() -> None:
    assert isinstance(make_progress(io.StringIO(), {}, quiet=False, files=1, total_bytes=None), NoProgress)
    assert isinstance(make_progress(Terminal(), {}, quiet=True, files=1, total_bytes=None), NoProgress)
    assert isinstance(make_progress(Terminal(), {}, quiet=False, files=1, total_bytes=None), BarProgress)


def test_nothing_is_drawn_by_no_progress(capfd: pytest.CaptureFixture[str]) -> None:
    progress = NoProgress()
    progress.begin("a")
    progress.size_known(10)
    progress.update(5, 0)
    with progress.aside():
        pass
    progress.end()
    progress.close()
    assert capfd.readouterr() == ("", "")


def test_a_known_size_gives_a_bar_with_an_end_and_resends() -> None:
    terminal = Terminal()
    progress = BarProgress(terminal)
    progress.begin("pxelinux.0")
    progress.size_known(2048)
    progress.update(1024, 0)
    progress.update(2048, 3)
    progress.end()
    progress.close()
    last = terminal.frames[-1]
    assert last.startswith("pxelinux.0: 100%")
    assert "2.00k/2.00k" in last
    assert "retx=3" in last
    assert "B/s" in last
    assert terminal.getvalue().endswith("\n")


def test_an_unknown_size_gives_a_counting_bar() -> None:
    terminal = Terminal()
    progress = BarProgress(terminal)
    progress.begin("-")
    progress.update(3000, 0)
    progress.close()
    assert "%" not in terminal.getvalue()
    assert "2.93kB" in terminal.frames[-1]


def test_an_empty_file_ends_its_bar() -> None:
    terminal = Terminal()
    progress = BarProgress(terminal)
    progress.begin("empty")
    progress.size_known(0)
    progress.update(0, 0)
    progress.close()
    assert terminal.frames[-1].startswith("empty: ")


def test_several_files_have_a_total_in_bytes() -> None:
    terminal = Terminal()
    progress = BarProgress(terminal, files=2, total_bytes=4096)
    for name in ("a", "b"):
        progress.begin(name)
        progress.size_known(2048)
        progress.update(2048, 0)
        progress.end()
    progress.close()
    last = terminal.frames[-1]
    assert last.startswith("total: 100%")
    assert "4.00k/4.00k" in last


def test_several_files_of_unknown_size_are_counted() -> None:
    terminal = Terminal()
    progress = BarProgress(terminal, files=2)
    for name in ("a", "b"):
        progress.begin(name)
        progress.update(2048, 0)
        progress.end()
    progress.close()
    assert "2/2" in terminal.frames[-1]


def test_a_failed_file_and_a_second_close_do_no_harm() -> None:
    terminal = Terminal()
    progress = BarProgress(terminal)
    progress.end()
    progress.begin("a")
    progress.close()
    progress.close()
    progress.update(5, 0)
    progress.size_known(5)


def test_words_are_written_beside_the_bar_and_not_into_it() -> None:
    terminal = Terminal()
    progress = BarProgress(terminal)
    progress.begin("a")
    terminal.truncate(0)
    terminal.seek(0)
    with progress.aside():
        terminal.write("words\n")
    cleared, _, rest = terminal.getvalue().partition("words\n")
    assert cleared.strip() == ""
    assert "a: " in rest
    progress.close()


def test_long_names_keep_their_end() -> None:
    terminal = Terminal()
    progress = BarProgress(terminal)
    progress.begin("x" * 100 + "/the-end")
    progress.close()
    name = terminal.frames[-1].split(": ")[0]
    assert name.startswith("...x")
    assert name.endswith("/the-end")
    assert len(name) == 24


def test_a_bar_starts_no_thread() -> None:
    before = threading.active_count()
    progress = BarProgress(Terminal())
    progress.begin("a")
    assert threading.active_count() == before
    progress.close()


@pytest.mark.parametrize(
    ("environ", "wanted"),
    [
        ({}, True),
        ({"NO_COLOR": "1"}, False),
        ({"NO_COLOR": ""}, True),
        ({"TERM": "dumb"}, False),
        ({"TERM": "xterm"}, True),
    ],
)
def test_colour_is_for_terminals_that_want_it(environ: dict[str, str], wanted: bool) -> None:
    assert colour_wanted(Terminal(), environ) is wanted
    assert colour_wanted(io.StringIO(), environ) is False


def test_no_color_leaves_no_escape_for_colour_in_the_bar() -> None:
    drawn = {}
    for environ in ({}, {"NO_COLOR": "1"}):
        terminal = Terminal()
        progress = make_progress(terminal, environ, quiet=False, files=1, total_bytes=None)
        progress.begin("a")
        progress.size_known(10)
        progress.update(10, 0)
        progress.close()
        drawn[bool(environ)] = terminal.getvalue()
    assert "\x1b[32m" in drawn[False]
    assert "\x1b[32m" not in drawn[True]
