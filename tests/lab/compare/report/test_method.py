from __future__ import annotations

import shlex
from dataclasses import replace

from blockstep_lab.compare.report.method import method_list, place_of, repeat_command
from support.reports import NASTY, Page, nasty, sample


def test_everything_that_is_needed_to_judge_or_repeat_it_is_told() -> None:
    method = sample().method
    shown = Page(method_list(sample())).shown
    for value in (method.seed, method.kernel, method.cpu, method.python, method.blockstep, method.started_at):
        assert value in shown
    for maybe in (method.scheduler, method.carrier, method.file_name, method.file_sha256):
        assert maybe is not None
        assert maybe in shown
    assert "135 of 135: 3 of each cell, in turns" in shown
    assert "lte: to the client rate 50mbit limit 500 delay 50ms 10ms distribution normal, to the server rate" in shown


def test_a_digest_that_is_another_is_told() -> None:
    result = sample()
    runs = (replace(result.runs[0], sha256="0" * 64), *result.runs[1:])
    whole = sum(run.sha256 is not None for run in runs)
    assert f"{whole} of 135 runs delivered the file, with the SHA-256 {result.method.file_sha256}" in Page(
        method_list(result)
    ).shown.replace("\n", " ")
    told = Page(method_list(replace(result, runs=runs))).shown
    assert f"{whole - 1} of 135 runs delivered the file" in told
    assert "1 delivered something else" in told


def test_places() -> None:
    method = sample().method
    assert "network namespaces" in place_of(method)
    assert place_of(replace(method, where="host", host="192.0.2.7")) == "a real path to 192.0.2.7"
    assert "simulated" in place_of(replace(method, where="simulation"))


def test_the_command_can_be_pasted_into_a_shell() -> None:
    markup = repeat_command(nasty().method)
    assert "<script" not in markup
    assert shlex.split(Page(markup).shown) == ["blockstep", "compare", NASTY]
