"""Our server beside the others, in one run: speed, loss, crowds, CPU, memory.

    python bench/compare_servers.py --quick             a few minutes, rough
    python bench/compare_servers.py --json results.json the whole run; then bench/report.py puts it into the docs

What is installed is measured (tftpd-hpa, atftpd and dnsmasq from `.ci/peers`; `tftpy` and `tftp` from PyPI by
`bench/install_pypi_peers`), the rest is named as left out. Figures of one run can be compared with each other, not with
those of another machine or hour. Everything that is started is stopped again, also after Ctrl-C.
"""

from __future__ import annotations

import json
import signal
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

import click

import crowd
import loss
import pair
import throughput
from report import rendered
from stage import MIB, Stage, machine_facts, staged
from throughput import Cell
from verdicts import verdicts

PARTS = ("throughput", "loss", "crowds", "memory", "pair")
_WINDOWS = (1, 16, 64)


@dataclass(frozen=True, slots=True)
class Settings:
    """How much is measured."""

    parts: tuple[str, ...]
    pairs: int
    seeds: int
    blksizes: tuple[int, ...]
    quick: bool


def run(stage: Stage, settings: Settings) -> dict[str, Any]:
    """Every part that is wanted, in order."""
    quick, pairs = settings.quick, settings.pairs
    results: dict[str, Any] = {}
    if "throughput" in settings.parts:
        cells = [Cell(blksize, window) for blksize in settings.blksizes for window in _WINDOWS]
        results["throughput"] = throughput.measure(stage, cells, pairs=pairs, quick=quick)
    if "memory" in settings.parts:
        results["memory"] = crowd.measure_memory(stage)
    if "pair" in settings.parts:
        results["file_to_file"] = pair.measure(stage, pairs=pairs, quick=quick)
    if "crowds" in settings.parts:
        crowds = [each for each in crowd.CROWDS if not quick or each.clients * each.size_bytes <= 200 * MIB]
        results["crowds"] = crowd.measure(stage, crowds, pairs=max(1, pairs // 2 + 1) if not quick else 1)
    if "loss" in settings.parts:
        blksizes = [blksize for blksize in settings.blksizes if blksize in (512, 1428)]
        results["loss"] = loss.measure(stage, seeds=settings.seeds, blksizes=blksizes, windows=[1, 16])
    return results


def _interrupted(_number: int, _frame: object) -> NoReturn:
    sys.exit("interrupted")


def _listed(known: tuple[str, ...]) -> Any:
    def parse(_context: click.Context, _parameter: click.Parameter, value: str | None) -> tuple[str, ...]:
        names = tuple(value.split(",")) if value else known
        if unknown := set(names) - set(known):
            raise click.BadParameter(f"{', '.join(sorted(unknown))}: choose from {', '.join(known)}")
        return names

    return parse


@click.command()
@click.option("--only", callback=_listed(PARTS), help=f"Parts, with commas: {', '.join(PARTS)}.")
@click.option("--servers", "names", default="", help="Only these servers, with commas.")
@click.option("--sizes", callback=_listed(("512", "1428", "8192", "65464")), help="Only these values of blksize.")
@click.option("--pairs", type=click.IntRange(1, 99), help="Turns for each comparison. [default: 5, quick: 2]")
@click.option("--seeds", type=click.IntRange(1, 99), help="Runs through loss. [default: 5, quick: 2]")
@click.option("--quick", is_flag=True, help="Smaller files, fewer turns and crowds.")
@click.option("--minutes", type=float, default=60, show_default=True, help="Begin nothing new after this time.")
@click.option("--json", "json_path", type=click.Path(dir_okay=False, path_type=Path), help="Write the results here.")
def main(
    only: tuple[str, ...],
    names: str,
    sizes: tuple[str, ...],
    pairs: int | None,
    seeds: int | None,
    quick: bool,
    minutes: float,
    json_path: Path | None,
) -> None:
    """Measure our server beside the others that are installed."""
    signal.signal(signal.SIGTERM, _interrupted)
    settings = Settings(only, pairs or (2 if quick else 5), seeds or (2 if quick else 5), tuple(map(int, sizes)), quick)
    facts = machine_facts()
    with staged(minutes=minutes, only=names.split(",") if names else ()) as stage:
        results = run(stage, settings)
        about = {"pairs": settings.pairs, "seeds": settings.seeds, "quick": quick}
        results |= {"machine": facts, "settings": about, "absent": stage.absent, "skipped": stage.skipped}
    results["verdicts"] = verdicts(results)
    if json_path is not None:
        json_path.write_text(json.dumps(results, indent=1) + "\n")
    click.echo(rendered(results), nl=False)


if __name__ == "__main__":
    main()
