from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from blockstep_lab.compare.grid import (
    Grid,
    contenders_of,
    grid_links,
    local_link,
    named_links,
    parse_blksizes,
    parse_congestions,
    parse_delays,
    parse_losses,
    parse_rate,
    parse_transports,
    parse_windowsizes,
)
from blockstep_lab.compare.results import LOCAL
from blockstep_lab.conditions import Conditions, Rate
from blockstep_lab.links import LINKS
from blockstep_lab.words import WordsError
from support.compared import grid, link


def test_lists_are_read_as_people_write_them() -> None:
    assert parse_losses("0, 0.1,1%") == [0.0, 0.1, 1.0]
    assert parse_delays("5ms,0.1s") == [5_000_000, 100_000_000]
    assert parse_windowsizes("1,16,65535") == [1, 16, 65535]
    assert parse_blksizes("512,1428") == [512, 1428]
    assert parse_transports("tcp,udp") == ["tcp", "udp"]
    assert parse_congestions("bbr,reno", ["reno", "bbr"]) == ["bbr", "reno"]
    assert parse_rate("50mbit") == Rate(50_000_000)
    assert parse_rate("none") is None


def congestions(text: str) -> list[str]:
    return parse_congestions(text, ["cubic", "reno"])


@pytest.mark.parametrize(
    ("parse", "text", "message"),
    [
        (parse_losses, "1,abc", "abc: the loss must be a number, such as '5%'"),
        (parse_losses, "1,,2", "the loss is missing"),
        (parse_losses, "101%", "the nearest is '100%'"),
        (parse_losses, "100", "through 100% nothing arrives"),
        (parse_losses, "1,1.0", "--loss has this value twice"),
        (parse_losses, "1 2", "one value of --loss between two commas"),
        (parse_delays, "5", "did you mean '5ms'"),
        (parse_delays, "5min", "unknown unit"),
        (parse_rate, "50mbit 3", "--rate is one rate"),
        (parse_rate, "fast", "the rate must be a number, such as '10mbit'"),
        (parse_windowsizes, "0", "the windowsize goes from 1 to 65535; the nearest is 1"),
        (parse_windowsizes, "1.5", "the windowsize is a whole number"),
        (parse_blksizes, "7", "the blksize goes from 8 to 65464; the nearest is 8"),
        (parse_transports, "udp,tpc", "did you mean 'tcp'"),
        (congestions, "cubik", "did you mean 'cubic'"),
        (congestions, "bbr", "known: cubic, reno"),
        (parse_windowsizes, ",".join(map(str, range(1, 70))), "69 values of --windowsize; 64 at most"),
    ],
)
def test_a_mistake_is_answered_with_the_nearest_right_word(
    parse: Callable[[str], object], text: str, message: str
) -> None:
    with pytest.raises(WordsError) as error:
        parse(text)
    assert message in str(error.value)


PARSERS = (parse_losses, parse_delays, parse_rate, parse_windowsizes, parse_blksizes, parse_transports, congestions)


@given(st.sampled_from(PARSERS), st.text() | st.text("0123456789.,%ms -"))
def test_nothing_but_words_errors_comes_of_any_text(parse: Callable[[str], object], text: str) -> None:
    said = ""
    try:
        parse(text)
    except WordsError as error:
        said = str(error)
    assert len(said) < 400


def test_every_loss_meets_every_delay() -> None:
    links = grid_links([0.0, 1.0], [5_000_000, 0], Rate(50_000_000))
    assert [each.id for each in links] == [
        "loss0-delay5ms-50mbit",
        "loss1-delay5ms-50mbit",
        "loss0-delay0-50mbit",
        "loss1-delay0-50mbit",
    ]
    lossy = links[1]
    assert (lossy.loss, lossy.loss_back, lossy.rtt_s, lossy.rate_bit_s) == (0.01, 0.01, 0.01, 50_000_000)
    assert lossy.up == lossy.down == "delay 5ms loss 1% rate 50mbit"
    assert lossy.label == "loss 1 %, delay 5ms, 50mbit"
    assert lossy.regular


