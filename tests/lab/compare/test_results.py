from __future__ import annotations

import json
from pathlib import Path

import pytest

from blockstep.protocol.errors import LocalError
from blockstep_lab.compare.results import LOCAL, CompareResult

SAMPLE = Path(__file__).with_name("sample.json")


def test_the_sample_is_read_and_written_back_as_it_was() -> None:
    result = CompareResult.read(SAMPLE)
    assert result.to_json() == SAMPLE.read_text().rstrip("\n")
    assert CompareResult.from_json(result.to_json()) == result


def test_parts_are_found_by_their_ids() -> None:
    result = CompareResult.read(SAMPLE)
    assert result.contender("tcp-bbr").congestion == "bbr"
    assert result.link(LOCAL).rate_bit_s is None
    cell = result.cells[0]
    assert result.cell(cell.contender, cell.link) == cell
    assert result.cell("tcp-bbr", "nowhere") is None


def test_every_id_that_is_used_is_defined() -> None:
    result = CompareResult.read(SAMPLE)
    contenders, links = {each.id for each in result.contenders}, {each.id for each in result.links}
    for used in (result.runs, result.cells, result.sequences):
        assert {each.contender for each in used} <= contenders
        assert {each.link for each in used} <= links
    assert {line.link for line in result.lines} <= links
    assert {line.contender for line in result.lines} <= {*contenders, None}


def test_a_file_is_replaced_whole(tmp_path: Path) -> None:
    result = CompareResult.read(SAMPLE)
    target = tmp_path / "out.json"
    target.write_text("before")
    result.write(target)
    assert CompareResult.read(target) == result
    assert [each.name for each in tmp_path.iterdir()] == ["out.json"]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "not JSON"),
        ("[" * 100_000, "not JSON"),
        ("[]", "not a comparison of schema 1"),
        ('{"schema": 2}', "not a comparison of schema 1"),
        ('{"schema": 1}', "missing complete"),
    ],
)
def test_what_is_no_comparison_is_refused_with_its_name(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "old.json"
    path.write_text(text)
    with pytest.raises(LocalError, match=rf"old\.json: .*{message}"):
        CompareResult.read(path)


def test_a_place_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    result = CompareResult.read(SAMPLE)
    with pytest.raises(LocalError, match=r"nowhere/out\.json: No such file"):
        result.write(tmp_path / "nowhere" / "out.json")


def test_numbers_that_json_does_not_have_are_not_written() -> None:
    raw = json.loads(SAMPLE.read_text())
    raw["method"]["elapsed_s"] = float("inf")
    result = CompareResult.from_json(json.dumps(raw))
    with pytest.raises(ValueError, match="not JSON compliant"):
        result.to_json()
