"""What comes from the wire cannot forge log lines, nor keep a fault from being answered."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.harness import raw
from tests.harness.database import Database
from tests.harness.node import Installation, Kamailio, Options

GONE = "ALTER TABLE uacreg RENAME TO uacreg_elsewhere"

CALL_IDS = {
    "quotes and spaces": (b"a' call-id=\"b", r'''"a' call-id=\"b"'''),
    "not ASCII": ("aü\u202e".encode(), r'"a\u00fc\u202e"'),
    "very long": (b"a" * 5000, f'"{"a" * 200}..."'),
    "a word": (b"a-b@c", "a-b@c"),
}


@pytest.fixture(scope="module")
def faulty(installation: Installation) -> Iterator[Kamailio]:
    """A Kamailio in which every new request is a fault: its copy lacks the table."""
    with installation.running(Options()) as node:
        Database(node.state / "replica.sqlite").execute(GONE)
        yield node


@pytest.mark.every_kamailio
@pytest.mark.parametrize(("call_id", "shown"), CALL_IDS.values(), ids=CALL_IDS)
def test_whatever_a_call_id_holds_a_fault_is_one_line_and_500(faulty: Kamailio, call_id: bytes, shown: str) -> None:
    logged = len(faulty.log())
    with raw.udp(faulty.sip) as sock:
        sock.send(raw.request(sock, call_id=call_id))
        assert raw.status(sock.recv(65535)) == 500
    log = faulty.wait_for_log(f" call-id={shown}\n", after=logged)
    [line] = [each for each in log.splitlines() if "fault=" in each]
    assert "fault=OperationalError@" in line


@pytest.mark.parametrize("end", [b"\r\n ", b"\0"], ids=["a line end", "a zero octet"])
def test_a_call_id_with_a_line_end_or_a_zero_octet_is_refused(faulty: Kamailio, end: bytes) -> None:
    with raw.udp(faulty.sip) as sock:
        sock.send(raw.request(sock, call_id=b"a" + end + b"fault=Forged"))
        assert raw.status(sock.recv(65535)) == 400
    assert "Forged" not in faulty.log()