@pytest.mark.parametrize("name", list(LINKS))
def test_a_named_link_says_what_it_is(name: str) -> None:
    (found,) = named_links([name])
    assert (found.id, found.label) == (name, name)
    assert (Conditions.parse(found.up), Conditions.parse(found.down)) == (LINKS[name].up, LINKS[name].down)


def test_the_file_comes_down_so_the_rate_is_that_of_the_way_down() -> None:
    (lte,) = named_links(["lte"])
    assert lte.rtt_s == pytest.approx(0.115)
    assert (lte.rate_bit_s, lte.regular) == (50_000_000, False)


def test_losses_in_bursts_have_a_share_and_are_not_regular() -> None:
    (bursty,) = named_links(["bursty"])
    assert bursty.loss == pytest.approx(1 / 26)
    assert not bursty.regular
    (markov,) = named_links(["loss state 1%"])
    assert markov.loss is None


def test_words_of_netem_are_a_link_too() -> None:
    (found,) = named_links(["delay 20ms  loss 5%"])
    assert (found.id, found.label, found.loss) == ("delay-20ms-loss-5%", "delay 20ms loss 5%", 0.05)
    with pytest.raises(WordsError, match="did you mean 'satellite'"):
        named_links(["satelite"])


def test_ways_to_send_have_stable_names_and_ceilings_come_last() -> None:
    found = contenders_of(["udp", "tcp", "unix", "loopback"], [1, 64], [1428], ["cubic", "bbr"])
    assert [(each.id, each.label) for each in found] == [
        ("udp-w1-b1428", "UDP lock-step"),
        ("udp-w64-b1428", "UDP window 64"),
        ("tcp-cubic", "TCP cubic"),
        ("tcp-bbr", "TCP bbr"),
        ("unix", "UNIX socket"),
        ("loopback-tcp", "TCP on loopback"),
        ("loopback-udp-w64-b1428", "UDP window 64 on loopback"),
    ]
    assert [each.ceiling for each in found] == [False] * 4 + [True] * 3


def test_several_block_sizes_are_told_apart() -> None:
    labels = [each.label for each in contenders_of(["udp"], [1], [512, 1428], [])]
    assert labels == ["UDP lock-step, 512 byte blocks", "UDP lock-step, 1428 byte blocks"]


def test_the_contenders_take_turns() -> None:
    found = grid(["udp-w1-b1428", "tcp-bbr", "unix"], [link(), link(1.0), local_link()], repeats=2)
    keys = [order.key for order in found.orders()]
    first, second = keys[:5], keys[5:]
    assert first == [
        ("udp-w1-b1428", "loss0-delay5ms-50mbit", 0),
        ("tcp-bbr", "loss0-delay5ms-50mbit", 0),
        ("udp-w1-b1428", "loss1-delay5ms-50mbit", 0),
        ("tcp-bbr", "loss1-delay5ms-50mbit", 0),
        ("unix", LOCAL, 0),
    ]
    assert second == [(one, other, 1) for one, other, _ in first]


def test_contenders_of_one_repeat_meet_the_same_fates_and_each_repeat_others() -> None:
    orders = list(grid(["udp-w1-b1428", "tcp-bbr"], [link(1.0)], repeats=2).orders())
    seeds = [order.seed for order in orders]
    assert seeds[0] == seeds[1] != seeds[2] == seeds[3]


def changed(what: str) -> Grid:
    one = grid(["udp-w1-b1428"], [link()])
    changes = {"seed": {"seed": "8"}, "repeats": {"repeats": 4}, "links": {"links": (link(1.0),)}}
    return replace(one, **changes.get(what, {}))  # type: ignore[arg-type]


def test_the_digest_is_that_of_everything_that_matters() -> None:
    same = {changed("").digest("x"), changed("").digest("x")}
    assert len(same) == 1
    others = {changed(what).digest("x") for what in ("seed", "repeats", "links")} | {changed("").digest("y")}
    assert len(others | same) == 5
