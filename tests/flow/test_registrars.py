"""Registrations over the mocked KSR: what is learned of each REGISTER, and which are tried again when."""

from __future__ import annotations

import contextlib
import random
import sqlite3
import time
from collections.abc import Iterator

import pytest

from kemi.handlers import Handlers
from kemi.line import word
from kemi.names import registering
from kemi.settings import Settings
from tests.flow.scene import copied, reply, request
from tests.ksr.mock import MockKSR

UP, UNDER_WAY, DISABLED, IDLE, UNKNOWN = 1, -2, -3, -99, -1
REGISTER = request("REGISTER", uri="sip:d", caller="<sip:c@d>", headers="Contact: <sip:t@192.0.2.1:5060>\r\n")
PLAIN = 'WWW-Authenticate: Digest realm="carrier", nonce="n1", qop="auth"'
INSERT = (
    "INSERT INTO uacreg (l_uuid, l_username, l_domain, r_username, r_domain, auth_username, auth_password,"
    " auth_proxy, expires) "
    "VALUES "
)
ROW = "('{uuid}', 'a', 'b', 'c', 'd', 'u', 'p', 'sip:192.0.2.9', {expires})"
ROWS = f"{INSERT} {ROW.format(uuid='t', expires=60)}, {ROW.format(uuid='calls only', expires=0)}"


class Uac:
    """The uac module: the state of each record, and what it was told to do."""

    def __init__(self, pbx: MockKSR) -> None:
        self.pbx = pbx
        self.states: dict[str, int] = {}
        self.now = 1000.0
        pbx.answer("uac.uac_reg_status", lambda uuid: self.states.get(uuid, UNKNOWN))
        pbx.answer("uac.uac_reg_disable", lambda _, uuid: 1 if uuid in self.states else -2)
        pbx.answer("uac.uac_reg_enable", 1)
        pbx.world.rpc_code = 200
        pbx.receive(request())  # rtimer gives its routes a message of its own

    @property
    def tried(self) -> list[str]:
        """The trunks that were enabled, each after it was disabled."""
        disabled = [uuid for _, uuid in self.pbx.called("uac.uac_reg_disable") if uuid in self.states]
        assert [("l_uuid", uuid) for uuid in disabled] == self.pbx.called("uac.uac_reg_enable")
        return disabled

    @property
    def told(self) -> list[tuple[str, str]]:
        return [(level, line) for level, line in self.pbx.log if "registered" in line]

    def ends(self, routes: Handlers, status: int | None) -> None:
        """The module sends a REGISTER, and this is the final reply, None if there is none: its transaction is over."""
        self.pbx.receive(REGISTER)
        routes.LOCAL_REQUEST(None, "tm:local-request")
        assert self.pbx.armed == {"reply": "REGISTER_REPLY"}
        if status is not None:
            self.pbx.tm.t_relay()  # the mock runs reply routes of requests that were relayed
            reply(self.pbx, routes, 100)
            reply(self.pbx, routes, status, *([PLAIN] if status == 401 else []))
        self.states["t"] = UP if status == 200 else IDLE
        self.pbx.receive(request())


@pytest.fixture
def uac(pbx: MockKSR, monkeypatch: pytest.MonkeyPatch) -> Uac:
    uac = Uac(pbx)
    monkeypatch.setattr(time, "monotonic", lambda: uac.now)
    monkeypatch.setattr(random, "random", lambda: 0.0)
    return uac


@pytest.fixture
def keeper(settings: Settings, monkeypatch: pytest.MonkeyPatch, uac: Uac) -> Iterator[Handlers]:
    """The routes in the rtimer's process, with one trunk that registers and one that does not."""
    monkeypatch.setattr("kemi.names.rows.REST", 0)
    routes = Handlers(settings)
    look(uac, routes, -1)  # the first one offers all rows to the module
    uac.pbx.calls.clear()
    yield routes
    if routes._work:
        routes._work.close()


def look(uac: Uac, routes: Handlers, at: float) -> None:
    """A tick of the process that keeps trunks registered, at this time."""
    uac.now = 1000.0 + at
    assert routes.NAMES(None, None) == 1


@pytest.mark.parametrize(("password", "ha1", "known"), [
    ("p", "a0" * 16, ("p", "a0" * 16)),
    ("p", "a0" * 32, ("p", "")),
    ("", "a0" * 32, ("", "0" * 32)),  # it reads no row without any secret
])  # fmt: skip
def test_the_module_gets_no_ha1_that_is_longer_than_its_room_for_one(
    uac: Uac, keeper: Handlers, changing: Settings, password: str, ha1: str, known: tuple[str, str]
) -> None:
    copied(changing, f"UPDATE uacreg SET auth_password = '{password}', auth_ha1 = '{ha1}' WHERE l_uuid = 't'")
    look(uac, keeper, 1)
    with contextlib.closing(sqlite3.connect(changing.names_file)) as file:
        assert file.execute("SELECT auth_password, auth_ha1 FROM registrations").fetchall() == [known]


