from __future__ import annotations

import platform
import re
from pathlib import Path

import pytest

from blockstep import __version__
from blockstep_lab.compare import facts
from blockstep_lab.compare.facts import available_congestions, cpu_model, describe_method
from support.compared import grid, link


def test_the_method_says_what_one_needs_to_repeat_it() -> None:
    method = describe_method(
        grid(["tcp-cubic"], [link()], repeats=4),
        where="namespaces",
        host=None,
        command=("blockstep", "compare"),
        digest="d",
        file_name="f",
        file_bytes=5,
        file_sha256="s",
        max_time_s=3.0,
        mtu=1500,
    )
    assert (method.seed, method.repeats, method.grid, method.max_time_s) == ("7", 4, "d", 3.0)
    assert (method.blockstep, method.python) == (__version__, platform.python_version())
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\+00:00", method.started_at)
    assert method.processors >= 1
    assert method.elapsed_s == 0.0


def test_the_processor_has_a_name_and_tcp_an_algorithm() -> None:
    assert cpu_model()
    assert available_congestions()


def test_a_system_that_does_not_say_has_defaults(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(facts, "_CPUINFO", tmp_path / "nothing")
    monkeypatch.setattr(facts, "_CONGESTIONS", tmp_path / "nothing")
    assert cpu_model() == platform.machine()
    assert available_congestions() == ["cubic"]


def test_a_processor_without_a_name_is_its_architecture(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "cpuinfo").write_text("processor: 0\nBogoMIPS: 50\n")
    monkeypatch.setattr(facts, "_CPUINFO", tmp_path / "cpuinfo")
    assert cpu_model() == platform.machine()
