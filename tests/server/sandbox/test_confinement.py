from __future__ import annotations

from pathlib import Path

from blockstep_server.sandbox import Hold, Needs, Plan, Sandbox, without
from blockstep_server.sandbox.confinement import Measure
from support.alone import run_alone


def test_without_anything_it_does_nothing() -> None:
    sandbox = Sandbox()
    sandbox.enter(Needs(uploads=True))
    assert sandbox.confine(Hold()) == ()
    assert sandbox.fds() == ()
    sandbox.close()


def test_switched_off_it_says_why() -> None:
    sandbox = without("--no-sandbox", Plan(root_fd=0))
    assert [mechanism.name for mechanism in sandbox.mechanisms] == ["priority"]
    assert {measure.words for measure in sandbox.missing} == {"--no-sandbox"}
    assert [measure.name for measure in sandbox.measures][-1] == "seccomp"


def test_a_measure_as_a_line() -> None:
    assert Measure("landlock", True, "ABI 7").text() == "landlock     on   ABI 7"
    assert Measure("seccomp", False, "none here").text() == "seccomp      OFF  none here"


def test_everything_together_moves_a_file_and_nothing_else(tmp_path: Path) -> None:
    """An upload with the real sink, from `prepare` to its name, and what the same process may not do meanwhile."""
    script = """
    from blockstep.transport.atomic import AtomicFileSink
    folder = os.open(sys.argv[1], os.O_PATH)
    sandbox = prepare(Plan(root_fd=folder))
    def upload(name, replace):
        def step():
            sandbox.enter(Needs(uploads=True))
            sink = AtomicFileSink(folder, name, replace=replace)
            sandbox.confine(Hold(upload_dir_fd=sink.directory_fd))
            sink.writev([memoryview(b"content")])
            if sandbox.missing == ():
                assert outcome(lambda: os.open("/", os.O_RDONLY)) == "EPERM"
            sink.commit()
        return step
    print(in_child(upload("new", False)), in_child(upload("new", True)), in_child(upload("new", False)))
    left = sandbox.fds()
    sandbox.close()
    print({outcome(lambda fd=fd: os.fstat(fd)) for fd in left} <= {"EBADF"})
    """
    assert run_alone(script, str(tmp_path)) == ["0 0 1", "True"]
    assert [path.name for path in tmp_path.iterdir()] == ["new"]
    assert (tmp_path / "new").read_bytes() == b"content"


def test_a_connection_opens_and_takes_files_again_and_again_and_below_the_root_only(tmp_path: Path) -> None:
    root = tmp_path / "root"
    (root / "deep").mkdir(parents=True)
    (root / "deep" / "file").write_bytes(b"x" * 600)
    (tmp_path / "secret").write_bytes(b"x")
    script = """
    from blockstep.protocol.errors import RemoteError
    from blockstep_server.paths import Root
    from blockstep_server.upload_policy import UploadPolicy, open_upload
    top = sys.argv[1]
    with Root(top + "/root") as root:
        sandbox = prepare(Plan(root_fd=root.fileno()))
        def serve():
            sandbox.enter(Needs(connection=True, uploads=True))
            for turn in range(2):
                fd, _ = root.open_for_reading("deep/file")
                assert len(os.pread(fd, 1000, 0)) == 600
                for name, policy in ((f"new-{turn}", UploadPolicy.CREATE), ("deep/file", UploadPolicy.REPLACE)):
                    sink = open_upload(root, name, policy, expected_bytes=600)
                    sink.writev([memoryview(b"y" * 600)])
                    sink.commit()
            if sandbox.missing == ():
                assert outcome(lambda: os.open(top + "/secret", os.O_RDONLY)) == "EACCES"
                assert outcome(lambda: socket.socket()) == "EPERM"
        print(in_child(serve))
    """
    assert run_alone(script, str(tmp_path)) == ["0"]
    assert sorted(path.name for path in root.iterdir()) == ["deep", "new-0", "new-1"]
    assert (root / "deep" / "file").read_bytes() == b"y" * 600


def test_a_system_without_a_mechanism_runs_without_it() -> None:
    script = """
    import platform
    platform.machine = lambda: "vax"
    def refuse(*_): raise OSError(errno.EOPNOTSUPP, os.strerror(errno.EOPNOTSUPP))
    landlock.version = refuse
    sandbox = prepare(Plan(root_fd=os.open("/", os.O_PATH)))
    print([measure.name for measure in sandbox.missing])
    print(sandbox.missing[0].words)
    print(in_child(lambda: sandbox.enter(Needs()), lambda: sandbox.confine(Hold(5))))
    """
    assert run_alone(script) == [
        "['landlock', 'seccomp']",
        "this system does not have it (Operation not supported)",
        "0",
    ]


def test_a_mechanism_that_is_refused_when_it_is_tried_is_left_out() -> None:
    """As in a container whose own filter answers EPERM to one of the calls and not to the others."""
    script = """
    def refuse(_fd): raise OSError(errno.EPERM, os.strerror(errno.EPERM))
    landlock.restrict = refuse
    sandbox = prepare(Plan(root_fd=os.open("/", os.O_PATH)))
    print("landlock" in [measure.name for measure in sandbox.missing], sandbox.fds())
    """
    assert run_alone(script) == ["True ()"]


def test_a_mechanism_that_fails_later_ends_the_transfer() -> None:
    script = """
    sandbox = prepare(Plan(root_fd=os.open("/", os.O_PATH)))
    def refuse(_limits): raise OSError(errno.EPERM, os.strerror(errno.EPERM))
    limits.enforce = refuse
    try: sandbox.enter(Needs())
    except CannotConfine as error: print(error)
    """
    assert run_alone(script) == ["sandbox: limits fails: Operation not permitted"]
