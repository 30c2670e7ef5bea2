"""Questions about KEMI's behaviour, and the script that puts them to a live Kamailio. The mock is asked the same.

As app_python3's script (probe.cfg loads it) it answers each INVITE's questions into the file KSR_PROBE_REPORT: in the
request route, in the failure route of the first challenge, and in that of the second. It imports nothing of this
project, so that it runs wherever Kamailio does. The answers of each version are kept under `answers/`.
"""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

Answers = dict[str, list[list[str]]]

# Asked in this order: a question may depend on the ones before it.
REQUEST = r"""
KSR.nosuch
KSR.tm.nosuch
KSR.info('x')
KSR.info(line='x')
KSR.maxfwd.process_maxfwd(True)
KSR.pv.get('$hdr(Max-Forwards)')
KSR.sanity.sanity_check(17895, 7)
KSR.siputils.has_totag()
KSR.permissions.allow_source_address(1)
KSR.permissions.allow_source_address(2)
KSR.is_method('INVITE')
KSR.is_method('BYE')
KSR.is_method('BYE|INVITE')
KSR.is_method_in('IB')
KSR.is_method_in('ACBOM')
KSR.is_INVITE()
KSR.is_myself_ruri()
KSR.is_myself('garbage')
KSR.is_myself('sip:x@' + KSR.pv.get('$Ri'))
KSR.is_myself('sip:x@' + KSR.pv.get('$Ri') + ':5060')
KSR.is_myself('sip:x@' + KSR.pv.get('$Ri') + ':' + str(KSR.pv.get('$Rp')))
KSR.is_myself('sip:x@' + KSR.pv.get('$Ri') + ';transport=tcp')
KSR.is_myself('sips:x@' + KSR.pv.get('$Ri'))
KSR.tmx.t_precheck_trans()
KSR.tm.t_check_trans()
KSR.tm.t_is_canceled()
KSR.tm.t_reply(486, 'Busy')
KSR.uac.uac_auth()
KSR.rr.loose_route()
KSR.rr.record_route()
KSR.rr.record_route()
KSR.pv.seti('$var(i)', 2**31)
KSR.pv.get('$var(i)')
KSR.pv.seti('$var(i)', 2**40)
KSR.pv.get('$var(i)')
KSR.pv.seti('$var(i)', 2**70)
KSR.pv.seti('$var(i)', True)
KSR.pv.get('$var(i)')
KSR.pv.sets('$var(s)', '')
KSR.pv.get('$var(s)')
KSR.pv.unset('$var(s)')
KSR.pv.get('$var(s)')
KSR.pv.sets('$var(s)', '\ud800')
KSR.pv.get('$avp(none)')
KSR.pv.gete('$avp(none)')
KSR.pv.getw('$avp(none)')
KSR.pv.geti('$avp(none)')
KSR.pv.is_null('$avp(none)')
KSR.pv.is_null('$var(none)')
KSR.pv.sets('$avp(a)', '1')
KSR.pv.sets('$avp(a)', '2')
KSR.pv.get('$avp(a)')
KSR.pv.get('$(avp(a)[1])')
KSR.pv.get('$(avp(a)[*])')
KSR.pv.unset('$avp(a)')
KSR.pv.get('$avp(a)')
KSR.pv.sets('$avp(a)', '3')
KSR.pv.unset('$(avp(a)[*])')
KSR.pv.get('$avp(a)')
KSR.pv.sets('$(avp(a)[*])', '4')
KSR.pv.get('$avp(a)')
KSR.pv.seti('$avp(n)', 5)
KSR.pv.get('$avp(n)')
KSR.pv.geti('$avp(n)')
KSR.pv.get('$rm')
KSR.pv.get('$ru')
KSR.pv.get('$rU')
KSR.pv.get('$rd')
KSR.pv.get('$rp')
KSR.pv.get('$du')
KSR.pv.get('$fs')
KSR.pv.get('$fu')
KSR.pv.get('$fU')
KSR.pv.get('$fd')
KSR.pv.get('$ft')
KSR.pv.get('$tu')
KSR.pv.get('$tU')
KSR.pv.get('$td')
KSR.pv.get('$tt')
KSR.pv.get('$ci')
KSR.pv.get('$cs')
KSR.pv.get('$ct')
KSR.pv.get('$ua')
KSR.pv.get('$si')
KSR.pv.get('$sp')
KSR.pv.get('$su')
KSR.pv.get('$pr')
KSR.pv.get('$proto')
KSR.pv.get('$Ri')
KSR.pv.get('$Rp')
KSR.pv.get('$rs')
KSR.pv.get('$T_reply_code')
KSR.pv.get('$T(reply_code)')
KSR.pv.get('$T_rpl($rs)')
KSR.pv.get('$T_rpl($si)')
KSR.pv.get('$T_rpl($(hdr(Proxy-Authenticate)[0]))')
KSR.pv.get('$rb')
KSR.pv.get('$(rb{s.encode.hexa})')
KSR.pv.get('$bs')
KSR.pv.get('$hdr(X-Multi)')
KSR.pv.get('$hdr(x-multi)')
KSR.pv.get('$(hdr(X-Multi)[1])')
KSR.pv.get('$(hdr(X-Multi)[2])')
KSR.pv.get('$(hdr(X-Multi)[-1])')
KSR.pv.get('$(hdr(X-Multi)[*])')
KSR.pv.get('$hdrc(X-Multi)')
KSR.pv.get('$hdr(From)')
KSR.pv.get('$hdr(f)')
KSR.pv.get('$hdr(X-Empty)')
KSR.pv.get('$hdr(X-Fold)')
KSR.pv.get('$hdr(X-None)')
KSR.pv.get('$hdr(X-Latin)')
KSR.pv.gete('$hdr(X-Latin)')
KSR.hdr.get('X-Latin')
KSR.hdr.get('X-None')
KSR.hdr.gete('X-None')
KSR.hdr.get_idx('X-Multi', 1)
KSR.hdr.get_idx('X-Multi', 2)
KSR.hdr.is_present('x-multi')
KSR.hdr.is_present('s')
KSR.hdr.is_present('X-None')
KSR.hdr.append('X-New: one\r\n')
KSR.hdr.get('X-New')
KSR.hdr.is_present('X-New')
KSR.pv.get('$hdr(X-New)')
KSR.hdr.remove('X-New')
KSR.hdr.remove('X-Multi')
KSR.hdr.get('X-Multi')
KSR.hdr.is_present('X-Multi')
KSR.hdr.remove('X-None')
KSR.hdr.remove('s')
KSR.hdr.append('X-No-Crlf: two')
KSR.hdr.append('X-After: three\r\n')
KSR.hdr.append('')
KSR.hdr.insert('X-First: four\r\n')
KSR.pv.get('$dlg(from_tag)')
KSR.pv.sets('$dlg_var(x)', 'early')
KSR.pv.get('$dlg_var(x)')
KSR.dialog.is_known_dlg()
KSR.dialog.dlg_manage()
KSR.dialog.dlg_manage()
KSR.dialog.is_known_dlg()
KSR.pv.get('$dlg_var(x)')
KSR.pv.seti('$dlg_var(y)', 1)
KSR.pv.get('$dlg_ctx(dir)')
KSR.pv.get('$dlg(from_tag)')
KSR.pv.sets('$ru', 'garbage')
KSR.pv.get('$ru')
KSR.pv.sets('$rd', 'carrier.example')
KSR.pv.unset('$ru')
KSR.seturi('sip:999@example.net;transport=udp')
KSR.pv.get('$rp')
KSR.pv.sets('$rd', 'carrier.example')
KSR.pv.sets('$rU', '77')
KSR.pv.sets('$rp', '5070')
KSR.pv.get('$ru')
KSR.pv.unset('$rU')
KSR.pv.get('$ru')
KSR.pv.get('$rU')
KSR.isdsturiset()
KSR.setdsturi('garbage')
KSR.pv.get('$du')
KSR.isdsturiset()
KSR.resetdsturi()
KSR.pv.sets('$du', '')
KSR.pv.get('$du')
KSR.pv.sets('$fs', 'udp:127.0.0.1:1')
KSR.pv.get('$fs')
KSR.setflag(7)
KSR.isflagset(7)
KSR.isflagset(8)
KSR.pv.sets('$avp(keep)', 'kept')
KSR.tm.t_is_set('failure_route')
KSR.tm.t_on_failure('PROBE_FAILURE')
KSR.tm.t_is_set('failure_route')
KSR.pv.sets('$ru', KSR.pv.get('$ou'))
KSR.setdsturi(KSR.pv.get('$ou'))
KSR.tm.t_relay()
KSR.pv.get('$T_reply_code')
KSR.hdr.get('X-New')
"""

