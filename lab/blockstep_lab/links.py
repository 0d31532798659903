"""Links with a name, so that a test can say `lte` and mean what everybody means.

Decided here: the numbers, each with its source. "Up" is client to server. Not known here: how a link is carried.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from blockstep_lab.conditions import Conditions
from blockstep_lab.words import Words, WordsError, did_you_mean

__all__ = ["LINKS", "Link", "parse_link"]


@dataclass(frozen=True, slots=True)
class Link:
    """Both directions of a link, what it stands for, and where its numbers are from."""

    up: Conditions
    down: Conditions
    about: str
    source: str


def _link(up: str, down: str, about: str, source: str) -> Link:
    return Link(Conditions.parse(up), Conditions.parse(down), about, source)


def _same(words: str, about: str, source: str) -> Link:
    return _link(words, words, about, source)


LINKS: dict[str, Link] = {
    "perfect": _same("", "nothing happens", "the null case of every comparison"),
    "lan": _same(
        "rate 1gbit delay 100us",
        "switched gigabit Ethernet",
        "IEEE 802.3ab rate; 0.2 ms round trip, the order that ping shows over one or two switches",
    ),
    "wifi": _same(
        "rate 40mbit delay 2ms 1ms distribution pareto loss 1%",
        "a busy 2.4 GHz cell",
        "Apple Network Link Conditioner 'Wi-Fi' (40 Mbit/s, 1 ms); 2 ms is the order of an 802.11 retry, and 1 % is "
        "what the retries leave in a crowded cell",
    ),
    "dsl": _link(
        "rate 256kbit 0 48 5 limit 40 delay 5ms",
        "rate 2mbit 0 48 5 limit 60 delay 5ms",
        "ADSL with ATM cells and a modem's deep queue",
        "Apple Network Link Conditioner 'DSL' (2 Mbit/s down, 256 kbit/s up, 5 ms); ITU-T I.361 for cells of 48 + 5",
    ),
    "lte": _link(
        "rate 10mbit limit 500 delay 65ms 10ms distribution normal",
        "rate 50mbit limit 500 delay 50ms 10ms distribution normal",
        "a phone network: long queue, hardly any loss, jitter from scheduling",
        "Apple Network Link Conditioner 'LTE' (50/10 Mbit/s, 50 ms down, 65 ms up)",
    ),
    "3g": _link(
        "rate 330kbit limit 100 delay 100ms",
        "rate 780kbit limit 100 delay 100ms",
        "UMTS",
        "Apple Network Link Conditioner '3G' (780/330 kbit/s, 100 ms)",
    ),
    "edge": _link(
        "rate 200kbit limit 50 delay 440ms",
        "rate 240kbit limit 50 delay 400ms",
        "GPRS with EDGE",
        "Apple Network Link Conditioner 'Edge' (240/200 kbit/s, 400 ms down, 440 ms up)",
    ),
    "satellite": _link(
        "rate 2mbit limit 200 delay 270ms loss 0.1%",
        "rate 10mbit limit 500 delay 270ms loss 0.1%",
        "a geostationary satellite",
        "RFC 2488 section 2: 239.6 to 279.0 ms one way by geometry; loss left over after forward error correction",
    ),
    "bursty": _same(
        "delay 10ms loss gemodel 1% 25% 100% 0%",
        "losses in bursts of four packets, 3.8 % in all",
        "Gilbert (1960), 'Capacity of a burst-noise channel': p / (p + r) lost, bursts of 1 / r",
    ),
    "bad-network": _same(
        "rate 1mbit limit 100 delay 500ms loss 10%",
        "hardly usable",
        "Apple Network Link Conditioner 'Very Bad Network' (1 Mbit/s, 500 ms, 10 %)",
    ),
    "sorcerer": _link(
        "delay 20ms 19ms duplicate 5%",
        "delay 20ms",
        "late and doubled ACKs: a sender that answers duplicate ACKs with DATA sends every later block twice",
        "RFC 1123 section 4.2.3.1, the Sorcerer's Apprentice Syndrome",
    ),
    "far-site": _same(
        "delay 150ms",
        "two data centres 150 ms apart each way, without loss",
        "the case that Facebook published with fbtftp: 80 MB at 150 ms took 12.5 hours in lock-step with blksize 512",
    ),
}


def parse_link(words: str | Sequence[str]) -> tuple[Conditions, Conditions]:
    """Conditions up and down from the name of a link or from netem's words, the same both ways; `WordsError`."""
    cursor = Words(words)
    name = cursor.peek()
    if name is None or name not in LINKS:
        return _both_ways(words, name)
    cursor.take("link")
    if cursor.peek() is not None:
        raise WordsError(f"{name}: a named link takes no further words; write them after its own: '{LINKS[name].up}'")
    return LINKS[name].up, LINKS[name].down


def _both_ways(words: str | Sequence[str], first: str | None) -> tuple[Conditions, Conditions]:
    try:
        conditions = Conditions.parse(words)
    except WordsError as error:
        hint = did_you_mean(first, LINKS) if first is not None and str(error).startswith("unknown word") else ""
        if not hint or "did you mean" in str(error):
            raise
        raise WordsError(f"unknown word or link {first!r}{hint}") from error
    return conditions, conditions
