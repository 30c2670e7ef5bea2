"""Judges rows of `uacreg`, `address` and `trunk` as they come from the DBA. Pure.

A row with a fault is used by nothing: a call that finds it ends with 404, and Kamailio's own modules never read it. A
fault in `trunk` is one of its row of uacreg. A trunk that cannot be registered still serves calls. The words of a fault
quote nothing from the row.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address, ip_address
from typing import NamedTuple

from kemi.address import literal, normalised
from kemi.auth.digest import HASHES
from kemi.dialog.identity import KINDS
from kemi.trunks.hops import target_of
from kemi.trunks.listen import NO_TRANSPORT, Listen, beyond
from kemi.trunks.numbers import AS_DIALLED, COUNTRIES, FORMATS, LONGEST, NATIONAL

Row = Mapping[str, object]
Texts = Mapping[str, str]

RULES = 12  # one more whenever another row passes, or has another fault: copies are then judged anew

MOST_ID = 2**63 - 1  # of SQLite
MOST_TRUNK_ID = 2**32 - 1  # that a dialog's mark can hold (mark.py)
MOST_GROUP = 2**31 - 1
MOST_PORT = 65535

LONGEST_KEY = 64  # characters of a column that requests are compared with, which SQLite lets be longer
KEYS = ("l_uuid", "l_username", "l_domain", "r_domain")

TRUNK_TEXTS = (
    "l_uuid", "l_username", "l_domain", "r_username", "r_domain", "realm", "auth_username", "auth_password",
    "auth_ha1", "auth_proxy", "contact_addr", "socket", "contact_user",
)  # fmt: skip
SECRETS = ("auth_password", "auth_ha1")
_TRUNK_NUMBERS = ("expires", "flags", "reg_delay")
_POLICY_TEXTS = (
    "l_uuid", "source_tag", "inbound_uri", "from_user", "from_domain", "identity", "weakest_algorithm", "prefix",
    "number_format", "country",
)  # fmt: skip
POLICY_NUMBERS = {  # column of trunk -> default, most
    "enabled": (1, 1), "priority": (0, MOST_GROUP), "weight": (1, MOST_PORT), "max_calls": (0, MOST_GROUP),
    "max_cps": (0, MOST_GROUP), "probe": (0, 86400), "answers_far_end": (0, 1), "asks_alone": (0, 1),
    "strip": (0, LONGEST), "tls_verify": (1, 1),
}  # fmt: skip

_LINE = re.compile(r"[^\x00-\x1f\x7f]*")
_HA1 = re.compile(r"(?:[0-9a-fA-F]{32}|[0-9a-fA-F]{64})?")
_HOST = r"[A-Za-z0-9._-]+|\[[0-9A-Fa-f:.]+\]"
_HOST_PORT = re.compile(rf"(?P<host>{_HOST})(?::(?P<port>[0-9]{{1,5}}))?(?P<parameters>(?:;[^\s<>@]*)?)")
_SIP_URI = re.compile(rf"(?P<scheme>sips?):(?:[^@\s<>]+@)?(?P<rest>(?:{_HOST})(?::[0-9]{{1,5}})?(?:;[^\s<>]*)?)", re.I)
_TRANSPORT = re.compile(r";transport(?:=([^;?]*))?(?=[;?]|$)", re.IGNORECASE)
_SOCKET = re.compile(rf"(?P<transport>[A-Za-z]+):(?P<host>{_HOST}):(?P<port>[0-9]{{1,5}})")
_USER = re.compile(r"(?:\$|(?:[A-Za-z0-9_.!~*'()&=+,;?/-]|%[0-9A-Fa-f]{2})*)")  # RFC 3261 25.1
_PREFIX = re.compile(rf"\+?[0-9*]{{0,{LONGEST}}}")
_URI_PART = re.compile(r'[^\x00-\x20\x7f<>"@]+')


class Verdict(NamedTuple):
    """A row as it is copied. fault: why it cannot be used. unregistered: why it is not registered although `expires` is
    set. Both are empty if nothing is wrong.
    """

    row: dict[str, object]
    fault: str = ""
    unregistered: str = ""


@dataclass(frozen=True)
class Rules:
    """The rules for this Kamailio. listen: its sockets; empty: any may be one. revealed: returns the secret that a text
    names, or the text; raises ValueError with the fault.
    """

    listen: tuple[Listen, ...] = ()
    revealed: Callable[[str], str] = str

    @property
    def name(self) -> str:
        """Changes when another verdict is possible."""
        return f"{RULES} {sorted(self.listen)}"

    def trunk(self, row: Row) -> Verdict:
        """Judge a row of uacreg; the socket of a usable one is written as Kamailio writes it."""
        kept = {name: _plain(value) for name, value in row.items()}
        kept.setdefault("contact_user", "")  # of Kamailio 6.2
        if fault := _not_text(kept, TRUNK_TEXTS):
            return Verdict(kept, fault)
        if not _is_number(kept["id"], 0, MOST_TRUNK_ID):
            return Verdict(kept, f"id is not a number from 0 to {MOST_TRUNK_ID}")
        texts = {name: "" if kept[name] is None else str(kept[name]) for name in TRUNK_TEXTS}
        kept |= texts
        known, fault = self._known(texts)
        faults = (sentence for sentence, is_wrong in _TRUNK if is_wrong(known))
        if (
            fault := fault
            or next(faults, "")
            or self.hop_fault(texts["auth_proxy"], texts["r_domain"])
            or self._socket(texts["socket"])
        ):
            return Verdict(kept, fault)
        return Verdict(kept | {"socket": _socket(texts["socket"])}, unregistered=_unregistered(kept, known))

    def address(self, row: Row) -> Verdict:
        """Judge a row of address, as strictly as the permissions module, which refuses all rows for one that it cannot
        read; and refuse names, which it never resolves.
        """
        kept = {name: _plain(value) for name, value in row.items()}
        if fault := _not_text(kept, ("ip_addr", "tag")):
            return Verdict(kept, fault)
        address = _address(str(kept["ip_addr"] or ""))
        if address is None:
            return Verdict(kept, "ip_addr is not an IP address")
        numbers = (("grp", 1, MOST_GROUP), ("mask", 0, address.max_prefixlen), ("port", 0, MOST_PORT))
        for name, low, high in numbers:
            if not _is_number(kept[name], low, high):
                return Verdict(kept, f"{name} is not a number from {low} to {high}")
        if kept["mask"] == 0 and int(address) == 0:
            return Verdict(kept, "mask 0 lists one address, and this is none")
        return Verdict(kept | {"ip_addr": address.exploded, "mask": kept["mask"] or address.max_prefixlen})

    def _known(self, texts: dict[str, str]) -> tuple[dict[str, str], str]:
        """Return a row's texts with the secrets that it names, and the fault of the first that cannot be had."""
        known = dict(texts)
        for name in SECRETS:
            try:
                known[name] = self.revealed(texts[name])
            except ValueError as error:
                return known, f"{name} {error}"
        return known, ""

    def hop_fault(self, proxy: str, domain: str) -> str:
        """Return what is wrong with the next hop of a row with these; empty for nothing, or if it has none."""
        if proxy or not domain:
            return self._uri("auth_proxy", proxy)
        return self._next_hop("r_domain", "", domain) if is_domain(domain) else NO_HOST

    def policy(self, row: Row) -> Verdict:
        """Judge a row of trunk; a value that is NULL is the column's default."""
        kept = {name: _plain(value) for name, value in row.items()}
        if fault := _not_text(kept, _POLICY_TEXTS):
            return Verdict(kept, fault)
        kept["number_format"] = kept["number_format"] or AS_DIALLED
        texts = {name: str(kept[name] or "") for name in _POLICY_TEXTS}
        kept |= texts
        kept |= {name: default for name, (default, _) in POLICY_NUMBERS.items() if kept[name] is None}
        for name, (_, most) in POLICY_NUMBERS.items():
            if not _is_number(kept[name], 0, most):
                return Verdict(kept, f"{name} is not a number from 0 to {most}")
        if kept["answers_far_end"] and kept["asks_alone"]:
            return Verdict(kept, "answers_far_end and asks_alone are both set")
        fault = next((sentence for sentence, is_wrong in _POLICY if is_wrong(texts)), "")
        faults = map(self._pbx, filter(None, map(str.strip, texts["inbound_uri"].split(","))))
        return Verdict(kept, fault or next(filter(None, faults), ""))

    def _pbx(self, text: str) -> str:
        """Return what is wrong with one URI of inbound_uri."""
        if "@" in text:
            return "inbound_uri has a user, where the called number goes"
        return self._uri("inbound_uri", text)

    def _uri(self, name: str, text: str) -> str:
        """Return what is wrong with the URI of this column; empty for none."""
        if not text:
            return ""
        uri = _SIP_URI.fullmatch(text)
        hop = _HOST_PORT.fullmatch(uri["rest"]) if uri else None
        if uri is None or hop is None or not _is_host(hop["host"]):
            return f"{name} is not a SIP URI"
        if not _is_port(hop["port"]):
            return f"{name} has a port that cannot be"
        named = _TRANSPORT.search(hop["parameters"])
        is_secure = uri["scheme"].lower() == "sips"
        transport = "tls" if is_secure else (named[1] or "").lower() if named else None
        if transport is not None and self.listen and transport not in {each.transport for each in self.listen}:
            return f"{name} {NO_TRANSPORT}"
        return self._next_hop(name, text, "")

    def _next_hop(self, name: str, uri: str, domain: str) -> str:
        """Return what is wrong with where requests go by these (target_of)."""
        fault = beyond(target_of(uri, domain), self.listen)
        return fault and f"{name} {fault}"

    def _socket(self, text: str) -> str:
        named = _SOCKET.fullmatch(_socket(text))
        if not text or (named and not self.listen):
            return ""
        if named and any(
            (each.transport, each.port) == (named["transport"], int(named["port"]))
            and each.address in ("", named["host"])
            for each in self.listen
        ):
            return ""
        return "socket is not one that Kamailio listens on"


