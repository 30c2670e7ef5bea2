"""Messages of the fuzzer: each starts as a right one, and is then broken in some places, or in none."""

from __future__ import annotations

from dataclasses import dataclass
from random import Random

from tests.live.wire.grammar import BODIES, JUNK, VALUES, folded, made, mutated, spelled

HOW_OFTEN = (0, 0, 1, 1, 1, 2, 4)  # a message is broken; the rest of a call needs some that are right
EXTRA = (
    b"Route", b"Record-Route", b"Contact", b"Via", b"X-Trunk", b"RAck", b"Require", b"Proxy-Require", b"Supported",
    b"Expires",
    b"Authorization", b"Proxy-Authorization", b"P-K-CSeq-Auth", b"P-K-CSeq-Refresh", b"Retry-After",
    b"Authentication-Info",
    b"Proxy-Authentication-Info", b"Refer-To", b"P-Called-Party-ID", b"Event", b"Privacy",
    b"P-Asserted-Identity", b"P-Preferred-Identity", b"Remote-Party-ID", b"RSeq", b"Content-Type",
    b"Max-Forwards", b"From", b"To",
    b"CSeq", b"Unknown",
)  # fmt: skip

Fields = list[tuple[bytes, bytes]]


@dataclass
class Message:
    """start: the first line. fields: names and values, in order; Content-Length is added if none is there."""

    start: bytes
    fields: Fields
    body: bytes = b""

    def octets(self) -> bytes:
        """Return what goes over the wire."""
        fields = self.fields
        if not any(name == b"Content-Length" for name, _ in fields):
            fields = [*fields, (b"Content-Length", b"%d" % len(self.body))]
        return b"\r\n".join([self.start, *(b"%b: %b" % one for one in fields), b"", self.body])


def broken(random: Random, message: Message) -> Message:
    """Return the message, broken in some places."""
    for _ in range(random.choice(HOW_OFTEN)):
        if message.fields:
            random.choice(_BREAKS)(random, message)
    return message


def _replaced(random: Random, message: Message) -> None:
    place = random.randrange(len(message.fields))
    name, _ = message.fields[place]
    message.fields[place] = name, made(random, name)


def _mutated(random: Random, message: Message) -> None:
    place = random.randrange(len(message.fields))
    name, value = message.fields[place]
    message.fields[place] = name, mutated(random, value)


def _folded(random: Random, message: Message) -> None:
    place = random.randrange(len(message.fields))
    name, value = message.fields[place]
    message.fields[place] = name, folded(random, value)


def _spelled(random: Random, message: Message) -> None:
    place = random.randrange(len(message.fields))
    name, value = message.fields[place]
    message.fields[place] = spelled(random, name), value


def _lost(random: Random, message: Message) -> None:
    if len(message.fields) > 1:
        del message.fields[random.randrange(len(message.fields))]


def _twice(random: Random, message: Message) -> None:
    name, value = random.choice(message.fields)
    message.fields.insert(random.randrange(len(message.fields) + 1), (name, random.choice((value, made(random, name)))))


def _added(random: Random, message: Message) -> None:
    name = random.choice(EXTRA)
    for _ in range(random.choice((1, 1, 1, 2, 40))):
        message.fields.insert(random.randrange(len(message.fields) + 1), (name, made(random, name)))


def _lies(random: Random, message: Message) -> None:
    message.fields.append((b"Content-Length", random.choice(VALUES[b"Content-Length"])))


def _embodied(random: Random, message: Message) -> None:
    message.body = mutated(random, random.choice(BODIES))


def _started(random: Random, message: Message) -> None:
    message.start = mutated(random, message.start)


def _shuffled(random: Random, message: Message) -> None:
    random.shuffle(message.fields)


def _cut(random: Random, message: Message) -> None:
    message.fields = message.fields[: random.randrange(1, len(message.fields) + 1)]
    message.body = random.choice(JUNK)


_BREAKS = (
    _replaced, _replaced, _replaced, _replaced, _mutated, _mutated, _mutated, _added, _added, _added, _folded,
    _spelled, _twice,
    _lost, _lies, _embodied, _started, _shuffled, _cut,
)  # fmt: skip
