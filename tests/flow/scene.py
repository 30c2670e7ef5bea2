"""What tests of the SIP flow share: the requests, the trunks, and the carrier's replies, over the mocked KSR."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from sqlalchemy import Engine, text

from kemi.dialog import mark
from kemi.dialog.mark import Mark
from kemi.handlers import Handlers
from kemi.names.file import NamesFile
from kemi.replica.keeper import Keeper
from kemi.settings import Settings
from kemi.start import run as start
from kemi.trunks.hops import Hop, Target
from kemi.trunks.tables import open_file
from tests.ksr.fixtures import installed
from tests.ksr.mock import MockKSR
from tests.ksr.state import Reply

PBX = "192.0.2.10"
LISTEN = "udp:192.0.2.1:5060 tcp:192.0.2.1:5060 tcp:[2001:db8::1]:5060"
CALLER = f"sip:alice@{PBX}"  # its Contact
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
 ('no-next-hop', 'erin', '', '', 'carrier', '', 'erin', 'correct horse', '', ''),
 ('bad-socket', 'frank', '', 'carrier.test', '', '', 'frank', 'correct horse', '', 'udp:198.51.100.99:5060'),
 ('own-socket', 'grace', '', 'carrier.test', '', '', 'grace', 'correct horse', '', 'udp:192.0.2.1:5060'),
 ('no-secret', 'heidi', '', 'carrier.test', 'carrier', 'sip:sbc.carrier.test', 'heidi', '', '', ''),
 ('by-address', 'judy', '', '', 'carrier', 'sip:203.0.113.5', 'judy', 'correct horse', '', '')
"""

# Where the next hops of those rows are, and a host of the callee's.
HOSTS = {
    "sbc.carrier.test": "192.0.2.50",
    "carrier.test": "192.0.2.51",
    "bobs.test": "192.0.2.52",
    "far.test": "192.0.2.53",
}
SBC = "sip:192.0.2.50:5060;transport=udp"


def request(
    method: str = "INVITE",
    uri: str = "sip:4930123@192.0.2.1:5060;transport=udp",
    caller: str = "<sip:alice@pbx.test>",
    to_tag: str = "",
    headers: str = "",
    cseq: int | str = 1,
    call_id: str = "call-1",
    body: str = "",
) -> str:
    contact = "" if "Contact:" in headers else f"Contact: <{CALLER}>\r\n"
    return (
        f"{method} {uri} SIP/2.0\r\n"
        f"Via: SIP/2.0/UDP {PBX};branch=z9hG4bK1\r\n"
        "Max-Forwards: 70\r\n"
        f"From: {caller};tag=a\r\n"
        f"To: <sip:4930123@192.0.2.1>{';tag=' + to_tag if to_tag else ''}\r\n"
        f"Call-ID: {call_id}\r\n"
        f"CSeq: {cseq} {method}\r\n"
        f"{contact}{headers}"
        f"Content-Length: {len(body)}\r\n\r\n{body}"
    )


Send = Callable[..., None]


def execute(engine: Engine, statement: str) -> None:
    with engine.connect() as connection:
        connection.execute(text(statement))


def resolve_hosts(settings: Settings) -> None:
    """Have the names of the rows resolved."""
    file = NamesFile(settings.names_file)
    file.open()
    hops = {Target(name).key: (Hop(address, 5060, "udp", name),) for name, address in HOSTS.items()}
    next_hops = frozenset(f"{address} 5060" for address in HOSTS.values())
    file.keep({**hops, Target("nowhere.test").key: ()}, {}, next_hops)
    file.close()


def routes_with(settings: Settings, environment: dict[str, str] | None = None) -> Handlers:
    """Return the routes in a SIP worker."""
    names = {"TRUNKAUTH_STATE_DIR": str(settings.state_dir), "TRUNKAUTH_LISTEN": LISTEN, **(environment or {})}
    routes = Handlers(Settings.from_environment(names))
    routes.child_init(1)
    return routes


