"""What the handlers of a call cost by themselves, with a KSR that does nothing: with one message right after the other,
and with a pause before each, as in a worker that waits for the next one. The steps are the same; what a pause adds is
what it costs to fetch code and data that are no longer in the processor's caches. A loop that needs next to none of
either is the control: it shows what a pause adds whatever is run.
"""

from __future__ import annotations

import multiprocessing
import os
import re
import statistics
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from sqlalchemy import insert

# Of calls.py: no authentication in Python; the package, preemptive answers off, and on; and the least of both.
CONFIGURATIONS = "kefst"
CALLS = 300
WARM_UP = 50
PAUSE = 0.003  # seconds

CHALLENGE = 'Digest realm="carrier.example", nonce="{:032x}", qop="auth", algorithm=MD5'
TRUNK = {
    "l_uuid": "trunk", "l_username": "pbx", "l_domain": "pbx.example", "r_domain": "carrier.example",
    "realm": "carrier.example", "auth_proxy": "sip:192.0.2.2", "auth_username": "u1", "auth_password": "secret",
}  # fmt: skip
MESSAGE = {
    "$hdr(X-Trunk)": "trunk", "$ru": "sip:4930123@192.0.2.1:5060", "$fu": "sip:pbx@pbx.example", "$ft": "a", "$bs": 0,
    "$ml": 900, "$si": "192.0.2.2", "$sp": 5060, "$proto": "udp", "$dd": "192.0.2.2", "$dp": 5060, "$dP": "udp",
    "$hdr(Contact)": "<sip:pbx@192.0.2.9>", "$dlg(from_tag)": "a", "$T_reply_code": 407,
    "$(avp(sent){s.encode.hexa})": b"Proxy-Authorization: Digest response\r\n".hex(),
}  # fmt: skip


@dataclass(frozen=True)
class Handlers:
    """Seconds of processor time per call, the median: with no pause, and with one before each message."""

    name: str
    in_a_row: float
    apart: float


def measure(letter: str, calls: int = CALLS) -> Handlers:
    """The handlers of one of CONFIGURATIONS, in a process of its own. (k) has 3 messages, (f), (t) 4, (e), (s) 6."""
    with multiprocessing.get_context("spawn").Pool(1) as process:
        return process.apply(_measure, (letter, calls))


def control(calls: int = CALLS) -> Handlers:
    """The same for a loop of arithmetic, cut in 4."""
    with multiprocessing.get_context("spawn").Pool(1) as process:
        return process.apply(_control, (calls,))


def _control(calls: int) -> Handlers:
    in_a_row, apart = (
        [sum(_timed(_arithmetic, pause) for _ in range(4)) for _ in range(calls)] for pause in (0, PAUSE)
    )
    return Handlers("a loop of arithmetic", statistics.median(in_a_row), statistics.median(apart))


def _arithmetic(_message: object) -> None:
    total = 0
    for number in range(150):
        total += number * number


def _timed(run: Callable[[object], object], pause: float) -> float:
    """Seconds of processor time that a handler takes, after a pause of so many seconds."""
    if pause:
        threading.Event().wait(pause)
    begun = time.thread_time()
    run(None)
    return time.thread_time() - begun


def _measure(letter: str, calls: int) -> Handlers:
    kamailio = sys.modules["KSR"] = Kamailio()  # type: ignore[assignment]
    with tempfile.TemporaryDirectory() as folder:
        kamailio.handlers = (
            _package(Path(folder), "auto" if letter == "f" else "off") if letter in "ef" else _script(letter)
        )
        for _ in range(WARM_UP):
            kamailio.call(0)
        in_a_row, apart = ([kamailio.call(pause) for _ in range(calls)] for pause in (0, PAUSE))
    assert not kamailio.faults, kamailio.faults[0]
    assert (kamailio.answered, kamailio.carried) == (letter in "es", letter in "ft")
    return Handlers(f"({letter})", statistics.median(in_a_row), statistics.median(apart))


def _script(letter: str) -> Any:
    from tests.bench import ahead, bare, least

    script = {"k": bare.Bare, "s": least.Least, "t": ahead.Ahead}[letter]
    return script("carrier.example", "sip:192.0.2.2", "trunk", "secret")


def _package(folder: Path, preemptive: str) -> Any:
    from kemi.handlers import Handlers
    from kemi.settings import Settings
    from kemi.start import run as start
    from kemi.trunks.tables import open_file, uacreg

    folder.chmod(0o700)
    os.umask(0o077)
    settings = Settings.from_environment({
        "TRUNKAUTH_STATE_DIR": str(folder), "TRUNKAUTH_PREEMPTIVE": preemptive,
    })  # fmt: skip
    start.make_tables(settings)
    engine = open_file(folder / "trunkauth.sqlite")
    with engine.connect() as connection:
        connection.execute(insert(uacreg).values(TRUNK))
    engine.dispose()
    start.prepare_database(settings)
    handlers = Handlers(settings)
    handlers.child_init(1)
    return handlers


