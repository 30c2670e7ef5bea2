"""A stage for calls over one Kamailio: trunks with their carriers, PBXs, and a judgement at the end.

A scene holds both ends to the rules: when its test is over, a fault on either end, a final response without its
ACK, a Python traceback or a password in the log fails it.
"""

from __future__ import annotations

import contextlib
import enum
import secrets
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace

from tests.harness.agent import SDP, Exchange
from tests.harness.caller import Caller
from tests.harness.carrier import Carrier, Script
from tests.harness.certificates import Identity
from tests.harness.message import Header
from tests.harness.node import Kamailio
from tests.harness.nonces import FOR_EVER, ONE_REQUEST, Nonces
from tests.harness.verifier import ACCEPTED, KEEPING, MISSING, USED_UP, Challenge

CHALLENGING = Script(challenge=Challenge())
MOST_TURNED_DOWN = 3  # in a row, after which a trunk's requests go without credentials at first


class Manner(enum.Enum):
    """How answers from the start meet the carriers of a scene. In the last two, each has let a request of the trunk
    pass before.
    """

    NEW = "new"  # no request came before: the first one is challenged
    OFF = "off"  # TRUNKAUTH_PREEMPTIVE=off
    KEPT = "kept"  # the nonce of that request still serves
    TURNED_DOWN = "turned down"  # a nonce serves one request, and the next request carries it in vain


@dataclass(frozen=True)
class Trunk:
    """A row of uacreg and the carrier behind it."""

    uuid: str
    domain: str
    user: str
    password: str = field(repr=False)  # the one that the carrier takes
    carrier: Carrier


