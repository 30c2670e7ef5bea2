"""The uac module's registrations: which are up, which have failed, and how.

The module tells that a trunk is not registered, but not why. So each REGISTER, on its way out, puts a 0 into the table
`registers`, and its final reply puts a status there or takes the 0 out. The module's own list (`uac.reg_dump`) holds
passwords and is never asked for.
"""

from __future__ import annotations

from enum import Enum

import KSR

from kemi import uri


class State(Enum):
    """Of a registration. IDLE: neither up nor under way. UNKNOWN: the module has not read the row."""

    UP = "up"
    IDLE = "idle"
    UNKNOWN = "unknown"
    OTHER = "under way, or disabled"


_STATES = {1: State.UP, -99: State.IDLE, -1: State.UNKNOWN}  # what uac_reg_status() answers (uac/uac_reg.c)

SILENT = 0  # in place of a status
BRIEF = 423  # Interval Too Brief: the module tries again with a longer one


def sender() -> str:
    """Return the trunk of the REGISTER that goes out: the l_uuid is its Contact's user, or stands beside that."""
    contact = uri.split(str(KSR.pv.gete("$hdr(Contact)")).partition("<")[2].partition(">")[0])
    return contact.line or contact.userinfo


def note_sent(uuid: str) -> None:
    """Note that a REGISTER of this trunk goes out."""
    KSR.pv.sets("$avp(register)", uuid)
    KSR.htable.sht_seti("registers", uuid, SILENT)


def trunk() -> str:
    """Return the trunk of the REGISTER that the reply at hand is for."""
    return str(KSR.pv.gete("$avp(register)"))


def note_reply(status: int) -> None:
    """Note the final reply to a REGISTER."""
    uuid = trunk()
    if 200 <= status < 300 or status == BRIEF:
        forget(uuid)
    elif status >= 300:
        KSR.htable.sht_seti("registers", uuid, status)


def state(uuid: str) -> State:
    """Return how the trunk's registration is."""
    return _STATES.get(KSR.uac.uac_reg_status(uuid), State.OTHER)


def take_status(uuid: str) -> int | None:
    """Return with which status the trunk's last REGISTER has failed, 0 if it had no reply; None if none has since this
    was asked last.
    """
    status = KSR.htable.sht_get("registers", uuid)
    if not isinstance(status, int):
        return None
    forget(uuid)
    return status


def forget(uuid: str) -> None:
    """Forget how the trunk's last REGISTER ended."""
    KSR.htable.sht_rm("registers", uuid)


def note_refusal(uuid: str) -> None:
    """Note that the trunk's registrar refuses, for `kemi-trunkauth trunks`."""
    KSR.htable.sht_seti("registers", f"{uuid}\nrefused", 1)


def forget_refusal(uuid: str) -> None:
    """Forget that the trunk's registrar has refused."""
    KSR.htable.sht_rm("registers", f"{uuid}\nrefused")


def try_again(uuid: str) -> None:
    """Make the uac module send a REGISTER for this trunk within seconds.

    To enable a record is to make it due, whether it was disabled or not; to disable it before keeps the module's
    counter `regdisabled` right.
    """
    if KSR.uac.uac_reg_disable("l_uuid", uuid) > 0:
        KSR.uac.uac_reg_enable("l_uuid", uuid)
