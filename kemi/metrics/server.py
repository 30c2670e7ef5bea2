"""The HTTP server, with three pages. It answers one request after the other: KSR is the process's own, and a scrape is
rare. It is for the machine it runs on, or a network of its operator's: it has no TLS, and asks nobody who he is.
"""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable, Mapping
from contextlib import suppress
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import NamedTuple

from kemi import VERSION

PATIENCE = 2.0  # seconds for a client to say what it wants


class Page(NamedTuple):
    """An answer."""

    status: HTTPStatus
    content: bytes
    kind: str = "text/plain; charset=utf-8"


class Server(HTTPServer):
    """Serves these pages by their paths. Raises OSError if the address cannot be had."""

    def __init__(self, host: str, port: int, pages: Mapping[str, Callable[[], Page]]) -> None:
        self.address_family = socket.AF_INET6 if ":" in host else socket.AF_INET
        self.pages = pages
        super().__init__((host, port), _Handler)

    def server_bind(self) -> None:
        """Bind, and ask no name server who we are, as HTTPServer's own would."""
        super(HTTPServer, self).server_bind()
        self.server_name, self.server_port = str(self.server_address[0]), int(self.server_address[1])

    def handle_error(self, *_: object) -> None:
        """A client that goes away is nothing to tell."""


class _Handler(BaseHTTPRequestHandler):
    server: Server
    timeout = PATIENCE  # for each octet; for the whole request the timer below
    server_version = f"kemi-trunkauth/{VERSION}"
    sys_version = ""

    def setup(self) -> None:
        """Give the client so long for all that it has to say: others wait for it."""
        super().setup()
        self._deadline = threading.Timer(PATIENCE, self._hang_up)
        self._deadline.start()

    def finish(self) -> None:
        self._deadline.cancel()
        super().finish()

    def _hang_up(self) -> None:
        with suppress(OSError):
            self.connection.shutdown(socket.SHUT_RD)

    def do_GET(self) -> None:
        """Send the page."""
        make = self.server.pages.get(self.path.partition("?")[0])
        page = make() if make else Page(HTTPStatus.NOT_FOUND, b"not found\n")
        self.send_response(page.status)
        self.send_header("Content-Type", page.kind)
        self.send_header("Content-Length", str(len(page.content)))
        self.end_headers()
        self.wfile.write(page.content)

    def log_message(self, *_: object) -> None:
        """The log is about calls."""