def test_a_contact_of_kamailio_6_2_names_its_trunk_beside_contact_user(uac: Uac, keeper: Handlers) -> None:
    contact = "Contact: <sip:4930@192.0.2.1:5060;line=t>\r\n"
    uac.pbx.receive(request("REGISTER", uri="sip:d", caller="<sip:c@d>", headers=contact))
    keeper.LOCAL_REQUEST(None, "tm:local-request")
    assert uac.pbx.tables.get("registers", "t") == 0


def is_refused(uac: Uac) -> bool:
    """Return True if `kemi-trunkauth trunks` shows that the registrar refuses."""
    return uac.pbx.htable.sht_get("registers", "t\nrefused") is not None


FAILURES = {
    "silence": (None, "the registrar is silent", 30),
    "503": (503, "the registrar says 503", 30),
    "404": (404, "the registrar says 404", 30),
    "403": (403, "the registrar refuses: 403", 1800),
    "a password that is refused": (401, "the registrar refuses: 401", 1800),
}


@pytest.mark.parametrize(("status", "reason", "wait"), FAILURES.values(), ids=FAILURES)
def test_a_registration_that_failed_is_tried_again(
    uac: Uac, keeper: Handlers, status: int | None, reason: str, wait: int
) -> None:
    uac.ends(keeper, status)
    look(uac, keeper, 0)
    assert is_refused(uac) == (wait == 1800)
    look(uac, keeper, wait - 1)
    assert uac.tried == []
    look(uac, keeper, wait)
    assert uac.tried == ["t"]
    assert uac.told == [("warn", f"trunk=t outcome=unregistered reason={word(reason)} next-seconds={wait}\n")]
    uac.ends(keeper, 200)
    look(uac, keeper, wait + 5)
    assert uac.told[1:] == [("notice", f"trunk=t outcome=registered seconds={wait + 5}\n")]
    assert not is_refused(uac)
    look(uac, keeper, 100_000)
    assert uac.tried == ["t"]


def test_a_row_that_the_module_has_not_read_is_offered_to_it_once(
    uac: Uac, keeper: Handlers, changing: Settings
) -> None:
    """At the first look, or when it has changed; not again if the module cannot use it."""

    def refreshed() -> int:
        return sum("uac.reg_refresh" in command for (command,) in uac.pbx.called("jsonrpcs.exec"))

    for at in range(3):
        look(uac, keeper, at)
    assert refreshed() == 0
    copied(changing, "UPDATE uacreg SET r_username = 'another'")
    look(uac, keeper, 3)
    assert refreshed() == 1


@pytest.mark.parametrize("state", [UP, UNDER_WAY, DISABLED, UNKNOWN])
def test_whatever_has_not_failed_is_left_alone(uac: Uac, keeper: Handlers, state: int) -> None:
    """A record that is disabled is so by the DBA's or operator's will."""
    uac.ends(keeper, 503)
    uac.states["t"] = state
    for at in range(0, 7200, 60):
        look(uac, keeper, at)
    assert (uac.tried, uac.told) == ([], [])


def test_credentials_that_are_accepted_after_a_challenge_are_no_failure(uac: Uac, keeper: Handlers) -> None:
    uac.ends(keeper, 401)
    uac.states["t"] = UNDER_WAY
    look(uac, keeper, 0)
    uac.ends(keeper, 200)
    uac.states["t"] = IDLE  # between two registrations
    look(uac, keeper, 1)
    assert (uac.tried, uac.told) == ([], [])


def test_an_interval_that_is_too_brief_is_left_to_the_module(uac: Uac, keeper: Handlers) -> None:
    uac.ends(keeper, 423)
    look(uac, keeper, 0)
    assert uac.told == []


def test_silence_after_a_challenge_is_no_refusal(uac: Uac, keeper: Handlers) -> None:
    uac.ends(keeper, 401)
    uac.ends(keeper, None)
    look(uac, keeper, 0)
    assert uac.told == [("warn", 'trunk=t outcome=unregistered reason="the registrar is silent" next-seconds=30\n')]


def test_a_row_that_changed_starts_anew(uac: Uac, keeper: Handlers, changing: Settings) -> None:
    uac.ends(keeper, 403)
    look(uac, keeper, 0)
    copied(changing, "UPDATE uacreg SET auth_password = 'another'")
    look(uac, keeper, 1)
    assert uac.pbx.called("jsonrpcs.exec")[-1][0].count("uac.reg_refresh") == 1
    look(uac, keeper, 3600)
    assert uac.tried == []


def test_many_registrations_are_looked_at_in_turn(
    uac: Uac, keeper: Handlers, changing: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(registering, "LOOKED_AT", 2)
    copied(changing, INSERT + ", ".join(ROW.format(uuid=f"t{number}", expires=60) for number in range(4)))
    for at in range(3):
        look(uac, keeper, at)
    asked = [uuid for (uuid,) in uac.pbx.called("uac.uac_reg_status")]
    assert sorted(asked) == ["t", "t0", "t1", "t2", "t3"]


def test_the_list_that_holds_passwords_is_never_asked_for(uac: Uac, keeper: Handlers) -> None:
    uac.ends(keeper, 503)
    for at in range(0, 300, 10):
        look(uac, keeper, at)
    assert uac.tried
    commands = [command for (command,) in uac.pbx.called("jsonrpcs.exec")]
    assert not any("reg_dump" in command or "reg_info" in command for command in commands)
