"""`python -m tests.live.compare [--container]` prints a table of docs/calls.md: the same calls through the recipe
as it is (recipe.cfg) and through this package, on the same Kamailio, with the same strict carrier behind it.

A row is a carrier's behaviour and the calls that meet it. The same requests go to both proxies, and what a cell says is
read off the wire (outcome.py). Exit status 0 only if every row came out here as it should.
"""

from __future__ import annotations

import argparse
import contextlib
import secrets
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from tests.harness.agent import SDP, Exchange, Served
from tests.harness.caller import Caller
from tests.harness.carrier import Carrier, Script
from tests.harness.endpoint import Address
from tests.harness.message import Message
from tests.harness.node import Installation, Kamailio, Native, Options
from tests.harness.outcome import Observed, Terms, outcome
from tests.harness.verifier import Challenge, Offer, ha1
from tests.live import recipe

TERMS = Terms()
USER, PASSWORD = "u4711", f"pw-{secrets.token_hex(8)}"
HA1 = ha1("MD5", USER, TERMS.realm, PASSWORD)
FINAL_WITHIN = 4.0  # seconds until a request counts as unanswered
ACKS_WITHIN = 2.0
LISTED, STRANGER = "127.0.0.1", "127.0.0.2"
FOR_EVER = 1000

# From user -> what the trunk's row has for that caller. The recipe has the password for all, and the HA1 for `ha1`.
SECRETS: Mapping[str, Mapping[str, str]] = {
    "100": {"auth_password": PASSWORD},
    "ha1": {"auth_ha1": HA1},
    "ha1-sha256": {"auth_ha1": ha1("SHA-256", USER, TERMS.realm, PASSWORD)},
}


@dataclass(frozen=True)
class Stage:
    """A carrier, and a caller whose calls for it go through one of the proxies."""

    caller: Caller
    carrier: Carrier

    def request(self, method: str, user: str = "100", body: bytes = b"") -> Exchange:
        """A request outside any dialog, for the carrier."""
        host, port = self.carrier.address
        return self.caller.request(method, f"sip:5551234@{host}:{port}", sender=f"sip:{user}@pbx.test", body=body)

    def final(self, exchange: Exchange) -> Message | None:
        """The final response; None where it does not come in time."""
        with contextlib.suppress(AssertionError):
            return self.caller.wait("a final response", lambda: exchange.final, FINAL_WITHIN)
        return None


Play = Callable[[Stage], list[Exchange]]


def call(*then: str, user: str = "100") -> Play:
    """An INVITE; once it is accepted, a request of each of these methods inside its dialog, and a BYE."""

    def play(stage: Stage) -> list[Exchange]:
        invite = stage.request("INVITE", user, SDP)
        final = stage.final(invite)
        if final is None or final.status >= 300:
            return [invite]
        made = [invite]
        for method in (*then, "BYE"):
            made.append(invite.inside(method, body=SDP if method == "INVITE" else b""))
            stage.final(made[-1])
        return made

    return play


def cancelled_call(stage: Stage) -> list[Exchange]:
    """An INVITE that the caller gives up while it rings."""
    invite = stage.request("INVITE", body=SDP)
    with contextlib.suppress(AssertionError):
        invite.expect(180, FINAL_WITHIN)
        stage.final(invite.cancel())
        stage.final(invite)
    return [invite]


def text_message(stage: Stage) -> list[Exchange]:
    """A request that starts no dialog."""
    exchange = stage.request("MESSAGE")
    stage.final(exchange)
    return [exchange]


def in_turn(*plays: Play) -> Play:
    """One after the other, through the same worker."""
    return lambda stage: [exchange for play in plays for exchange in play(stage)]


def offering(*offers: Offer, joined: bool = False, method: str = "INVITE") -> Script:
    """A carrier that challenges requests of one kind with these offers."""
    return Script(challenge=Challenge(offers=offers, joined=joined, requests=frozenset({method})))


MD5, SHA_256 = Offer("MD5"), Offer("SHA-256")
CHALLENGING, CALL = offering(MD5), call()
REFUSED, UNLISTED = replace(TERMS, right_password=False), replace(TERMS, listed=False)


@dataclass(frozen=True)
class Row:
    """A carrier's behaviour, and the calls that meet it. expected: the package's cell, if all is as it should be."""

    name: str
    script: Script = CHALLENGING
    play: Play = CALL
    expected: str = "answered"
    terms: Terms = TERMS