def reply(ksr: MockKSR, routes: Handlers, code: int, *headers: str) -> None:
    """A reply of the carrier comes; the reply route that is armed is run."""
    with ksr.reply_route(code, "So", headers) as route:
        assert getattr(routes, route)(None) == 1


def fail(ksr: MockKSR, routes: Handlers, code: int, *headers: str) -> None:
    """The carrier's final reply comes; whichever reply and failure routes are armed are run."""
    if ksr.state.reply_route:
        reply(ksr, routes, code, *headers)
    with ksr.failure_route(code, "No", headers) as route:
        assert getattr(routes, route)(None) == 1


def challenge(ksr: MockKSR, routes: Handlers, value: str = CHALLENGE, code: int = 407) -> None:
    name = {401: "WWW-Authenticate", 407: "Proxy-Authenticate"}[code]
    fail(ksr, routes, code, f"{name}: {value}")


def credential_avps(ksr: MockKSR) -> list[str | int]:
    """What the credential AVPs hold now."""
    return [value for name in ("auser", "apass", "arealm") for value in ksr.state.avps.get(name, [])]


def cseqs(ksr: MockKSR) -> list[str | None]:
    """The CSeq of each message that left for the request at hand."""
    return [relayed.message.get("CSeq") for relayed in ksr.relayed]


CALLEE = "sip:callee@203.0.113.5:5060"  # where replies come from
BERLIN = "sip:sbc.carrier.test carrier.test"  # its destination


class Marks:
    """Marks that this deployment has sealed, of dialogs that request() belongs to."""

    def __init__(self, key: bytes, run: int) -> None:
        self.key = key
        self.now = int(time.time())
        back = mark.fingerprint(self.key, f"{PBX} 5060 udp")
        self.mark = Mark(1, mark.fingerprint(self.key, BERLIN), back, 1, 0, self.now, run)

    def sealed(self, call_id: str = "call-1", tag: str = "a", **changes: Any) -> str:
        """Return the parameter's value for a dialog that the trunk berlin was asked for; tag: of its first sender."""
        return mark.seal(self.key, self.mark._replace(**changes), mark.dialog_id(call_id, tag))

    def request(self, method: str, value: str | None = None, headers: str = "", **others: Any) -> str:
        """Return a request inside the dialog, which comes with our Route."""
        others.setdefault("uri", CALLEE)
        route = f"Route: <sip:192.0.2.1;lr;ta={self.sealed() if value is None else value}>\r\n"
        return request(method, headers=route + headers, **{"to_tag": "b", **others})


@contextmanager
def another_worker(ksr: MockKSR) -> Iterator[MockKSR]:
    """Another SIP worker of the same Kamailio: it has a request of its own at hand."""
    other = MockKSR(ksr.version, ksr.handlers, ksr.tables)
    other.world = ksr.world
    with installed(other):
        yield other


def in_dialog(ksr: MockKSR) -> None:
    """The next request has a Route of ours, and its dialog is tracked."""
    ksr.world.loose_route = 1
    ksr.world.dialog = {"peer": f"{ksr.world.carrier} 5060 udp"}


def changed(path: Path, statement: str) -> None:
    """The DBA changes the embedded database of this state directory."""
    engine = open_file(path / "trunkauth.sqlite")
    execute(engine, statement)
    engine.dispose()


def copied(settings: Settings, *statements: str) -> None:
    """The DBA has changed the embedded database, and the keeper has copied it."""
    for statement in statements:
        changed(settings.state_dir, statement)
    keeper = Keeper.of(settings)
    keeper.tick()
    keeper.close()


def started(settings: Settings, statement: str = "") -> None:
    """Make the embedded database, and its copy, as `python -m kemi run` does. statement: what is in it by then."""
    settings.local_file.parent.chmod(0o700)
    start.make_tables(settings)
    if statement:
        changed(settings.state_dir, statement)
    for file in settings.state_dir.glob("*.sqlite"):
        file.chmod(0o600)
    start.prepare_database(settings)


def raising(error: BaseException) -> Callable[..., None]:
    """A function of KSR that raises."""

    def answer(*_: object) -> None:
        raise error

    return answer