def is_domain(text: str) -> bool:
    named = _HOST_PORT.fullmatch(text)
    return bool(named and _is_host(named["host"]) and _is_port(named["port"]))


def _is_long(name: str) -> Callable[[Texts], bool]:
    return lambda row: len(row[name]) > LONGEST_KEY


NO_HOST = "r_domain is not a host"

_TRUNK: tuple[tuple[str, Callable[[Texts], bool]], ...] = (
    *((f"{name} is longer than {LONGEST_KEY} characters", _is_long(name)) for name in KEYS),
    ("l_uuid is empty", lambda row: not row["l_uuid"]),
    ("l_uuid has a control character", lambda row: not _LINE.fullmatch(row["l_uuid"])),
    (NO_HOST, lambda row: bool(row["r_domain"]) and not is_domain(row["r_domain"])),
    (
        "realm, auth_proxy and r_domain are empty",  # it would answer anybody, for anything
        lambda row: not (row["realm"] or row["auth_proxy"] or row["r_domain"]),
    ),
    (
        "auth_username is empty or has a control character",
        lambda row: not row["auth_username"] or not _LINE.fullmatch(row["auth_username"]),
    ),
    ("auth_password has a control character", lambda row: not _LINE.fullmatch(row["auth_password"])),
    ("auth_ha1 is not 32 or 64 hex digits", lambda row: not _HA1.fullmatch(row["auth_ha1"])),
    ("auth_password and auth_ha1 are empty", lambda row: not row["auth_password"] and not row["auth_ha1"]),
)