_SEEN_IN_FAILURE = r"""
KSR.pv.get('$ru')
KSR.pv.get('$du')
KSR.pv.get('$fs')
KSR.pv.get('$rm')
KSR.pv.get('$rs')
KSR.pv.get('$cs')
KSR.pv.get('$si')
KSR.pv.get('$T_reply_code')
KSR.pv.get('$T(reply_code)')
KSR.pv.get('$T_reply_reason')
KSR.pv.get('$T_rpl($rs)')
KSR.pv.get('$T_rpl($rr)')
KSR.pv.get('$T_rpl($si)')
KSR.pv.get('$(rb{s.encode.hexa})')
KSR.pv.get('$bs')
KSR.pv.get('$T_rpl($(hdr(Proxy-Authenticate)[0]))')
KSR.pv.get('$T_rpl($(hdr(Proxy-Authenticate)[1]))')
KSR.pv.get('$T_rpl($(hdr(Proxy-Authenticate)[2]))')
KSR.pv.get('$T_rpl($hdr(X-Latin))')
KSR.pv.get('$T_rpl($hdr(X-None))')
KSR.hdr.get('Proxy-Authenticate')
KSR.hdr.get('X-New')
KSR.hdr.get('X-Multi')
KSR.hdr.get('X-Failure')
KSR.hdr.get('User-Agent')
KSR.pv.get('$avp(keep)')
KSR.pv.get('$dlg_var(x)')
KSR.pv.get('$dlg_var(cseq_diff)')
KSR.dialog.is_known_dlg()
KSR.pv.get('$dlg(from_tag)')
KSR.isflagset(7)
KSR.tm.t_is_canceled()
KSR.tm.t_branch_timeout()
KSR.tm.t_check_trans()
KSR.tm.t_check_status('401|407')
KSR.tm.t_check_status('408')
KSR.tm.t_is_set('failure_route')
KSR.tm.t_relay()
KSR.uac.uac_auth()
"""

