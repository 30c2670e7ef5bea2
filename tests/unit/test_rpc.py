"""binrpc, from answers as Kamailio 5.6.3 gave them, and from others that it might give."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from kemi.command.rpc import Rpc, RpcError


class Kamailio:
    """Answers one question with these bytes."""

    def __init__(self, path: Path, answer: bytes) -> None:
        self.asked = b""
        self._answer = answer
        self._socket = socket.socket(socket.AF_UNIX)
        self._socket.bind(str(path))
        self._socket.listen()
        self._thread = threading.Thread(target=self._serve)
        self._thread.start()

    def _serve(self) -> None:
        connected, _ = self._socket.accept()
        with connected, self._socket:
            self.asked = connected.recv(65535)
            connected.sendall(self._answer)

    def close(self) -> None:
        self._thread.join()


@pytest.fixture
def kamailio(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Kamailio]:
    made = Kamailio(tmp_path / "rpc", request.param)
    yield made
    made.close()


def ask(folder: Path, *words: str) -> list[Any]:
    with Rpc.connected(folder / "rpc") as rpc:
        return rpc.ask(*words)


def answered(body: bytes, flags: int = 0x10) -> bytes:
    """An answer with a length of two octets and a cookie of one."""
    return bytes([0xA1, flags | 1 << 2]) + len(body).to_bytes(2) + b"\0" + body


UPTIME = b"\x03Enow\0\x91\x19Thu Nov 26 11:01:52 2026\0\x95\tup_since\0aThu..\0uuptime\0\x10\x0b\x83"
NONCES = b"\x03eentry\0 \x01vUsize\0\x10\x01Uslot\0\x03\x03Uname\0Aa b\0evalue\0!x\0Utype\0Astr\0\x83\x83\x83"
ANSWERS = {
    "a struct": (UPTIME, [[("now", "Thu Nov 26 11:01:52 2026"), ("up_since", "Thu.."),
                           ("uptime", 11)]]),
    "a struct in another": (NONCES, [[("entry", 374), ("size", 1),
                                      ("slot", [[("name", "a b"), ("value", "x"), ("type", "str")]])]]),
    "a list": (b"\x04\x10\x01\x00\x84", [[1, 0]]),
    "numbers": (b"@\xff\xff\xff\xf6\x22\x05\xdc", [-10, 1.5]),
    "octets": (b"\x26ab", [b"ab"]),
    "a long text": (b"\xa1\x01\x2c" + 299 * b"x" + b"\0", [299 * "x"]),
    "nothing": (b"", []),
}  # fmt: skip


@pytest.mark.parametrize(
    ("kamailio", "values"),
    [(answered(body), values) for body, values in ANSWERS.values()],
    indirect=["kamailio"],
    ids=ANSWERS,
)
def test_an_answer_is_read(kamailio: Kamailio, values: list[Any], tmp_path: Path) -> None:
    assert ask(tmp_path, "core.uptime") == values
    assert kamailio.asked == b"\xa1\x00\x0e\x00\x91\x0ccore.uptime\0"


@pytest.mark.parametrize("kamailio", [b"\xa13\x17\x01\x02\x03\x04 \x01\xf4\x91\x12Missing parameter\0"], indirect=True)
def test_an_error_is_raised(kamailio: Kamailio, tmp_path: Path) -> None:
    with pytest.raises(RpcError, match="500 Missing parameter"):
        ask(tmp_path, "uac.reg_active", "a", "long parameter")
    assert kamailio.asked.endswith(b"\x91\x0fuac.reg_active\0\x21a\0\x91\x0flong parameter\0")


@pytest.mark.parametrize(("kamailio", "reason"), [(b"HTTP", "not Kamailio's binrpc"), (b"\xa1", "was closed")],
                         indirect=["kamailio"])  # fmt: skip
def test_what_is_no_answer_is_an_error(kamailio: Kamailio, reason: str, tmp_path: Path) -> None:
    with pytest.raises(RpcError, match=reason):
        ask(tmp_path, "core.uptime")
