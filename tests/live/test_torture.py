"""What no SIP implementation should send, from a PBX, a carrier and a stranger: one right answer to each, Kamailio goes
on, takes no more memory for it, and the next call works.
"""

from __future__ import annotations

import re
import socket
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field

import pytest

from tests.harness.node import Installation, Kamailio, Options
from tests.harness.scene import Scene
from tests.harness.steps import talk_and_hang_up
from tests.live.torture import rfc4475, rfc5118
from tests.live.torture.ends import Sink, Source, reply_to
from tests.live.torture.replies import BREAKS, FIELDS, LENGTHS, NUMBERS, broken, right_end, with_value
from tests.live.torture.rfc4475 import FORWARDED, SILENCE, SILENT_SINCE_6_1, Case
from tests.unit.test_challenge import READ, REFUSED, STYLES

CASES = {**rfc4475.CASES, **rfc5118.CASES}
pytestmark = [pytest.mark.once, pytest.mark.every_kamailio, pytest.mark.long]

PBX = "127.0.0.1"
CARRIERS, STRANGERS = "127.6", "127.5"  # the former are in the table address, but not as callers
QUICK = (("tm", "fr_timer", 3000), ("tm", "wt_timer", 1000))
SETTLED_WITHIN = 12.0  # seconds, until no transaction is left
MOST_GROWN = 16  # KiB of shared memory, of a thousand requests
LONGEST = 32_767  # octets that Kamailio 6 reads from UDP
SIDE_BY_SIDE = 64

Answer = Callable[[bytes, int], bytes]


@dataclass
class Bad:
    """The carrier of the only trunk. answers: its replies to a request and its repetitions, by the R-URI's user."""

    answers: dict[str, Answer] = field(default_factory=dict)
    seen: dict[str, int] = field(default_factory=dict)

    def __call__(self, request: bytes) -> bytes:
        named = re.match(rb"MESSAGE sip:(n\d+)@", request)
        if named is None or named[1].decode() not in self.answers:
            return reply_to(request, FORWARDED)
        user = named[1].decode()
        self.seen[user] = self.seen.get(user, 0) + 1
        return self.answers[user](request, self.seen[user])


@pytest.fixture(scope="module")
def bad() -> Bad:
    return Bad()


@pytest.fixture(scope="module")
def node(installation: Installation, bad: Bad) -> Iterator[Kamailio]:
    with ExitStack() as stack:
        port = stack.enter_context(Sink(bad)).address[1]
        row = {"l_uuid": "bad", "auth_username": "u", "auth_password": "the-secret"}
        row["auth_proxy"] = f"sip:127.0.0.1:{port}"
        options = Options(default_trunk="bad", trunks=(row,), modparams=QUICK)
        running = stack.enter_context(installation.running(options))
        running.database.execute(f"INSERT INTO address (grp, ip_addr, mask, port) VALUES (2, '{CARRIERS}.0.0', 16, 0)")
        running.wait_for("the carrier", lambda: CARRIERS in running.rpc("permissions.subnetDump"), within=5)
        yield running


@pytest.fixture(autouse=True)
def next_call_works(node: Kamailio) -> Iterator[None]:
    yield
    with Scene(node) as scene:
        trunk = scene.trunk()
        talk_and_hang_up(trunk, scene.call(trunk))


def settled(node: Kamailio) -> int:
    """The KiB of shared memory that are taken once no transaction is left."""
    node.wait_for("the end of all transactions", lambda: "current: 0" in node.rpc("tm.stats"), SETTLED_WITHIN)
    node.rpc("htable.flush", "sequences")  # where entries stay for five minutes
    used = re.search(r"real_used: (\d+)", node.rpc("core.shmmem", "k"))
    assert used
    return int(used[1])


def addresses(network: str) -> list[str]:
    """As many as there are cases, because each gets few answers."""
    return [f"{network}.0.{number}" for number in range(1, len(CASES) + 1)]


SENDERS = {"PBX": [PBX] * len(CASES), "carrier": addresses(CARRIERS), "stranger": addresses(STRANGERS)}


def of_carrier(case: Case) -> int:
    """What a carrier gets, who may send what a stranger may not; no trunk takes calls in here."""
    if case.others != 403 or case.pbx == 400:
        return case.pbx if case.others == 403 else case.others
    return {b"OPTIONS": 200, b"INVITE": 404, b"MESSAGE": 404}.get(case.octets.split(maxsplit=1)[0], 405)


@pytest.mark.parametrize("hosts", SENDERS.values(), ids=SENDERS)
def test_every_message_has_one_right_answer(node: Kamailio, hosts: list[str]) -> None:
    wrong = {}
    for (name, case), host in zip(CASES.items(), hosts, strict=True):
        expected = case.pbx if host == PBX else of_carrier(case) if host.startswith(CARRIERS) else case.others
        is_unread = len(case.octets) > LONGEST and node.version >= "6"
        if is_unread or (name in SILENT_SINCE_6_1 and node.version >= "6.1"):
            expected = SILENCE
        with Source(node.sip, host) as source:
            got = source.statuses(case.octets, expected)
        if got != ({expected} if expected else set()):
            wrong[name] = (expected, got)
    assert wrong == {}


