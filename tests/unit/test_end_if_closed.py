"""A connection that its peer has closed is ended here too, so that no request is written into it."""

from __future__ import annotations

import contextlib
import socket
from collections.abc import Iterator

import pytest

from kemi.trunks.places import Place


@pytest.fixture(params=["127.0.0.1", "::1"])
def connected(request: pytest.FixtureRequest) -> Iterator[tuple[socket.socket, socket.socket]]:
    """Our end of a connection, and the peer's."""
    family = socket.AF_INET6 if ":" in request.param else socket.AF_INET
    try:
        server = socket.create_server((request.param, 0), family=family)
    except OSError:
        pytest.skip(f"no {request.param} here")
    with server:
        ours = socket.create_connection(server.getsockname()[:2])
        peers, _ = server.accept()
        with ours, peers:
            yield ours, peers


@pytest.mark.usefixtures("ksr")
@pytest.mark.parametrize(("sent", "closes", "is_ended"), [
    (b"", True, True), (b"", False, False), (b"SIP/2.0 100", True, False), (b"SIP/2.0 100", False, False),
])  # fmt: skip
def test_what_was_closed_is_ended(
    connected: tuple[socket.socket, socket.socket], sent: bytes, closes: bool, is_ended: bool
) -> None:
    """A message that came before the end is read first."""
    from kemi.sip import tcp

    ours, peers = connected
    host, port = ours.getpeername()[:2]
    peers.sendall(sent)
    if closes:
        peers.shutdown(socket.SHUT_WR)
    tcp.end_if_closed(Place(host, port + 1, "tcp"))
    ours.sendall(b"x")
    tcp.end_if_closed(Place(host, port, "tcp"))
    with pytest.raises(BrokenPipeError) if is_ended else contextlib.nullcontext():
        ours.sendall(b"x")
    assert ours.fileno() >= 0
