"""A carrier's new request: that it is one, and whom it is for."""

from __future__ import annotations

import KSR

from kemi.sip import place, room
from kemi.trunks.groups import CARRIERS

_NULL = "<null>"  # in what $_s() gives (pv_printf in src/core/pvapi.c)


def is_listed() -> bool:
    """Return True if the source is in the address table, group 2."""
    return KSR.permissions.allow_source_address(CARRIERS) > 0


def note(source: str) -> None:
    """Have the gate in front of the routes pass the address of a source for a minute. source: Incoming's."""
    KSR.htable.sht_seti("carriers", source.partition(" ")[0], 1)


def tag() -> str:
    """Return the tag of the source's row of the address table, group 2; empty if it has none, or no row."""
    KSR.pv.unset("$(avp(source_tag)[*])")  # of a row of group 1
    return room.source_tag() if is_listed() else ""


def called_party() -> str:
    """Return the URI of the number that was called, as the carrier names it beside the R-URI: P-Called-Party-ID
    (RFC 7315 4.2), or To; empty if it is not UTF-8.
    """
    try:
        receiver, _, party = str(KSR.pv.gete("$_s($tu\n$hdr(P-Called-Party-ID))")).partition("\n")
    except UnicodeDecodeError:
        return ""
    return place.uri_of(party) if party.strip() not in ("", _NULL) else receiver
