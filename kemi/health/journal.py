"""A file of lines that are only ever added to, and written anew when most of them are of no use any more.

It is not synced to the disk: it has to outlive Kamailio, not the machine, with which the calls end as well.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from pathlib import Path

ROOM = 1000  # lines beside those of use, before the file is written anew


class Journal:
    """Methods raise OSError if the file cannot be read or written."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._length = 0

    def read(self) -> list[str]:
        """Return the lines; none if there is no file. Octets that are not UTF-8 come as U+FFFD."""
        try:
            lines = self._path.read_text(errors="replace").splitlines()
        except FileNotFoundError:
            return []
        self._length = len(lines)
        return lines

    def is_long(self, of_use: int) -> bool:
        """Return True if the file ought to be written anew. of_use: the number of lines that matter."""
        return self._length > 2 * of_use + ROOM

    def append(self, lines: Sequence[str]) -> None:
        """Add lines."""
        with self._path.open("a") as file:
            file.write("".join(f"{line}\n" for line in lines))
        self._length += len(lines)

    def write(self, lines: Collection[str]) -> None:
        """Put these lines in place of what is there."""
        fresh = self._path.with_suffix(".new")
        fresh.write_text("".join(f"{line}\n" for line in lines))
        fresh.replace(self._path)
        self._length = len(lines)
