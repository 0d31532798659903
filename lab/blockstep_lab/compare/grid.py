"""What a comparison is made of: links, ways to send, repeats, and the order in which they come.

Decided here: how lists are spelt on the command line (`0,1,3`, `5ms,25ms`), that every loss meets every delay, what
seeds a run has, and the order: all contenders take turns on a link before anybody has a second turn there (A B A B), so
that a machine that grows slower hits all of them. Two contenders of one repeat meet the same seed, so the same fates.
Not known here: how anything is measured.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import TypeVar

from blockstep.protocol.options import BLKSIZE_LARGEST, BLKSIZE_SMALLEST, WINDOWSIZE_LARGEST
from blockstep.protocol.stream import BLKSIZE_STREAM
from blockstep_lab.compare.results import LOCAL, Contender, LinkSpec
from blockstep_lab.conditions import Conditions, Delay, GilbertElliott, Loss, RandomLoss, Rate
from blockstep_lab.links import LINKS, parse_link
from blockstep_lab.words import Words, WordsError, format_decimal, format_time

__all__ = [
    "TRANSPORTS",
    "Grid",
    "Order",
    "contenders_of",
    "grid_links",
    "local_link",
    "named_links",
    "parse_blksizes",
    "parse_congestions",
    "parse_delays",
    "parse_losses",
    "parse_rate",
    "parse_transports",
    "parse_windowsizes",
]

TRANSPORTS = ("udp", "tcp", "unix", "loopback")
_MOST_VALUES = 64
_T = TypeVar("_T")


@dataclass(frozen=True, slots=True)
class Order:
    """One run that is to be made. `seed` is the link's."""

    contender: Contender
    link: LinkSpec
    repeat: int
    seed: str

    @property
    def key(self) -> tuple[str, str, int]:
        """What tells it from every other in the grid."""
        return self.contender.id, self.link.id, self.repeat


@dataclass(frozen=True, slots=True, kw_only=True)
class Grid:
    """All that is to be compared. Ceilings meet the link `LOCAL` and nothing else does.

    `left_out` are pairs of ids (contender, link) that do not meet, because a simulated twin stands in or is not needed.
    """

    contenders: tuple[Contender, ...]
    links: tuple[LinkSpec, ...]
    repeats: int
    seed: str
    left_out: frozenset[tuple[str, str]] = frozenset()

    def orders(self) -> Iterator[Order]:
        """Every run, in the order in which it is to be made."""
        pairs = [(link, each) for link in self.links for each in self.contenders if self.meet(each, link)]
        for repeat in range(self.repeats):
            for link, contender in pairs:
                yield Order(contender, link, repeat, f"{self.seed}/{link.id}/{repeat}")

    def meet(self, contender: Contender, link: LinkSpec) -> bool:
        """Whether this pair is a cell of the grid."""
        return contender.ceiling == (link.id == LOCAL) and (contender.id, link.id) not in self.left_out

    def digest(self, *others: object) -> str:
        """The same for the same grid, file and place, so that a resumed comparison is of one kind."""
        parts = {**asdict(self), "left_out": sorted(self.left_out)}
        plain = json.dumps([parts, *map(str, others)], sort_keys=True)
        return hashlib.sha256(plain.encode()).hexdigest()[:16]


def grid_links(losses: Sequence[float], delays_ns: Sequence[int], rate: Rate | None) -> list[LinkSpec]:
    """Every loss (percent, each way) with every delay (one way), the same both ways."""
    return [_grid_link(loss, delay_ns, rate) for delay_ns in delays_ns for loss in losses]


def _grid_link(loss: float, delay_ns: int, rate: Rate | None) -> LinkSpec:
    conditions = Conditions(
        delay=Delay(delay_ns) if delay_ns else None, loss=RandomLoss(loss) if loss else None, rate=rate
    )
    parts = [f"loss {format_decimal(loss)} %", f"delay {format_time(delay_ns) if delay_ns else '0'}"]
    if rate is not None:
        parts.append(str(rate))
    ids = [f"loss{format_decimal(loss)}", f"delay{format_time(delay_ns) if delay_ns else '0'}"]
    ids += [str(rate).replace(" ", "-")] if rate is not None else []
    return _spec("-".join(ids), ", ".join(parts), conditions, conditions)


def named_links(names: Sequence[str]) -> list[LinkSpec]:
    """Links by their names or in netem's words. `WordsError`."""
    found = []
    for name in names:
        up, down = parse_link(name)
        label = name.strip() if name.strip() in LINKS else str(up) or "perfect"
        found.append(_spec(label.replace(" ", "-"), label, up, down))
    return found


def local_link() -> LinkSpec:
    """Where the ceilings are."""
    nothing = Conditions()
    return _spec(LOCAL, "this machine, no link", nothing, nothing)


def _spec(link_id: str, label: str, up: Conditions, down: Conditions) -> LinkSpec:
    delays_s = [each.delay.delay_ns / 1e9 if each.delay else 0.0 for each in (up, down)]
    return LinkSpec(
        id=link_id,
        label=label,
        up=str(up),
        down=str(down),
        loss=_mean_loss(down.loss),
        loss_back=_mean_loss(up.loss),
        delay_s=sum(delays_s) / 2,
        rtt_s=sum(delays_s),
        rate_bit_s=down.rate.bits_per_s if down.rate else None,
        regular=_is_regular(up) and _is_regular(down),
    )


