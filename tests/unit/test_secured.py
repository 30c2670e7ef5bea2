"""When connections by TLS are made, which of them may be used, and what is told of the others."""

from __future__ import annotations

import pytest

from kemi.health.secured import (
    FIRST_PAUSE,
    KEEP_EVERY,
    LONGEST_PAUSE,
    MOST_AT_ONCE,
    SILENT,
    Link,
    Links,
    Peer,
    Secured,
    Verdict,
)
from kemi.line import Line, notice, warning
from kemi.trunks.hops import Hop, Target
from kemi.trunks.secure import Wanted
from kemi.trunks.trunk import Trunk
from tests.unit.test_certificate import PEM

NOW, PATIENCE = 1000.0, 4.0
NAME = "sip.carrier.test"
GOOD = Peer(7, True, False, False, PEM)
OTHER_NAME = "other.test"


def link(name: str = NAME, address: str = "192.0.2.7", uuid: str = "berlin") -> Link:
    return Link(Hop(address, 5061, "tls", NAME), Wanted(name), uuid, NAME, NAME)


LINK = link()
KEY = f"sip:192.0.2.7:5061;transport=tls {NAME} "


def links(*wanted: Link) -> Links:
    made = Links(PATIENCE)
    made.watch({one.key: one for one in wanted or (LINK,)}, NOW)
    return made


def asked(found: Links, now: float) -> list[str]:
    """Ask what is due."""
    keys = [one.key for one in found.due(now)]
    for key in keys:
        found.asked(key, now)
    return keys


def up(found: Links) -> None:
    asked(found, NOW)
    assert found.heard(KEY, GOOD, NOW).number == 7


def line(verdict: Verdict) -> Line:
    assert verdict.line is not None
    return verdict.line


def test_an_options_opens_the_connection_and_says_the_server_name() -> None:
    request = LINK.request("call", "tag")
    assert request[:3] == ("OPTIONS", f"sip:{NAME}", "sip:192.0.2.7:5061;transport=tls")
    assert (request.server_name, request.sender) == (NAME, f"<sip:{NAME}>;tag=tag")
    assert LINK._replace(domain="").request("call", "tag").uri == "sip:192.0.2.7:5061;transport=tls"


def test_a_connection_may_be_used_once_its_certificate_was_judged_and_is_kept() -> None:
    found = links()
    assert asked(found, NOW) == [KEY]
    assert (found.under_way(), list(found.in_use()), asked(found, NOW)) == ([KEY], [], [])
    assert found.heard(KEY, GOOD, NOW) == Verdict(KEY, 7)
    assert (found.under_way(), list(found.in_use())) == ([], [KEY])
    assert asked(found, NOW + KEEP_EVERY - 1) == []
    assert asked(found, NOW + KEEP_EVERY) == [KEY]


@pytest.mark.parametrize(
    ("peer", "name", "fault"),
    [
        (GOOD, NAME, ""),
        (GOOD, "", ""),
        (Peer(7, False, True, True, ""), "", ""),
        (GOOD, OTHER_NAME, "its certificate is for *.pool.carrier.test, 192.0.2.7, 2001:db8::7, sip.carrier.test, "
                           f"uri.test, and not for {OTHER_NAME}"),
        (GOOD._replace(certificate=""), NAME, f"its certificate is for nobody, and not for {NAME}"),
        (GOOD._replace(is_verified=False), NAME,
         "no CA of TRUNKAUTH_TLS_CA vouches for its certificate, or it is not valid yet"),
        (GOOD._replace(is_verified=False, is_expired=True), NAME, "its certificate has expired"),
        (GOOD._replace(is_verified=False, is_self_signed=True), NAME,
         "its certificate, or its CA's, is self-signed and not in TRUNKAUTH_TLS_CA"),
    ],
)  # fmt: skip
def test_what_is_wrong_with_a_certificate(peer: Peer, name: str, fault: str) -> None:
    assert peer.fault(Wanted(name)) == fault


def test_a_wrong_certificate_is_told_once_and_the_connection_is_closed() -> None:
    one = link(OTHER_NAME)
    found = links(one)
    asked(found, NOW)
    verdict = found.heard(one.key, GOOD._replace(certificate=""), NOW)
    assert (verdict.number, verdict.close, list(found.in_use())) == (0, 7, [])
    reason = f"its certificate is for nobody, and not for {OTHER_NAME}"
    assert line(verdict) == warning(trunk="berlin", name=OTHER_NAME, outcome="tls-failed", reason=reason)
    asked(found, NOW + FIRST_PAUSE)
    assert found.heard(one.key, GOOD._replace(certificate="", number=8), NOW + 1) == Verdict(one.key, 0, close=8)


def test_it_is_told_when_it_is_right_again() -> None:
    found = links()
    asked(found, NOW)
    found.missed(KEY, SILENT, NOW)
    asked(found, NOW + FIRST_PAUSE)
    verdict = found.heard(KEY, GOOD, NOW + 1)
    assert line(verdict) == notice(trunk="berlin", name=NAME, outcome="tls-up")


def test_a_connection_that_another_trunk_uses_stays_open() -> None:
    other = link(OTHER_NAME)
    found = links(LINK, other)
    up(found)
    assert found.heard(other.key, GOOD, NOW).close == 0


def test_a_reply_that_did_not_come_by_tls_shows_nothing() -> None:
    found = links()
    asked(found, NOW)
    assert line(found.heard(KEY, None, NOW)).fields["reason"] == SILENT


