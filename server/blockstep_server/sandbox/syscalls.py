"""Which system calls a child needs, by name, and the numbers of those names.

Decided here: the allow-lists. Three kinds of child have one each: `READER` and `WRITER` hold everything that they will
need when the list comes into force, `CONNECTION` opens files again and again below the root. A list has what Python and
the C library do on their own account (memory, signals, clocks), what moves a transfer, and nothing that opens, starts,
connects or changes rights. Arguments are looked at where one call is many: no memory becomes executable, of `ioctl`
there is FIONBIO, and the one that says when a datagram came.

The numbers: x86_64 from its table, aarch64 from the generic one (None: that machine does not have the call).
"""

from __future__ import annotations

from blockstep_server.sandbox.bpf import Check

__all__ = ["CONNECTION", "DEADLY", "NUMBERS", "READER", "WRITER", "Checks"]

NUMBERS: dict[str, tuple[int | None, int | None]] = {
    # memory, signals, time and the end: what Python and the C library need themselves
    "brk": (12, 214),
    "mmap": (9, 222),
    "munmap": (11, 215),
    "mremap": (25, 216),
    "mprotect": (10, 226),
    "madvise": (28, 233),
    "futex": (202, 98),
    "getrandom": (318, 278),
    "rseq": (334, 293),
    "sched_yield": (24, 124),
    "sched_getaffinity": (204, 123),
    "getcpu": (309, 168),
    "sysinfo": (99, 179),
    "rt_sigaction": (13, 134),
    "rt_sigprocmask": (14, 135),
    "rt_sigreturn": (15, 139),
    "rt_sigpending": (127, 136),
    "sigaltstack": (131, 132),
    "restart_syscall": (219, 128),
    "clock_gettime": (228, 113),
    "clock_getres": (229, 114),
    "clock_nanosleep": (230, 115),
    "nanosleep": (35, 101),
    "gettimeofday": (96, 169),
    "time": (201, None),
    "getpid": (39, 172),
    "gettid": (186, 178),
    "getppid": (110, 173),
    "getuid": (102, 174),
    "geteuid": (107, 175),
    "getgid": (104, 176),
    "getegid": (108, 177),
    "exit": (60, 93),
    "exit_group": (231, 94),
    # sockets and files that are open
    "poll": (7, None),
    "ppoll": (271, 73),
    "select": (23, None),
    "pselect6": (270, 72),
    "recvfrom": (45, 207),
    "recvmsg": (47, 212),
    "sendto": (44, 206),
    "sendmsg": (46, 211),
    "shutdown": (48, 210),
    "getsockname": (51, 204),
    "getpeername": (52, 205),
    "getsockopt": (55, 209),
    "setsockopt": (54, 208),
    "ioctl": (16, 29),
    "fcntl": (72, 25),
    "read": (0, 63),
    "readv": (19, 65),
    "pread64": (17, 67),
    "preadv": (295, 69),
    "preadv2": (327, 286),
    "write": (1, 64),
    "writev": (20, 66),
    "lseek": (8, 62),
    "fstat": (5, 80),
    "newfstatat": (262, 79),
    "statx": (332, 291),
    "readlink": (89, None),
    "readlinkat": (267, 78),
    "close": (3, 57),
    "sendfile": (40, 71),
    # an upload
    "pwrite64": (18, 68),
    "pwritev": (296, 70),
    "pwritev2": (328, 287),
    "fsync": (74, 82),
    "fdatasync": (75, 83),
    "linkat": (265, 37),
    "renameat": (264, 38),
    "renameat2": (316, 276),
    "unlinkat": (263, 35),
    # finding and opening files
    "openat": (257, 56),
    "openat2": (437, 437),
    "faccessat": (269, 48),
    "faccessat2": (439, 439),
    "stat": (4, None),
    "lstat": (6, None),
    "fstatfs": (138, 44),
    "fchmod": (91, 52),
    "flock": (73, 32),
    # what nobody here ever does: another program, another process, more rights
    "execve": (59, 221),
    "execveat": (322, 281),
    "fork": (57, None),
    "vfork": (58, None),
    "clone": (56, 220),
    "clone3": (435, 435),
    "ptrace": (101, 117),
    "process_vm_readv": (310, 270),
    "process_vm_writev": (311, 271),
    "pidfd_getfd": (438, 438),
    "bpf": (321, 280),
    "mount": (165, 40),
    "setns": (308, 268),
    "unshare": (272, 97),
    "io_uring_setup": (425, 425),
    "userfaultfd": (323, 282),
    "perf_event_open": (298, 241),
    "init_module": (175, 105),
    "finit_module": (313, 273),
    "kexec_load": (246, 104),
    "keyctl": (250, 219),
    "add_key": (248, 217),
}

