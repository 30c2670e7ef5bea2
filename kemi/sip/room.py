"""How much of a trunk's limits is used on this node. The dialog module counts calls: whichever way one ends, its place
is free again.
"""

from __future__ import annotations

import KSR

_PROFILE = "trunk"  # of the dialog module
_COUNTS = "trunk_calls"  # new calls by trunk and second; its entries are the locks, too


def take_call(trunk: str, most: int) -> bool:
    """Count the tracked call among those of the trunk; return False, and count nothing, if it has no place for it."""
    KSR.htable.sht_lock(_COUNTS, trunk)  # of those who ask at once, one is the last
    try:
        KSR.dialog.set_dlg_profile(_PROFILE, trunk)
        KSR.dialog.get_profile_size(_PROFILE, trunk, "$avp(calls)")
        calls = KSR.pv.get("$avp(calls)")
        KSR.pv.unset("$(avp(calls)[*])")
        if isinstance(calls, int) and calls > most:
            KSR.dialog.unset_dlg_profile(_PROFILE, trunk)
            return False
    finally:
        KSR.htable.sht_unlock(_COUNTS, trunk)
    return True


def leave_call(trunk: str) -> None:
    """Take the tracked call from those of the trunk."""
    KSR.dialog.unset_dlg_profile(_PROFILE, trunk)


def take_second(trunk: str, second: int, most: int) -> bool:
    """Count a new call of this second; return False if the trunk takes no more."""
    return KSR.htable.sht_inc(_COUNTS, f"{trunk}\n{second}") <= most


def source_tag() -> str:
    """Return the tag of the source's row of the table address, once request.source_may_call() has found it."""
    return str(KSR.pv.gete("$avp(source_tag)"))
