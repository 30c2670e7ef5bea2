"""One trunk: a row of `uacreg` as calls use it, and its row of `trunk`."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, NamedTuple

from kemi import uri
from kemi.auth.credentials import Credentials
from kemi.trunks.hops import Hops, Target, literal, target_of
from kemi.trunks.numbers import AS_DIALLED, Numbers
from kemi.trunks.secure import Wanted

# Of the hop to us (RFC 3261 19.1.1), not of the number.
_HOP_PARAMETERS = re.compile(r";\s*(?:transport|maddr|ttl|lr)\s*(?:=[^;]*)?(?=;|$)", re.IGNORECASE)


class Policy(NamedTuple):
    """How calls use a trunk: its row of the table `trunk`, whose columns these are."""

    enabled: int = 1
    priority: int = 0
    weight: int = 1
    max_calls: int = 0
    max_cps: int = 0
    probe: int = 0
    source_tag: str = ""
    inbound_uri: str = ""
    from_user: str = ""
    from_domain: str = ""
    identity: str = ""
    weakest_algorithm: str = ""
    answers_far_end: int = 0
    asks_alone: int = 0
    strip: int = 0
    prefix: str = ""
    number_format: str = AS_DIALLED
    country: str = ""
    tls_verify: int = 1


DEFAULT = Policy()


@dataclass(frozen=True)
class Trunk:
    """One row. A field that is a string is empty if the DBA left it so.

    uuid: l_uuid. domain: r_domain, the host of the R-URI. next_hop: auth_proxy, a SIP URI. socket: the sending socket.
    realm: the only realm answered, empty for any. row: id. policy: of its row of `trunk`. fault: of rows.py, empty if
    the rows can be used.
    """

    uuid: str
    domain: str = ""
    next_hop: str = ""
    socket: str = ""
    realm: str = ""
    auth_username: str = ""
    auth_password: str = field(default="", repr=False)
    auth_ha1: str = field(default="", repr=False)
    row: int = 0
    policy: Policy = DEFAULT
    fault: str = ""

    @classmethod
    def of(cls, columns: Sequence[Any]) -> Trunk:
        """Make one of a row's columns, in the order of tables.TRUNK_COLUMNS and Policy, all None without a row of
        `trunk`, and its fault, None if it has none.

        A row that cannot be used may hold anything; its name is kept, in one line.
        """
        *values, fault = columns
        if not fault:
            row, policy = values[: -len(DEFAULT)], values[-len(DEFAULT) :]
            return cls(*[*row, DEFAULT if policy[0] is None else Policy(*policy)])
        name = str(values[0])
        return cls(name if name.isprintable() else ascii(name), fault=str(fault))

    @cached_property
    def credentials(self) -> Credentials:
        """The secrets to answer the trunk's carrier with."""
        return Credentials(
            self.destination,
            self.realm,
            self.auth_username,
            self.auth_password,
            self.auth_ha1,
            self.policy.weakest_algorithm or "MD5",
            answers_far_end=bool(self.policy.answers_far_end and self.realm),
            asks_alone=bool(self.policy.asks_alone),
        )

    @cached_property
    def destination(self) -> str:
        """The carrier that the row names, empty if it names none. Changes when the row's destination changes."""
        return f"{self.next_hop} {self.domain}".strip()

    @cached_property
    def needs_no_choice(self) -> bool:
        """True if it can be used and has no row of `trunk`: then one that is found alone is taken."""
        return self.policy is DEFAULT and not self.fault

    @cached_property
    def has_limits(self) -> bool:
        """True if it takes so many calls and no more."""
        return bool(self.policy.max_calls or self.policy.max_cps)

    @cached_property
    def wanted(self) -> Wanted:
        """What it wants of a connection by TLS."""
        return Wanted.of(self.target, self.domain, self.policy.tls_verify, self.socket)

    @cached_property
    def inbound(self) -> tuple[str, ...]:
        """The PBXs that take its calls, as SIP URIs, in the order to try."""
        return tuple([pbx for one in self.policy.inbound_uri.split(",") if (pbx := one.strip())])

    @cached_property
    def numbers(self) -> Numbers:
        """How the carrier wants numbers."""
        policy = self.policy
        return Numbers(policy.strip, policy.prefix, policy.number_format, policy.country)

    @cached_property
    def shapes_numbers(self) -> bool:
        """True if the carrier is to see other numbers than were dialled."""
        return self.numbers._replace(country="") != Numbers()

    def counts(self, method: str, dialled: str) -> bool:
        """Return True if the limit on calls holds for a request to this URI: not for an emergency call."""
        return method == "INVITE" and self.policy.max_calls > 0 and not self.numbers.is_emergency(dialled)

    @cached_property
    def has_sender(self) -> bool:
        """True if the carrier is to see another caller than the PBX wrote."""
        return bool(self.policy.from_user or self.policy.from_domain or self.policy.identity)

    def sender(self, caller: str) -> str:
        """Return the URI that From says to the carrier; empty if it cannot be made of the caller's. `$` is the caller's
        user, a number as the carrier wants it.
        """
        if not (self.policy.from_user or self.policy.from_domain):
            return ""
        known = uri.split(caller)
        user = self.policy.from_user or known.telephone
        if user == "$":
            user = self.numbers.shaped(known.telephone)
        host = self.policy.from_domain or known.host
        return f"sip:{user}{'@' if user else ''}{host}" if host else ""

    def asserted(self, known: str) -> str:
        """Return the URI asserted to the carrier, of a caller who is known by this one; empty if there is none."""
        parts = uri.split(known)
        host = self.policy.from_domain or parts.host
        if not (parts.user and known):
            return ""
        user = self.numbers.shaped(parts.telephone)
        return f"sip:{user}@{host}" if host else f"tel:{user}"

    @cached_property
    def target(self) -> Target:
        """Where the row's requests go, before any name is resolved."""
        return target_of(self.next_hop, self.domain)

    @cached_property
    def leads_to_name(self) -> bool:
        """True if a name has to be resolved for all its requests."""
        return self.target.is_name

    @cached_property
    def address_hops(self) -> Hops:
        """Its hops if they are no name's."""
        return literal(self.target) if self.target.host and not self.leads_to_name else ()

    @cached_property
    def only_hop(self) -> tuple[str, ...]:
        """The one hop to which all its requests go; empty if names, certificates or the R-URI have a say."""
        is_plain = self.next_hop and self.target.host and not (self.leads_to_name or self.target.transport == "tls")
        return (self.next_hop,) if is_plain else ()

    def hop_of(self, request_uri: str) -> str:
        """Return the URI to send to if the R-URI does not lead to `domain` as the row has it: urn:service:sos has no
        host, and sips another port and transport; empty if it does.
        """
        parts = uri.split(request_uri)
        return "" if parts.host and parts.scheme.lower() == "sip" else f"sip:{self.domain}"

    def request_uri(self, dialled: str) -> str:
        """Return the R-URI for this trunk: the dialled user part, a number as the carrier wants it, at `domain`, or at
        its own host without one.

        dialled: of a sip or sips URI the port and the parameters of the hop to us go, those of the number stay; a tel
        URI becomes a sip URI with user=phone (RFC 3261 19.1.6). One of another scheme is kept as it is: it has no
        domain to replace, and urn:service:sos is how the carrier knows an emergency call (RFC 5031).
        """
        if self.shapes_numbers:
            dialled = self.numbers.in_uri(dialled)
        if not self.domain:
            return dialled
        scheme, userinfo, _, parameters = uri.split(dialled)
        if scheme.lower() == "tel":
            return f"sip:{userinfo}{parameters}@{self.domain};user=phone"
        if scheme.lower() not in ("sip", "sips"):
            return dialled
        at = "@" if userinfo else ""
        return f"{scheme}:{userinfo}{at}{self.domain}{_HOP_PARAMETERS.sub('', parameters)}"
