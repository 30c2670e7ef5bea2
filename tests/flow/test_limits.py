"""Trunks with `max_calls`, and a Kamailio that starts again while calls are up."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Iterator
from typing import Any

import pytest

from kemi.dialog.own import Request
from kemi.names.file import NamesFile
from kemi.settings import Settings
from kemi.start import key
from kemi.trunks.hops import literal, places, target_of
from tests.flow.scene import CALLER, PBX, Marks, in_dialog, reply, request, routes_with
from tests.ksr.fixtures import installed
from tests.ksr.mock import MockKSR
from tests.ksr.state import Reply

ROWS = """
INSERT INTO uacreg (l_uuid, l_username, r_domain, realm, auth_proxy, auth_username, auth_password)
VALUES
 ('narrow', 'alice', 'one.test', 'carrier', 'sip:203.0.113.1', 'u1', 'p1'),
 ('wide', 'bob', 'two.test', 'carrier', 'sip:203.0.113.2', 'u2', 'p2')
"""
POLICIES = f"INSERT INTO trunk (l_uuid, max_calls, inbound_uri) VALUES ('narrow', 1, 'sip:{PBX}')"
CARRIER = "203.0.113.1"
FULL = [Reply(503, "Trunk Full")]


class Node:
    """One run of a Kamailio: its dialog module counts calls of profiles, and those are gone with it."""

    def __init__(self, ksr: MockKSR, settings: Settings) -> None:
        self.ksr = ksr
        self.settings = settings
        self.up = Counter[str]()
        self.asked: list[list[str]] = []
        self.routes = routes_with(settings)
        ksr.handlers = self.routes
        ksr.trust(f"{PBX}/32")
        ksr.world.sane, ksr.world.rpc_code = True, 200
        ksr.answer("permissions.allow_address", 1)
        ksr.answer("dialog.set_dlg_profile", self._enter)
        ksr.answer("dialog.unset_dlg_profile", self._leave)
        ksr.answer("dialog.get_profile_size", self._size)
        ksr.answer("tm.t_newtran", 1)
        ksr.answer("jsonrpcs.exec", self._command)

    def close(self) -> None:
        self.routes.trunks.close()
        if self.routes._work:
            self.routes._work.close()

    def call(self, call_id: str, user: str = "alice") -> list[Reply]:
        """Place a call, which the carrier answers if it gets it; return what we have answered."""
        self.ksr.receive(request(call_id=call_id, caller=f"<sip:{user}@pbx.test>"), source=(PBX, 5060))
        self.routes.ksr_request_route(None)
        if self.ksr.relayed:
            reply(self.ksr, self.routes, 200)
            return []
        return self.ksr.replies

    def called(self, call_id: str) -> list[Reply]:
        """The carrier calls, and the PBX answers if it gets the call; return what we have answered."""
        self.ksr.receive(request(call_id=call_id, uri="sip:narrow@192.0.2.1:5060"), source=(CARRIER, 5060))
        self.routes.ksr_request_route(None)
        if self.ksr.relayed:
            routes = ("Record-Route: <sip:near.test;lr>", "Record-Route: <sip:192.0.2.1;lr;ta=x>")
            reply(self.ksr, self.routes, 200, f"Contact: <sip:1@{PBX}:5080>", *routes)
            return []
        return self.ksr.replies

    def bye(self, call_id: str, side: str = "the caller", **kind: Any) -> None:
        """Hang a call up. kind: of the mark."""
        marks = Marks(key.load(self.settings.key_file), self.routes._dialogs.run[0])
        in_dialog(self.ksr)
        value = marks.sealed(call_id=call_id, is_limited=True, **kind)
        if side == "the caller":
            self.ksr.receive(marks.request("BYE", value, call_id=call_id), source=(PBX, 5060))
        else:
            message = marks.request("BYE", value, call_id=call_id, uri=CALLER)
            tags = str.maketrans({"a": "b", "b": "a"})
            sides = re.sub("(?<=;tag=)[ab]", lambda found: found[0].translate(tags), message)
            self.ksr.receive(sides, source=("203.0.113.9", 5060))
        self.routes.ksr_request_route(None)
        self.ksr.world.loose_route, self.ksr.world.dialog = -1, None

    def tick(self) -> None:
        for _ in range(2):  # a note is read once there was time to write it
            self.ksr.receive(request())  # rtimer gives its routes a message of its own
            assert self.routes.NAMES(None, None) == 1

    def log(self) -> list[str]:
        return [line for level, line in self.ksr.log if level in ("warn", "notice", "err")]

    def _enter(self, _profile: str, trunk: str) -> int:
        self.up[trunk] += 1
        return 1

    def _leave(self, _profile: str, trunk: str) -> int:
        self.up[trunk] -= 1
        return 1

    def _size(self, _profile: str, trunk: str, _variable: str) -> int:
        self.ksr.state.avps["calls"] = [self.up[trunk]]
        return 1

    def _command(self, text: str) -> int:
        self.asked.append(json.loads(text)["params"])
        return 1


@pytest.fixture
def settings(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> Settings:
    """A state directory in which no call has been noted."""
    monkeypatch.setattr("kemi.names.rows.REST", 0)
    settings.calls_file.unlink(missing_ok=True)
    file = NamesFile(settings.names_file)
    file.open()
    file.keep({}, {}, places(literal(target_of(f"sip:{CARRIER}", ""))))
    file.close()
    return settings


@pytest.fixture
def node(ksr: MockKSR, settings: Settings) -> Iterator[Node]:
    found = Node(ksr, settings)
    yield found
    found.close()


@pytest.fixture
def restarted(node: Node, ksr_version: str) -> Iterator[Node]:
    """The next Kamailio, after one call over each trunk; nothing of the first one's memory is left."""
    assert (node.call("call-1"), node.call("call-2", "bob")) == ([], [])
    node.tick()
    other = MockKSR(ksr_version)
    with installed(other):
        found = Node(other, node.settings)
        yield found
        found.close()