# The rows with an HA1 come last: one process plays them all, and uac_auth_mode(1) leaves its mark on it.
ROWS = (
    Row("MD5, `qop=auth`"),
    Row("MD5 without qop (RFC 2069)", offering(Offer(qop=""))),
    Row("MD5, `auth` or `auth-int`", offering(Offer(qop="auth,auth-int"))),
    Row("MD5, `auth-int` alone", offering(Offer(qop="auth-int"))),
    Row("MD5-sess", offering(Offer("MD5-sess"))),
    Row("SHA-256 alone", offering(SHA_256)),
    Row("SHA-512-256 alone", offering(Offer("SHA-512-256"))),
    Row("SHA-256 first, then MD5 (RFC 8760)", offering(SHA_256, MD5)),
    Row("SHA-256 and MD5 in one header field", offering(SHA_256, MD5, joined=True)),
    Row("a nonce that is stale once", Script(Challenge(stale=1))),
    Row("a nonce that is stale for ever", Script(Challenge(stale=FOR_EVER)), expected="503 after 5 INVITEs"),
    Row("a password that the carrier refuses", expected="503 after 2 INVITEs", terms=REFUSED),
    Row("a proxy's 407, then the far end's 401", Script(Challenge(407), behind=Challenge(401))),
    Row("a challenged re-INVITE", offering(MD5, method="re-INVITE"), call("INVITE")),
    Row("a challenged BYE", offering(MD5, method="BYE")),
    Row("CANCEL after MD5", replace(CHALLENGING, final=None), cancelled_call, expected="cancelled"),
    Row("CANCEL after SHA-256", replace(offering(SHA_256), final=None), cancelled_call, expected="cancelled"),
    Row("busy after MD5", replace(CHALLENGING, final=486), expected="486"),
    Row("busy after SHA-256", replace(offering(SHA_256), final=486), expected="486"),
    Row("SHA-256 for a MESSAGE", offering(SHA_256, method="MESSAGE"), text_message),
    Row("a challenge for another realm", Script(Challenge(realm="elsewhere.test")), expected="503"),
    Row("a call from an address that is not listed", expected="403", terms=UNLISTED),
    Row("an HA1 for SHA-256", offering(SHA_256), call(user="ha1-sha256")),
    Row("an HA1 for MD5", play=call(user="ha1")),
    Row("an HA1, then a password, in one worker", play=in_turn(call(user="ha1"), CALL)),
)


class BoundedCarrier(Carrier):
    """A carrier that falls silent where a call would never end."""

    def answer(self, served: Served) -> None:
        if len(self.received("INVITE")) < TERMS.last_invite:
            super().answer(served)


@dataclass(frozen=True)
class Line:
    """A row of the table, played."""

    row: Row
    recipe: str
    package: str

    @property
    def as_expected(self) -> bool:
        return self.package == self.row.expected


def compare(installation: Installation, workspace: Path) -> tuple[str, list[Line]]:
    """Play every row through both; returns Kamailio's version and the lines."""
    with (
        installation.running(Options(workers=1, callers=(LISTED,))) as package,
        recipe.running(installation.image, package.version, USER, PASSWORD, HA1, workspace) as plain,
    ):
        lines = []
        for row in ROWS:
            through_recipe = _play(row, plain.sip, lambda _: contextlib.nullcontext())
            through_package = _play(row, package.sip, lambda carrier: _trunks(package, carrier))
            lines.append(Line(row, outcome(through_recipe, row.terms), outcome(through_package, row.terms)))
        return package.version, lines


def _play(row: Row, proxy: Address, prepared: Callable[[Carrier], contextlib.AbstractContextManager[None]]) -> Observed:
    """One row through one proxy, with a carrier and a caller of its own."""
    password = PASSWORD if row.terms.right_password else f"not-{PASSWORD}"
    with (
        BoundedCarrier(row.script, {USER: password}) as carrier,
        Caller(proxy, host=LISTED if row.terms.listed else STRANGER) as caller,
        prepared(carrier),
    ):
        exchanges = row.play(Stage(caller, carrier))
        unacknowledged = []
        if carrier.received("INVITE"):
            try:
                carrier.expect_acks(ACKS_WITHIN)
            except AssertionError:
                unacknowledged = ["a final response without its ACK"]
        return Observed(
            finals=[exchange.final for exchange in exchanges],
            received=_requests(carrier),
            verdicts=[verdict for _, _, verdict in carrier.verdicts],
            faults=[*carrier.faults, *caller.faults, *unacknowledged],
        )


def _requests(carrier: Carrier) -> list[Message]:
    """What reached the carrier, retransmissions left out."""
    with carrier.changed:
        seen = [seen.message for seen in carrier.trace if not (seen.sent or seen.message.is_response)]
        return list(dict.fromkeys(seen))


@contextlib.contextmanager
def _trunks(package: Kamailio, carrier: Carrier) -> Iterator[None]:
    """For each caller a trunk over this carrier, which the calls of the row before knew nothing of."""
    uuids = {user: f"{user}-{secrets.token_hex(4)}" for user in SECRETS}
    for user, secret in SECRETS.items():
        caller = {"l_uuid": uuids[user], "l_username": user, "l_domain": "pbx.test"}
        carrier_side = {"realm": TERMS.realm, "auth_proxy": carrier.proxy_uri, "auth_username": USER}
        package.database.insert_trunk({**caller, **carrier_side, **secret})
    package.wait_until_looked_at()
    try:
        yield
    finally:
        for uuid in uuids.values():
            package.database.delete_trunk(uuid)


def table(version: str, lines: list[Line]) -> str:
    """The lines in Markdown."""
    head = [f"| Kamailio {version} | the recipe | this package |", "| --- | --- | --- |"]
    return "\n".join([*head, *(f"| {line.row.name} | {line.recipe} | {line.package} |" for line in lines)])


def main() -> int:
    """Print the table; returns the exit status."""
    parser = argparse.ArgumentParser(prog="python -m tests.live.compare", description=__doc__)
    parser.add_argument("--container", action="store_true", help="on the Kamailio of the project's image")
    where: Callable[[Path], Installation] = Native
    if parser.parse_args().container:
        from tests.harness.container import InContainer

        where = InContainer
    with tempfile.TemporaryDirectory() as workspace:
        installation = where(Path(workspace))
        try:
            version, lines = compare(installation, Path(workspace))
        finally:
            installation.close()
    print(table(version, lines))
    wrong = [line for line in lines if not line.as_expected]
    for line in wrong:
        print(f"{line.row.name}: {line.row.expected!r} was expected here, not {line.package!r}", file=sys.stderr)
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