_POLICY: tuple[tuple[str, Callable[[Texts], bool]], ...] = (
    (f"weakest_algorithm is none of {', '.join(HASHES)}", lambda row: row["weakest_algorithm"] not in ("", *HASHES)),
    ("from_user is neither $ nor the user of a SIP URI", lambda row: not _USER.fullmatch(row["from_user"])),
    ("from_domain is not a host", lambda row: bool(row["from_domain"]) and not is_domain(row["from_domain"])),
    (f"identity is none of {', '.join(KINDS)}", lambda row: row["identity"] not in ("", *KINDS)),
    ("prefix is not of digits and *, with a + in front at most", lambda row: not _PREFIX.fullmatch(row["prefix"])),
    (f"number_format is none of {', '.join(FORMATS)}", lambda row: row["number_format"] not in FORMATS),
    ("country is no country of ISO 3166, as DE", lambda row: row["country"] not in ("", *COUNTRIES)),
    (
        "number_format is national and country is empty",
        lambda row: row["number_format"] == NATIONAL and not row["country"],
    ),
)

_IN_A_REGISTER = ("l_uuid", "l_username", "l_domain", "r_username", "r_domain", "auth_proxy", "contact_user")


def _unregistered(row: Row, texts: Texts) -> str:
    """Return why the uac module cannot register the trunk; empty if it can, or is not to."""
    for name in _TRUNK_NUMBERS:
        if row[name] is not None and not _is_number(row[name], 0, MOST_GROUP):
            return f"{name} is not a number from 0 to {MOST_GROUP}"
    if not row["expires"]:
        return ""
    for name in _IN_A_REGISTER:
        if not texts[name] and name != "contact_user":
            return f"expires is set and {name} is empty"
        if texts[name] and name != "auth_proxy" and not _URI_PART.fullmatch(texts[name]):
            return f"expires is set and {name} cannot stand in a SIP URI"
    if texts["contact_addr"] and not is_domain(texts["contact_addr"]):
        return "expires is set and contact_addr is not a host"
    return ""


def _plain(value: object) -> object:
    """Return a value that SQLite can hold."""
    if isinstance(value, int):
        return value if -MOST_ID <= value <= MOST_ID else str(value)
    return value if value is None or isinstance(value, str | bytes | float) else str(value)


def _not_text(row: Row, names: tuple[str, ...]) -> str:
    wrong = next((name for name in names if isinstance(row[name], bytes)), "")
    return wrong and f"{wrong} is not text in UTF-8"


def _is_number(value: object, low: int, high: int) -> bool:
    return isinstance(value, int) and low <= value <= high


def _is_port(digits: str | None) -> bool:
    return digits is None or 1 <= int(digits) <= MOST_PORT


def _is_host(host: str) -> bool:
    return not host.startswith("[") or (":" in host and _address(host) is not None)


def _address(text: str) -> IPv4Address | IPv6Address | None:
    try:
        return None if "%" in text else ip_address(normalised(text))
    except ValueError:
        return None


def _socket(text: str) -> str:
    """Return a socket as Kamailio writes it; empty if the text is none."""
    named = _SOCKET.fullmatch(text)
    address = literal(named["host"]) if named else ""
    return f"{named['transport'].lower()}:{address}:{int(named['port'])}" if named and address else ""
