from __future__ import annotations

from pathlib import Path

import pytest

from blockstep_server.sandbox import landlock
from blockstep_server.sandbox.mechanisms import ALL
from support.alone import run_alone


def _has_landlock() -> bool:
    try:
        landlock.version()
    except OSError:
        return False
    return True


LANDLOCK = pytest.mark.skipif(not _has_landlock(), reason="this kernel has no Landlock in force")


def test_seccomp_comes_last_for_it_refuses_what_the_others_need() -> None:
    assert [kind.name for kind in ALL] == ["priority", "limits", "capabilities", "landlock", "seccomp"]


def test_priority() -> None:
    script = """
    from blockstep_server.sandbox.mechanisms import Priority
    Priority(Plan(root_fd=0, nice=7)).enter(Needs())
    print(os.nice(0))
    """
    assert run_alone(script) == ["7"]


@LANDLOCK
@pytest.mark.parametrize("writable", [False, True])
def test_landlock_in_two_steps(tmp_path: Path, writable: bool) -> None:
    (tmp_path / "root").mkdir()
    (tmp_path / "root" / "file").write_bytes(b"x")
    (tmp_path / "secret").write_bytes(b"x")
    script = """
    from blockstep_server.sandbox.mechanisms import Landlock
    top = sys.argv[1]
    held = Landlock(Plan(root_fd=os.open(top + "/root", os.O_PATH)))
    kernel.forbid_new_privileges()
    def tell():
        print(*(outcome(lambda: os.open(f"{top}/{name}", flags)) for name, flags in (
            ("root/file", os.O_RDONLY), ("root/file", os.O_RDWR), ("root/new", os.O_RDWR | os.O_CREAT),
            ("secret", os.O_RDONLY))))
    held.enter(Needs(uploads=bool(int(sys.argv[2]))))
    tell()
    held.confine(Hold(1))
    tell()
    """
    write = "done" if writable else "EACCES"
    assert run_alone(script, str(tmp_path), str(int(writable))) == [
        f"done {write} {write} EACCES",
        "EACCES EACCES EACCES EACCES",
    ]


@LANDLOCK
def test_an_upload_keeps_its_directory_to_give_names_in_and_nothing_else(tmp_path: Path) -> None:
    for folder in ("mine", "other"):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "old").write_bytes(b"x")
    script = """
    from blockstep_server.sandbox.mechanisms import Landlock
    top = sys.argv[1]
    held = Landlock(Plan(root_fd=os.open(top, os.O_PATH)))
    kernel.forbid_new_privileges()
    held.enter(Needs(uploads=True))
    held.confine(Hold(upload_dir_fd=os.open(top + "/mine", os.O_PATH)))
    old, new = top + "/mine/old", top + "/mine/new"
    print(outcome(lambda: os.rename(old, new)), outcome(lambda: os.unlink(new)))
    print(outcome(lambda: os.unlink(top + "/other/old")), outcome(lambda: os.open(top + "/other/old", os.O_RDONLY)))
    """
    assert run_alone(script, str(tmp_path)) == ["done done", "EACCES EACCES"]


def test_capabilities_of_a_transfer() -> None:
    """A read keeps none, an upload those to files; whoever has none does not ask."""
    script = """
    from blockstep_server.sandbox.mechanisms import Capabilities
    def end_with(hold):
        def step():
            Capabilities(Plan(root_fd=0)).confine(hold)
            left = kernel.capabilities()
            assert left & ~(kernel.FILE_CAPABILITIES if hold.upload_dir_fd is not None else 0) == 0, hex(left)
        return step
    print(in_child(end_with(Hold(5))), in_child(end_with(Hold(upload_dir_fd=1))))
    """
    assert run_alone(script) == ["0 0"]
