"""What tests of the SIP flow share: the requests, the trunks, and the carrier's replies, over the mocked KSR."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from sqlalchemy import Engine, text

from kemi.auth import codec
from kemi.auth.codec import Route
from kemi.handlers import Handlers
from kemi.settings import Settings
from kemi.trunks.tables import open_file
from tests.ksr.mock import MockKSR
from tests.ksr.state import Reply

PBX = "192.0.2.10"
PASSWORD = "correct horse"
CHALLENGE = 'Digest realm="carrier", nonce="n1", algorithm=MD5, qop="auth"'
STALE = 'Digest realm="carrier", nonce="n2", algorithm=MD5, qop="auth", stale=true'
FAILED = Reply(503, "Trunk Authentication Failed")

INSERT_TRUNKS = """
INSERT INTO uacreg
 (l_uuid, l_username, l_domain, r_domain, realm, auth_proxy, auth_username, auth_password, auth_ha1, socket)
VALUES
 ('berlin', 'alice', 'pbx.test', 'carrier.test', 'carrier', 'sip:sbc.carrier.test', 'u4711', 'correct horse', '', ''),
 ('any-domain', 'bob', '', 'bobs.test', '', '', 'bob', 'correct horse', '', ''),
 ('plain', 'carol', '', '', 'carrier', 'sip:sbc.carrier.test', 'carol', 'correct horse', '', ''),
 ('ha1-only', 'dave', '', 'carrier.test', 'carrier', 'sip:sbc.carrier.test', 'dave', '',
  '0123456789abcdef0123456789abcdef', ''),
 ('bad-ha1', 'ivan', '', 'carrier.test', 'carrier', 'sip:sbc.carrier.test', 'ivan', 'correct horse', 'x', ''),
 ('no-next-hop', 'erin', '', '', '', '', 'erin', 'correct horse', '', ''),
 ('bad-socket', 'frank', '', 'carrier.test', '', '', 'frank', 'correct horse', '', 'udp:198.51.100.99:5060'),
 ('own-socket', 'grace', '', 'carrier.test', '', '', 'grace', 'correct horse', '', 'udp:192.0.2.1:5060'),
 ('no-secret', 'heidi', '', 'carrier.test', 'carrier', 'sip:sbc.carrier.test', 'heidi', '', '', '')
"""


def request(
    method: str = "INVITE",
    uri: str = "sip:4930123@192.0.2.1:5060;transport=udp",
    caller: str = "<sip:alice@pbx.test>",
    to_tag: str = "",
    headers: str = "",
) -> str:
    return (
        f"{method} {uri} SIP/2.0\r\n"
        f"Via: SIP/2.0/UDP {PBX};branch=z9hG4bK1\r\n"
        "Max-Forwards: 70\r\n"
        f"From: {caller};tag=a\r\n"
        f"To: <sip:4930123@192.0.2.1>{';tag=' + to_tag if to_tag else ''}\r\n"
        "Call-ID: call-1\r\n"
        f"CSeq: 1 {method}\r\n"
        f"{headers}"
        "Content-Length: 0\r\n\r\n"
    )


Send = Callable[..., None]


def execute(engine: Engine, statement: str) -> None:
    with engine.connect() as connection:
        connection.execute(text(statement))


def routes_with(settings: Settings, environment: dict[str, str] | None = None) -> Handlers:
    names = {"TRUNKAUTH_STATE_DIR": str(settings.state_dir), **(environment or {})}
    routes = Handlers(Settings.from_environment(names))
    routes.child_init(1)
    return routes


def reply(ksr: MockKSR, routes: Handlers, code: int, *headers: str) -> None:
    """A reply of the carrier comes; the reply route that is armed is run."""
    with ksr.reply_route(code, "So", headers) as route:
        assert getattr(routes, route)(None) == 1


def fail(ksr: MockKSR, routes: Handlers, code: int, *headers: str) -> None:
    """The carrier's final reply comes; whichever failure route is armed is run."""
    with ksr.failure_route(code, "No", headers) as route:
        assert getattr(routes, route)(None) == 1


def challenge(ksr: MockKSR, routes: Handlers, value: str = CHALLENGE, code: int = 407) -> None:
    name = {401: "WWW-Authenticate", 407: "Proxy-Authenticate"}[code]
    fail(ksr, routes, code, f"{name}: {value}")


def credential_avps(ksr: MockKSR) -> list[str | int]:
    """What the credential AVPs hold now."""
    return [value for name in ("auser", "apass", "arealm") for value in ksr.state.avps.get(name, [])]


def dialog_route(uuid: str, carrier: str = "sip:sbc.carrier.test carrier.test") -> str:
    """A dialog's route: its trunk, and the destination that the row named."""
    return codec.route_text(Route(uuid, carrier))


def in_dialog(ksr: MockKSR, trunk: str = "berlin", from_tag: str = "a") -> None:
    """The next request has our Route, and its dialog is known; the dialog's caller has this From tag."""
    ksr.world.loose_route = 1
    ksr.world.dialog = {"trunk": dialog_route(trunk), "peer": ksr.world.carrier}
    ksr.world.dialog_from_tag = from_tag


def changed(path: Path, statement: str) -> None:
    """The DBA changes the embedded database of this state directory."""
    engine = open_file(path / "trunkauth.sqlite")
    execute(engine, statement)
    engine.dispose()


def raising(error: BaseException) -> Callable[..., None]:
    """A function of KSR that raises."""

    def answer(*_: object) -> None:
        raise error

    return answer
