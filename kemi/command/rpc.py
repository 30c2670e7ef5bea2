"""RPC to a running Kamailio over its ctl module's socket: binrpc, as src/modules/ctl/binrpc.h in Kamailio describes it.
An answer may hold passwords (`uac.reg_info`): who asks takes what it needs, and shows nothing else.
"""

from __future__ import annotations

import contextlib
import os
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Self

LIMIT = 5.0  # seconds for one answer

_MAGIC_AND_VERSION = 0xA1
_FAULT = 3
_COOKIE = b"\0"  # one question at a time: nothing to tell apart
_INT, _TEXT, _DOUBLE, _STRUCT, _ARRAY, _NAME, _BYTES = range(7)
_IS_LONG, _END = 0x80, 0x80


class RpcError(Exception):
    """An answer that is an error, or none at all; the text is the reason."""


class Rpc:
    """A connection to Kamailio."""

    def __init__(self, connected: socket.socket) -> None:
        self._socket = connected

    @classmethod
    @contextlib.contextmanager
    def connected(cls, path: Path) -> Iterator[Self]:
        """Connect. Raises OSError."""
        with socket.socket(socket.AF_UNIX) as connected:
            connected.settimeout(LIMIT)
            connected.connect(os.fspath(path))
            yield cls(connected)

    def ask(self, method: str, *parameters: str) -> list[Any]:
        """Carry out a command; return its values: numbers, texts, and lists, in which a value that
        has a name is a pair with it. Raises
        RpcError or OSError.
        """
        body = b"".join(map(_encoded, (method, *parameters)))
        size = _octets(len(body))
        self._socket.sendall(bytes([_MAGIC_AND_VERSION, (len(size) - 1) << 2]) + size + _COOKIE + body)
        head = self._received(2)
        if head[0] != _MAGIC_AND_VERSION:
            raise RpcError("not Kamailio's binrpc")
        length = int.from_bytes(self._received((head[1] >> 2 & 3) + 1))
        self._received((head[1] & 3) + 1)
        values = list(_decoded(self._received(length)))
        if head[1] >> 4 == _FAULT:
            raise RpcError(" ".join(map(str, values)))
        return values

    def _received(self, count: int) -> bytes:
        octets = b""
        while len(octets) < count:
            more = self._socket.recv(count - len(octets))
            if not more:
                raise RpcError("the connection was closed")
            octets += more
        return octets


def _encoded(text: str) -> bytes:
    octets = text.encode() + b"\0"
    size = _octets(len(octets))
    if len(octets) < 8:
        return bytes([len(octets) << 4 | _TEXT]) + octets
    return bytes([_IS_LONG | len(size) << 4 | _TEXT]) + size + octets


def _octets(number: int) -> bytes:
    return number.to_bytes((number.bit_length() + 7) // 8 or 1)


def _decoded(octets: bytes) -> Iterator[Any]:
    """Yield the values of an answer."""
    place = 0
    while place < len(octets):
        value, place = _value(octets, place)
        yield value


def _value(octets: bytes, place: int) -> tuple[Any, int]:
    """Return the value at a place, and the place behind it."""
    head = octets[place]
    kind, size, place = head & 0xF, head >> 4 & 7, place + 1
    if kind in (_STRUCT, _ARRAY):
        return _collected(octets, place, _END | kind)
    if head & _IS_LONG:
        place, size = place + size, int.from_bytes(octets[place : place + size])
    raw, place = octets[place : place + size], place + size
    if kind == _INT:
        return int.from_bytes(raw, signed=len(raw) == 4), place  # a negative one is written whole
    if kind == _DOUBLE:
        return int.from_bytes(raw, signed=len(raw) == 4) / 1000, place
    text = raw if kind == _BYTES else raw.rstrip(b"\0").decode(errors="replace")
    return text, place


def _collected(octets: bytes, place: int, end: int) -> tuple[list[Any], int]:
    """Return the values of a list or struct, up to its end: one with a name is a pair."""
    found: list[Any] = []
    while octets[place] != end:
        has_name = octets[place] & 0xF == _NAME
        value, place = _value(octets, place)
        if has_name:
            named, place = _value(octets, place)
            value = (value, named)
        found.append(value)
    return found, place + 1
