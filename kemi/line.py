"""A line of the log: named values, as logfmt or as JSON. It holds no secret.

A value may be anything that the wire or a row brings. In logfmt it stands bare if it is one plain word, and otherwise
as a JSON string, which is how the parsers of logfmt (Go's, Loki's) read quotes. So none can end its place in the line,
or the line; and none is longer than MOST_SHOWN characters.

Pure.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from enum import IntEnum
from typing import NamedTuple

MOST_SHOWN = 200  # characters of one value

Value = str | int | float

_WORD = re.compile(rf"[A-Za-z0-9._~@%+*:/!?#$&(){{}}\[\]<>^|,;-]{{1,{MOST_SHOWN}}}")


class Level(IntEnum):
    """With Kamailio's numbers (src/core/dprint.h): a line is shown if its level is not above TRUNKAUTH_LOG_LEVEL."""

    ERROR = -1
    WARNING = 0
    NOTICE = 1
    INFO = 2


_LEVELS = {level: f"level={level.name.lower()}" for level in Level}


class Line(NamedTuple):
    """One line. fields: the name of each value, and the value, in order."""

    level: Level
    fields: Mapping[str, Value]


def warning(**fields: Value) -> Line:
    """Return a warning; an underscore in a name becomes a hyphen."""
    return Line(Level.WARNING, _named(fields))


def notice(**fields: Value) -> Line:
    """Return a notice, named in the same way."""
    return Line(Level.NOTICE, _named(fields))


def error(**fields: Value) -> Line:
    """Return an error, named in the same way."""
    return Line(Level.ERROR, _named(fields))


def _named(fields: Mapping[str, Value]) -> dict[str, Value]:
    return {name.replace("_", "-"): value for name, value in fields.items()}


def word(value: Value) -> str:
    """Return a value of a logfmt line: as it is if it is a number or one short plain word, quoted otherwise."""
    text = str(value)
    return text if _WORD.fullmatch(text) else quoted(text)


def quoted(text: str) -> str:
    """Return a text in double quotes, in ASCII without control characters. A long one is cut."""
    return json.dumps(_cut(text))


def _cut(text: str) -> str:
    return text if len(text) <= MOST_SHOWN else f"{text[:MOST_SHOWN]}..."


def logfmt(line: Line) -> str:
    parts = [_LEVELS[line.level]]
    for name, value in line.fields.items():
        text = str(value)
        parts.append(f"{name}={text if _WORD.fullmatch(text) else quoted(text)}")  # word(), without a call for each
    return " ".join(parts)


def as_json(line: Line) -> str:
    values = {name: _cut(value) if isinstance(value, str) else value for name, value in line.fields.items()}
    return json.dumps({"level": line.level.name.lower(), **values})


FORMS: Mapping[str, Callable[[Line], str]] = {"logfmt": logfmt, "json": as_json}  # by TRUNKAUTH_LOG
