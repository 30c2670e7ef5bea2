"""How much of a trunk's limits is used on this node. The dialog module counts calls: whichever way one ends, its place
is free again. Those that an earlier Kamailio has left (health/held.py) are a number in the table `inherited`.
"""

from __future__ import annotations

from collections.abc import Mapping

import KSR

from kemi.health import held
from kemi.health.held import Call
from kemi.sip import api, ring

_PROFILE = "trunk"  # of the dialog module
_COUNTS = "trunk_calls"  # new calls by trunk and second; its entries are the locks, too
_INHERITED = "inherited"
_NOTED, _MOST_NOTED = "noted_calls", 1024

_at_start: dict[str, int] = {}  # the calls of before by trunk, known before the processes fork

# Of a 200: a call's Call-ID, the PBX's From or To, its carrier's, the PBX's Contact, and the Record-Route.
_FACTS = (
    "ci", "T_req($hdr(From))", "hdr(To)", "T_req($hdr(Contact))", "T_req($(hdr(Record-Route)[*]))",
)  # fmt: skip
_FACTS_INBOUND = ("ci", "hdr(To)", "T_req($hdr(From))", "hdr(Contact)", "(hdr(Record-Route)[*])")


def take_call(trunk: str, most: int) -> bool:
    """Count the tracked call among those of the trunk; return False, and count nothing, if it has no place for it."""
    KSR.htable.sht_lock(_COUNTS, trunk)  # of those who ask at once, one is the last
    try:
        if calls_up(trunk) >= most:
            return False
        KSR.dialog.set_dlg_profile(_PROFILE, trunk)
    finally:
        KSR.htable.sht_unlock(_COUNTS, trunk)
    return True


def calls_up(trunk: str) -> int:
    """Return how many calls of a trunk with max_calls are up, those of before a restart too."""
    KSR.dialog.get_profile_size(_PROFILE, trunk, "$avp(calls)")
    calls = KSR.pv.get("$avp(calls)")
    KSR.pv.unset("$(avp(calls)[*])")
    return (calls if isinstance(calls, int) else 0) + _inherited(trunk)


def leave_call(trunk: str) -> None:
    """Have the tracked call taken from those of the trunk when it goes out again: in a request route Kamailio would not
    (unset_dlg_profile() in dialog/dlg_profile.c).
    """
    KSR.pv.sets("$avp(left)", trunk)


def leave_now() -> None:
    """Take the tracked call, in its branch route, from those of the trunk that it has left."""
    if trunk := str(KSR.pv.gete("$avp(left)")):
        KSR.pv.unset("$(avp(left)[*])")
        KSR.dialog.unset_dlg_profile(_PROFILE, trunk)


def inherit(counts: Mapping[str, int]) -> None:
    """Have these calls of each trunk counted from the start."""
    _at_start.clear()
    _at_start.update(counts)


def set_inherited(trunk: str, calls: int) -> None:
    """Have so many calls of before counted for the trunk from now on."""
    KSR.htable.sht_seti(_INHERITED, trunk, calls)


def _inherited(trunk: str) -> int:
    calls = KSR.htable.sht_get(_INHERITED, trunk)
    return calls if isinstance(calls, int) else _at_start.get(trunk, 0)


def note_up(dialog: str, trunk: str, now: int) -> None:
    """Note a call of a PBX that the 200 at hand answers, for the next Kamailio; not if its fields are too long."""
    _note(Call(dialog, trunk, now, *map(api.line, _FACTS)))


def note_up_inbound(dialog: str, trunk: str, now: int) -> None:
    """Note a call of a carrier in the same way."""
    call_id, pbx, carrier, contact, recorded = map(api.line, _FACTS_INBOUND)
    _note(Call(dialog, trunk, now, call_id, pbx, carrier, contact, held.routes_to_callee(recorded)))


def _note(call: Call) -> None:
    line = held.begun(call)
    if len(line) <= held.LONGEST:
        ring.put(_NOTED, _MOST_NOTED, line)


def note_over(dialog: str) -> None:
    """Note that a call is over."""
    ring.put(_NOTED, _MOST_NOTED, held.ended(dialog))


def last_noted() -> int:
    """Return the number of the last note, which may still be on its way."""
    return ring.last(_NOTED)


def noted(first: int, last: int) -> list[str]:
    """Return the notes behind the first number, up to the last one."""
    return ring.between(_NOTED, _MOST_NOTED, first, last)


def take_second(trunk: str, second: int, most: int) -> bool:
    """Count a new call of this second; return False if the trunk takes no more."""
    return KSR.htable.sht_inc(_COUNTS, f"{trunk}\n{second}") <= most


def source_tag() -> str:
    """Return the tag of the source's row of the table address, once request.source_may_call() has found it."""
    return str(KSR.pv.gete("$avp(source_tag)"))
