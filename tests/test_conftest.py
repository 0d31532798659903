"""The rule that CI may not skip what it installed, shown on small test runs of their own."""

from __future__ import annotations

from pathlib import Path

import pytest

from support import peers

pytest_plugins = ["pytester"]

CONFTEST = (Path(__file__).parent / "conftest.py").read_text()
SKIPS = "import pytest\n@pytest.mark.peers({names})\ndef test_it():\n    pytest.skip('for some reason')\n"


@pytest.fixture
def nested(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> pytest.Pytester:
    monkeypatch.delenv("CI", raising=False)
    monkeypatch.delenv("BLOCKSTEP_REQUIRE_PEERS", raising=False)
    pytester.makeconftest(CONFTEST)
    pytester.makeini("[pytest]\nmarkers =\n    peers(*programs): needs them\n")
    return pytester


def outcomes(nested: pytest.Pytester, names: str) -> dict[str, int]:
    nested.makepyfile(SKIPS.format(names=names))
    return nested.runpytest_inprocess("-p", "no:cacheprovider").parseoutcomes()


def test_a_missing_program_skips_and_says_which(nested: pytest.Pytester) -> None:
    nested.makepyfile(SKIPS.format(names="'no-such-program'"))
    result = nested.runpytest_inprocess("-rs", "-p", "no:cacheprovider")
    assert result.parseoutcomes() == {"skipped": 1}
    result.stdout.fnmatch_lines(["*needs no-such-program*"])


def test_elsewhere_a_skip_is_a_skip(nested: pytest.Pytester) -> None:
    assert outcomes(nested, "'curl'") == {"skipped": 1}


def test_in_a_full_run_what_ci_installs_may_not_be_missing(
    nested: pytest.Pytester, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("BLOCKSTEP_REQUIRE_PEERS", "1")
    monkeypatch.setenv("PATH", "")
    monkeypatch.setattr(peers, "_ELSEWHERE", "")
    assert outcomes(nested, "'curl', 'atftpd'") == {"errors": 1}


def test_in_a_full_run_a_test_of_what_ci_installs_may_not_skip(
    nested: pytest.Pytester, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("BLOCKSTEP_REQUIRE_PEERS", "1")
    for program in ("curl", "atftpd"):
        (nested.path / program).touch(mode=0o755)
    monkeypatch.setenv("PATH", str(nested.path))
    assert outcomes(nested, "'curl', 'atftpd'") == {"failed": 1}


def test_in_a_full_run_a_program_that_ci_does_not_install_may_be_missing(
    nested: pytest.Pytester, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("BLOCKSTEP_REQUIRE_PEERS", "1")
    assert outcomes(nested, "'curl', 'no-such-program'") == {"skipped": 1}


def test_under_ci_a_program_that_is_there_may_not_be_skipped(
    nested: pytest.Pytester, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CI", "true")
    assert outcomes(nested, "'sh'") == {"failed": 1}
    assert outcomes(nested, "'no-such-program'") == {"skipped": 1}


def test_a_test_that_needs_no_program_may_always_skip(nested: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BLOCKSTEP_REQUIRE_PEERS", "1")
    nested.makepyfile("import pytest\ndef test_it():\n    pytest.skip('no IPv6 here')\n")
    assert nested.runpytest_inprocess("-p", "no:cacheprovider").parseoutcomes() == {"skipped": 1}
