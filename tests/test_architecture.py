"""The rules of the house (docs/architecture.md), read from the source: who may import whom, how large, tested where."""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path

ROOT = Path(__file__).parents[1]
# room: its package, and the packages of ours that it may import
ROOMS = {
    "tftp": ("blockstep", {"blockstep"}),
    "server": ("blockstep_server", {"blockstep", "blockstep_server"}),
    "client": ("blockstep_client", {"blockstep", "blockstep_client"}),
    "lab": ("blockstep_lab", {"blockstep", "blockstep_server", "blockstep_client", "blockstep_lab"}),
}
OURS = {package for package, _ in ROOMS.values()}
# what the standard library has that can do no IO, has no clock and no chance
PURE = {"__future__", "abc", "array", "binascii", "bisect", "collections", "contextlib", "copy", "dataclasses", "enum"}
PURE |= {"errno", "functools", "hashlib", "heapq", "itertools", "math", "operator", "re", "string", "struct", "types"}
PURE |= {"typing", "zlib"}
FILE_LINES, TEST_FILE_LINES, FUNCTION_LINES, HOT_FUNCTION_LINES, NESTING, ARGUMENTS = 400, 600, 50, 70, 3, 4
BLOCKS = (ast.If, ast.For, ast.While, ast.Try, ast.Match)  # `with` decides nothing, so it does not count


def sources(*folders: str) -> list[Path]:
    return sorted(path for folder in folders for path in (ROOT / folder).rglob("*.py"))


def imported(path: Path) -> Iterator[tuple[int, str]]:
    """Line and full name of every import, also those inside of functions."""
    for node in ast.walk(ast.parse(path.read_bytes())):
        if isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = "." * node.level + (node.module or "")
            yield from ((node.lineno, f"{base}.{alias.name}") for alias in node.names)


def functions(path: Path) -> Iterator[ast.FunctionDef | ast.AsyncFunctionDef]:
    for node in ast.walk(ast.parse(path.read_bytes())):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            yield node


def depth(node: ast.AST, outer: int = 0) -> int:
    """How deep blocks stand inside of blocks; `elif` is no deeper than its `if`."""
    deepest = outer
    for field, value in ast.iter_fields(node):
        for child in value if isinstance(value, list) else [value]:
            if isinstance(child, ast.AST) and not isinstance(child, ast.FunctionDef | ast.ClassDef):
                chained = isinstance(node, ast.If) and field == "orelse" and isinstance(child, ast.If)
                deepest = max(deepest, depth(child, outer + (isinstance(child, BLOCKS) and not chained)))
    return deepest


def length(function: ast.FunctionDef | ast.AsyncFunctionDef) -> int:
    """Lines from `def` to the end, without the docstring."""
    text = function.body[0] if ast.get_docstring(function, clean=False) is not None else None
    docstring = (text.end_lineno or 0) - text.lineno + 1 if text is not None else 0
    return (function.end_lineno or 0) - function.lineno + 1 - docstring


def report(advice: str, problems: Iterable[str]) -> None:
    found = list(problems)
    assert not found, "\n  ".join([f"{advice} (docs/architecture.md)", *found])


def at(path: Path, line: int) -> str:
    return f"{path.relative_to(ROOT)}:{line}"


def test_a_room_imports_only_what_is_below_it() -> None:
    report(
        "a room may not import a higher one, nor server and client each other: move what both need down into blockstep",
        (
            f"{at(path, line)} imports {name}"
            for room, (_, allowed) in ROOMS.items()
            for path in sources(room)
            for line, name in imported(path)
            if name.partition(".")[0] in OURS - allowed or name.startswith(".")
        ),
    )


def test_the_protocol_can_do_no_io() -> None:
    report(
        "blockstep.protocol is pure: take the value as an argument, or do it in blockstep.transport",
        (
            f"{at(path, line)} imports {name}"
            for path in sources("tftp/blockstep/protocol")
            for line, name in imported(path)
            if name.partition(".")[0] not in PURE and not name.startswith("blockstep.protocol")
        ),
    )


def test_the_transport_knows_no_command_line() -> None:
    below = ("blockstep.protocol", "blockstep.transport")
    report(
        "blockstep.transport needs only the standard library and the protocol: let server or client hand it in",
        (
            f"{at(path, line)} imports {name}"
            for path in sources("tftp/blockstep/transport")
            for line, name in imported(path)
            if name.partition(".")[0] not in sys.stdlib_module_names and not name.startswith(below)
        ),
    )


def test_files_and_functions_stay_small() -> None:
    problems = []
    for path in sources(*ROOMS, "tests", "bench", "sample_files"):
        lines = path.read_text().splitlines()
        limit = TEST_FILE_LINES if path.is_relative_to(ROOT / "tests") else FILE_LINES
        if len(lines) > limit:
            problems.append(f"{at(path, 1)} has {len(lines)} lines, {limit} is the limit")
        for function in functions(path):
            hot = "# hot path" in lines[function.lineno - 1]
            if length(function) > (HOT_FUNCTION_LINES if hot else FUNCTION_LINES):
                problems.append(f"{at(path, function.lineno)} {function.name} is {length(function)} lines long")
    report("find the second idea in it and give that a file or a function of its own", problems)


def test_functions_are_flat_and_take_few_positional_arguments() -> None:
    problems = []
    for path in sources(*ROOMS, "bench", "sample_files"):
        for function in functions(path):
            arguments = [each.arg for each in function.args.posonlyargs + function.args.args]
            count = len(arguments) - (arguments[:1] in (["self"], ["cls"]))
            if depth(function) > NESTING:
                problems.append(f"{at(path, function.lineno)} {function.name} nests {depth(function)} blocks deep")
            if count > ARGUMENTS and not function.decorator_list:  # a click command takes what its options are
                problems.append(f"{at(path, function.lineno)} {function.name} takes {count} positional arguments")
    report("return early, name the inner part, or make arguments keyword-only", problems)


def test_every_source_file_has_its_test_file() -> None:
    report(
        "a file without its tests is a file that nobody dares to change",
        (
            f"{path.relative_to(ROOT)}: add tests/{room}/**/test_{path.name}"
            for room in ROOMS
            for path in sources(room)
            if not path.name.startswith("__") and not list((ROOT / "tests" / room).rglob(f"test_{path.name}"))
        ),
    )