_PROT_EXEC = 4
_NOT_EXECUTABLE = Check(2, (0,), mask=_PROT_EXEC)
_AT_EMPTY_PATH = 0x1000
_FIONBIO, _SIOCGSTAMPNS = 0x5421, 0x8907
_F_GETFD, _F_SETFD, _F_GETFL, _F_SETFL, _F_DUPFD_CLOEXEC = 1, 2, 3, 4, 1030
# Level and option: SO_SNDBUF, SO_RCVBUF, SO_KEEPALIVE, SO_RCVTIMEO, SO_SNDTIMEO, SO_SNDBUFFORCE, SO_RCVBUFFORCE;
# TCP_NODELAY and the TCP_KEEP options; UDP_SEGMENT and UDP_GRO. One list for all levels: TCP and UDP have few options.
_SOL_SOCKET, _IPPROTO_TCP, _IPPROTO_UDP = 1, 6, 17
_SOCKET_OPTIONS = (1, 4, 5, 6, 7, 8, 9, 18, 20, 21, 32, 33, 103, 104)

Checks = dict[str, tuple[Check, ...]]


def _free(*names: str) -> Checks:
    return dict.fromkeys(names, ())


_OWN: Checks = {
    **_free("brk", "munmap", "mremap", "madvise", "futex", "getrandom", "rseq", "sched_yield", "sched_getaffinity"),
    **_free("getcpu", "sysinfo", "rt_sigaction", "rt_sigprocmask", "rt_sigreturn", "rt_sigpending", "sigaltstack"),
    **_free("restart_syscall", "clock_gettime", "clock_getres", "clock_nanosleep", "nanosleep", "gettimeofday", "time"),
    **_free("getpid", "gettid", "getppid", "getuid", "geteuid", "getgid", "getegid", "exit", "exit_group"),
    "mmap": (_NOT_EXECUTABLE,),
    "mprotect": (_NOT_EXECUTABLE,),
}
_MOVING: Checks = {
    **_free("poll", "ppoll", "select", "pselect6", "recvfrom", "recvmsg", "sendto", "sendmsg", "shutdown"),
    **_free("getsockname", "getpeername", "getsockopt", "read", "readv", "pread64", "preadv", "preadv2", "write"),
    **_free("writev", "lseek", "fstat", "readlink", "readlinkat", "close", "sendfile"),
    # The form that the C library makes of fstat: no path. (That it is empty cannot be seen from here.)
    "newfstatat": (Check(3, (_AT_EMPTY_PATH,), mask=_AT_EMPTY_PATH),),
    "statx": (Check(2, (_AT_EMPTY_PATH,), mask=_AT_EMPTY_PATH),),
    "setsockopt": (Check(1, (_SOL_SOCKET, _IPPROTO_TCP, _IPPROTO_UDP)), Check(2, _SOCKET_OPTIONS)),
    "ioctl": (Check(1, (_FIONBIO, _SIOCGSTAMPNS)),),
    "fcntl": (Check(1, (_F_GETFD, _F_SETFD, _F_GETFL, _F_SETFL, _F_DUPFD_CLOEXEC)),),
}
_WRITING: Checks = _free(
    "pwrite64", "pwritev", "pwritev2", "fsync", "fdatasync", "linkat", "renameat", "renameat2", "unlinkat"
)
_OPENING: Checks = _free(
    *("openat", "openat2", "newfstatat", "statx", "stat", "lstat", "faccessat", "faccessat2", "fstatfs"),
    *("fchmod", "flock"),
)

READER: Checks = {**_OWN, **_MOVING}
WRITER: Checks = {**READER, **_WRITING}
CONNECTION: Checks = {**WRITER, **_OPENING}

DEADLY = (
    *("execve", "execveat", "fork", "vfork", "clone", "clone3", "ptrace", "process_vm_readv", "process_vm_writev"),
    *("pidfd_getfd", "bpf", "mount", "setns", "unshare", "io_uring_setup", "userfaultfd", "perf_event_open"),
    *("init_module", "finit_module", "kexec_load", "keyctl", "add_key"),
)
"""Whoever asks for one of these has been taken over: no call of ours, of Python's or of the C library's leads there."""
