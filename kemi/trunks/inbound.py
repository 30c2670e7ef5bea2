"""Picks the trunk of a carrier's new request, and the number that was called. Pure: facts of the request and a way to
look rows up come in.

The rules, of which the first that finds a row decides:

1. The R-URI names the registration: its parameter `line`, or its user, is the l_uuid, or its user is contact_user
   of a row of this carrier (Kamailio's uac module registers the l_uuid as the Contact's user, and from 6.2 on as
   `line` beside contact_user).
2. The tag of the source's row of `address`, group 2, is the l_uuid.
3. The R-URI's number is l_username; of several trunks the first of this carrier's.

A trunk has to be of the carrier that the request comes from: whoever else knows an l_uuid, or a number, gets nowhere.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import NamedTuple, Protocol

from kemi import uri
from kemi.trunks.selection import Candidates
from kemi.trunks.trunk import Trunk

NO_TRUNK = "no trunk for this number"
NOT_THE_CARRIERS = "the trunk is another carrier's"
DISABLED = "it is not enabled"
NO_PBX = "inbound_uri is empty"

_NUMBER = re.compile(r"(?:[A-Za-z0-9_.!~*'()&=+$,;?/#-]|%[0-9A-Fa-f]{2})+")  # a user of RFC 3261 25.1, and #


class Called(NamedTuple):
    """The parts of a carrier's request that find its trunk, as they came from the wire. dialled: the R-URI. party: the
    URI that names the called number beside it. tag: of the source's row of `address`, group 2; empty if it has none.
    """

    dialled: str
    party: str
    tag: str


class Found(NamedTuple):
    """trunk: None if there is none that serves. name: of the one that does not, empty if no row was found. number: that
    was called, empty if it cannot stand in a URI. fault: why there is no way to a PBX, empty if there is.
    """

    trunk: Trunk | None
    number: str = ""
    name: str = ""
    fault: str = ""


class Trunks(Protocol):
    """Where rows are looked up: TrunkStore."""

    def by_name(self, uuid: str) -> Candidates: ...
    def by_contact_user(self, user: str) -> Candidates: ...
    def by_number(self, user: str) -> Candidates: ...


def find(trunks: Trunks, called: Called, is_carriers: Callable[[Trunk], bool]) -> Found:
    """Return the trunk of a carrier's request. is_carriers: returns True if the request comes from its carrier."""
    dialled = uri.split(called.dialled)
    for name in (dialled.line, dialled.user):
        if name and (found := trunks.by_name(name)):
            return _first(found, is_carriers, number(called.party))
    registered = trunks.by_contact_user(dialled.user) if dialled.user else ()
    if found := tuple([trunk for trunk in registered if trunk.fault or is_carriers(trunk)]):
        return _first(found, is_carriers, number(called.party))
    if called.tag and (found := trunks.by_name(called.tag)):
        return _first(found, is_carriers, number(called.dialled))
    if dialled.number and (found := trunks.by_number(dialled.number)):
        return _first(found, is_carriers, number(called.dialled))
    return Found(None, fault=NO_TRUNK)


def _first(found: Candidates, is_carriers: Callable[[Trunk], bool], number: str) -> Found:
    """Return the first trunk that serves, or the first that lacks its PBX alone, or the fault of the first."""
    faults: list[Found] = []
    for trunk in found:
        fault = _fault(trunk, is_carriers)
        if not fault:
            return Found(trunk, number)
        faults.append(Found(None, number, trunk.uuid, fault))
    return next((one for one in faults if one.fault == NO_PBX), faults[0])


def _fault(trunk: Trunk, is_carriers: Callable[[Trunk], bool]) -> str:
    if trunk.fault:
        return trunk.fault
    if not is_carriers(trunk):
        return NOT_THE_CARRIERS
    if not trunk.policy.enabled:
        return DISABLED
    return "" if trunk.inbound else NO_PBX


def number(text: str) -> str:
    """Return the user of a URI, or the number of a tel URI; empty if it has none that can stand in a SIP URI."""
    user = uri.split(text).user
    return user if _NUMBER.fullmatch(user) else ""


def request_uri(pbx: str, number: str) -> str:
    """Return the R-URI for a PBX: its URI, with the number that was called as user."""
    scheme, _, rest = pbx.partition(":")
    return f"{scheme}:{number}@{rest}" if number else pbx