def ended(node: Kamailio, bad: Bad, answers: list[Answer]) -> list[int]:
    """How requests of the PBX end whose carrier answers like this, so many at once."""
    bad.seen.clear()
    bad.answers = {f"n{number}": answer for number, answer in enumerate(answers)}
    found = [0] * len(answers)
    host, port = node.sip
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as pbx:
        pbx.bind((PBX, 0))
        pbx.settimeout(8)
        me = pbx.getsockname()[1]
        waiting, left = 0, iter(range(len(answers)))
        while True:
            while waiting < SIDE_BY_SIDE and (number := next(left, None)) is not None:
                text = (
                    f"MESSAGE sip:n{number}@{host}:{port} SIP/2.0\r\n"
                    f"Via: SIP/2.0/UDP {PBX}:{me};branch=z9hG4bK{me}x{number}\r\n"
                    f"Max-Forwards: 70\r\nFrom: <sip:p@h>;tag={number}\r\nTo: <sip:n{number}@h>\r\n"
                    f"Call-ID: n{number}.{me}\r\nCSeq: 1 MESSAGE\r\nContent-Length: 0\r\n\r\n"
                )
                pbx.sendto(text.encode(), node.sip)
                waiting += 1
            if not waiting:
                return found
            reply = pbx.recv(65535)
            status, who = int(reply.split(b" ")[1]), re.search(rb"branch=z9hG4bK\d+x(\d+)", reply)
            assert who, reply
            if status >= 200 and not found[int(who[1])]:
                found[int(who[1])] = status
                waiting -= 1


def once(octets: Callable[[bytes], bytes]) -> Answer:
    """Say this at first, and 480 when the request comes again: so it does if nobody could read the first."""
    return lambda request, number: octets(request) if number == 1 else reply_to(request, FORWARDED)


def test_every_status_passes_or_ends_the_call_as_it_should(node: Kamailio, bad: Bad) -> None:
    statuses = range(100, 700)
    found = ended(node, bad, [once(lambda request, status=status: broken(request, status)) for status in statuses])  # type: ignore[misc]
    wrong = {status: end for status, end in zip(statuses, found, strict=True) if end != right_end(node.version, status)}
    assert wrong == {}


CASES_OF_REPLIES = [
    (name, how, status)
    for name in FIELDS
    for status in (100, 183, 200, 202, 302, 400, 401, 403, 404, 407, 408, 481, 486, 488, 500, 503, 504, 603)
    for how in BREAKS  # the long ones apart: Kamailio's socket has no room for ten of them
]


def test_a_reason_that_is_not_utf8_hides_no_status(node: Kamailio, bad: Bad) -> None:
    statuses = (403, 404, 408, 480, 500, 503, 603)
    reason = b"Nicht verf\xfcgbar"
    answers = [
        once(lambda request, status=status: broken(request, status).replace(b"Torture", reason, 1))  # type: ignore[misc]
        for status in statuses
    ]
    assert ended(node, bad, answers) == [*statuses]


def test_no_memory_is_kept(node: Kamailio, bad: Bad) -> None:
    answers = [once(lambda request, status=status: broken(request, status)) for status in range(200, 700)]  # type: ignore[misc]
    ended(node, bad, answers)
    before = settled(node)
    ended(node, bad, answers)
    assert settled(node) <= before + MOST_GROWN, f"{before} KiB before"


def test_replies_that_are_broken_anywhere_end_in_one_answer(node: Kamailio, bad: Bad) -> None:
    answers = [
        once(lambda request, name=name, how=how, status=status: broken(request, status, name, how))  # type: ignore[misc]
        for name, how, status in CASES_OF_REPLIES
    ]
    found = zip(CASES_OF_REPLIES, ended(node, bad, answers), strict=True)
    assert {case: end for case, end in found if end != right_end(node.version, case[2], *case[:2])} == {}


def test_addresses_of_ipv6_in_replies_are_the_callers_to_read(node: Kamailio, bad: Bad) -> None:
    statuses = (200, FORWARDED, 503)
    answers = [
        once(
            lambda request, field=field, status=status: reply_to(request, status).replace(  # type: ignore[misc]
                b"Content-Length", b"%b\r\nContent-Length" % field
            )
        )
        for status in statuses
        for field in rfc5118.REPLIES
    ]
    assert ended(node, bad, answers) == [status for status in statuses for _ in rfc5118.REPLIES]


def test_numbers_and_lengths_that_lie(node: Kamailio, bad: Bad) -> None:
    cases = [(b"Content-Length", value) for value in LENGTHS] + [(b"CSeq", value) for value in NUMBERS]
    answers = [once(lambda request, case=case: with_value(request, 200, *case)) for case in cases]  # type: ignore[misc]
    assert set(ended(node, bad, answers)) <= {200, FORWARDED}, cases


def test_the_challenges_of_the_fuzzer(node: Kamailio, bad: Bad) -> None:
    fields = [each.encode(errors="surrogateescape") for each in (*STYLES.values(), *READ, *REFUSED)]
    for name in (b"Proxy-Authenticate", b"WWW-Authenticate"):
        status = 407 if name.startswith(b"P") else 401
        answers = [
            once(
                lambda request, value=value, name=name, status=status: reply_to(request, status).replace(  # type: ignore[misc]
                    b"Content-Length", b"%b: %b\r\nContent-Length" % (name, value)
                )
            )
            for value in fields
        ]
        found = ended(node, bad, answers)
        assert set(found) <= {FORWARDED, 503}, dict(zip(fields, found, strict=True))
