from __future__ import annotations

import resource

from blockstep_server.sandbox.limits import for_files_of, for_transfer, in_words, limits_for
from support.alone import run_alone

MIB = 1 << 20


def test_what_is_limited() -> None:
    limits = dict(limits_for(address_space=300 * MIB))
    assert limits[resource.RLIMIT_CORE] == limits[resource.RLIMIT_NPROC] == 0
    assert for_files_of(5) == ((resource.RLIMIT_FSIZE, 5),)
    assert limits[resource.RLIMIT_AS] == 300 * MIB
    assert 2 <= limits[resource.RLIMIT_NOFILE] <= 16  # poll(2) takes no more entries than this


def test_what_is_not_known_is_not_limited_and_a_connection_opens_files() -> None:
    limits = dict(limits_for(address_space=None, connection=True))
    assert not {resource.RLIMIT_AS, resource.RLIMIT_FSIZE, resource.RLIMIT_NOFILE} & limits.keys()


def test_cpu_grows_with_the_file() -> None:
    ((what, small),), ((_, large),) = for_transfer(0), for_transfer(1 << 30)
    assert what == resource.RLIMIT_CPU
    assert (small, large) == (600, 600 + 16384)
    assert for_transfer(1 << 60) == for_transfer(None) == ((what, 12 * 3600),)


def test_in_words() -> None:
    assert in_words(((resource.RLIMIT_CORE, 0), (resource.RLIMIT_NOFILE, 16))) == "core dump 0, descriptors 16"


def test_the_kernel_holds_them() -> None:
    script = """
    limits.enforce(limits.limits_for(address_space=limits.address_space_bytes()))
    held = [os.dup(1) for _ in range(12)]
    print(outcome(lambda: [os.dup(1) for _ in range(5)]))
    try: bytearray(1 << 30)
    except MemoryError: print("no memory")
    print(len(bytearray(64 << 20)))
    """
    assert run_alone(script) == ["EMFILE", "no memory", str(64 << 20)]


def test_a_file_cannot_grow_beyond_its_limit() -> None:
    script = """
    import tempfile
    limits.enforce(limits.for_files_of(10))
    with tempfile.TemporaryFile() as file:
        print(os.write(file.fileno(), b"x" * 20), outcome(lambda: os.write(file.fileno(), b"x")))
    """
    assert run_alone(script) == ["10 EFBIG"]


def test_a_limit_that_is_lower_already_stays() -> None:
    script = """
    resource.setrlimit(resource.RLIMIT_CPU, (100, 200))
    wanted = ((resource.RLIMIT_CPU, 1000), (resource.RLIMIT_CORE, 0))
    print(limits.attainable(wanted) == ((resource.RLIMIT_CPU, 200), (resource.RLIMIT_CORE, 0)))
    """
    assert run_alone(script) == ["True"]


def test_more_than_the_hard_limit_is_an_os_error() -> None:
    script = """
    kernel.set_capabilities(0)
    resource.setrlimit(resource.RLIMIT_CPU, (100, 200))
    print(outcome(lambda: limits.enforce(((resource.RLIMIT_CPU, 1000),))))
    """
    assert run_alone(script) == ["EPERM"]