def test_calls_of_before_a_restart_hold_their_places(restarted: Node) -> None:
    assert restarted.call("call-3") == FULL  # before that process has done anything
    restarted.tick()
    assert restarted.call("call-4") == FULL
    assert restarted.call("call-5", "bob") == []


@pytest.mark.parametrize("side", ["the caller", "the callee"])
def test_a_bye_of_either_side_gives_the_place_back(restarted: Node, side: str) -> None:
    restarted.bye("call-1", side)
    restarted.tick()
    assert restarted.call("call-3") == []


def test_a_bye_gives_it_back_for_every_kamailio_to_come(restarted: Node, ksr_version: str) -> None:
    restarted.bye("call-1")
    restarted.tick()
    with installed(MockKSR(ksr_version)) as third:
        found = Node(third, restarted.settings)
        assert found.call("call-3") == []
        found.close()


def test_a_call_that_outlives_two_restarts_is_counted_once(restarted: Node, ksr_version: str) -> None:
    restarted.tick()
    with installed(MockKSR(ksr_version)) as third:
        found = Node(third, restarted.settings)
        assert found.call("call-3") == FULL
        found.bye("call-1")
        found.tick()
        assert found.call("call-4") == []
        found.close()


def test_a_caller_who_does_not_know_the_call_gives_it_back(restarted: Node, monkeypatch: pytest.MonkeyPatch) -> None:
    restarted.tick()
    inherited = restarted.routes._holding._inherited
    (state,) = inherited._states.values()
    state.due = 0.0
    restarted.tick()
    (asked,) = restarted.asked
    assert asked[:4] == ["OPTIONS", f"sip:alice@{PBX}", f"sip:{PBX}:5060;transport=udp", "."]
    assert "To: <sip:alice@pbx.test>;tag=a\r\nCall-ID: call-1\r\nCSeq: 0 OPTIONS\r\n" in asked[4]
    restarted.ksr.tables.put("probes", "call-1", "[481, 0]")
    restarted.tick()
    assert restarted.call("call-3") == []


@pytest.fixture
def called(node: Node, ksr_version: str) -> Iterator[Node]:
    """The next Kamailio, after a call of the carrier's."""
    assert node.called("call-1") == []
    node.tick()
    with installed(MockKSR(ksr_version)) as other:
        found = Node(other, node.settings)
        yield found
        found.close()


def test_a_carriers_call_holds_its_place_too(called: Node) -> None:
    assert called.call("call-2") == called.called("call-3") == FULL
    called.bye("call-1", is_inbound=True)
    called.tick()
    assert called.called("call-3") == []


def test_the_pbx_is_asked_for_it(called: Node) -> None:
    called.tick()
    (state,) = called.routes._holding._inherited._states.values()
    assert state.call.question("") == Request(
        "OPTIONS", f"sip:1@{PBX}:5080", "", "<sip:alice@pbx.test>;tag=a",
        "To: <sip:4930123@192.0.2.1>;tag=carrier\r\nCall-ID: call-1\r\nCSeq: 0 OPTIONS\r\nMax-Forwards: 70\r\n"
        "Route: <sip:near.test;lr>\r\n",
    )  # fmt: skip


def test_a_call_that_its_carrier_sends_back_holds_two_places(node: Node, ksr_version: str) -> None:
    """With one Call-ID and one caller, and each ends with its own BYE."""
    assert node.call("call-1") == []
    node.up.clear()
    assert node.called("call-1") == []
    node.tick()
    with installed(MockKSR(ksr_version)) as other:
        found = Node(other, node.settings)
        assert found.routes._holding._inherited.counts() == {"narrow": 2}
        found.bye("call-1", is_inbound=True)
        found.tick()
        assert found.routes._holding._inherited.counts() == {"narrow": 1}
        found.close()


def test_calls_of_trunks_without_a_limit_are_not_noted(node: Node, settings: Settings) -> None:
    assert node.call("call-1", "bob") == []
    node.tick()
    assert not settings.calls_file.exists()


@pytest.mark.parametrize("damage", [b"\xff\xfe", b'[1, "torn', b"\0" * 100])
def test_a_damaged_file_costs_one_line_and_no_call(
    node: Node, settings: Settings, ksr_version: str, damage: bytes
) -> None:
    assert node.call("call-1") == []
    node.tick()
    settings.calls_file.write_bytes(damage + b"\n" + settings.calls_file.read_bytes())
    with installed(MockKSR(ksr_version)) as other:
        found = Node(other, settings)
        assert found.call("call-2") == FULL
        for _ in range(3):
            found.tick()
        told = [line for line in found.log() if "outcome=calls-" in line]
        assert told == ['outcome=calls-not-counted reason="1 of 2 lines cannot be read"\n']
        found.close()


def test_a_file_that_cannot_be_written_is_said_once_and_once_that_it_can_again(node: Node, settings: Settings) -> None:
    settings.calls_file.mkdir()
    for call_id in ("call-1", "call-2"):
        node.call(call_id)
        node.tick()
        node.bye(call_id)
        node.up.clear()
    settings.calls_file.rmdir()
    node.tick()
    node.tick()
    lines = [line for line in node.log() if "kept" in line]
    assert [line.split()[0] for line in lines] == ["outcome=calls-not-kept", "outcome=calls-kept"]
