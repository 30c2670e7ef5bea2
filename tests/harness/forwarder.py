"""The network between Kamailio and a database server, as one TCP port that can be made bad while a test runs.

It passes bytes on and knows nothing of what they mean. Cut, it drops what comes, as a router does that has lost its
way: nothing is refused and nothing is closed. Slow, it keeps each answer of the server back for a while.
"""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Callable, Iterator
from typing import Self

from tests.harness.endpoint import Address

CHUNK = 65536


class Forwarder:
    """Listens on a free loopback port. answers: how many pieces the server has sent through it; octets: their size."""

    def __init__(self, to: Address) -> None:
        self._to = to
        self._changed = threading.Condition()
        self._delay = 0.0
        self._cut = False
        self._cut_after: int | None = None
        self._closing = False
        self._lines: list[socket.socket] = []
        self._threads: list[threading.Thread] = []
        self.answers = self.octets = 0
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.address: Address = self._listener.getsockname()
        self._run(self._accept)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        with self._changed:
            self._closing = True
            self._changed.notify_all()
            for each in (self._listener, *self._lines):
                _shut(each)
        for thread in self._threads:
            thread.join()
        for each in (self._listener, *self._lines):
            each.close()

    @contextlib.contextmanager
    def cut(self) -> Iterator[None]:
        """Nothing passes inside the block, and nothing of it ever does."""
        with self._changed:
            self._cut = True
        try:
            yield
        finally:
            self.mend()

    def cut_after(self, octets: int) -> None:
        """From the moment on at which the server has sent this much more, nothing passes until `mend`."""
        with self._changed:
            self._cut_after = self.octets + octets

    @property
    def is_cut(self) -> bool:
        return self._cut

    def mend(self) -> None:
        """Let new connections through; those that have lost something are over."""
        with self._changed:
            self._cut, self._cut_after = False, None
            for each in self._lines:
                _shut(each)

    @contextlib.contextmanager
    def slow(self, seconds: float) -> Iterator[None]:
        """Each answer of the server comes this much later inside the block."""
        with self._changed:
            self._delay = seconds
        try:
            yield
        finally:
            with self._changed:
                self._delay = 0.0
                self._changed.notify_all()

    def _accept(self) -> None:
        while not self._closing:
            with contextlib.suppress(OSError):
                client, _ = self._listener.accept()
                self._lines.append(client)
                self._connect(client)

    def _connect(self, client: socket.socket) -> None:
        try:
            server = socket.create_connection(self._to)
        except OSError:  # as it would have been refused there
            _shut(client)
            return
        self._lines.append(server)
        self._run(self._pass, client, server, False)
        self._run(self._pass, server, client, True)

    def _pass(self, source: socket.socket, target: socket.socket, is_answer: bool) -> None:
        with contextlib.suppress(OSError):
            while octets := source.recv(CHUNK):
                with self._changed:
                    if is_answer and self._delay:
                        self._changed.wait_for(lambda: self._closing or not self._delay, self._delay)
                    if self._cut or self._closing:
                        continue
                    if is_answer:
                        self.answers += 1
                        self.octets += len(octets)
                        self._cut = self._cut_after is not None and self.octets >= self._cut_after
                target.sendall(octets)
            if not self._cut:
                _shut(target)

    def _run(self, work: Callable[..., None], *arguments: object) -> None:
        thread = threading.Thread(target=work, args=arguments, daemon=True)
        self._threads.append(thread)
        thread.start()


def _shut(line: socket.socket) -> None:
    with contextlib.suppress(OSError):
        line.shutdown(socket.SHUT_RDWR)
