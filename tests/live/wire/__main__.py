"""Sends made messages to a throw-away Kamailio with the project's own routes: none may end it, or its Python.

python -m tests.live.wire [--messages N] [--container] [--seed N]
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from pathlib import Path

from tests.harness.node import Installation, Native
from tests.live.wire.fuzz import fuzz


def main() -> int:
    """Run, report, and return 1 if anything was wrong."""
    arguments = argparse.ArgumentParser(prog="python -m tests.live.wire", description=__doc__)
    arguments.add_argument("--messages", type=int, default=100_000)
    arguments.add_argument("--container", action="store_true", help="the project's image, not this machine's Kamailio")
    arguments.add_argument("--seed", type=int, default=1)
    given = arguments.parse_args()
    with tempfile.TemporaryDirectory() as workspace:
        Path(workspace).chmod(0o755)
        installation = _in_container(Path(workspace)) if given.container else Native(Path(workspace))
        result = fuzz(installation, given.messages, given.seed, Path(workspace))
        installation.close()
    print(result)
    return 1 if result.faults else 0


def _in_container(workspace: Path) -> Installation:
    from tests.harness.container import InContainer  # needs the package docker, and an engine

    return InContainer(workspace)


if __name__ == "__main__":
    sys.exit(main())
