"""When connections by TLS to carriers are made, and which of them may be used.

1. Every hop by TLS of a trunk has a connection, which is opened by an OPTIONS; whatever is answered, its certificate is
   judged then. No other request goes out over a connection that was not.
2. It is asked again every KEEP_EVERY seconds, which keeps it; if that is not answered twice in a row, it is closed. So
   is one that has answered nothing yet: Kamailio would find it again by its address, and send to nobody for good.
3. One that ends is made again at once. If that fails, requests go elsewhere without waiting; it is tried again after
   FIRST_PAUSE seconds at first, then at growing intervals up to LONGEST_PAUSE.
4. What is wrong is told once, and once that it is right again.

Pure: the clock comes in.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import NamedTuple

from kemi.dialog.own import Request
from kemi.line import Line, notice, warning
from kemi.trunks import certificate
from kemi.trunks.hops import Hop, Hops, Target, literal
from kemi.trunks.secure import Wanted

MOST = 256  # connections that are kept, if there is room
MOST_AT_ONCE = 20  # OPTIONS of one tick
KEEP_EVERY = 30.0
FIRST_PAUSE, LONGEST_PAUSE = 1.0, 30.0
MOST_UNANSWERED = 2  # in a row

NOT_SENT = "it cannot be connected to"
SILENT = "it refuses the connection, or does not answer OPTIONS"
TOO_MANY = "more connections by TLS than are kept"


class Link(NamedTuple):
    """A connection to keep. trunk: the first one that wants it. domain: its r_domain, may be empty. server_name: said
    to the carrier, empty for an address.
    """

    hop: Hop
    wanted: Wanted
    trunk: str
    domain: str = ""
    server_name: str = ""

    @property
    def key(self) -> str:
        return self.wanted.key(self.hop.uri)

    def request(self, call_id: str, tag: str) -> Request:
        """Return the OPTIONS that opens it, or keeps it. tag: of its From."""
        uri = f"sip:{self.domain}" if self.domain else self.hop.uri
        fields = f"To: <{uri}>\r\nCall-ID: {call_id}\r\nCSeq: 1 OPTIONS\r\nMax-Forwards: 70\r\n"
        return Request("OPTIONS", uri, self.hop.uri, f"<{uri}>;tag={tag}", fields, self.wanted.socket, self.server_name)


class Secured(NamedTuple):
    """A row whose next hop may be reached by TLS. domain: r_domain, may be empty."""

    uuid: str
    target: Target
    wanted: Wanted
    domain: str = ""

    @property
    def may_lead_to_tls(self) -> bool:
        """True if its next hop is by TLS, or a name that may turn out to be."""
        return self.target.transport == "tls" or (self.target.is_name and not self.target.transport)

    def links(self, hops: Mapping[Target, Hops]) -> list[Link]:
        """Return its connections. hops: of the names that are known."""
        known = hops.get(self.target, ()) if self.target.is_name else literal(self.target)
        said = self.wanted.server_name(self.target)
        return [Link(hop, self.wanted, self.uuid, self.domain, said) for hop in known if hop.transport == "tls"]


class Peer(NamedTuple):
    """What a connection has shown: its number, and whether OpenSSL has verified its certificate, or why not."""

    number: int
    is_verified: bool
    is_expired: bool
    is_self_signed: bool
    certificate: str

    @classmethod
    def of(cls, text: str) -> Peer | None:
        """Read what tls.cfg's TLS_PEER writes; None for anything else."""
        number, verified, expired, self_signed, pem = (*text.split(" ", 4), "", "", "", "", "")[:5]
        if not number.isdecimal():
            return None
        return cls(int(number), verified == "1", expired == "1", self_signed == "1", pem)

    def fault(self, wanted: Wanted) -> str:
        """Return what is wrong with the certificate; empty if nothing is."""
        if not wanted.name:
            return ""
        if self.is_expired:
            return "its certificate has expired"
        if self.is_self_signed:
            return "its certificate, or its CA's, is self-signed and not in TRUNKAUTH_TLS_CA"
        if not self.is_verified:
            return "no CA of TRUNKAUTH_TLS_CA vouches for its certificate, or it is not valid yet"
        names = certificate.names(self.certificate)
        if certificate.covers(names, wanted.name):
            return ""
        return f"its certificate is for {', '.join(sorted(names)) or 'nobody'}, and not for {wanted.name}"


