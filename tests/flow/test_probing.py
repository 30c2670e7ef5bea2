"""Probes of trunks, over the mocked KSR: what goes out, and what calls do when nothing comes back."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from types import SimpleNamespace

import pytest

from kemi.settings import Settings
from tests.flow.scene import PBX, copied, raising, request, routes_with
from tests.ksr.mock import MockKSR

ROWS = """
INSERT INTO uacreg (l_uuid, l_username, r_domain, realm, auth_proxy, auth_username, auth_password, socket)
VALUES
 ('one', 'alice', 'one.test', 'carrier', 'sip:203.0.113.1', 'u1', 'p1', 'udp:192.0.2.1:5060'),
 ('two', 'alice', '', 'carrier', 'sip:203.0.113.2', 'u2', 'p2', '')
"""
POLICIES = "INSERT INTO trunk (l_uuid, priority, probe) VALUES ('one', 1, 10), ('two', 2, 0)"
TO_ONE, ONE, TWO = "sip:203.0.113.1", "sip:203.0.113.1:5060;transport=udp", "sip:203.0.113.2"


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> SimpleNamespace:
    """The clock of probes, which a test moves."""
    found = SimpleNamespace(now=1000.0)
    monkeypatch.setattr("kemi.health.probing.time", SimpleNamespace(monotonic=lambda: found.now))
    return found


class Node:
    """A Kamailio whose process NAMES probes trunks."""

    def __init__(self, pbx: MockKSR, settings: Settings, clock: SimpleNamespace) -> None:
        self.pbx = pbx
        self.settings = settings
        self.clock = clock
        self.routes = routes_with(settings)
        pbx.handlers = self.routes
        self.sent: list[list[str]] = []
        self.can_send = True
        pbx.answer("jsonrpcs.exec", self._command)

    def close(self) -> None:
        self.routes.trunks.close()
        if self.routes._work:
            self.routes._work.close()

    def tick(self, seconds: float = 0.0) -> None:
        """Let time pass, and the process work once."""
        self.clock.now += seconds
        self.pbx.receive(request())  # rtimer gives its routes a message of its own
        assert self.routes.NAMES(None, None) == 1

    def probe(self) -> None:
        """Wait until a probe goes out."""
        before = len(self.sent)
        while len(self.sent) == before:
            self.tick(1.0)

    def miss(self) -> None:
        """Have a probe go out, and nothing come back."""
        self.probe()
        self.tick(self.settings.try_seconds)

    def hear(self, status: int, *headers: str) -> None:
        """Have a probe go out, and be answered."""
        self.probe()
        self.pbx.tm.t_relay()
        with self.pbx.reply_route(status, "So", headers) as route:
            assert getattr(self.routes, route)(None) == 1
        self.tick()

    def call(self) -> str:
        """Return where a call goes."""
        self.routes.trunks.look_again()
        self.pbx.receive(request(), source=(PBX, 5060))
        self.routes.ksr_request_route(None)
        return self.pbx.relayed[0].next_hop

    def log(self) -> list[str]:
        return [line for level, line in self.pbx.log if level in ("warn", "notice", "err")]

    def _command(self, text: str) -> int:
        asked = json.loads(text)
        self.pbx.world.rpc_code = 200 if self.can_send else 500
        assert asked["method"] == "tm.t_uac_start"
        self.sent.append(asked["params"])
        self.pbx.receive(f"OPTIONS {asked['params'][1]} SIP/2.0\r\n{asked['params'][4]}\r\n")
        assert self.routes.LOCAL_REQUEST(None, "tm:local-request") == 1
        self.armed = dict(self.pbx.armed)
        return 1


@pytest.fixture
def node(pbx: MockKSR, settings: Settings, clock: SimpleNamespace, monkeypatch: pytest.MonkeyPatch) -> Iterator[Node]:
    monkeypatch.setattr("kemi.names.rows.REST", 0)
    found = Node(pbx, settings, clock)
    yield found
    found.close()


def test_a_probe_is_an_options_to_the_trunks_place(node: Node) -> None:
    node.probe()
    (probe,) = node.sent
    method, uri, next_hop, socket, fields = probe
    assert (method, uri, next_hop, socket) == ("OPTIONS", "sip:one.test", ONE, "udp:192.0.2.1:5060")
    sender, _, fields = fields.partition("\r\n")
    assert sender.startswith("From: <sip:one.test>;tag=")
    assert node.pbx.called("hdr.append") == [(f"{sender}\r\n",)]  # Kamailio has put a second tag into it
    assert fields.startswith("To: <sip:one.test>\r\nCall-ID: ")
    assert node.armed == {"reply": "PROBE_REPLY"}
    assert node.pbx.called("tm.t_set_fr") == [(0, 4000)]  # Kamailio repeats it no longer than somebody waits


def test_calls_pass_a_trunk_over_that_does_not_answer_until_it_does(node: Node) -> None:
    for _ in range(2):
        node.miss()
        assert node.call() == TO_ONE
    node.miss()
    call_id = node.sent[-1][4].partition("Call-ID: ")[2].partition("\r\n")[0]
    assert node.log() == [f'trunk=one outcome=down reason="silent to OPTIONS" call-id={call_id}\n']
    assert node.call() == TWO
    node.miss()
    assert len(node.log()) == 1
    node.hear(401)
    assert re.search(r"trunk=one outcome=up-again seconds=[0-9]+ call-id=", node.log()[1])
    assert node.call() == TO_ONE


def test_what_can_not_be_sent_and_503_count_like_silence(node: Node) -> None:
    node.hear(503)
    node.hear(408)
    node.can_send = False
    node.probe()
    assert 'trunk=one outcome=down reason="OPTIONS cannot be sent"' in node.log()[0]


def test_a_503_with_retry_after_leaves_the_trunk_out_at_once(node: Node) -> None:
    node.hear(503, "Retry-After: 60")
    assert (node.call(), node.log()) == (TWO, [])


def test_trunks_without_probe_or_disabled_are_not_probed(node: Node, changing: Settings) -> None:
    node.probe()
    copied(changing, "UPDATE trunk SET enabled = 0")
    for _ in range(30):
        node.tick(1.0)
    assert len(node.sent) == 1


def test_a_row_that_changes_is_probed_anew(node: Node, changing: Settings) -> None:
    node.miss()
    node.miss()
    copied(changing, "UPDATE uacreg SET auth_proxy = 'sip:203.0.113.9' WHERE l_uuid = 'one'")
    node.miss()
    assert (node.sent[-1][2], node.log()) == ("sip:203.0.113.9:5060;transport=udp", [])


@pytest.mark.usefixtures("clock")
def test_a_fault_in_the_reply_is_logged(node: Node) -> None:
    node.pbx.answer("htable.sht_sets", raising(RuntimeError()))
    node.hear(200)
    assert node.log()[0].startswith("fault=RuntimeError@")
