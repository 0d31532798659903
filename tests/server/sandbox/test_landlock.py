from __future__ import annotations

import struct
from pathlib import Path

import pytest

from blockstep_server.sandbox import landlock
from blockstep_server.sandbox.landlock import Access, handled
from support.alone import run_alone


def _has_landlock() -> bool:
    try:
        landlock.version()
    except OSError:
        return False
    return True


LANDLOCK = pytest.mark.skipif(not _has_landlock(), reason="this kernel has no Landlock in force")


@pytest.mark.parametrize(
    ("abi", "known_bytes", "newest"),
    [
        (1, 8, Access.MAKE_SYM),
        (2, 8, Access.REFER),
        (3, 8, Access.TRUNCATE),
        (4, 16, Access.TRUNCATE),
        (5, 16, Access.IOCTL_DEV),
        (6, 24, Access.IOCTL_DEV),
        (99, 24, Access.IOCTL_DEV),
    ],
)
def test_all_is_handled_that_a_version_knows_and_nothing_more(abi: int, known_bytes: int, newest: Access) -> None:
    attribute = handled(abi)
    assert len(attribute) == known_bytes
    files, *rest = struct.unpack(f"={known_bytes // 8}Q", attribute)
    assert files == (newest << 1) - 1
    assert rest == [0b11] * len(rest)


@LANDLOCK
def test_without_a_rule_no_file_can_be_reached_and_what_is_open_stays(tmp_path: Path) -> None:
    script = """
    folder = sys.argv[1]
    held = os.open(folder + "/held", os.O_RDWR | os.O_CREAT)
    kernel.forbid_new_privileges()
    landlock.restrict(landlock.make_ruleset(landlock.version()))
    print(outcome(lambda: os.open(folder + "/held", os.O_RDONLY)), outcome(lambda: os.mkdir(folder + "/new")))
    print(outcome(lambda: os.listdir("/")), outcome(lambda: os.unlink(folder + "/held")))
    print(outcome(lambda: os.pwrite(held, b"still", 0)), os.pread(held, 9, 0))
    """
    assert run_alone(script, str(tmp_path)) == ["EACCES EACCES", "EACCES EACCES", "done b'still'"]


@LANDLOCK
def test_a_rule_holds_below_its_directory_only_and_for_its_rights_only(tmp_path: Path) -> None:
    inside = tmp_path / "inside"
    (inside / "deep").mkdir(parents=True)
    (inside / "deep" / "file").write_bytes(b"x")
    (tmp_path / "outside").write_bytes(b"x")
    (inside / "link").symlink_to("../outside")
    script = """
    folder = sys.argv[1]
    kernel.forbid_new_privileges()
    rule = (os.open(folder + "/inside", os.O_PATH), Access.READ_FILE)
    landlock.restrict(landlock.make_ruleset(landlock.version(), (rule,)))
    for name, flags in (("inside/deep/file", os.O_RDONLY), ("inside/deep/file", os.O_RDWR), ("outside", os.O_RDONLY),
                        ("inside/link", os.O_RDONLY), ("inside", os.O_RDONLY)):
        print(outcome(lambda: os.open(f"{folder}/{name}", flags)))
    """
    assert run_alone(script, str(tmp_path)) == ["done", "EACCES", "EACCES", "EACCES", "EACCES"]


@LANDLOCK
def test_a_second_ruleset_can_only_take_away(tmp_path: Path) -> None:
    script = """
    folder = sys.argv[1]
    abi = landlock.version()
    everything = (os.open("/", os.O_PATH), Access.READ_DIR)
    kernel.forbid_new_privileges()
    landlock.restrict(landlock.make_ruleset(abi, ((os.open(folder, os.O_PATH), Access.READ_DIR),)))
    landlock.restrict(landlock.make_ruleset(abi, (everything,)))
    print(outcome(lambda: os.listdir(folder)), outcome(lambda: os.listdir("/")))
    """
    assert run_alone(script, str(tmp_path)) == ["done EACCES"]


@LANDLOCK
@pytest.mark.skipif(_has_landlock() and landlock.version() < 6, reason="this version has no scopes")
def test_the_signals_and_ports_of_others_are_out_of_reach() -> None:
    script = """
    listener = socket.create_server(("127.0.0.1", 0))
    parent = os.getpid()
    def check():
        landlock.restrict(landlock.make_ruleset(landlock.version()))
        assert outcome(lambda: os.kill(parent, 0)) == "EPERM"
        with socket.socket() as caller:
            assert outcome(lambda: caller.connect(listener.getsockname())) == "EACCES"
    kernel.forbid_new_privileges()
    print(in_child(check))
    """
    assert run_alone(script) == ["0"]


def test_a_kernel_without_it_is_an_os_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("blockstep_server.kernel._LIBC", None)
    with pytest.raises(OSError, match="not implemented"):
        landlock.version()
