"""From the record that Kamailio's sipdump module keeps to the verdict of the demo.

Plain functions over text: no process, no file, no socket. What they say is what the record says went over the wire,
never what was expected to.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

from kemi.command.ladder import Message

# One entry (Kamailio's src/modules/sipdump/sipdump_write.c): facts, a line of ~, the message, a line of |.
ENTRY = re.compile(r"^={20}\n(?P<facts>.*?)^~{20}\n(?P<message>.*?)^\|{20}$", re.DOTALL | re.MULTILINE)


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
    seconds, _, fraction = fact["time"].partition(".")
    return Message.of(
        int(seconds) * 1_000_000 + int(fraction),
        f"{fact['srcip']}:{fact['srcport']}",
        f"{fact['dstip']}:{fact['dstport']}",
        message,
    )


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
