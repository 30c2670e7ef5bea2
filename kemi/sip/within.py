"""The dialog that a message says it belongs to, before anybody has looked at it: for a script of one's own."""

from __future__ import annotations

import re
from typing import NamedTuple

import KSR

from kemi.dialog.mark import PARAMETER

_FACTS = "$ci\n$ft\n$tt\n$route_uri\n$(hdr(Record-Route)[*])"
_LINES = 5
_NULL = "<null>"  # in what $_s() gives (pv_printf in src/core/pvapi.c)
_MARK = re.compile(rf";{PARAMETER}=([A-Za-z0-9_-]{{1,100}})(?=[;>]|$)")
_MOST_MARKS = 4  # that are looked at


class Within(NamedTuple):
    """A dialog of a message: its parts, as they came, and a mark that it carries."""

    call_id: str
    from_tag: str
    to_tag: str
    mark: str


def dialogs() -> list[Within]:
    """Return the dialogs that the message at hand may belong to: a request says so by its top Route, a reply by its
    Record-Routes.
    """
    try:
        lines = str(KSR.pv.gete(f"$_s({_FACTS})")).split("\n")
    except UnicodeDecodeError:
        return []
    if len(lines) != _LINES or lines[2] == _NULL:
        return []
    call_id, from_tag, to_tag, route, routes = lines
    is_without = route in ("", _NULL)  # Kamailio 5.6 and 6.0, and 6.1
    marks = _MARK.findall(routes if is_without else route)[:_MOST_MARKS]
    return [Within(call_id, from_tag, to_tag, mark) for mark in marks]
