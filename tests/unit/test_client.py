"""The operator's small SIP client, against a peer of a few lines: what it repeats and what it ignores."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from kemi.command.client import Client
from kemi.command.message import Reply, Request
from kemi.trunks.hops import Hop

Answer = Callable[[bytes, int], list[bytes]]  # to a request, of which so many came before


class Peer:
    """Answers each request over one socket, which `hop` leads to."""

    def __init__(self, answer: Answer, transport: str = "udp") -> None:
        self.requests: list[bytes] = []
        self._answer = answer
        kind = socket.SOCK_DGRAM if transport == "udp" else socket.SOCK_STREAM
        self._socket = socket.socket(socket.AF_INET, kind)
        self._socket.bind(("127.0.0.1", 0))
        self.hop = Hop("127.0.0.1", self._socket.getsockname()[1], transport)
        if transport == "tcp":
            self._socket.listen()
        self._thread = threading.Thread(target=self._udp if transport == "udp" else self._tcp, daemon=True)
        self._thread.start()

    def close(self) -> None:
        self._socket.close()

    def _udp(self) -> None:
        while True:
            try:
                request, sender = self._socket.recvfrom(65535)
            except OSError:
                return
            for each in self._replies(request):
                self._socket.sendto(each, sender)

    def _tcp(self) -> None:
        connected, _ = self._socket.accept()
        with connected:
            while request := connected.recv(65535):
                for each in self._replies(request):
                    connected.sendall(each)

    def _replies(self, request: bytes) -> list[bytes]:
        self.requests.append(request)
        return self._answer(request, len(self.requests) - 1)


@pytest.fixture
def peer(request: pytest.FixtureRequest) -> Iterator[Peer]:
    made = Peer(*request.param)
    yield made
    made.close()


def reply(request: bytes, status: str = "200 OK", **replaced: str) -> bytes:
    """A reply with the headers of its request, in compact form."""
    headers = dict(line.split(": ", 1) for line in request.decode().split("\r\n\r\n")[0].split("\r\n")[1:])
    headers |= replaced
    lines = [f"SIP/2.0 {status}", f"v:{headers['Via']}", f"f: {headers['From']}", f"t: {headers['To']};tag=p"]
    lines += [f"i: {headers['Call-ID']}", f"CSeq: {headers['CSeq']}", "l: 0", "Subject: one\r\n two"]
    return "\r\n".join([*lines, "", ""]).encode()


def asked(peer: Peer, method: str = "OPTIONS", seconds: float = 3.0) -> list[Reply]:
    with Client(peer.hop) as client:
        return list(client.replies(Request.new(method, "sip:c.test", "sip:a@b.test", "sip:c.test"), seconds))


SPLIT: list[Any] = [lambda request, _: [reply(request)[:30], reply(request)[30:] + b"\r\n\r\n"], "tcp"]
FIRST_LOST: list[Any] = [lambda request, before: [reply(request)] if before else []]
STRAYS: list[Any] = [
    lambda request, _: [
        b"\r\n\r\n",
        b"garbage",
        b"NOTIFY sip:a SIP/2.0\r\nCSeq: 1 NOTIFY\r\n\r\n",
        reply(request, "500 not mine", Via="SIP/2.0/UDP 127.0.0.1;branch=z9hG4bKother"),
        reply(request, "500 not mine", CSeq="2 OPTIONS"),
        reply(request, "500 not mine", CSeq="1 INVITE"),
        reply(request),
    ]
]
CASES = {"in pieces": SPLIT, "after a loss": FIRST_LOST, "among strays": STRAYS}


@pytest.fixture
def soon(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is not answered is repeated after a shorter T1."""
    monkeypatch.setattr("kemi.command.client.T1", 0.15)


@pytest.mark.usefixtures("soon")
@pytest.mark.parametrize("peer", CASES.values(), indirect=True, ids=CASES)
def test_the_reply_is_found(peer: Peer) -> None:
    [found] = asked(peer)
    assert (str(found), found.first("Subject"), found.first("Call-ID") != "") == ("200 OK", "one two", True)
    assert len(set(peer.requests)) == 1


@pytest.mark.usefixtures("soon")
@pytest.mark.parametrize("peer", [[lambda request, _: []]], indirect=True)
def test_silence_is_no_reply(peer: Peer) -> None:
    assert asked(peer, seconds=0.35) == []
    assert len(peer.requests) == 2  # T1 has passed once


RINGS: list[Any] = [
    lambda request, _: (
        [reply(request, "180 Ringing"), reply(request, "180 Ringing"), reply(request, "486 Busy\x1b[2J")]
        if request.startswith(b"INVITE")
        else []
    )
]


@pytest.mark.parametrize("peer", [RINGS], indirect=True)
def test_a_failure_of_an_invite_is_acknowledged_and_harmless_to_a_terminal(peer: Peer) -> None:
    found = asked(peer, "INVITE")
    assert [str(each) for each in found] == ["180 Ringing", "180 Ringing", "486 Busy?[2J"]
    invite = peer.requests[0].decode()
    branch = invite.partition("branch=")[2].partition("\r\n")[0]

    def has_ack() -> bool:
        return any(each.startswith(b"ACK") and branch.encode() in each for each in peer.requests)

    done = threading.Event()
    for _ in range(100):
        if has_ack():
            break
        done.wait(0.02)
    assert has_ack()


@pytest.mark.parametrize("contact", ['"c, <d>" <sip:c@192.0.2.1:5080;ob>', "<sip:c@192.0.2.1:5080;ob>;expires=60"])
@pytest.mark.parametrize("recorded", [["<sip:p2;lr>", "<sip:p1;lr>"], ["<sip:p2;lr>, <sip:p1;lr>"]])
def test_a_request_in_a_dialog_goes_where_the_dialog_leads(contact: str, recorded: list[str]) -> None:
    invite = Request.new("INVITE", "sip:1@c.test", "sip:a@b.test", "sip:1@c.test")
    routes = tuple(("record-route", each) for each in recorded)
    accepted = Reply(200, "OK", (("contact", contact), ("to", "<sip:1@c.test>;tag=t"), *routes))
    ack, bye = invite.inside("ACK", accepted), invite.inside("BYE", accepted)
    assert ack.uri == bye.uri == "sip:c@192.0.2.1:5080;ob"
    assert ack.headers == (("Route", "<sip:p1;lr>"), ("Route", "<sip:p2;lr>"))
    assert (ack.cseq, bye.cseq, ack.to) == (1, 2, "<sip:1@c.test>;tag=t")
    assert len({invite.branch, ack.branch, bye.branch}) == 3
    assert invite.cancel().branch == invite.branch
    named = Reply(200, "OK", (("contact", "Bob <sip:bob@192.0.2.1>"),))
    assert invite.inside("BYE", named).uri == "sip:bob@192.0.2.1"
    bare = Reply(200, "OK", (("contact", "sip:c@192.0.2.1;tag=x"),))
    assert invite.inside("BYE", bare).uri == "sip:c@192.0.2.1"
