"""PBXs behind a NAT: the message at hand, and where it came from (dialog/nat.py)."""

from __future__ import annotations

import KSR

from kemi.dialog import nat
from kemi.dialog.mark import PARAMETER as MARK
from kemi.sip import edit, place, request, wanted
from kemi.trunks.places import Place


def mend_contact() -> bool:
    """Have the Contact of the message at hand say where it came from; return False if that is not needed."""
    try:
        source, _, contact = str(KSR.pv.gete("$_s($si $sp $proto\n$hdr(Contact))")).partition("\n")
    except UnicodeDecodeError:
        return False
    value = nat.mended(contact, place.of_source(source))
    if value:
        edit.set_party("Contact", value)
    return bool(value)


def mend_request() -> None:
    """Do the same for a new request, and have the dialog module see it, whose keepalive goes there."""
    if mend_contact():
        KSR.textopsx.msg_apply_changes()


def mend_answer() -> None:
    """Do the same for the answer to a carrier's INVITE. The dialog module has seen it before, and asks no such PBX."""
    if mend_contact():
        KSR.textopsx.msg_apply_changes()  # for the note of a call that has a place (room.note_up)
        KSR.dialog.dlg_reset_property("ka-dst")
    else:
        route = request.header("Record-Route")
        is_ours = f";{MARK}=" in place.uri_of(route)  # the first, if no proxy of the PBX's stays in the path
        wanted.want_name_in(request.header("Contact") if is_ours else route)


def address_pbx(dialled: str) -> None:
    """Send the request with this R-URI to where it leads, with the one that the PBX knows. If a Route leads on, it is
    the next proxy's matter.
    """
    if place.next_hop() == Place.of_uri(dialled):
        edit.address_to(nat.own(dialled), dialled, "")


def name_pbx() -> None:
    """Give a keepalive the R-URI that the PBX knows. The dialog module has chosen already where it goes."""
    edit.address_to(nat.own(str(KSR.pv.gete("$ru"))), "", "")
