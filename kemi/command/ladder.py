"""A ladder of SIP messages, for the terminal: one row a message, one column an end. It shows what went over the wire.

Plain functions over text and frozen dataclasses. A digest response is shortened as a message is read, so that a whole
one is never shown, and no control character of the wire reaches the terminal.
"""

from __future__ import annotations

import re
import textwrap
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

QUOTE = '"'
SHOWN = 4  # characters at either end of a nonce or response that are shown
LEG = 38  # characters between two columns of the ladder
MARGIN = 8  # characters left of the first column, for the time in ms

AUTH_HEADERS = ("www-authenticate", "proxy-authenticate", "authorization", "proxy-authorization")
AUTH_PARAMETER = re.compile(r"(?<!\w)(username|realm|nonce|stale|response)=(\"[^\"]*\"|[^\s,]+)")
_STATUS = re.compile(r"SIP/2\.0 ([0-9]{3})\b")
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\ud800-\udfff]")


@dataclass(frozen=True)
class Message:
    """One SIP message as one end received or sent it; source and destination are address:port."""

    microseconds: int
    source: str
    destination: str
    first_line: str
    call_id: str
    cseq: str
    auth: tuple[str, ...] = ()

    @classmethod
    def of(cls, microseconds: int, source: str, destination: str, text: str) -> Message:
        """Make one of its text, with whatever line ends."""
        first_line, *lines = text.replace("\r\n", "\n").split("\n\n", 1)[0].split("\n")
        headers = [(name.strip(), value.strip()) for name, _, value in (line.partition(":") for line in lines)]
        first = {name.lower(): value for name, value in reversed(headers)}
        return cls(
            microseconds,
            source,
            destination,
            printable(first_line),
            call_id=first.get("call-id") or first.get("i", ""),
            cseq=printable(first.get("cseq", "")),
            auth=tuple(_shortened(name, value) for name, value in headers if name.lower() in AUTH_HEADERS),
        )

    @property
    def status(self) -> int:
        """A reply's status code; 0 for a request."""
        found = _STATUS.match(self.first_line)
        return int(found[1]) if found else 0

    @property
    def method(self) -> str:
        """A request's own method; for a reply, that of the request that it answers."""
        return self.cseq.split(" ")[-1]

    @property
    def label(self) -> str:
        """What stands on the arrow: status and reason, or method."""
        return self.first_line.removeprefix("SIP/2.0 ") if self.status else self.method

    @property
    def is_success(self) -> bool:
        return 200 <= self.status < 300

    @property
    def is_challenge(self) -> bool:
        return self.status in (401, 407)

    @property
    def has_credentials(self) -> bool:
        return any(auth.startswith(("Authorization", "Proxy-Authorization")) for auth in self.auth)


def _shortened(name: str, value: str) -> str:
    words = [f"{name}: {value.partition(' ')[0]}"]
    for parameter, text in AUTH_PARAMETER.findall(value):
        shown = _ends(text.strip(QUOTE)) if parameter in ("nonce", "response") else text
        words.append(f"{parameter}={shown}")
    return printable(" ".join(words))


def printable(text: str) -> str:
    """Return text of the wire with nothing in it that a terminal would carry out."""
    return _CONTROL.sub("?", text)


def _ends(text: str) -> str:
    """Enough to tell two apart: nonces made in the same second often begin alike."""
    return f"{text[:SHOWN]}…{text[-SHOWN:]}" if len(text) > 4 * SHOWN else "…"


def ladder(messages: Sequence[Message], names: Mapping[str, str]) -> str:
    """One row per message, one column per name. `names` is address:port -> name in the order of the columns; it
    must hold both ends of every message."""
    columns = list(names)
    lines = [_heading(list(names.values())), _heading(columns)]
    for message in messages:
        elapsed = (message.microseconds - messages[0].microseconds) / 1000
        ends = columns.index(message.source), columns.index(message.destination)
        left, right = sorted(ends)
        row = _row(len(columns), left, right, _arrow(message.label, ends[0] < ends[1], (right - left) * (LEG + 1) - 1))
        lines.append(f"{elapsed:7.1f} {row}  {message.cseq}")
        for auth in message.auth:
            for part in textwrap.wrap(auth, LEG - 4, subsequent_indent="  ", break_on_hyphens=False):
                lines.append(" " * MARGIN + _row(len(columns), right - 1, right, f"  {part}".ljust(LEG)))
    return "\n".join(lines)


def _heading(words: Sequence[str]) -> str:
    """Each word at its column: the first begins there, the last ends there, the others are centred on it."""
    line = " " * MARGIN + words[0]
    for index, word in enumerate(words[1:], start=1):
        column = MARGIN + index * (LEG + 1)
        start = column + 1 - (len(word) if index == len(words) - 1 else len(word) // 2)
        line = line.ljust(start) + word
    return line


def _row(columns: int, left: int, right: int, drawn: str) -> str:
    """What is drawn between two columns, and nothing between the others."""
    return "│" + "│".join([*[" " * LEG] * left, drawn, *[" " * LEG] * (columns - 1 - right)]) + "│"


def _arrow(label: str, rightward: bool, width: int) -> str:
    room = width - 4
    text = f" {label if len(label) <= room else label[: room - 1] + '…'} "
    return text.center(width - 1, "─") + "▶" if rightward else "◀" + text.center(width - 1, "─")
