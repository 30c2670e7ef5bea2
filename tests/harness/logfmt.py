"""A strict reader of logfmt, as Go's parsers read it (go-logfmt/logfmt, which Loki uses): `name=value` with one space
between two, a value bare or in double quotes with JSON's escapes. It knows nothing of the product.

What those parsers forgive is refused here: a name without a value, a bare value with a quote in it, a second space.
"""

from __future__ import annotations

import json
import re

_NAME = re.compile(r"[a-z][a-z-]*=")
_BARE = re.compile(r'[^\s="\'`\\\x00-\x1f\x7f-\U0010ffff]+')
_QUOTED = re.compile(r'"(?:[^"\\\x00-\x1f\x7f-\U0010ffff]|\\(?:["\\/bfnrt]|u[0-9a-f]{4}))*"')


class LogfmtError(ValueError):
    """No line of logfmt; the text says where."""


def parse(line: str) -> dict[str, str]:
    """Return the values of a line by their names. Raises LogfmtError."""
    values: dict[str, str] = {}
    place = 0
    while place < len(line):
        if values:
            if line[place] != " ":
                raise LogfmtError(f"no space at {line[place:]!r}")
            place += 1
        name = _NAME.match(line, place)
        if not name or name[0] in values:
            raise LogfmtError(f"no new name at {line[place:]!r}")
        found = _QUOTED.match(line, name.end()) or _BARE.match(line, name.end())
        if not found:
            raise LogfmtError(f"no value at {line[name.end() :]!r}")
        values[name[0]] = json.loads(found[0]) if found[0].startswith('"') else found[0]
        place = found.end()
    if not values:
        raise LogfmtError("an empty line")
    return {name.removesuffix("="): value for name, value in values.items()}


def lines(log: str) -> list[dict[str, str]]:
    """Return the lines that the product wrote, of all that Kamailio's stderr holds: those that begin with a level."""
    return [parse(line) for line in log.splitlines() if line.startswith("level=")]