def _mean_loss(loss: Loss | None) -> float | None:
    """The share that is lost in the long run; None for a model whose share has no short formula."""
    if loss is None:
        return 0.0
    if isinstance(loss, RandomLoss):
        return loss.percent / 100
    if isinstance(loss, GilbertElliott) and loss.p + loss.r:
        return (loss.p * loss.bad_loss + loss.r * loss.good_loss) / (loss.p + loss.r) / 100
    return None


def _is_regular(conditions: Conditions) -> bool:
    """Each packet has the same chance and the same delay, and nothing else happens to it."""
    loss, delay = conditions.loss, conditions.delay
    independent = loss is None or (isinstance(loss, RandomLoss) and not loss.correlation)
    steady = delay is None or not delay.jitter_ns
    return independent and steady and not (conditions.duplicate or conditions.corrupt or conditions.reorder)


def contenders_of(
    transports: Sequence[str], windowsizes: Sequence[int], blksizes: Sequence[int], congestions: Sequence[str]
) -> list[Contender]:
    """The ways to send, ceilings last."""
    found: list[Contender] = []
    if "udp" in transports:
        found += [udp_contender(window, blksize, blksizes) for blksize in blksizes for window in windowsizes]
    if "tcp" in transports:
        found += [_stream(f"tcp-{name}", f"TCP {name}", "tcp", congestion=name) for name in congestions]
    if "unix" in transports:
        found.append(_stream("unix", "UNIX socket", "unix", ceiling=True))
    if "loopback" in transports:
        found.append(_stream("loopback-tcp", "TCP on loopback", "tcp", congestion=congestions[0], ceiling=True))
        found.append(
            udp_contender(max(windowsizes), max(blksizes), blksizes, prefix="loopback-", suffix=" on loopback")
        )
    return found


def udp_contender(
    window: int, blksize: int, blksizes: Sequence[int], *, prefix: str = "", suffix: str = ""
) -> Contender:
    """UDP with this window; the block size is told where there are several."""
    label = "UDP lock-step" if window == 1 else f"UDP window {window}"
    if len(blksizes) > 1:
        label += f", {blksize} byte blocks"
    return Contender(
        id=f"{prefix}udp-w{window}-b{blksize}",
        label=label + suffix,
        transport="udp",
        blksize=blksize,
        windowsize=window,
        congestion=None,
        ceiling=bool(prefix),
        simulated=False,
    )


def _stream(
    contender_id: str, label: str, transport: str, *, congestion: str | None = None, ceiling: bool = False
) -> Contender:
    return Contender(
        id=contender_id,
        label=label,
        transport=transport,
        blksize=BLKSIZE_STREAM,
        windowsize=None,
        congestion=congestion,
        ceiling=ceiling,
        simulated=False,
    )


# Lists of the command line.


def _parse_list(text: str, what: str, parse: Callable[[Words], _T]) -> list[_T]:
    """Values between commas, each once. `WordsError` quotes the value that is wrong."""
    parts = [part.strip() for part in text.split(",")]
    if len(parts) > _MOST_VALUES:
        raise WordsError(f"{len(parts)} values of {what}; {_MOST_VALUES} at most")
    found: list[_T] = []
    for part in parts:
        words = Words(part)
        words.begin()
        value = parse(words)
        if words.peek() is not None:
            raise WordsError(f"{part[:60]!r}: one value of {what} between two commas, please")
        if value in found:
            raise WordsError(f"{part[:60]!r}: {what} has this value twice")
        found.append(value)
    return found


def parse_losses(text: str) -> list[float]:
    """`0,0.1,1%`: percent, below 100."""
    losses = _parse_list(text, "--loss", lambda words: words.percent("the loss"))
    if 100.0 in losses:
        raise WordsError("--loss: through 100% nothing arrives")
    return losses


def parse_delays(text: str) -> list[int]:
    """`5ms,25ms`: nanoseconds one way."""
    return _parse_list(text, "--delay", lambda words: words.time_ns("the delay"))


def parse_rate(text: str) -> Rate | None:
    """`50mbit`, or `none` for a link without a bottleneck."""
    words = Words(text)
    words.begin()
    if words.maybe_take("none"):
        rate = None
    else:
        rate = Rate(words.rate("the rate"))
    if words.peek() is not None:
        raise WordsError(f"{text[:60]!r}: --rate is one rate, such as '50mbit', or 'none'")
    return rate


def parse_windowsizes(text: str) -> list[int]:
    """`1,16,64` (RFC 7440: up to 65535)."""
    return _parse_list(text, "--windowsize", lambda words: words.integer("the windowsize", 1, WINDOWSIZE_LARGEST))


def parse_blksizes(text: str) -> list[int]:
    """`512,1428` (RFC 2348: 8 to 65464)."""
    return _parse_list(text, "--blksize", lambda words: words.integer("the blksize", BLKSIZE_SMALLEST, BLKSIZE_LARGEST))


def parse_transports(text: str) -> list[str]:
    """`udp,tcp,unix,loopback`."""
    return _parse_list(text, "--transport", lambda words: words.take_one_of("transport", TRANSPORTS))


def parse_congestions(text: str, available: Sequence[str]) -> list[str]:
    """`cubic,bbr,reno`, of those that this kernel has."""

    def parse(words: Words) -> str:
        return words.take_one_of("congestion control", sorted(available))

    return _parse_list(text, "--cc", parse)
