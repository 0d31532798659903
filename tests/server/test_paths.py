from __future__ import annotations

import os
import socket
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from blockstep.protocol.errors import ErrorCode, LocalError, RemoteError
from blockstep_server import openat2
from blockstep_server.paths import Root, components_of_untrusted

SECRET = b"outside the root"


@pytest.fixture(scope="module")
def tree(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A root with something of every kind in it, and secrets beside it."""
    base = tmp_path_factory.mktemp("tree")
    (base / "outside").mkdir()
    (base / "outside" / "secret").write_bytes(SECRET)
    root = base / "root"
    (root / "boot" / "deep").mkdir(parents=True)
    (root / "empty").touch()
    (root / "boot" / "kernel").write_bytes(b"kernel")
    (root / "boot" / "deep" / "initrd").write_bytes(b"initrd")
    (root / os.fsdecode(b"caf\xe9")).write_bytes(b"latin")
    (root / "café").write_bytes(b"utf-8")
    (root / "new\nline").write_bytes(b"odd")
    (root / ".blockstep-0123456789abcdef.part").write_bytes(b"half")
    (root / ("n" * 255)).write_bytes(b"long")
    os.link(root / "boot" / "kernel", root / "hardlink")
    os.mkfifo(root / "fifo")
    make_socket(root / "socket")
    links = {
        "inside": "boot/kernel",
        "boot/up": "../empty",
        "folder": "boot/deep",
        "dangling": "nothing",
        "loop": "loop",
        "out": "../outside/secret",
        "outdir": "../outside",
        "absolute": os.fspath(base / "outside" / "secret"),
        "absolute-inside": os.fspath(root / "empty"),
        "chain": "out",
        "to-proc": "/proc/self/mem",
        "to-fifo": "fifo",
    }
    for name, target in links.items():
        (root / name).symlink_to(target)
    return root


def make_socket(path: Path) -> None:
    """Bound by a short relative name: the path of a test directory is often longer than a socket's may be."""
    folder = os.open(path.parent, os.O_PATH)
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(f"/proc/self/fd/{folder}/{path.name}")
    os.close(folder)


@pytest.fixture(params=["openat2", "walk"])
def root(tree: Path, request: pytest.FixtureRequest) -> Iterator[Root]:
    with Root(tree, use_openat2=request.param == "openat2") as opened:
        if opened.uses_openat2 and not openat2.is_available(opened.fileno()):
            pytest.skip("this kernel has no openat2")
        yield opened


def read(root: Root, name: str) -> bytes:
    fd, status = root.open_for_reading(name)
    try:
        content = os.read(fd, 1000)
        assert status.st_size == len(content)
        assert not os.get_inheritable(fd)
        return content
    finally:
        os.close(fd)


def refusal(root: Root, name: str) -> ErrorCode:
    with pytest.raises(RemoteError) as caught:
        read(root, name)
    assert os.fspath(root.path) not in str(caught.value)
    return caught.value.code


class TestReading:
    @pytest.mark.parametrize(
        ("name", "content"),
        [
            ("empty", b""),
            ("boot/kernel", b"kernel"),
            ("/boot/kernel", b"kernel"),
            ("///boot//./deep/initrd", b"initrd"),
            ("\\boot\\deep\\initrd", b"initrd"),
            ("boot\\deep/initrd", b"initrd"),
            ("café", b"utf-8"),
            ("caf\udce9", b"latin"),
            ("new\nline", b"odd"),
            ("n" * 255, b"long"),
            ("hardlink", b"kernel"),
        ],
    )
    def test_serves_regular_files_below_the_root(self, root: Root, name: str, content: bytes) -> None:
        assert read(root, name) == content

    @pytest.mark.parametrize(
        ("name", "code"),
        [
            ("", ErrorCode.ACCESS_VIOLATION),
            ("/", ErrorCode.ACCESS_VIOLATION),
            (".", ErrorCode.ACCESS_VIOLATION),
            ("..", ErrorCode.ACCESS_VIOLATION),
            ("../outside/secret", ErrorCode.ACCESS_VIOLATION),
            ("boot/../empty", ErrorCode.ACCESS_VIOLATION),
            ("..\\outside\\secret", ErrorCode.ACCESS_VIOLATION),
            ("%2e%2e/outside/secret", ErrorCode.FILE_NOT_FOUND),
            ("empty\0", ErrorCode.ACCESS_VIOLATION),
            ("\ud800", ErrorCode.ACCESS_VIOLATION),
            ("n" * 256, ErrorCode.ACCESS_VIOLATION),
            ("d/" * 3000 + "x", ErrorCode.ACCESS_VIOLATION),
            ("nothing", ErrorCode.FILE_NOT_FOUND),
            ("nothing/below", ErrorCode.FILE_NOT_FOUND),
            ("empty/below", ErrorCode.FILE_NOT_FOUND),
            ("EMPTY", ErrorCode.FILE_NOT_FOUND),
            ("/proc/self/mem", ErrorCode.FILE_NOT_FOUND),
            ("/dev/zero", ErrorCode.FILE_NOT_FOUND),
            ("boot", ErrorCode.ACCESS_VIOLATION),
            ("boot/", ErrorCode.ACCESS_VIOLATION),
            ("fifo", ErrorCode.ACCESS_VIOLATION),
            ("socket", ErrorCode.ACCESS_VIOLATION),
            (".blockstep-0123456789abcdef.part", ErrorCode.FILE_NOT_FOUND),
            (".BLOCKSTEP-0123456789abcdef.part", ErrorCode.FILE_NOT_FOUND),
            ("loop", ErrorCode.ACCESS_VIOLATION),
            ("out", ErrorCode.ACCESS_VIOLATION),
            ("outdir/secret", ErrorCode.ACCESS_VIOLATION),
            ("absolute", ErrorCode.ACCESS_VIOLATION),
            ("absolute-inside", ErrorCode.ACCESS_VIOLATION),
            ("chain", ErrorCode.ACCESS_VIOLATION),
            ("to-proc", ErrorCode.ACCESS_VIOLATION),
            ("to-fifo", ErrorCode.ACCESS_VIOLATION),
        ],
    )
    def test_refuses_everything_else(self, root: Root, name: str, code: ErrorCode) -> None:
        assert refusal(root, name) is code

    @pytest.mark.parametrize(
        ("name", "content"), [("inside", b"kernel"), ("boot/up", b""), ("folder/initrd", b"initrd")]
    )
    def test_links_that_stay_inside_are_followed_by_the_kernel_alone(
        self, root: Root, name: str, content: bytes
    ) -> None:
        if root.uses_openat2:
            assert read(root, name) == content
        else:
            assert refusal(root, name) is ErrorCode.ACCESS_VIOLATION

    @pytest.mark.skipif(os.geteuid() != 0, reason="only root makes device nodes")
    def test_device_nodes_are_not_served(self, tmp_path: Path) -> None:
        try:
            os.mknod(tmp_path / "zero", 0o20666, os.makedev(1, 5))
        except PermissionError:
            pytest.skip("device nodes are not allowed here")
        with Root(tmp_path) as root:
            assert refusal(root, "zero") is ErrorCode.ACCESS_VIOLATION
            with pytest.raises(RemoteError):
                root.open_parent_for_writing("zero")

    def test_out_of_descriptors_is_not_the_clients_fault(self, root: Root, monkeypatch: pytest.MonkeyPatch) -> None:
        def fail(*_arguments: object) -> int:
            raise OSError(24, "Too many open files")

        monkeypatch.setattr(root, "_look_up", fail)
        assert refusal(root, "empty") is ErrorCode.UNDEFINED

    def test_a_root_that_is_not_there_is_the_operators_fault(self, tree: Path) -> None:
        for path in (tree / "none", tree / "empty"):
            with pytest.raises(LocalError, match="cannot serve"):
                Root(path)

    def test_the_root_stays_the_directory_that_was_opened(self, tmp_path: Path) -> None:
        (tmp_path / "a").mkdir()
        (tmp_path / "a" / "x").write_bytes(b"first")
        with Root(tmp_path / "a") as root:
            (tmp_path / "a").rename(tmp_path / "b")
            (tmp_path / "a").mkdir()
            assert read(root, "x") == b"first"
            root.close()


class SwappingRoot(Root):
    """Somebody replaces the file by a FIFO between the look and the opening."""

    def _look_up(self, parts: list[bytes]) -> int:
        fd = super()._look_up(parts)
        path = self.path / os.fsdecode(b"/".join(parts))
        path.unlink()
        os.mkfifo(path)
        return fd


class TestRaces:
    @pytest.mark.parametrize("use_openat2", [True, False])
    def test_what_was_looked_at_is_what_is_opened(self, tmp_path: Path, use_openat2: bool) -> None:
        (tmp_path / "x").write_bytes(b"regular")
        with SwappingRoot(tmp_path, use_openat2=use_openat2) as root:
            assert read(root, "x") == b"regular"

    @pytest.mark.parametrize("use_openat2", [True, False])
    def test_a_link_swapped_in_never_leads_out(self, tmp_path: Path, use_openat2: bool) -> None:
        (tmp_path / "secret").write_bytes(SECRET)
        folder = tmp_path / "root"
        for part in ("d", "good"):
            (folder / part).mkdir(parents=True, exist_ok=True)
        (folder / "good" / "secret").write_bytes(b"inside")
        (folder / "d").rmdir()
        done = threading.Event()
        swapper = threading.Thread(target=swap_until, args=(folder, done))
        swapper.start()
        seen: set[bytes | ErrorCode] = set()
        try:
            with Root(folder, use_openat2=use_openat2) as root:
                for _ in range(1500):
                    seen.add(read_or_code(root, "d/secret"))
        finally:
            done.set()
            swapper.join()
        assert seen <= {b"inside", ErrorCode.ACCESS_VIOLATION, ErrorCode.FILE_NOT_FOUND}


def swap_until(folder: Path, done: threading.Event) -> None:
    """`d` is by turns a link out, a link inside, absent, and a directory."""
    while not done.is_set():
        for target in ("..", "good"):
            (folder / "new").symlink_to(target)
            (folder / "new").rename(folder / "d")
        (folder / "d").unlink()
        (folder / "good").rename(folder / "d")
        (folder / "d").rename(folder / "good")


def read_or_code(root: Root, name: str) -> bytes | ErrorCode:
    try:
        return read(root, name)
    except RemoteError as error:
        return error.code


KNOWN = """
    boot deep kernel initrd empty fifo socket out outdir secret inside folder absolute absolute-inside chain loop
    dangling to-fifo to-proc .. . / \\ %2e ~ root outside .blockstep-0123456789abcdef.part
"""
ODD = ["\0", "caf\udce9", "\udcff", "\ud800", "n" * 255, "n" * 256, "é", " ", ""]
pieces = st.sampled_from([*KNOWN.split(), *ODD])
names = st.one_of(
    st.lists(pieces, max_size=6).map("/".join),
    st.lists(pieces, max_size=6).map("".join),
    st.text(st.characters(), max_size=40),
    st.binary(max_size=40).map(lambda raw: raw.decode("utf-8", "surrogateescape")),
)


class TestAnyName:
    @given(name=names)
    @settings(deadline=None, max_examples=300, suppress_health_check=[HealthCheck.function_scoped_fixture])
    def test_reading_gives_a_file_of_the_tree_or_a_refusal(self, tree: Path, root: Root, name: str) -> None:
        served = {(path.lstat().st_dev, path.lstat().st_ino) for path in tree.rglob("*") if path.is_file()}
        try:
            fd, status = root.open_for_reading(name)
        except RemoteError as error:
            text = str(error)
        else:
            os.close(fd)
            assert (status.st_dev, status.st_ino) in served
            return
        assert os.fspath(tree) not in text
        assert len(text) < 64

    @given(name=names)
    @settings(deadline=None, max_examples=300, suppress_health_check=[HealthCheck.function_scoped_fixture])
    def test_writing_gives_a_directory_of_the_tree_or_a_refusal(self, tree: Path, root: Root, name: str) -> None:
        folders = {path.stat().st_ino for path in [tree, tree / "boot", tree / "boot" / "deep"]}
        try:
            fd, base = root.open_parent_for_writing(name)
        except RemoteError:
            return
        inode = os.fstat(fd).st_ino
        os.close(fd)
        assert inode in folders
        assert "/" not in base
        assert base not in {"", ".", ".."}

    @given(name=names)
    def test_components_are_plain(self, name: str) -> None:
        try:
            parts = components_of_untrusted(name)
        except RemoteError:
            return
        assert parts
        for part in parts:
            assert part not in {b"", b".", b".."}
            assert not set(part) & set(b"/\\\0")


class TestWriting:
    @pytest.mark.parametrize(
        ("name", "folder", "base"),
        [
            ("new", ".", "new"),
            ("\\boot\\new", "boot", "new"),
            ("boot/deep/caf\udce9", "boot/deep", "caf\udce9"),
            ("boot/kernel", "boot", "kernel"),
        ],
    )
    def test_gives_the_directory_and_the_name(self, tree: Path, root: Root, name: str, folder: str, base: str) -> None:
        fd, got = root.open_parent_for_writing(name)
        assert os.path.samestat(os.fstat(fd), (tree / folder).stat())
        assert not os.get_inheritable(fd)
        os.close(fd)
        assert got == base

    @pytest.mark.parametrize(
        ("name", "code"),
        [
            ("", ErrorCode.ACCESS_VIOLATION),
            ("../new", ErrorCode.ACCESS_VIOLATION),
            ("outdir/new", ErrorCode.ACCESS_VIOLATION),
            ("boot", ErrorCode.ACCESS_VIOLATION),
            ("fifo", ErrorCode.ACCESS_VIOLATION),
            ("socket", ErrorCode.ACCESS_VIOLATION),
            ("inside", ErrorCode.ACCESS_VIOLATION),
            ("out", ErrorCode.ACCESS_VIOLATION),
            ("none/new", ErrorCode.FILE_NOT_FOUND),
            ("empty/new", ErrorCode.FILE_NOT_FOUND),
            (".blockstep-0123456789abcdef.part", ErrorCode.FILE_NOT_FOUND),
        ],
    )
    def test_refuses_what_is_no_place_for_a_file(self, root: Root, name: str, code: ErrorCode) -> None:
        with pytest.raises(RemoteError) as caught:
            root.open_parent_for_writing(name)
        assert caught.value.code is code

    def test_a_folder_reached_by_a_link_inside(self, tree: Path) -> None:
        with Root(tree) as root:
            if not root.uses_openat2:
                pytest.skip("this kernel has no openat2")
            fd, base = root.open_parent_for_writing("folder/new")
        assert os.path.samestat(os.fstat(fd), (tree / "boot" / "deep").stat())
        assert base == "new"
        os.close(fd)
