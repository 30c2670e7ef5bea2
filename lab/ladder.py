"""From the record that Kamailio's sipdump module keeps to the ladder and the verdict of the demo.

Plain functions over text and frozen dataclasses: no process, no file, no socket. What they show is what the
record says went over the wire, never what was expected to. A digest response is shortened as it is read, so
that a whole one exists nowhere but in the record.
"""

import re
import textwrap
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

QUOTE = '"'
SHOWN = 4  # characters at either end of a nonce or response that are shown
LEG = 38  # characters between two columns of the ladder
MARGIN = 8  # characters left of the first column, for the time in ms

# One entry (Kamailio's src/modules/sipdump/sipdump_write.c): facts, a line of ~, the message, a line of |.
ENTRY = re.compile(r"^={20}\n(?P<facts>.*?)^~{20}\n(?P<message>.*?)^\|{20}$", re.DOTALL | re.MULTILINE)
AUTH_HEADERS = ("www-authenticate", "proxy-authenticate", "authorization", "proxy-authorization")
AUTH_PARAMETER = re.compile(r"(?<!\w)(username|realm|nonce|stale|response)=(\"[^\"]*\"|[^\s,]+)")


@dataclass(frozen=True)
class Message:
    """One SIP message as Kamailio received or sent it; source and destination are address:port."""

    microseconds: int
    source: str
    destination: str
    first_line: str
    call_id: str
    cseq: str
    auth: tuple[str, ...] = ()

    @property
    def status(self) -> int:
        """A reply's status code; 0 for a request."""
        return int(self.first_line.split(" ")[1]) if self.first_line.startswith("SIP/2.0 ") else 0

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


def read_record(text: str) -> list[Message]:
    """The messages in the order of time. An entry that is still being written is left out."""
    entries = ENTRY.finditer(text.replace("\r\n", "\n"))
    messages = [_message(entry["facts"], entry["message"]) for entry in entries]
    return sorted(messages, key=lambda message: message.microseconds)


def calls(messages: Iterable[Message]) -> list[Message]:
    """The messages of calls alone: those that share a Call-ID with an INVITE."""
    messages = list(messages)
    call_ids = {message.call_id for message in messages if message.method == "INVITE"}
    return [message for message in messages if message.call_id in call_ids]


def _message(facts: str, message: str) -> Message:
    fact = dict(line.split(": ", 1) for line in facts.splitlines() if ": " in line)
    first_line, *lines = message.split("\n\n", 1)[0].split("\n")
    headers = [(name.strip(), value.strip()) for name, _, value in (line.partition(":") for line in lines)]
    first = {name.lower(): value for name, value in reversed(headers)}
    seconds, _, fraction = fact["time"].partition(".")
    return Message(
        microseconds=int(seconds) * 1_000_000 + int(fraction),
        source=f"{fact['srcip']}:{fact['srcport']}",
        destination=f"{fact['dstip']}:{fact['dstport']}",
        first_line=first_line,
        call_id=first.get("call-id") or first.get("i", ""),
        cseq=first.get("cseq", ""),
        auth=tuple(_shortened(name, value) for name, value in headers if name.lower() in AUTH_HEADERS),
    )


def _shortened(name: str, value: str) -> str:
    words = [f"{name}: {value.partition(' ')[0]}"]
    for parameter, text in AUTH_PARAMETER.findall(value):
        shown = _ends(text.strip(QUOTE)) if parameter in ("nonce", "response") else text
        words.append(f"{parameter}={shown}")
    return " ".join(words)


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
        leg, rightward = min(ends), ends[0] < ends[1]
        row = _row(len(columns), leg, _arrow(message.label, rightward))
        lines.append(f"{elapsed:7.1f} {row}  {message.cseq}")
        for auth in message.auth:
            for part in textwrap.wrap(auth, LEG - 4, subsequent_indent="  ", break_on_hyphens=False):
                lines.append(" " * MARGIN + _row(len(columns), leg, f"  {part}".ljust(LEG)))
    return "\n".join(lines)


def _heading(words: Sequence[str]) -> str:
    """Each word at its column: the first begins there, the last ends there, the others are centred on it."""
    line = " " * MARGIN + words[0]
    for index, word in enumerate(words[1:], start=1):
        column = MARGIN + index * (LEG + 1)
        start = column + 1 - (len(word) if index == len(words) - 1 else len(word) // 2)
        line = line.ljust(start) + word
    return line


def _row(columns: int, leg: int, drawn: str) -> str:
    return "│" + "│".join(drawn if index == leg else " " * LEG for index in range(columns - 1)) + "│"


def _arrow(label: str, rightward: bool) -> str:
    room = LEG - 4
    text = f" {label if len(label) <= room else label[: room - 1] + '…'} "
    return text.center(LEG - 1, "─") + "▶" if rightward else "◀" + text.center(LEG - 1, "─")


def shortfalls(messages: Iterable[Message], pbx: str, carrier: str) -> list[str]:
    """What a call that was challenged, authenticated, set up and torn down would show, and this record does not.
    Empty: the carrier accepted the digest, and the PBX saw one clean call."""
    seen = list(messages)
    to_pbx = [message for message in seen if message.destination == pbx and message.status]
    to_carrier = [message for message in seen if message.destination == carrier and not message.status]
    from_carrier = [message for message in seen if message.source == carrier and message.status]
    challenges = [reply for reply in from_carrier if reply.is_challenge and reply.method == "INVITE"]
    accepted = [
        request.cseq
        for request in to_carrier
        if request.method == "INVITE"
        and request.has_credentials
        and any(challenge.microseconds < request.microseconds for challenge in challenges)
        and any(reply.is_success and reply.cseq == request.cseq for reply in from_carrier)
    ]
    acks = [request.cseq for request in to_carrier if request.method == "ACK"]
    acknowledged = [cseq for cseq in accepted if cseq.replace("INVITE", "ACK") in acks]
    facts = {
        "the carrier challenged no INVITE": bool(challenges),
        "the carrier accepted no INVITE with credentials": bool(accepted),
        "the carrier got no ACK for the INVITE that it accepted": bool(acknowledged),
        "the carrier answered no BYE with success": _succeeded("BYE", from_carrier),
        "the PBX saw a 401 or 407": not any(reply.is_challenge for reply in to_pbx),
        "the PBX's INVITE was not answered with success": _succeeded("INVITE", to_pbx),
        "the PBX's BYE was not answered with success": _succeeded("BYE", to_pbx),
    }
    return [fault for fault, is_absent in facts.items() if not is_absent]


def _succeeded(method: str, replies: Iterable[Message]) -> bool:
    return any(reply.is_success and reply.method == method for reply in replies)
