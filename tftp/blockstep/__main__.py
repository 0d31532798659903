"""`python -m blockstep` is the `blockstep` command."""

from __future__ import annotations

import sys

from blockstep.cli import main

if __name__ == "__main__":
    sys.exit(main())
