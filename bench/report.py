"""Tables from the JSON of `compare_servers.py`: for a terminal and, the same text, for docs/performance.md.

    python bench/report.py results.json                            print them
    python bench/report.py results.json --into docs/performance.md put them between the marks in that page

The marks are `<!-- begin: NAME -->` and `<!-- end: NAME -->`, with the names of `SECTIONS`; a page may lack any.
"""

from __future__ import annotations

import json
import statistics
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

import click

from servers import OURS
from verdicts import median_s, ratio_to_fastest, seconds

Record = dict[str, Any]


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A Markdown table, padded so that it can be read as it is."""
    lines = [list(head), *map(list, rows)]
    widths = [max(len(line[column]) for line in lines) for column in range(len(head))]
    padded = ["| " + " | ".join(map(str.ljust, line, widths)) + " |" for line in lines]
    return "\n".join([padded[0], "|" + "|".join("-" * (width + 2) for width in widths) + "|", *padded[1:]])


def machine(results: Record) -> str:
    """What the figures were measured on."""
    facts = results["machine"]
    versions = "; ".join(f"{name}: {version}" for name, version in facts["versions"].items())
    how = results["settings"]
    on = f"{facts['cpu']}, {facts['processors']} processors, Linux {facts['kernel']}, Python {facts['python']}"
    lines = [
        f"- {facts['time']}: {on}; load before the run {facts['load_before']:.1f}",
        f"- {how['pairs']} pairs, {how['seeds']} seeds{', quick' if how['quick'] else ''}",
        f"- {versions}",
    ]
    lines += [f"- left out: {name}: {why}" for name, why in results["absent"].items()]
    lines += [f"- no time left for: {', '.join(results['skipped'])}"] if results["skipped"] else []
    return "\n".join(lines)


def verdict_table(results: Record) -> str:
    """The demands."""
    rows = [(each["demand"], each["figures"], each["word"]) for each in results["verdicts"]]
    return table(("demand", "measured", ""), rows)


def throughput_table(results: Record) -> str:
    """Median rates, one row for each combination of options."""
    records = results.get("throughput", [])
    names = _names(records)
    rows = []
    for record in records:
        ratio = ratio_to_fastest(
            {name: entry["mb_s"] for name, entry in record["servers"].items() if not entry["left_out"]},
            [name for name in names if not name.startswith(OURS)],
        )
        cells = [_rate(record["servers"].get(name)) for name in names]
        rows.append([str(record["blksize"]), str(record["windowsize"]), *cells, str(ratio or "-")])
    return table(("blksize", "window", *names, "ours / fastest other"), rows)


def _rate(entry: Record | None) -> str:
    if entry is None:
        return "-"
    return str(entry["left_out"]) or f"{statistics.median(entry['mb_s']):.4g}"


def cpu_table(results: Record) -> str:
    """What a server spends."""
    records = results.get("throughput", [])
    names = _names(records)
    rows = [
        [
            str(record["blksize"]),
            str(record["windowsize"]),
            *(_cpu(record["servers"].get(name)) for name in names),
        ]
        for record in records
    ]
    return table(("blksize", "window", *names), rows)


def _cpu(entry: Record | None) -> str:
    return f"{entry['cpu_s_per_gb']:.2f}" if entry and "cpu_s_per_gb" in entry else "-"


def loss_table(results: Record) -> str:
    """Median times through loss."""
    records = results.get("loss", [])
    names = _names(records)
    rows = [
        [
            f"{record['loss_percent']:g} %",
            str(record["blksize"]),
            str(record["windowsize"]),
            *(_time(record, name) for name in names),
        ]
        for record in records
    ]
    return table(("loss", "blksize", "window", *names), rows)


def _time(record: Record, name: str) -> str:
    runs = record["servers"].get(name)
    if not runs:
        return "-"
    middle = median_s(record, name)
    errors = sorted({run["error"] for run in runs if run.get("error")})
    if middle is None and errors:
        return str(errors[0])[:60]
    granted = next((run["granted"] for run in runs if run["seconds"] is not None), None)
    note = ""
    if granted and granted != [record["blksize"], record["windowsize"]]:
        note = f" (at {granted[0]} x {granted[1]})"
    return seconds(middle, record) + note


def crowd_table(results: Record) -> str:
    """Storms: rate, and how many failed, asked again, and blocks came twice, summed over all turns."""
    records = results.get("crowds", [])
    rows = []
    for record in records:
        for name in _names([record]):
            runs = record["servers"][name]
            what = [str(record["clients"]), f"{record['size_bytes'] / 1024:.4g} KiB", str(record["windowsize"])]
            totals = [sum(run[key] for run in runs) for key in ("failed", "asked_again", "blocks_doubled")]
            rate, time_s = (statistics.median(run[key] for run in runs) for key in ("mb_s", "seconds"))
            own = [run["server_resends"] for run in runs if run["server_resends"] is not None]
            granted = f"{runs[0]['granted'][1]}"
            tail = [*map(str, totals), str(sum(own)) if own else "-"]
            rows.append([*what, name, granted, f"{rate:.1f}", f"{time_s:.2f}", *tail])
    head = ("clients", "file", "window", "server", "granted", "MB/s", "s", "failed", "asked again", "blocks twice")
    return table((*head, "sent again"), rows)


def memory_table(results: Record) -> str:
    """KiB for each."""
    rows = [
        [name, _kib(entry["idle_bytes"]), _kib(entry["child_bytes"]), _kib(entry["each_of_50_bytes"])]
        for name, entry in results.get("memory", {}).items()
    ]
    return table(("server", "idle, KiB", "one child alone, KiB", "each of 50 transfers, KiB"), rows)


def _kib(value: float | None) -> str:
    return "-" if value is None else f"{value / 1024:.0f}"


def pair_table(results: Record) -> str:
    """File to file against TCP."""
    record = results.get("file_to_file")
    if not record:
        return "not measured"
    tcp = record["tcp_mb_s"]
    rows = [["TCP sendfile", "", f"{statistics.median(tcp):.0f}", "1"]]
    for each in record["ours"]:
        ratio = statistics.median(own / other for own, other in zip(each["mb_s"], tcp, strict=True))
        asked = [str(each["blksize"]), " x ".join(map(str, each["granted"]))]
        rows.append([*asked, f"{statistics.median(each['mb_s']):.0f}", f"{ratio:.2f}"])
    return table(("blksize", "granted", "MB/s", "of TCP"), rows)


def _names(records: Sequence[Record]) -> list[str]:
    return list(dict.fromkeys(name for record in records for name in record["servers"]))


SECTIONS: dict[str, tuple[str, Callable[[Record], str]]] = {
    "machine": ("Machine", machine),
    "verdicts": ("What must hold", verdict_table),
    "throughput": ("One client, MB/s", throughput_table),
    "cpu": ("CPU seconds of the server for 10^9 bytes", cpu_table),
    "loss": ("1 MiB through loss each way, median", loss_table),
    "crowds": ("Many clients at once", crowd_table),
    "memory": ("Memory (PSS)", memory_table),
    "file-to-file": ("Own client and server, file to file", pair_table),
}


def rendered(results: Record) -> str:
    """All tables with their headings."""
    return "\n\n".join(f"## {heading}\n\n{render(results)}" for heading, render in SECTIONS.values()) + "\n"


def put_into(page: str, results: Record) -> str:
    """`page` with what stands between the marks replaced."""
    return put_sections(page, {name: render(results) for name, (_, render) in SECTIONS.items()})


def put_sections(page: str, sections: dict[str, str]) -> str:
    """`page` with the text of each section between its marks."""
    for name, text in sections.items():
        begin, end = f"<!-- begin: {name} -->", f"<!-- end: {name} -->"
        before, found, rest = page.partition(begin)
        _old, closed, after = rest.partition(end)
        if found and closed:
            page = f"{before}{begin}\n{text}\n{end}{after}"
    return page


@click.command()
@click.argument("results", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option("--into", type=click.Path(exists=True, dir_okay=False, path_type=Path), help="A page with marks.")
def main(results: Path, into: Path | None) -> None:
    """Tables from RESULTS, the JSON of compare_servers.py."""
    found = json.loads(results.read_text())
    if into is None:
        click.echo(rendered(found), nl=False)
    else:
        into.write_text(put_into(into.read_text(), found))


if __name__ == "__main__":
    main()
