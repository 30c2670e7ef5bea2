"""What the gate in kamailio.cfg drops: it counts in the table `floods`, by the minute."""

from __future__ import annotations

import KSR


def source_dropped(minute: int) -> str:
    """Return the first source of which something was dropped in this minute; empty for none."""
    if not KSR.htable.sht_get("floods", str(minute)):
        return ""
    return str(KSR.htable.sht_get("floods", "source") or "")
