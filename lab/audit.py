"""Known vulnerabilities in what is installed from PyPI: `make audit`, which CI runs.

Asks pip-audit about every release in locks/. A release that the vulnerability service knows nothing of is named, and
fails nothing; neither does a service that cannot be reached, because nobody here can mend it. Why is said.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

LOCKS = Path(__file__).resolve().parent.parent / "locks"
WITHIN = 300.0  # seconds
ASKED_WRONGLY = 2  # its exit status for arguments that it does not know


def judged(dependencies: Sequence[dict[str, Any]]) -> tuple[str, bool]:
    """Return what there is to say of pip-audit's findings, and True if something has to be mended."""
    unknown = [each["name"] for each in dependencies if "skip_reason" in each]
    found = [
        f"{each['name']} {each['version']}: {one['id']}, fixed in {', '.join(one['fix_versions']) or 'no release'}"
        for each in dependencies
        for one in each.get("vulns", ())
    ]
    if found:
        return "\n".join(sorted(set(found))), True
    if len(unknown) == len(dependencies):
        return (
            f"NOT AUDITED: the vulnerability service knows none of {len(unknown)} releases, or cannot be reached",
            False,
        )
    audited = f"{len(dependencies) - len(unknown)} releases have no known vulnerability"
    return audited + (f"; not audited: {', '.join(unknown)}" if unknown else ""), False


def audited(program: str, lock: Path) -> tuple[str, bool]:
    """Have this pip-audit look at one lock; return what there is to say, and True if something has to be mended."""
    command = [program, "--require-hashes", "--disable-pip", "--progress-spinner=off", "--format=json"]
    try:
        done = subprocess.run(
            [*command, f"--requirement={lock}"], capture_output=True, text=True, check=False, timeout=WITHIN
        )
    except subprocess.TimeoutExpired:
        return f"NOT AUDITED: no answer within {WITHIN:.0f} s", False
    try:
        return judged(json.loads(done.stdout)["dependencies"])
    except json.JSONDecodeError:
        *_, last = ["pip-audit has said nothing", *done.stderr.splitlines()]
        return f"NOT AUDITED: {last}", done.returncode == ASKED_WRONGLY


def main(program: str) -> int:
    """Audit every lock with this pip-audit; return 1 if something has to be mended."""
    has_failed = False
    for lock in sorted(LOCKS.glob("*.txt")):
        line, fails = audited(program, lock)
        print(f"{lock.name}: {line}")
        has_failed = has_failed or fails
    return int(has_failed)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
