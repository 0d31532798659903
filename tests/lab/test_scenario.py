from __future__ import annotations

import contextlib
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from blockstep_lab.scenario import Scenario, find_scenario, parse_scenario, shipped_scenarios
from blockstep_lab.words import WordsError

SMALLEST = '[[clients]]\nget = "a.bin"\nsize = 10\n'


def scenario(text: str) -> Scenario:
    return parse_scenario(text, "my/case.toml")


def test_the_smallest_scenario_has_defaults() -> None:
    case = scenario(SMALLEST)
    (client,) = case.clients
    assert (case.name, case.seed, case.mend, case.rules, case.transfers) == ("case", "1", False, (), None)
    assert (client.op, client.file, client.size_bytes, client.copies, client.expect.exit) == ("get", "a.bin", 10, 1, 0)
    assert case.round_trip_s == 0


def test_everything_can_be_said() -> None:
    case = scenario(
        """
        about = "a case"
        source = "RFC 1350"
        time_limit_s = 5
        [link]
        both = "delay 20ms"
        down = "delay 30ms loss 1%"
        rules = ["down drop OACK first"]
        seed = 42
        mend = true
        [server]
        options = ["--single-port"]
        [[clients]]
        put = "up.bin"
        size = 1_000
        options = ["-b", "512"]
        expect = { resends_most = 1, round_trips_most = 10, blocks = 2 }
        [[clients]]
        get = "missing.bin"
        command = ["busybox", "tftp", "-g", "-r", "{file}", "{server}", "{port}"]
        copies = 3
        expect = { exit = 1 }
        [expect]
        violations_most = 2
        transfers = 4
        """
    )
    assert (str(case.up), str(case.down), case.round_trip_s) == ("delay 20ms", "delay 30ms loss 1%", 0.05)
    assert (case.seed, case.mend, str(case.rules[0])) == ("42", True, "down drop OACK first")
    put, get = case.clients
    assert (put.expect.resends_most, put.expect.round_trips_most, put.expect.blocks) == (1, 10.0, 2)
    assert (get.size_bytes, get.copies, get.expect.exit, get.command[0]) == (None, 3, 1, "busybox")
    assert (case.violations_most, case.transfers, case.time_limit_s) == (2, 4, 5.0)
    assert case.server_options == ("--single-port",)


def test_a_named_link_is_a_link() -> None:
    case = scenario('[link]\nboth = "lte"\n' + SMALLEST)
    assert case.up != case.down


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "there are no [[clients]]"),
        ("about = 3\n" + SMALLEST, "about is a text, not 3"),
        ("abuot = ''\n" + SMALLEST, "unknown key 'abuot'; did you mean 'about'?"),
        ("[link]\nboth = 'dealy 5ms'\n" + SMALLEST, "did you mean 'delay'?"),
        ("[link]\nrules = ['drop DATUM 3']\n" + SMALLEST, "did you mean 'data'?"),
        ("[link]\nrules = 'drop DATA 3'\n" + SMALLEST, "rules is a list"),
        ("[link]\nmend = 1\n" + SMALLEST, "mend is true or false, not 1"),
        ("[link]\nseed = true\n" + SMALLEST, "seed is a whole number, not True"),
        ("[[clients]]\nsize = 1", "needs either get = FILE or put = FILE"),
        ("[[clients]]\nget = 'a'\nput = 'a'", "needs either get = FILE or put = FILE"),
        ("[[clients]]\nput = 'a'", "put needs the size"),
        ("[[clients]]\nget = '../a'\nsize = 1", "takes the plain name of a file"),
        ("[[clients]]\nget = 'a'\nsize = -1", "size goes from 0 to"),
        ("[[clients]]\nput = 'a'\nsize = 1\ncopies = 2", "copies of one put"),
        (SMALLEST + "copies = 0", "copies goes from 1 to 1000, not 0"),
        (SMALLEST + SMALLEST, "two clients have one file"),
        (SMALLEST + "expect = { resend_most = 1 }", "did you mean 'resends_most'?"),
        (SMALLEST + "expect = { round_trips_most = 5 }", "needs a link with a delay"),
        (SMALLEST + "expect = { round_trips_most = 0 }", "round_trips_most is a positive number"),
        ("clients = 3", "clients is a list"),
        ("clients = [3]", "clients is a list of tables"),
        ("[[clients", "case.toml: "),
    ],
)
def test_a_mistake_is_answered_with_its_place(text: str, message: str) -> None:
    with pytest.raises(WordsError) as caught:
        scenario(text)
    assert message in str(caught.value)
    assert str(caught.value).startswith("my/case.toml")


_VALUES = st.recursive(
    st.one_of(
        st.booleans(), st.integers(-5, 5), st.floats(allow_nan=False, allow_infinity=False), st.just("'delay 1ms'")
    ),
    lambda inner: st.lists(inner, max_size=2),
    max_leaves=4,
)


@given(key=st.sampled_from(["about", "time_limit_s", "link", "server", "clients", "expect"]), value=_VALUES)
def test_no_value_is_a_surprise(key: str, value: object) -> None:
    text = f"{key} = {str(value).lower() if isinstance(value, bool) else value}".replace("True", "true")
    with contextlib.suppress(WordsError):
        scenario(text.replace("False", "false") + "\n" + SMALLEST)


@pytest.mark.parametrize("path", shipped_scenarios(), ids=lambda path: path.stem)
def test_what_is_shipped_can_be_read_and_names_its_source(path: Path) -> None:
    case = parse_scenario(path.read_text(), str(path))
    assert case.about
    assert case.source


def test_a_scenario_is_found_by_name_or_path(tmp_path: Path) -> None:
    assert find_scenario("boot-storm").name == "boot-storm.toml"
    (tmp_path / "mine.toml").write_text(SMALLEST)
    assert find_scenario(str(tmp_path / "mine.toml")) == tmp_path / "mine.toml"
    with pytest.raises(WordsError, match="did you mean 'boot-storm'"):
        find_scenario("boot-strom")
