"""Numbers by the row of each trunk, attempt by attempt. Emergency calls: as they were dialled, past every limit."""

from __future__ import annotations

import sys

import pytest

from kemi.handlers import Handlers
from kemi.settings import Settings
from kemi.sip import ring
from tests.flow.scene import PBX, challenge, fail, reply, request, routes_with
from tests.ksr.mock import MockKSR
from tests.ksr.state import Reply

ROWS = """
INSERT INTO uacreg (l_uuid, l_username, r_domain, realm, auth_proxy, auth_username, auth_password)
VALUES
 ('plus', '03023125555', 'plus.test', 'carrier', 'sip:203.0.113.5', 'u1', 'p1'),
 ('home', '03023125555', 'home.test', 'carrier', 'sip:203.0.113.6', 'u2', 'p2'),
 ('raw', '03023125555', '', 'carrier', 'sip:203.0.113.7', 'u3', 'p3'),
 ('behind', '100', '', 'carrier', 'sip:203.0.113.8', 'u4', 'p4'),
 ('full', '200', 'full.test', 'carrier', 'sip:203.0.113.9', 'u5', 'p5'),
 ('busy', '300', 'busy.test', 'carrier', 'sip:203.0.113.10', 'u6', 'p6')
"""
POLICIES = """
INSERT INTO trunk
 (l_uuid, priority, from_user, from_domain, identity, strip, prefix, number_format, country, max_calls, max_cps)
VALUES
 ('plus', 1, '$', 'plus.test', 'pai', 0, '', 'e164', 'DE', 0, 0),
 ('home', 2, '$', '', 'rpid', 0, '', 'national', 'GB', 0, 0),
 ('raw', 3, '', '', '', 0, '', 'as-dialled', '', 0, 0),
 ('behind', 1, '', '', '', 1, '99', 'as-dialled', '', 0, 0),
 ('full', 1, '', '', '', 0, '', 'e164', 'GB', 1, 1),
 ('busy', 1, '', '', '', 0, '', 'as-dialled', '', 1, 0)
"""
CALLER = "<sip:03023125555@pbx.test>"


def call(pbx: MockKSR, routes: Handlers, number: str, caller: str = CALLER, **others: str) -> None:
    pbx.receive(request(uri=f"sip:{number}@192.0.2.1", caller=caller, **others), source=(PBX, 5060))
    assert routes.ksr_request_route(None) == 1


def dialled(pbx: MockKSR) -> list[str]:
    """The R-URI of each attempt."""
    return [sent.ruri for sent in pbx.relayed]


def fields(pbx: MockKSR, name: str) -> list[str | None]:
    return [sent.message.get(name) for sent in pbx.relayed]


def test_each_carrier_sees_numbers_in_its_own_way(pbx: MockKSR, routes: Handlers) -> None:
    call(pbx, routes, "0044-20-79460123;npdi")
    challenge(pbx, routes)
    fail(pbx, routes, 503)
    challenge(pbx, routes)
    fail(pbx, routes, 503)
    plus, home = "sip:+442079460123;npdi@plus.test", "sip:02079460123;npdi@home.test"
    assert dialled(pbx) == [plus, plus, home, home, "sip:0044-20-79460123;npdi@192.0.2.1"]
    plus, home = "<sip:+493023125555@plus.test>", "<sip:03023125555@pbx.test>"
    assert fields(pbx, "From") == [f"{plus};tag=a"] * 2 + [f"{home};tag=a"] * 3
    asserted = f"{home};party=calling;screen=yes;privacy=off"
    assert fields(pbx, "P-Asserted-Identity") == [plus, plus, None, None, None]
    assert fields(pbx, "Remote-Party-ID") == [None, None, asserted, asserted, None]
    assert {pbx.relayed[n].message.get("To") for n in range(5)} == {"<sip:4930123@192.0.2.1>"}


def test_each_attempt_is_made_of_the_callers_own_request(pbx: MockKSR, routes: Handlers) -> None:
    call(pbx, routes, "+442079460123")
    fail(pbx, routes, 503)
    fail(pbx, routes, 503)
    assert dialled(pbx) == [
        "sip:+442079460123@plus.test", "sip:02079460123@home.test", "sip:+442079460123@192.0.2.1"
    ]  # fmt: skip