class Scene:
    """The ends of a call around one Kamailio, cleaned up and judged at the end. in_order: False where calls are placed
    at once, so that they overtake each other.
    """

    def __init__(self, kamailio: Kamailio, manner: Manner = Manner.NEW, *, in_order: bool = True) -> None:
        self.kamailio = kamailio
        self.manner = manner
        self._nonces = Nonces(ONE_REQUEST if manner is Manner.TURNED_DOWN else FOR_EVER, in_order=in_order)
        self._secrets_before = frozenset(kamailio.database.secrets)
        self.agents: list[Carrier | Caller] = []
        self._stack = contextlib.ExitStack()
        self._caller: Caller | None = None

    def __enter__(self) -> Scene:
        return self

    def __exit__(self, kind: object, *_: object) -> None:
        try:
            if kind is None:
                self.judge()
        finally:
            self._stack.close()

    def trunk(
        self, script: Script = CHALLENGING, *, transport: str = "udp", host: str = "127.0.0.1", **columns: str | int
    ) -> Trunk:
        """A carrier that knows a user, and the row that knows it too, unless a column says otherwise."""
        return self._trunk(script, transport, host, None, columns)

    def tls_trunk(
        self, identity: Identity, script: Script = CHALLENGING, *, host: str = "127.0.0.1", **columns: str | int
    ) -> Trunk:
        """The same, of a carrier that listens by TLS."""
        return self._trunk(script, "tls", host, identity, columns)

    def _trunk(
        self, script: Script, transport: str, host: str, identity: Identity | None, columns: Mapping[str, str | int]
    ) -> Trunk:
        uuid, password = f"trunk-{secrets.token_hex(4)}", f"pw-{secrets.token_hex(8)}"
        user = str(columns.get("auth_username") or f"user-{uuid}")
        played = replace(script, challenge=self._posed(script.challenge), behind=self._posed(script.behind))
        end = Carrier(played, {user: password}, host=host, transport=transport, identity=identity)
        carrier = self._stack.enter_context(end)
        self.agents.append(carrier)
        row: dict[str, str | int] = {
            "l_uuid": uuid,
            "r_domain": f"{uuid}.test",
            "auth_username": user,
            "auth_password": password,
            "auth_proxy": carrier.proxy_uri,
            **columns,
        }
        return self._ready(Trunk(str(row["l_uuid"]), str(row["r_domain"]), user, password, carrier), row)

    def another_row(self, trunk: Trunk, **columns: str | int) -> Trunk:
        """A second row for the carrier of this one, alike but for these columns."""
        uuid = f"{trunk.uuid}-{secrets.token_hex(2)}"
        row: dict[str, str | int] = {
            "l_uuid": uuid,
            "r_domain": trunk.domain,
            "auth_username": trunk.user,
            "auth_password": trunk.password,
            "auth_proxy": trunk.carrier.proxy_uri,
            **columns,
        }
        return self._ready(replace(trunk, uuid=uuid), row)

    def change_row(self, trunk: Trunk, **columns: str | int) -> None:
        """Other values in these columns, for all calls from now on."""
        places = ", ".join(f"{name} = ?" for name in columns)
        values = (*columns.values(), trunk.uuid)
        self.kamailio.database.execute(f"UPDATE uacreg SET {places} WHERE l_uuid = ?", values)
        self.kamailio.database.note_secrets(columns)
        self.kamailio.wait_until_looked_at()

    def _ready(self, trunk: Trunk, row: Mapping[str, str | int]) -> Trunk:
        """Insert the row, and have a request over it before the test's own where the manner wants one."""
        self.kamailio.database.insert_trunk(row)
        self.kamailio.wait_until_copied()
        self._stack.callback(self.kamailio.database.delete_trunk, trunk.uuid)
        if self.manner in (Manner.KEPT, Manner.TURNED_DOWN) and trunk.carrier.script.challenge:
            self.accept_one(trunk)
        return trunk

    def _posed(self, challenge: Challenge | None) -> Challenge | None:
        """The same; one that says nothing of nonces has those of the scene."""
        return (
            challenge if challenge is None or challenge.nonces != KEEPING else replace(challenge, nonces=self._nonces)
        )

    def accept_one(self, trunk: Trunk) -> None:
        """Have the carrier challenge a request of this trunk and let it pass; nothing but its nonce stays of it."""
        with trunk.carrier.as_before(), Caller(self.kamailio.sip) as caller:
            caller.request("MESSAGE", "sip:5551234@pbx.test", headers=[("X-Trunk", trunk.uuid)]).expect(200)
            assert caller.faults == [], caller.faults

    @property
    def asked(self) -> int:
        """How often a carrier asks before it is content with a request that it wants credentials for."""
        return 0 if self.manner is Manner.KEPT else 1

    def asks(self, *statuses: int) -> list[int]:
        """The challenges of a carrier, one of its own and one of the far end behind it, where it has to ask."""
        return [*statuses] * self.asked

    @property
    def first(self) -> list[str]:
        """The verdict on such a request as it comes first, where the carrier is not content with that already."""
        return [self.at_first(USED_UP)] * self.asked

    def at_first(self, verdict: str) -> str:
        """This verdict where such a request carries an answer as it comes first, or that it carries none."""
        return MISSING if self.manner in (Manner.NEW, Manner.OFF) else verdict

    def verdicts(self, *kinds: str, cseq: int = 1) -> list[tuple[str, int, str]]:
        """All verdicts on requests of these kinds, one after the other, which are answered rightly. cseq: of the first
        of them.
        """
        found: list[tuple[str, int, str]] = []
        for number, kind in enumerate(kinds):
            before = self.first if number < MOST_TURNED_DOWN else [MISSING] * self.asked
            found += [(kind, cseq + len(found) + n, verdict) for n, verdict in enumerate([*before, ACCEPTED])]
        return found

    def caller(self, *, host: str = "127.0.0.1", transport: str = "udp") -> Caller:
        """A PBX of this Kamailio."""
        caller = self._stack.enter_context(Caller(self.kamailio.sip, host=host, transport=transport))
        self.agents.append(caller)
        return caller

    def tls_caller(self, identity: Identity, port: int) -> Caller:
        """A PBX that calls by TLS, to this port."""
        caller = self._stack.enter_context(Caller((self.kamailio.sip[0], port), transport="tls", identity=identity))
        self.agents.append(caller)
        return caller

    @property
    def pbx(self) -> Caller:
        """The PBX of a scene that has but one."""
        self._caller = self._caller or self.caller()
        return self._caller

    def call(self, trunk: Trunk, *, headers: Iterable[Header] = (), body: bytes = SDP) -> Exchange:
        """An INVITE of the scene's PBX over this trunk."""
        return self.pbx.invite("sip:5551234@pbx.test", headers=[("X-Trunk", trunk.uuid), *headers], body=body)

    def judge(self) -> None:
        """Fail for anything that either end or the log holds against Kamailio; what the log says later of this scene's
        passwords fails the run at its end.
        """
        for agent in self.agents:
            if isinstance(agent, Carrier) and agent.received("INVITE") and not agent.script.silent:
                agent.expect_acks()
            assert agent.faults == [], (
                f"{agent.name}: {agent.faults}\n{agent.ladder()}\n{self.kamailio.last_log_lines()}"
            )
        self.kamailio.judge_log(self.kamailio.log(), self.kamailio.database.secrets - self._secrets_before)
