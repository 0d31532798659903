"""The table of all cells, as HTML.

Decided here: the columns and their units, one for each column so that numbers can be compared down it; every number is
a `data` element that holds the value of the record beside the rounded text; a cell without a valid number, or one that
`--max-time` stopped, shows what happened in place of numbers. Not known here: where the table stands.
"""

from __future__ import annotations

from dataclasses import dataclass

from blockstep_lab.compare.laws import WINDOW, maybe_share
from blockstep_lab.compare.report.markup import Html, element, join
from blockstep_lab.compare.results import OK, Cell, CompareResult, Interval, LinkSpec
from blockstep_lab.compare.wording import rate_text

__all__ = ["NUMBERS", "Number", "cell_table"]

_NOTHING = "-"
_COUNT = "packets"


@dataclass(frozen=True, slots=True)
class Number:
    """A column of medians. `name` is the field of `Cell`, `scale` turns its unit into that of the heading."""

    name: str
    heading: str
    unit: str
    scale: float

    def of(self, cell: Cell) -> Interval | None:
        """The value in the record."""
        found: Interval | None = getattr(cell, self.name)
        return found


NUMBERS = (
    Number("goodput_bit_s", "goodput", "Mbit/s", 1e-6),
    Number("total_s", "time", "s", 1.0),
    Number("first_byte_s", "first byte", "ms", 1e3),
    Number("longest_stall_s", "longest stall", "ms", 1e3),
    Number("resends", "sent again", _COUNT, 1.0),
    Number("overhead", "overhead", "%", 100.0),
    Number("cpu_sender_s_per_gb", "CPU, sender", "s/GB", 1.0),
    Number("cpu_receiver_s_per_gb", "CPU, receiver", "s/GB", 1.0),
)
_LAW, _RUNS, _INTERVAL = "of law", "valid runs", "95 % interval"
_SHORT = {WINDOW: "window"}
_COLUMNS = len(NUMBERS) + 3


def cell_table(record: CompareResult) -> Html:
    """A caption, a head, and a body for each link. It is meant to scroll inside of a box of its own."""
    caption = element(
        "caption",
        "Medians of the valid runs. GB is 10⁹ bytes of file; overhead is what IP packets of both ways held beyond the "
        "file; the share of law is measured over predicted, by the most particular law that speaks here.",
    )
    bodies = (_body(record, link) for link in record.links)
    return element("table", caption, element("thead", _head()), *bodies, class_="cells")


def _head() -> Html:
    first, *rest = (_heading(number.heading, number.unit) for number in NUMBERS)
    return element(
        "tr",
        element("th", "", element("span", "contender", class_="hidden"), scope="col"),
        first,
        _heading(_INTERVAL, NUMBERS[0].unit),
        _heading(_LAW, ""),
        *rest,
        _heading(_RUNS, ""),
    )


def _heading(text: str, unit: str) -> Html:
    return element("th", text, *([" ", element("span", unit, class_="unit")] if unit else []), scope="col")


def _body(record: CompareResult, link: LinkSpec) -> Html:
    cells = [cell for cell in record.cells if cell.link == link.id]
    if not cells:
        return join()
    name = element("tr", element("th", element("span", link.label), colspan=_COLUMNS + 1, scope="rowgroup"))
    return element("tbody", name, *(_row(record, cell) for cell in cells))


def _row(record: CompareResult, cell: Cell) -> Html:
    contender = record.contender(cell.contender)
    said: dict[str, str | bool] = {"data_contender": cell.contender, "data_link": cell.link, "data_state": cell.state}
    if contender.simulated:
        said["class_"] = "simulated"
    head = element("th", contender.label, scope="row")
    goodput = cell.goodput_bit_s
    if cell.state != OK or goodput is None:
        return element(
            "tr", head, element("td", element("span", *_instead(cell)), colspan=_COLUMNS, class_="instead"), **said
        )
    first, *rest = (_number(number, cell) for number in NUMBERS)
    runs = str(cell.valid) if cell.valid == cell.runs else f"{cell.valid} of {cell.runs}"
    return element("tr", head, first, _interval(goodput), _law(cell), *rest, element("td", runs), **said)


def _instead(cell: Cell) -> tuple[str, ...]:
    parts: list[str] = [element("strong", cell.state, class_="state")]
    if cell.reason:
        parts += [": ", cell.reason]
    if cell.goodput_bit_s is not None:
        parts.append(f"; what had arrived by then makes {rate_text(cell.goodput_bit_s.median)}")
    return tuple(parts)


def _number(number: Number, cell: Cell) -> Html:
    interval = number.of(cell)
    if interval is None:
        return element("td", _NOTHING)
    shown = f"{interval.median:,.0f}" if number.unit == _COUNT else _digits(interval.median * number.scale)
    value = element("data", shown, value=repr(interval.median))
    return element("td", value, data_field=number.name)


def _interval(goodput: Interval) -> Html:
    low, high = (
        element("data", _digits(value * NUMBERS[0].scale), value=repr(value)) for value in (goodput.low, goodput.high)
    )
    return element("td", low, " to ", high, data_field="interval")


def _law(cell: Cell) -> Html:
    found = maybe_share(cell)
    if found is None:
        return element("td", _NOTHING)
    law, share = found
    value = element("data", f"{share:.2f}", value=repr(share))
    return element("td", value, " ", element("span", _SHORT.get(law, law), class_="unit"), data_field="law")


def _digits(value: float) -> str:
    """Three digits that count: `1,230`, `47.2`, `0.228`."""
    if value >= 100 or value == 0:
        return f"{value:,.0f}"
    return f"{value:.1f}" if value >= 10 else f"{value:.2f}" if value >= 1 else f"{value:.3f}"