class Kamailio:
    """A KSR that remembers what it has to, and says yes."""

    def __init__(self) -> None:
        def yes(*_: object) -> int:
            return 1

        def no(*_: object) -> int:
            return -1

        self.handlers: Any = None
        self.faults: list[str] = []
        self.carried = self.answered = False  # whether the last INVITE had credentials from the start; or when asked
        self._variables: dict[str, Any] = dict(MESSAGE)
        self._is_new = True
        self._branch_route = ""
        self._reply_route = ""
        self._shared: dict[tuple[str, str], str] = {}
        self._mark = ""  # the parameter of our Record-Route
        self._count = 0
        self._counts: dict[str, int] = {}
        get, sets = self._variables.get, self._variables.__setitem__

        def gete(name: str) -> Any:
            value = get(name)
            if value is None and name.startswith("$_s("):
                value = self._print(name)
            return "" if value is None else value

        self.pv = SimpleNamespace(get=get, gete=gete, sets=sets, unset=yes, is_null=lambda _: True)
        self.maxfwd = SimpleNamespace(process_maxfwd=yes)
        self.sanity = SimpleNamespace(sanity_check=yes)
        self.permissions = SimpleNamespace(allow_source_address=lambda group: 1 if group == 1 else -1)
        self.siputils = SimpleNamespace(has_totag=lambda: -1 if self._is_new else 1)
        self.hdr = SimpleNamespace(remove=yes, append=self._append)
        self.rr = SimpleNamespace(
            loose_route=yes, record_route=yes, add_rr_param=lambda parameter: setattr(self, "_mark", parameter)
        )
        self.dialog = SimpleNamespace(is_known_dlg=yes, dlg_manage=yes, dlg_set_property=yes)
        self.uac = SimpleNamespace(uac_auth=yes)
        self.htable = SimpleNamespace(
            sht_get=lambda table, key: self._shared.get((table, key)),
            sht_sets=lambda table, key, value: self._shared.__setitem__((table, key), value),
            sht_rm=lambda table, key: self._shared.pop((table, key), None),
            sht_inc=self._increase,
            sht_setex=yes, sht_lock=yes, sht_unlock=yes,
        )  # fmt: skip
        self.tm = SimpleNamespace(
            t_check_trans=no, t_is_canceled=no, t_on_failure=yes,
            t_on_branch=lambda name: setattr(self, "_branch_route", name),
            t_on_reply=lambda name: setattr(self, "_reply_route", name), t_relay=self._relay,
        )  # fmt: skip
        self.setdsturi = self.notice = self.warn = self.info = self.setflag = yes
        self.route = lambda name: 2 if name == "ARRIVED" else 1  # from a source of group 1
        self.err = self.faults.append

    def call(self, pause: float) -> float:
        """INVITE, the challenge if it carries no credentials, 200, ACK and BYE; seconds that the handlers took."""
        self._variables |= dict.fromkeys(("$dlg_var(trunk)", "$dlg_var(peer)", "$avp(attempt)"))
        self._variables["$ci"] = f"call-{self._next()}"
        self._mark, self.carried, self.answered = "", False, False
        spent = self._request("INVITE", pause, cseq=1)
        is_package = bool(self._reply_route)
        if is_package and not self.carried:
            self._variables["$T_rpl($(hdr(Proxy-Authenticate)[0]))"] = CHALLENGE.format(self._next())
            spent += self._reply(407, pause) + self._run("TRUNKAUTH", 0)
            self.answered = True
        if is_package:
            spent += self._reply(200, pause)
        spent += self._request("ACK", pause, cseq=1) + self._request("BYE", pause, cseq=2)
        return spent + (self._reply(200, pause) if self._reply_route else 0)

    def _request(self, method: str, pause: float, cseq: int) -> float:
        self._is_new = method == "INVITE"
        self._reply_route = ""
        self._variables |= {
            "$rm": method,
            "$cs": str(cseq),
            "$T_req($hdr(CSeq))": f"{cseq} {method}",
            "$tt": None if self._is_new else "b",
            "$route_uri": "" if self._is_new else f"sip:192.0.2.1;lr{self._mark}",
        }
        return self._run("ksr_request_route", pause)

    def _print(self, name: str) -> str:
        """Make the text of a `$_s(…)` ready, whose variables have blanks or line ends between them."""

        def value(variable: re.Match[str]) -> str:
            found = self._variables.get(variable[0])
            return "<null>" if found is None else str(found)

        text = self._variables[name] = re.sub(r"\S+", value, name[len("$_s(") : -1])
        return text

    def _reply(self, status: int, pause: float) -> float:
        self._variables["$rs"] = status
        return self._run(self._reply_route, pause)

    def _run(self, handler: str, pause: float) -> float:
        for name in [name for name in self._variables if name.startswith("$_s(")]:
            self._print(name)
        return _timed(getattr(self.handlers, handler), pause)

    def _relay(self) -> int:
        if self._branch_route:
            self._branch_route = ""
            self.handlers.BRANCH(None)
        return 1

    def _append(self, header: str) -> int:
        self.carried = self.carried or (self._is_new and "Authorization: " in header)
        return 1

    def _increase(self, _table: str, key: str) -> int:
        self._counts[key] = self._counts.get(key, 0) + 1
        return self._counts[key]

    def _next(self, *_: object) -> int:
        self._count += 1
        return self._count
