"""Bytes of whoever has no user agent: requests made by hand, over UDP and TCP, that no well-behaved end would send."""

from __future__ import annotations

import secrets
import socket
from collections.abc import Iterator
from contextlib import contextmanager

from tests.harness.endpoint import Address


@contextmanager
def udp(target: Address, source: str = "127.0.0.1", seconds: float = 2.0) -> Iterator[socket.socket]:
    """A socket that sends to one address alone, and waits so long for each answer."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.bind((source, 0))
        sock.connect(target)
        sock.settimeout(seconds)
        yield sock


@contextmanager
def tcp(target: Address, source: str = "127.0.0.1") -> Iterator[socket.socket]:
    """A connection to one address."""
    with socket.create_connection(target, timeout=2, source_address=(source, 0)) as sock:
        yield sock


def is_closed(sock: socket.socket) -> bool:
    """Return True if the other end has closed the connection; what it has sent is read off."""
    sock.setblocking(False)
    try:
        return sock.recv(65535) == b""
    except BlockingIOError:
        return False
    except OSError:
        return True


def request(
    sock: socket.socket, method: str = "INVITE", *, call_id: bytes = b"", headers: str = "", to_tag: str = ""
) -> bytes:
    """Return a request to be sent over this socket, outside a dialog unless it has a To tag. It asks for rport, so that
    its answer comes back.

    headers: further ones, each with its line end.
    """
    (host, port), (proxy, proxy_port) = sock.getsockname()[:2], sock.getpeername()[:2]
    token = secrets.token_hex(8)
    lines = [
        f"{method} sip:5551234@{proxy}:{proxy_port} SIP/2.0",
        f"Via: SIP/2.0/{_transport(sock)} {host}:{port};rport;branch=z9hG4bK{token}",
        "Max-Forwards: 70",
        f"From: <sip:{token}@raw.test>;tag={token}",
        f"To: <sip:5551234@{proxy}>{';tag=' if to_tag else ''}{to_tag}",
        f"CSeq: 1 {method}",
        f"Contact: <sip:raw@{host}:{port}>",
    ]
    written = "".join(f"{line}\r\n" for line in lines)
    identity = call_id or f"{token}@raw.test".encode()
    return b"%sCall-ID: %s\r\n%sContent-Length: 0\r\n\r\n" % (written.encode(), identity, headers.encode())


def status(answer: bytes) -> int:
    """Return the status of a response."""
    return int(answer.split(b" ", 2)[1])


def _transport(sock: socket.socket) -> str:
    return "TCP" if sock.type == socket.SOCK_STREAM else "UDP"
