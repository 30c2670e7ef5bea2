"""One SIP end on a loopback socket: reads, writes, keeps a trace, runs timers; knows nothing of calls.

A thread of its own reads the socket, so that retransmissions are answered while a test waits for something else. A test
never sleeps: it waits for a named condition with a limit, and the error shows every message so far.
"""

from __future__ import annotations

import heapq
import itertools
import selectors
import socket
import ssl
import threading
import time
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from typing import Self, TypeVar

from lab.programs import free_port
from tests.harness.certificates import Identity
from tests.harness.message import MalformedError, Message, parse, split_stream

Address = tuple[str, int]
T = TypeVar("T")
WITHIN = 8.0


def written(address: Address) -> str:
    """Return an address and port as a URI has them."""
    host, port = address
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


@dataclass(frozen=True)
class Seen:
    """One message on the wire, as this end saw it."""

    at: float
    sent: bool
    peer: Address
    message: Message


class Endpoint:
    """Base of the ends of a call; `receive` is what a subclass does with a message."""

    def __init__(
        self,
        name: str,
        host: str = "127.0.0.1",
        transport: str = "udp",
        port: int = 0,
        identity: Identity | None = None,
    ) -> None:
        """identity: what this end shows over TLS."""
        self.name, self.transport, self.identity = name, transport, identity
        self.handshake_faults: list[str] = []
        self.server_names: list[str | None] = []  # that were said to this end
        self.trace: list[Seen] = []
        self.local_faults: list[str] = []
        self.named: Address | None = None  # where it says that it is, as behind a NAT; None: where it is
        self.pings: list[Address] = []  # where two line ends came from (RFC 5626 4.4.1)
        self.nat: dict[Address, Address] = {}  # an address that is sent to -> where that arrives
        self.changed = threading.Condition(threading.RLock())
        self._started = time.monotonic()
        self._timers: list[tuple[float, int, Callable[[], None]]] = []
        self._order = itertools.count()
        self._closing = False
        self._connections: dict[Address, socket.socket] = {}
        self._unread: dict[socket.socket, bytes] = {}
        self._ended: list[socket.socket] = []  # from afar
        self._selector = selectors.DefaultSelector()
        self._socket = self._bind(transport, host, port)
        self.address: Address = self._socket.getsockname()[:2]
        self._waker, self._woken = socket.socketpair()
        self._selector.register(self._socket, selectors.EVENT_READ)
        self._selector.register(self._woken, selectors.EVENT_READ)
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)
        self._thread.start()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @property
    def uri(self) -> str:
        """Where this end wants its in-dialog requests."""
        suffix = "" if self.transport == "udp" else f";transport={self.transport}"
        return f"sip:{self.name}@{self.place}{suffix}"

    @property
    def place(self) -> str:
        """Where it says that it is, as a URI has it."""
        return written(self.named or self.address)

    def close(self) -> None:
        with self.changed:
            if self._closing:
                return
            self._closing = True
        self._waker.send(b".")
        self._thread.join()
        for each in (self._socket, self._waker, self._woken, *self._connections.values(), *self._ended):
            each.close()
        self._selector.close()

    def receive(self, message: Message, peer: Address) -> None:
        raise NotImplementedError

    def send(self, message: Message, to: Address) -> None:
        with self.changed:
            self.trace.append(Seen(time.monotonic(), True, to, message))
            self.send_bytes(message.encode(), to)
            self.changed.notify_all()

    def send_bytes(self, octets: bytes, to: Address) -> None:
        """Put bytes on the wire as they are: a malformed message too."""
        with self.changed:
            if self.transport == "udp":
                self._socket.sendto(octets, self.nat.get(to, to))
            else:
                self._connection(to).sendall(octets)

    def cork(self, peer: Address) -> None:
        """Hold back what is sent to this address until the connection is hung up: both leave in one segment."""
        with self.changed:
            self._connections[peer].setsockopt(socket.IPPROTO_TCP, socket.TCP_CORK, 1)

    def hang_up(self, peer: Address) -> None:
        """Close the connection to this address."""
        with self.changed:
            connected = self._connections.pop(peer)
            self._selector.unregister(connected)
            del self._unread[connected]
            connected.close()

    def close_from_afar(self, peer: Address, seconds: float = 0.1) -> None:
        """Close the connection to this address as over a network: nothing that is sent to it is answered by a reset
        before so long.
        """
        with self.changed:
            connected = self._connections.pop(peer)
            self._selector.unregister(connected)
            del self._unread[connected]
            connected.shutdown(socket.SHUT_WR)
            self._ended.append(connected)
        self.after(seconds, connected.close)

    def go_away(self) -> None:
        """End all connections, and take no new ones: the other end's are refused."""
        with self.changed:
            for peer in list(self._connections):
                self.hang_up(peer)
            self._selector.unregister(self._socket)
            self._socket.close()

    def be_back(self) -> None:
        """Take connections again, where they came before."""
        with self.changed:
            self._socket = socket.create_server(self.address)
            self._selector.register(self._socket, selectors.EVENT_READ)
        self._waker.send(b".")

    def after(self, seconds: float, action: Callable[[], None]) -> None:
        """Run an action in this end's thread, later."""
        with self.changed:
            heapq.heappush(self._timers, (time.monotonic() + seconds, next(self._order), action))
        self._waker.send(b".")

    def wait(self, condition: str, found: Callable[[], T | None], within: float = WITHIN) -> T:
        """What `found` returns as soon as it is true; `condition` names it in the error."""
        deadline = time.monotonic() + within
        with self.changed:
            while not (result := found()):
                left = deadline - time.monotonic()
                if left <= 0:
                    raise AssertionError(f"{self.name}: not seen within {within:g} s: {condition}\n{self.ladder()}")
                self.changed.wait(left)
            return result

    def ladder(self) -> str:
        """Every message so far, one a line."""
        with self.changed:
            rows = [
                f"  {seen.at - self._started:7.3f} {'->' if seen.sent else '<-'} {seen.peer[1]:5d} {seen.message}"
                for seen in self.trace
            ]
            return "\n".join([f"{self.name} at {self.place}/{self.transport}:", *rows])

    def _bind(self, transport: str, host: str, port: int) -> socket.socket:
        kind = socket.SOCK_DGRAM if transport == "udp" else socket.SOCK_STREAM
        bound = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET, kind)
        if kind == socket.SOCK_STREAM:
            bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        bound.bind((host, port or free_port(host)))
        if kind == socket.SOCK_STREAM:
            bound.listen()
        return bound

    def _connection(self, to: Address) -> socket.socket:
        if to not in self._connections:
            connected = socket.create_connection(to, timeout=WITHIN, source_address=(self.address[0], 0))
            if self.identity:
                connected = self.identity.connecting().wrap_socket(connected)
            self._adopt(connected, to)
            self._waker.send(b".")
        return self._connections[to]

    def _adopt(self, connected: socket.socket, peer: Address) -> None:
        connected.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)  # sent back to back, not after an ACK of TCP's
        self._connections[peer] = connected
        self._unread[connected] = b""
        self._selector.register(connected, selectors.EVENT_READ)

    def _run(self) -> None:
        while not self._closing:
            ready = self._selector.select(self._until_next_timer())
            with self.changed:
                if self._closing:
                    return
                try:
                    for key, _ in ready:
                        self._read(key.fileobj)
                    self._fire()
                except Exception:
                    # A fault of the test's own end must fail the test, not vanish with its thread.
                    self.local_faults.append(traceback.format_exc())
                self.changed.notify_all()

    def _until_next_timer(self) -> float | None:
        with self.changed:
            return max(0.0, self._timers[0][0] - time.monotonic()) if self._timers else None

    def _fire(self) -> None:
        while self._timers and self._timers[0][0] <= time.monotonic():
            heapq.heappop(self._timers)[2]()

    def _read(self, ready: object) -> None:
        if ready is self._woken:
            self._woken.recv(4096)
        elif ready is not self._socket:
            assert isinstance(ready, socket.socket)
            self._read_stream(ready)
        elif self.transport == "udp":
            octets, peer = self._socket.recvfrom(65535)
            self._note_ping(octets, peer[:2])
            self._take(octets, peer[:2])
        else:
            connected, peer = self._socket.accept()
            if (secured := self._secured(connected)) is not None:
                self._adopt(secured, peer[:2])

    def _secured(self, connected: socket.socket) -> socket.socket | None:
        """The connection after its handshake, if it has one; None if that fails."""
        if self.identity is None:
            return connected
        context = self.identity.serving()
        context.sni_callback = lambda _socket, name, _context: self.server_names.append(name)
        connected.settimeout(WITHIN)
        try:
            return context.wrap_socket(connected, server_side=True)
        except OSError as error:  # ssl.SSLError too
            self.handshake_faults.append(str(error))
            connected.close()
            return None

    def _read_stream(self, connected: socket.socket) -> None:
        peer = next(address for address, each in self._connections.items() if each is connected)
        try:
            octets = connected.recv(65535)
            while isinstance(connected, ssl.SSLSocket) and (pending := connected.pending()):
                octets += connected.recv(pending)
        except ssl.SSLEOFError:  # closed without close_notify, as Kamailio does
            octets = b""
        if not octets:
            self.hang_up(peer)
            return
        self._note_ping(octets, peer)
        whole, rest = split_stream(self._unread[connected] + octets)
        while whole:
            self._take(whole, peer)
            whole, rest = split_stream(rest)
        if connected in self._unread:
            self._unread[connected] = rest

    def _note_ping(self, octets: bytes, peer: Address) -> None:
        if octets == b"\r\n\r\n":
            self.pings.append(peer)

    def _take(self, octets: bytes, peer: Address) -> None:
        if not octets.strip(b"\r\n\0"):
            return  # a keepalive
        try:
            message = parse(octets)
        except MalformedError as error:
            self.local_faults.append(f"malformed message from {peer}: {error}")
            return
        self.trace.append(Seen(time.monotonic(), False, peer, message))
        self.receive(message, peer)
