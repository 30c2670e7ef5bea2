"""Lines of the log as tests write them down: without the level, which stands beside them."""

from __future__ import annotations

from kemi.line import Line, logfmt


def told(line: Line | None) -> str:
    """The line's values in logfmt, empty for no line."""
    return logfmt(line).partition(" ")[2] if line else ""
