"""For every test: hypothesis without chance, signals as a terminal has them, no skip in CI for want of a program."""

from __future__ import annotations

import os
import signal
from collections.abc import Generator

import hypothesis
import pytest

from support.peers import find_peer, skip_is_failure

# The same examples in every run: a failure is the commit's, not the day's. `search` looks for new ones.
hypothesis.settings.register_profile("fixed", derandomize=True, deadline=None, print_blob=True)
hypothesis.settings.register_profile("search", deadline=None, print_blob=True, max_examples=2000)
hypothesis.settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "fixed"))

# Started in the background of a script, or by nohup, we would ignore signals that tests send.
for number, handler in (
    (signal.SIGINT, signal.default_int_handler),
    (signal.SIGTERM, signal.SIG_DFL),
    (signal.SIGHUP, signal.SIG_DFL),
):
    if signal.getsignal(number) is signal.SIG_IGN:
        signal.signal(number, handler)


def _peers_of(item: pytest.Item) -> tuple[str, ...]:
    """Every program that the test's `peers` marks name (class and module marks too)."""
    return tuple(program for mark in item.iter_markers("peers") for program in mark.args)


def pytest_runtest_setup(item: pytest.Item) -> None:
    missing = [program for program in _peers_of(item) if find_peer(program) is None]
    if missing:
        pytest.skip(f"needs {', '.join(missing)} (.ci/peers installs it on Debian)")


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    report = yield
    programs = _peers_of(item)
    if report.skipped and not hasattr(report, "wasxfail") and programs and skip_is_failure(programs):
        reason = report.longrepr[2] if isinstance(report.longrepr, tuple) else str(report.longrepr)
        report.outcome = "failed"
        report.longrepr = f"may not skip here, its peers ({', '.join(programs)}) are part of the run: {reason}"
    return report
