from __future__ import annotations

from pathlib import Path

import pytest

from blockstep.protocol.errors import LocalError
from blockstep_lab.compare.whole import write_whole


def test_a_file_is_replaced_and_nothing_is_left_beside_it(tmp_path: Path) -> None:
    target = tmp_path / "a.html"
    for text in ("one", "två"):
        write_whole(target, text)
        assert target.read_bytes() == text.encode()
    assert [each.name for each in tmp_path.iterdir()] == ["a.html"]


def test_what_cannot_be_written_is_named_and_stays_as_it_was(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("kept")
    (tmp_path / "folder").mkdir()
    for where, why in (("nowhere/a", "No such file"), ("file/a", "Not a directory"), ("folder", "Is a directory")):
        with pytest.raises(LocalError, match=f"{where}: {why}"):
            write_whole(tmp_path / where, "new")
    assert sorted(each.name for each in tmp_path.iterdir()) == ["file", "folder"]
    assert (tmp_path / "file").read_text() == "kept"