def test_pauses_grow_while_nobody_is_there() -> None:
    found = links()
    now, pauses = NOW, []
    for _ in range(8):
        asked(found, now)
        assert (found.is_late(KEY, now), found.is_late(KEY, now + PATIENCE)) == (False, True)
        found.missed(KEY, SILENT, now)
        began = now
        while not found.due(now):
            now += 1
        pauses.append(now - began)
    assert pauses == [1, 2, 4, 8, 16, LONGEST_PAUSE, LONGEST_PAUSE, LONGEST_PAUSE]


def test_one_that_ends_is_made_again_at_once() -> None:
    found = links()
    up(found)
    found.ended(KEY, NOW + 1)
    assert (list(found.in_use()), asked(found, NOW + 1)) == ([], [KEY])


def test_one_that_is_silent_twice_is_closed_and_made_again() -> None:
    found = links()
    up(found)
    asked(found, NOW + KEEP_EVERY)
    assert found.missed(KEY, SILENT, NOW + 40) == Verdict(KEY, 7)
    assert asked(found, NOW + 40) == [KEY]
    assert found.missed(KEY, SILENT, NOW + 44) == Verdict(KEY, 0, close=7)
    assert (list(found.in_use()), asked(found, NOW + 44)) == ([], [KEY])


def test_one_that_hangs_is_given_up_at_each_second_miss_unless_something_was_heard() -> None:
    found = links()
    hangs = []
    for second in range(0, 600, 60):
        asked(found, NOW + second)
        if second == 180:
            found.heard(KEY, GOOD._replace(certificate=""), NOW + second)
        else:
            hangs.append(found.missed(KEY, SILENT, NOW + second).hangs)
    assert hangs == [None, LINK.hop, None] + [None, LINK.hop] * 3


def test_the_connections_that_may_be_used() -> None:
    found = links(LINK, link(address="192.0.2.8"))
    up(found)
    assert found.numbers() == {7}


def test_what_is_kept_no_longer_and_a_row_that_took_its_place() -> None:
    found = links()
    up(found)
    renamed = LINK._replace(trunk="hamburg")
    assert found.watch({KEY: renamed}, NOW) == []
    assert list(found.in_use()) == [KEY]
    assert found.watch({}, NOW) == [KEY]
    assert list(found.in_use()) == []


def test_no_more_than_so_many_at_once() -> None:
    found = links(*(link(address=f"192.0.2.{number}") for number in range(MOST_AT_ONCE + 3)))
    assert (len(asked(found, NOW)), len(asked(found, NOW))) == (MOST_AT_ONCE, 3)


@pytest.mark.parametrize(
    ("text", "peer"),
    [
        (f"7 1 0 0 {PEM}", GOOD),
        ("7 0 1 1 <null>", Peer(7, False, True, True, "<null>")),
        ("7", Peer(7, False, False, False, "")),
        ("", None),
        ("<null> 1 0 0 x", None),
    ],
)
def test_what_kamailio_tells_of_a_peer(text: str, peer: Peer | None) -> None:
    assert Peer.of(text) == peer


def test_the_connections_of_a_row_are_its_hops_by_tls() -> None:
    target = Target(NAME)
    hops = (Hop("192.0.2.7", 5061, "tls", NAME), Hop("192.0.2.7", 5060, "udp", NAME))
    row = Secured("berlin", target, Wanted(NAME), NAME)
    assert row.links({target: hops}) == [LINK]
    assert row.links({}) == []
    by_address = Secured("berlin", Target("192.0.2.7", 0, "tls"), Wanted("192.0.2.7"))
    assert [one.server_name for one in by_address.links({})] == [""]


def test_each_sending_socket_has_a_connection_of_its_own() -> None:
    sockets = ("", "tls:192.0.2.1:5061", "tls:192.0.2.2:5061")
    target = Target("192.0.2.7", 0, "tls")
    found = [Secured("berlin", target, Wanted.of(target, NAME, 1, socket), NAME).links({})[0] for socket in sockets]
    assert len({one.key for one in found}) == len(sockets)
    assert tuple(one.request("call", "tag").socket for one in found) == sockets
    trunks = [Trunk("berlin", NAME, "sips:192.0.2.7", socket) for socket in sockets]
    assert [one.wanted.key(found[0].hop.uri) for one in trunks] == [one.key for one in found]


@pytest.mark.parametrize(
    ("target", "may"),
    [(Target("a.test"), True), (Target("a.test", 0, "udp"), False), (Target("192.0.2.7"), False),
     (Target("192.0.2.7", 0, "tls"), True)],
)  # fmt: skip
def test_a_row_that_tls_may_lead_to(target: Target, may: bool) -> None:
    assert Secured("berlin", target, Wanted("")).may_lead_to_tls is may


@pytest.mark.parametrize(
    ("target", "domain", "tls_verify", "name", "server_name"),
    [
        (Target("sbc.test", 0, "tls"), "carrier.test", 1, "sbc.test", "sbc.test"),
        (Target("192.0.2.7", 0, "tls"), "Carrier.test:5061", 1, "carrier.test", "carrier.test"),
        (Target("192.0.2.7", 0, "tls"), "carrier.test.", 1, "carrier.test", "carrier.test"),
        (Target("192.0.2.7", 0, "tls"), "", 1, "192.0.2.7", ""),
        (Target("sbc.test", 0, "tls"), "", 0, "", "sbc.test"),
        (Target("192.0.2.7", 0, "tls"), "", 0, "", ""),
    ],
)
def test_the_name_that_a_certificate_has_to_be_for(
    target: Target, domain: str, tls_verify: int, name: str, server_name: str
) -> None:
    wanted = Wanted.of(target, domain, tls_verify)
    assert (wanted.name, wanted.server_name(target)) == (name, server_name)
