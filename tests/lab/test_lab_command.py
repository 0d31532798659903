from __future__ import annotations

import subprocess
import sys

from click.testing import CliRunner

from blockstep_lab.lab_command import lab


def test_the_group_has_its_subcommands() -> None:
    result = CliRunner().invoke(lab, ["--help"])
    assert result.exit_code == 0
    for name in ("run", "shell", "exec", "simulate"):
        assert f"\n  {name} " in result.output


def test_the_group_is_there_without_what_only_running_needs() -> None:
    heavy = ("pyroute2", "asyncio", "blockstep_lab.netns.lab", "blockstep_client.session")
    program = f"import sys, blockstep_lab.lab_command; print([name for name in {heavy} if name in sys.modules])"
    run = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True, env=_environment()
    )
    assert run.stdout == "[]\n"


def _environment() -> dict[str, str]:
    from support.labs import import_path

    return import_path()
