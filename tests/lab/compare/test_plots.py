from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from blockstep.protocol.errors import LocalError
from blockstep_lab.compare.plots import write_all
from blockstep_lab.compare.results import CompareResult
from support.compared import grid, link, record

UDP, CUBIC = "udp-w16-b1428", "tcp-cubic"
LINKS = [link(0.0), link(1.0)]
GOODPUTS = {(each, where.id): 1e6 for each in (UDP, CUBIC) for where in LINKS}


def size_of(png: Path) -> tuple[int, int]:
    head = png.read_bytes()[:24]
    assert head.startswith(b"\x89PNG\r\n\x1a\n")
    return int.from_bytes(head[16:20], "big"), int.from_bytes(head[20:24], "big")


@pytest.mark.slow
def test_every_chart_of_the_sample_is_a_picture_for_print(tmp_path: Path) -> None:
    paths = write_all(CompareResult.read(Path(__file__).with_name("sample.json")), tmp_path / "new" / "folder")
    assert sorted(paths) == sorted((tmp_path / "new" / "folder").iterdir())
    names = [path.name.partition("-")[0] for path in paths]
    assert {name: names.count(name) for name in names} == {"loss": 2, "delay": 3, "windowsize": 7, "runs": 1}
    for path in paths:
        width, _ = size_of(path)
        assert width >= 1200


def test_names_of_links_are_no_paths_and_no_mathematics(tmp_path: Path) -> None:
    result = record(grid([UDP, CUBIC], LINKS), GOODPUTS)
    ids = {LINKS[0].id: "../../a\n/$x_{$", LINKS[1].id: LINKS[1].id}
    result = replace(
        result,
        links=tuple(replace(each, id=ids[each.id], label=r"50$ \frac{ $") for each in result.links),
        cells=tuple(replace(each, link=ids[each.link]) for each in result.cells),
        sequences=tuple(replace(each, link=ids[each.link]) for each in result.sequences),
        lines=tuple(replace(each, link=ids[each.link]) for each in result.lines),
    )
    folder = tmp_path / "deep" / "deeper"
    paths = write_all(result, folder)
    assert {path.parent for path in paths} == {folder}
    assert "loss-..-..-a-x_-.png" in {path.name for path in paths}


def test_nothing_to_draw_is_no_picture(tmp_path: Path) -> None:
    assert write_all(record(grid([UDP], LINKS), {}), tmp_path) == []


def test_a_place_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(LocalError, match=r"file: (File exists|Not a directory)"):
        write_all(record(grid([UDP, CUBIC], LINKS), GOODPUTS), tmp_path / "file")