def test_a_trunk_that_is_passed_over_leaves_nothing_behind(pbx: MockKSR, routes: Handlers) -> None:
    Full(pbx)
    call(pbx, routes, "02079460123", headers="X-Trunk: full, raw\r\n")
    assert dialled(pbx) == ["sip:02079460123@192.0.2.1"]


def test_no_worker_reads_a_file_of_the_library(routes: Handlers) -> None:
    assert {"phonenumbers.data.region_ZW", "phonenumbers.shortdata.region_ZW"} <= sys.modules.keys()


def test_strip_and_prefix(pbx: MockKSR, routes: Handlers) -> None:
    call(pbx, routes, "003023125555", "<sip:100@pbx.test>")
    assert dialled(pbx) == ["sip:9903023125555@192.0.2.1"]
    call(pbx, routes, "alice", "<sip:100@pbx.test>")
    assert dialled(pbx) == ["sip:alice@192.0.2.1"]


@pytest.mark.parametrize(("number", "trunk"), [("112", "plus"), ("110", "plus"), ("999", "home"), ("911", "raw")])
def test_an_emergency_number_goes_as_it_was_dialled(pbx: MockKSR, routes: Handlers, number: str, trunk: str) -> None:
    call(pbx, routes, number, headers=f"X-Trunk: {trunk}\r\n")
    assert dialled(pbx) == [f"sip:{number}@{'192.0.2.1' if trunk == 'raw' else f'{trunk}.test'}"]


class Full:
    """Trunks whose calls are all up, and whose second is over."""

    def __init__(self, pbx: MockKSR) -> None:
        self.entered: list[str] = []
        self.left: list[str] = []
        pbx.answer("dialog.get_profile_size", self._size)
        pbx.answer("dialog.set_dlg_profile", lambda _profile, trunk: self._note(self.entered, trunk))
        pbx.answer("dialog.unset_dlg_profile", lambda _profile, trunk: self._note(self.left, trunk))
        pbx.answer("tm.t_newtran", 1)
        self._pbx = pbx
        self.up = 1

    @staticmethod
    def _note(trunks: list[str], trunk: str) -> int:
        trunks.append(trunk)
        return 1

    def _size(self, _profile: str, _trunk: str, _variable: str) -> int:
        self._pbx.state.avps["calls"] = [self.up]
        return 1


@pytest.mark.parametrize(("caller", "uri"), [
    ("200", "sip:999@192.0.2.1"), ("200", "sips:112;phone-context=+44@pbx.test"), ("300", "sip:911@192.0.2.1"),
])  # fmt: skip
def test_no_limit_holds_for_an_emergency_call(pbx: MockKSR, routes: Handlers, caller: str, uri: str) -> None:
    full = Full(pbx)
    for _ in range(3):
        pbx.receive(request(uri=uri, caller=f"<sip:{caller}@pbx.test>"), source=(PBX, 5060))
        assert routes.ksr_request_route(None) == 1
        assert (len(pbx.relayed), full.entered) == (1, [])
        reply(pbx, routes, 200)
    assert ring.last("noted_calls") == 0  # for a restart
    pbx.receive(request(uri="sip:1571@192.0.2.1", caller=f"<sip:{caller}@pbx.test>"), source=(PBX, 5060))
    routes.ksr_request_route(None)
    assert pbx.replies == [Reply(503, "Trunk Full")]


def test_an_emergency_call_that_goes_on_leaves_no_place(pbx: MockKSR, routes: Handlers) -> None:
    full = Full(pbx)
    full.up = 0
    for number, places in (("112", []), ("113", ["full"])):
        call(pbx, routes, number, headers="X-Trunk: full, busy, raw\r\n")
        fail(pbx, routes, 503)
        assert len(pbx.relayed) == 2
        assert full.left == places
        reply(pbx, routes, 200)
        assert (ring.last("noted_calls") > 0) is bool(places)


def test_an_emergency_call_passes_a_source_with_too_many(
    pbx: MockKSR, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("time.time", lambda: 1000.0)
    routes = routes_with(settings, {"TRUNKAUTH_MAX_CPS": "1"})
    pbx.handlers = routes
    for number in ("1571", "112", "112", "911", "1571"):
        uri = f"sip:{number}@192.0.2.1"
        pbx.receive(request(uri=uri, caller="<sip:100@pbx.test>"), source=(PBX, 5060))
        routes.ksr_request_route(None)
        if number != "1571":
            assert len(pbx.relayed) == 1
    assert pbx.replies == [Reply(503, "Service Unavailable")]
    routes.trunks.close()
