"""Gives uac_auth() of a throw-away Kamailio the fields that plain.py takes: none may end it, none be answered wrongly.

python -m tests.live.uac_auth [--fields N] [--container | --image IMAGE] [--seed N]
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from pathlib import Path

from tests.live.uac_auth.fuzz import fuzz


def main() -> int:
    """Run, report, and return 1 if anything was wrong."""
    arguments = argparse.ArgumentParser(prog="python -m tests.live.uac_auth", description=__doc__)
    arguments.add_argument("--fields", type=int, default=10_000, help="given to uac_auth()")
    arguments.add_argument("--image", help="of a container with kamailio and app_python3; default: this machine's")
    arguments.add_argument("--container", action="store_true", help="the project's image")
    arguments.add_argument("--seed", type=int, default=1)
    given = arguments.parse_args()
    with tempfile.TemporaryDirectory() as workspace:
        image = _built(Path(workspace)) if given.container else given.image
        result = fuzz(given.fields, image, given.seed, Path(workspace))
    print(result)
    return 1 if result.faults else 0


def _built(workspace: Path) -> str:
    from tests.harness.container import InContainer  # needs the package docker, and an engine

    return InContainer(workspace).image


if __name__ == "__main__":
    sys.exit(main())