FIRST_FAILURE = f"""{_SEEN_IN_FAILURE}
KSR.pv.sets('$avp(auser)', 'u')
KSR.uac.uac_auth()
KSR.pv.sets('$avp(apass)', 'p')
KSR.pv.sets('$avp(arealm)', 'CAR')
KSR.uac.uac_auth()
KSR.pv.sets('$avp(arealm)', 'car')
KSR.uac.uac_auth()
KSR.hdr.get('Proxy-Authorization')
KSR.hdr.append('X-Failure: f\\r\\n')
KSR.hdr.remove('User-Agent')
KSR.hdr.remove('X-New')
KSR.tm.t_on_failure('PROBE_FAILURE')
KSR.tm.t_relay()
"""

SECOND_FAILURE = f"""{_SEEN_IN_FAILURE}
KSR.tm.t_reply(503, 'Probed')
"""

# Kamailio takes these in silence; the mock raises.
REFUSED = r"""
KSR.tm.t_check_trans(1)
KSR.info()
KSR.hdr.append(1)
KSR.hdr.append(b'X: 1\r\n')
KSR.hdr.remove('X-None', 'more')
KSR.sl.send_reply('200', 'OK')
KSR.pv.get('$nosuch')
KSR.pv.is_null('$nosuch')
KSR.pv.sets('$nosuch', 'x')
KSR.pv.get('$ru ')
KSR.pv.sets('$ci', 'x')
KSR.pv.unset('$ci')
"""


def ask(ksr: Any, questions: str) -> list[list[str]]:
    """Each question with its answer: a Python literal, or the name of the exception."""
    answers = []
    for question in filter(None, questions.splitlines()):
        try:
            answer = repr(eval(question, {"KSR": ksr}))
        except Exception as error:
            answer = type(error).__name__
        answers.append([question, answer])
    return answers


class Probe:
    """The handlers: for Kamailio through mod_init(), for the mock as they are."""

    def __init__(self, ksr: Any) -> None:
        self.ksr = ksr
        self.answers: Answers = {}

    def child_init(self, _rank: int) -> int:
        """Called in every process."""
        return 0

    def ksr_request_route(self, _message: object) -> int:
        """Ask of the INVITE; leave everything else alone."""
        if self.ksr.is_INVITE():
            self.answers["refused"] = ask(self.ksr, REFUSED)
            self.answers["request"] = ask(self.ksr, REQUEST)
        return 1

    def PROBE_FAILURE(self, _message: object) -> int:
        """Ask in the failure routes of the first and the second challenge."""
        if "first failure" not in self.answers:
            self.answers["first failure"] = ask(self.ksr, FIRST_FAILURE)
        else:
            self.answers["second failure"] = ask(self.ksr, SECOND_FAILURE)
        return 1

    def ksr_reply_route(self, _message: object) -> int:
        """Must exist."""
        return 1

    def ksr_onsend_route(self, _message: object) -> int:
        """Must exist."""
        return 1


class LiveProbe(Probe):
    """In Kamailio: the answers are written out when there are no more to come."""

    def PROBE_FAILURE(self, message: object) -> int:
        """As above, and then the report."""
        super().PROBE_FAILURE(message)
        if "second failure" in self.answers:
            report = Path(os.environ["KSR_PROBE_REPORT"])
            unfinished = report.with_suffix(".part")
            unfinished.write_text(json.dumps(self.answers), encoding="utf-8")
            unfinished.rename(report)
        return 1


def mod_init() -> LiveProbe:
    """Called by app_python3."""
    import KSR

    return LiveProbe(KSR)