class Verdict(NamedTuple):
    """What has become of a connection. number: that may be used, 0 if there is none. close: that is to be closed, 0 for
    none. hangs: the hop to which all that nobody uses are to be closed. line: for the log, None if there is nothing to
    say.
    """

    key: str
    number: int
    close: int = 0
    line: Line | None = None
    hangs: Hop | None = None


@dataclass
class _State:
    """deadline: of the OPTIONS under way, 0 if there is none. number: of the connection that may be used."""

    link: Link
    due: float
    deadline: float = 0.0
    number: int = 0
    unanswered: int = 0
    fault: str = ""
    pause: float = FIRST_PAUSE


class Links:
    """All connections that are kept. patience: seconds to wait for a reply."""

    def __init__(self, patience: float) -> None:
        self._patience = patience
        self._states: dict[str, _State] = {}

    def watch(self, links: Mapping[str, Link], now: float) -> list[str]:
        """Keep these and no others; return the keys of those that are kept no longer."""
        gone = [key for key in self._states if key not in links]
        for key in gone:
            del self._states[key]
        for key, link in links.items():
            if key in self._states:
                self._states[key].link = link
            else:
                self._states[key] = _State(link, now)
        return gone

    def due(self, now: float) -> list[Link]:
        """Return the links to ask now."""
        due = [state for state in self._states.values() if not state.deadline and state.due <= now]
        return [state.link for state in sorted(due, key=lambda state: state.due)[:MOST_AT_ONCE]]

    def asked(self, key: str, now: float) -> None:
        self._states[key].deadline = now + self._patience

    def under_way(self) -> list[str]:
        """Return the keys of those that were asked."""
        return [key for key, state in self._states.items() if state.deadline]

    def in_use(self) -> Iterable[str]:
        """Return the keys of the connections that may be used."""
        return [key for key, state in self._states.items() if state.number]

    def numbers(self) -> frozenset[int]:
        """Return the numbers of the connections that may be used."""
        return frozenset(state.number for state in self._states.values() if state.number)

    def is_late(self, key: str, now: float) -> bool:
        """Return True if the reply has not come in time."""
        return now >= self._states[key].deadline

    def ended(self, key: str, now: float) -> None:
        """Take note that a connection in use is there no longer. It is made again, unless it is asked already."""
        state = self._states[key]
        state.number, state.unanswered, state.due = 0, 0, now

    def heard(self, key: str, peer: Peer | None, now: float) -> Verdict:
        """Judge the connection that a reply came by. peer: None if it did not come by TLS."""
        state = self._states[key]
        state.unanswered = 0
        if peer is None:
            return self._failed(key, SILENT, now)
        if fault := peer.fault(state.link.wanted):
            in_use = {other.number for other in self._states.values() if other is not state}
            return self._failed(key, fault, now)._replace(close=0 if peer.number in in_use else peer.number)
        line = self._told(state, "") if state.fault else None
        state.deadline, state.due = 0.0, now + KEEP_EVERY
        state.number, state.fault, state.pause = peer.number, "", FIRST_PAUSE
        return Verdict(key, peer.number, line=line)

    def missed(self, key: str, reason: str, now: float) -> Verdict:
        """Take note that an OPTIONS was not answered."""
        state = self._states[key]
        state.unanswered += 1
        if not state.number:
            hangs = state.unanswered % MOST_UNANSWERED == 0
            return self._failed(key, reason, now)._replace(hangs=state.link.hop if hangs else None)
        state.deadline, state.due = 0.0, now
        if state.unanswered < MOST_UNANSWERED:
            return Verdict(key, state.number)
        ended = state.number
        self.ended(key, now)
        return Verdict(key, 0, close=ended)

    def _failed(self, key: str, fault: str, now: float) -> Verdict:
        state = self._states[key]
        line = self._told(state, fault) if fault != state.fault else None
        state.deadline, state.due, state.number, state.fault = 0.0, now + state.pause, 0, fault
        state.pause = min(2 * state.pause, LONGEST_PAUSE)
        return Verdict(key, 0, line=line)

    def _told(self, state: _State, fault: str) -> Line:
        link = state.link
        name = link.wanted.name or link.hop.name or link.hop.address
        if not fault:
            return notice(trunk=link.trunk, name=name, outcome="tls-up")
        return warning(trunk=link.trunk, name=name, outcome="tls-failed", reason=fault)
