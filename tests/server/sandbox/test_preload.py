from __future__ import annotations

import sys

from blockstep_server.sandbox import preload
from support.alone import run_alone


def test_all_of_it_is_there() -> None:
    preload.everything()
    assert {"encodings.idna", "unicodedata", "tokenize", "linecache"} <= sys.modules.keys()


def test_a_confined_process_can_still_say_where_it_crashed() -> None:
    """A traceback asks for source files and, in some versions, for modules; it gets neither and says the rest."""
    script = """
    import traceback
    sandbox = prepare(Plan(root_fd=os.open("/", os.O_PATH)))
    sandbox.enter(Needs())
    sandbox.confine(Hold())
    before = set(sys.modules)
    try: "x".encode("idna"), socket.inet_aton("1.2.3.4"), [][1]
    except IndexError: text = traceback.format_exc()
    print(text.splitlines()[-1])
    print(set(sys.modules) - before)
    """
    assert run_alone(script) == ["IndexError: list index out of range", "set()"]
