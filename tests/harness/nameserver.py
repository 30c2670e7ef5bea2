"""A name server in the test's own process: answers over UDP from a zone, notes each question, and may fall silent."""

from __future__ import annotations

import os
import secrets
import socket
import threading
from dataclasses import dataclass, field
from pathlib import Path
from typing import Self

import dns.flags
import dns.message
import dns.rcode
import dns.rdatatype
import dns.rrset

Question = tuple[str, str]  # name, kind
PORT = 53


@dataclass
class Zone:
    """What is known: (name, kind) -> values as a zone file writes them. ttls: those that are not `ttl`, by name."""

    records: dict[Question, tuple[str, ...]] = field(default_factory=dict)
    ttl: int = 300
    ttls: dict[str, int] = field(default_factory=dict)

    def has(self, name: str) -> bool:
        return any(known == name for known, _ in self.records)


class NameServer:
    """Answers until it is closed. silent: these names get no answer, `*` is all of them. failing: they get SERVFAIL."""

    def __init__(self, host: str = "127.0.0.1", port: int = 0) -> None:
        self.zone = Zone()
        self.silent: set[str] = set()
        self.failing: set[str] = set()
        self.asked: list[Question] = []
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._socket.bind((host, port))
        self.host, self.port = self._socket.getsockname()
        self._thread = threading.Thread(target=self._serve, name="name server", daemon=True)
        self._thread.start()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._socket.sendto(b"", (self.host, self.port))  # wakes the thread, which takes it for the end
        self._thread.join()
        self._socket.close()

    def set(self, name: str, kind: str, *values: str) -> None:
        """Have a name these records of one kind from now on; without any, it has none."""
        if values:
            self.zone.records[name, kind] = values
        else:
            self.zone.records.pop((name, kind), None)

    def count(self, name: str) -> int:
        """Return how many questions came about a name."""
        return sum(asked == name for asked, _ in self.asked)

    def configuration(self, folder: Path) -> Path:
        """Return a resolv.conf that names this server."""
        path = folder / f"resolv-{secrets.token_hex(4)}.conf"
        path.write_text(f"nameserver {self.host}\n")
        path.chmod(0o644)
        return path

    def _serve(self) -> None:
        while True:
            octets, peer = self._socket.recvfrom(4096)
            if not octets:
                return
            answer = self._answer(dns.message.from_wire(octets))
            if answer is not None:
                self._socket.sendto(answer.to_wire(), peer)

    def _answer(self, query: dns.message.Message) -> dns.message.Message | None:
        question = query.question[0]
        name, kind = str(question.name).rstrip(".").lower(), dns.rdatatype.to_text(question.rdtype)
        self.asked.append((name, kind))
        if self.silent & {name, "*"}:
            return None
        answer = dns.message.make_response(query)
        answer.flags |= dns.flags.RA
        if self.failing & {name, "*"}:
            answer.set_rcode(dns.rcode.SERVFAIL)
            return answer
        ttl = self.zone.ttls.get(name, self.zone.ttl)
        if values := self.zone.records.get((name, kind)):
            answer.answer.append(dns.rrset.from_text(question.name, ttl, "IN", kind, *values))
        elif (alias := self.zone.records.get((name, "CNAME"))) and kind != "CNAME":
            answer.answer.append(dns.rrset.from_text(question.name, ttl, "IN", "CNAME", *alias))
            host = alias[0].rstrip(".")
            if values := self.zone.records.get((host, kind)):
                ttl = self.zone.ttls.get(host, self.zone.ttl)
                answer.answer.append(dns.rrset.from_text(alias[0], ttl, "IN", kind, *values))
        elif not self.zone.has(name):
            answer.set_rcode(dns.rcode.NXDOMAIN)
        return answer


def own_address() -> str:
    """Return an address of loopback that no other test's name server has."""
    return "127." + ".".join(str(1 + octet % 254) for octet in secrets.token_bytes(3))


def is_missing() -> str:
    """Return why no program can be pointed at a name server of the test's, "" if it can: resolv.conf has no place for a
    port, and is everybody's. As root, a program gets a resolv.conf of its own, and the server the port.
    """
    return "" if os.geteuid() == 0 else "only root can give a program a resolv.conf of its own"
