"""Questions about KEMI's behaviour, and the script that puts them to a live Kamailio. The mock is asked the same.

As app_python3's script (probe.cfg loads it) it answers the questions into the file KSR_PROBE_REPORT, of two calls:

- one that is challenged twice and then ended with 503: the request route and the two failure routes;
- one that is challenged twice and then accepted, whose first and third INVITE leave through a branch route: the branch
  routes, and the reply routes of all three replies.

It imports nothing of this project, so that it runs wherever Kamailio does. The answers of each version are kept under
`answers/`.
"""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

Answers = dict[str, list[list[str]]]

UNREACHABLE = "sip:127.0.0.1:9;transport=tls"  # probe.cfg has no TLS

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

# Asked before anything else of the first call.
TABLES = r"""
KSR.htable.sht_get('nonces', 'a')
KSR.htable.sht_sets('nonces', 'a', 'one')
KSR.htable.sht_get('nonces', 'a')
KSR.htable.sht_get('nonces', 'A')
KSR.htable.sht_inc('nonces', 'a')
KSR.htable.sht_get('nonces', 'a')
KSR.htable.sht_seti('nonces', 'a', 7)
KSR.htable.sht_get('nonces', 'a')
KSR.htable.sht_inc('nonces', 'a')
KSR.htable.sht_get('nonces', 'a')
KSR.htable.sht_sets('nonces', 'a', '9')
KSR.htable.sht_get('nonces', 'a')
KSR.htable.sht_rm('nonces', 'a')
KSR.htable.sht_get('nonces', 'a')
KSR.htable.sht_rm('nonces', 'a')
KSR.htable.sht_inc('nonces', 'a')
KSR.htable.sht_get('nonces', 'a')
KSR.htable.sht_get('nonce_counts', 'a')
KSR.htable.sht_inc('nonce_counts', 'a')
KSR.htable.sht_inc('nonce_counts', 'a')
KSR.htable.sht_get('nonce_counts', 'a')
KSR.htable.sht_rm('nonce_counts', 'a')
KSR.htable.sht_get('nonce_counts', 'a')
KSR.htable.sht_inc('nonce_counts', 'a')
KSR.htable.sht_sets('nonce_counts', 's', 'x')
KSR.htable.sht_inc('nonce_counts', 's')
KSR.htable.sht_get('nonce_counts', 's')
KSR.htable.sht_seti('nonce_counts', 'n', -2)
KSR.htable.sht_inc('nonce_counts', 'n')
KSR.htable.sht_inc('nonce_counts', 'n')
KSR.htable.sht_seti('nonce_counts', 'n', True)
KSR.htable.sht_get('nonce_counts', 'n')
KSR.htable.sht_seti('nonce_counts', 'n', 2**31)
KSR.htable.sht_get('nonce_counts', 'n')
KSR.htable.sht_sets('nonces', 'a b', 'c d')
KSR.htable.sht_get('nonces', 'a b')
KSR.htable.sht_get('nonces', 'a')
KSR.htable.sht_sets('nonces', 'k"=>)$;\'', 'v"=>)$;\'')
KSR.htable.sht_get('nonces', 'k"=>)$;\'')
KSR.htable.sht_inc('nonce_counts', 'k"=>)$;\'')
KSR.htable.sht_sets('nonces', '$rm', '$rm')
KSR.htable.sht_get('nonces', '$rm')
KSR.htable.sht_get('nonces', 'INVITE')
KSR.htable.sht_sets('nonces', '\u00e9', '\u00fc \u20ac')
KSR.htable.sht_get('nonces', '\u00e9') == '\u00fc \u20ac'
KSR.htable.sht_sets('nonces', '\ud800', 'x')
KSR.htable.sht_sets('nonces', '', 'empty')
KSR.htable.sht_get('nonces', '')
KSR.htable.sht_rm('nonces', '')
KSR.htable.sht_get('nonces', '')
KSR.htable.sht_inc('nonce_counts', '')
KSR.htable.sht_sets('nonces', 'e', '')
KSR.htable.sht_get('nonces', 'e')
KSR.htable.sht_sets('nonces', 'e', 'x' * 2000)
KSR.htable.sht_get('nonces', 'e') == 'x' * 2000
KSR.htable.sht_sets('nonces', 'k' * 2000, 'v')
KSR.htable.sht_get('nonces', 'k' * 2000)
KSR.htable.sht_sets('nonces', 'lines', 'a\r\nb')
KSR.htable.sht_get('nonces', 'lines')
KSR.htable.sht_sets('nonces', 'nul', 'a\0b')
KSR.htable.sht_get('nonces', 'nul')
KSR.htable.sht_sets('brief', 'old', 'x')
KSR.htable.sht_get('brief', 'old')
KSR.htable.sht_inc('brief_counts', 'old')
KSR.htable.sht_inc('brief_counts', 'old')
KSR.htable.sht_sets('brief_counts', 'text', 'x')
KSR.htable.sht_setex('nonces', 'missing', 600)
KSR.htable.sht_get('nonces', 'missing')
KSR.htable.sht_inc('nonces', 'missing')
KSR.htable.sht_setex('nonce_counts', 'missing', 1)
KSR.htable.sht_get('nonce_counts', 'missing')
KSR.htable.sht_inc('nonce_counts', 'missing')
KSR.htable.sht_sets('nonces', 'cut', 'x')
KSR.htable.sht_setex('nonces', 'cut', 1)
KSR.htable.sht_get('nonces', 'cut')
KSR.htable.sht_inc('nonce_counts', 'cut')
KSR.htable.sht_inc('nonce_counts', 'cut')
KSR.htable.sht_setex('nonce_counts', 'cut', 1)
KSR.htable.sht_get('nonce_counts', 'cut')
KSR.htable.sht_inc('nonce_counts', 'cut and renewed')
KSR.htable.sht_setex('nonce_counts', 'cut and renewed', 1)
KSR.htable.sht_inc('nonce_counts', 'cut and renewed')
KSR.htable.sht_sets('nonces', 'cut and renewed', 'x')
KSR.htable.sht_setex('nonces', 'cut and renewed', 1)
KSR.htable.sht_sets('nonces', 'cut and renewed', 'y')
KSR.htable.sht_sets('nonces', 'cut and read', 'x')
KSR.htable.sht_setex('nonces', 'cut and read', True)
KSR.htable.sht_get('nonces', 'cut and read')
KSR.htable.sht_inc('brief_counts', 'lengthened')
KSR.htable.sht_setex('brief_counts', 'lengthened', 600)
KSR.htable.sht_get('brief_counts', 'lengthened')
KSR.htable.sht_inc('brief_counts', 'lengthened and renewed')
KSR.htable.sht_setex('brief_counts', 'lengthened and renewed', 600)
KSR.htable.sht_inc('brief_counts', 'lengthened and renewed')
KSR.htable.sht_sets('brief', 'lengthened', 'x')
KSR.htable.sht_setex('brief', 'lengthened', 1)
KSR.htable.sht_setex('brief', 'lengthened', 2**31 - 1)
KSR.htable.sht_sets('brief', 'zero', 'x')
KSR.htable.sht_setex('brief', 'zero', 0)
KSR.htable.sht_sets('brief', 'negative', 'x')
KSR.htable.sht_setex('brief', 'negative', -1)
KSR.htable.sht_inc('brief_counts', 'zero and renewed')
KSR.htable.sht_setex('brief_counts', 'zero and renewed', 0)
KSR.htable.sht_inc('brief_counts', 'zero and renewed')
KSR.htable.sht_sets('brief', 'too much', 'x')
KSR.htable.sht_setex('brief', 'too much', 2**31)
KSR.htable.sht_sets('brief', 'far too much', 'x')
KSR.htable.sht_setex('brief', 'far too much', 2**40)
KSR.htable.sht_setex('brief', 'far too much', 2**70)
"""

# Asked before anything else of the second call, when the entries of the brief tables have had their time.
EXPIRED = r"""
KSR.htable.sht_get('brief', 'old')
KSR.htable.sht_rm('brief', 'old')
KSR.htable.sht_sets('brief', 'old', 'y')
KSR.htable.sht_get('brief', 'old')
KSR.htable.sht_get('brief_counts', 'old')
KSR.htable.sht_inc('brief_counts', 'old')
KSR.htable.sht_inc('brief_counts', 'old')
KSR.htable.sht_get('brief_counts', 'text')
KSR.htable.sht_inc('brief_counts', 'text')
KSR.htable.sht_get('nonce_counts', 'a')
KSR.htable.sht_get('nonce_counts', 'missing')
KSR.htable.sht_get('nonces', 'cut')
KSR.htable.sht_get('nonce_counts', 'cut')
KSR.htable.sht_inc('nonce_counts', 'cut')
KSR.htable.sht_inc('nonce_counts', 'cut')
KSR.htable.sht_get('nonce_counts', 'cut and renewed')
KSR.htable.sht_inc('nonce_counts', 'cut and renewed')
KSR.htable.sht_get('nonces', 'cut and renewed')
KSR.htable.sht_get('nonces', 'cut and read')
KSR.htable.sht_get('brief_counts', 'lengthened')
KSR.htable.sht_inc('brief_counts', 'lengthened')
KSR.htable.sht_get('brief_counts', 'lengthened and renewed')
KSR.htable.sht_inc('brief_counts', 'lengthened and renewed')
KSR.htable.sht_get('brief', 'lengthened')
KSR.htable.sht_get('brief', 'zero')
KSR.htable.sht_get('brief', 'negative')
KSR.htable.sht_get('brief_counts', 'zero and renewed')
KSR.htable.sht_get('brief', 'too much')
KSR.htable.sht_get('brief', 'far too much')
"""

SECOND_REQUEST = r"""
KSR.pv.get('$dd')
KSR.setdsturi('sip:5550100@carrier.example:5070;transport=udp')
KSR.pv.get('$dd')
KSR.setdsturi('sip:[2001:db8::1]:5070')
KSR.pv.get('$dd')
KSR.setdsturi('sip:192.0.2.1;lr')
KSR.pv.get('$dd')
KSR.resetdsturi()
KSR.pv.get('$dd')
KSR.pv.sets('$dlg_var(x)', 'early')
KSR.dialog.dlg_manage()
KSR.pv.sets('$avp(keep)', 'kept')
KSR.hdr.append('X-Request: r\r\n')
KSR.tm.t_is_set('branch_route')
KSR.tm.t_on_branch('PROBE_BRANCH')
KSR.tm.t_is_set('branch_route')
KSR.tm.t_is_set('onreply_route')
KSR.tm.t_on_reply('PROBE_REPLY')
KSR.tm.t_is_set('onreply_route')
KSR.tm.t_on_failure('PROBE_FAILURE')
KSR.setdsturi(KSR.pv.get('$ou'))
KSR.tm.t_relay()
KSR.tm.t_is_set('branch_route')
KSR.tm.t_is_set('onreply_route')
KSR.pv.get('$avp(keep)')
KSR.pv.get('$avp(branch)')
KSR.pv.get('$dlg_var(branch)')
"""

BRANCH = r"""
KSR.pv.get('$ru')
KSR.pv.get('$du')
KSR.pv.get('$dd')
KSR.pv.get('$fs')
KSR.pv.get('$rm')
KSR.pv.get('$rs')
KSR.pv.get('$ci')
KSR.pv.get('$cs')
KSR.pv.get('$tt')
KSR.pv.get('$si')
KSR.pv.get('$bs')
KSR.pv.get('$(rb{s.encode.hexa})')
KSR.pv.get('$T_reply_code')
KSR.pv.get('$T_rpl($rs)')
KSR.pv.get('$hdr(X-Multi)')
KSR.pv.get('$hdr(X-Request)')
KSR.pv.get('$avp(keep)')
KSR.pv.sets('$avp(keep)', 'changed')
KSR.pv.get('$avp(keep)')
KSR.pv.get('$avp(failure)')
KSR.pv.sets('$avp(branch)', 'b')
KSR.pv.get('$dlg_var(x)')
KSR.pv.sets('$dlg_var(branch)', 'b')
KSR.pv.get('$dlg_var(branch)')
KSR.pv.get('$dlg(from_tag)')
KSR.dialog.is_known_dlg()
KSR.is_method('INVITE')
KSR.siputils.has_totag()
KSR.tm.t_is_set('branch_route')
KSR.tm.t_is_set('failure_route')
KSR.tm.t_is_set('onreply_route')
KSR.htable.sht_inc('nonce_counts', 'branch')
KSR.htable.sht_setex('nonce_counts', 'branch', 600)
KSR.hdr.append('X-Branch: b\r\n')
KSR.hdr.get('X-Branch')
KSR.pv.get('$hdr(X-Branch)')
KSR.hdr.is_present('X-Branch')
KSR.hdr.remove('User-Agent')
KSR.hdr.is_present('User-Agent')
KSR.hdr.remove('X-Request')
"""

REPLY = r"""
KSR.pv.get('$rs')
KSR.pv.get('$rr')
KSR.pv.get('$si')
KSR.pv.get('$ci')
KSR.pv.get('$rm')
KSR.pv.get('$ft')
KSR.pv.get('$T_reply_code')
KSR.pv.get('$T(reply_code)')
KSR.pv.get('$T_rpl($rs)')
KSR.pv.get('$hdr(Authentication-Info)')
KSR.pv.get('$hdr(authentication-info)')
KSR.pv.get('$(hdr(Authentication-Info)[1])')
KSR.pv.get('$hdr(Proxy-Authentication-Info)')
KSR.pv.get('$hdr(Proxy-Authenticate)')
KSR.pv.get('$(hdr(Proxy-Authenticate)[1])')
KSR.pv.get('$(hdr(Proxy-Authenticate)[2])')
KSR.pv.get('$hdr(Call-ID)')
KSR.pv.get('$hdr(X-Latin)')
KSR.pv.get('$hdr(X-Multi)')
KSR.pv.get('$hdr(X-Request)')
KSR.hdr.get('Authentication-Info')
KSR.hdr.get('Proxy-Authenticate')
KSR.hdr.get('X-None')
KSR.hdr.is_present('Proxy-Authenticate')
KSR.pv.get('$avp(keep)')
KSR.pv.get('$avp(branch)')
KSR.pv.get('$avp(failure)')
KSR.pv.sets('$avp(reply)', 'r')
KSR.pv.get('$avp(reply)')
KSR.pv.get('$dlg_var(x)')
KSR.pv.get('$dlg_var(branch)')
KSR.pv.sets('$dlg_var(reply)', 'r')
KSR.pv.get('$dlg_var(reply)')
KSR.pv.get('$dlg(from_tag)')
KSR.is_method('INVITE')
KSR.siputils.has_totag()
KSR.htable.sht_inc('nonce_counts', 'reply')
KSR.htable.sht_setex('nonce_counts', 'reply', 600)
"""

_SEEN_AGAIN = r"""
KSR.pv.get('$dd')
KSR.pv.get('$avp(keep)')
KSR.pv.get('$avp(branch)')
KSR.pv.get('$avp(reply)')
KSR.pv.sets('$avp(failure)', 'f')
KSR.pv.get('$dlg_var(branch)')
KSR.pv.get('$dlg_var(reply)')
KSR.hdr.get('User-Agent')
KSR.tm.t_is_set('branch_route')
KSR.tm.t_is_set('onreply_route')
KSR.htable.sht_get('nonce_counts', 'branch')
KSR.pv.sets('$ru', KSR.pv.get('$ru'))
KSR.tm.t_on_failure('PROBE_FAILURE')
"""

# The branch route is not armed, so this INVITE leaves without it; the reply route was armed once, in the request route.
THIRD_FAILURE = f"""{_SEEN_AGAIN}
KSR.tm.t_relay()
"""

# The branch route runs before it turns out that nothing can be sent.
FOURTH_FAILURE = f"""{_SEEN_AGAIN}
KSR.tm.t_on_branch('PROBE_UNSENT')
KSR.setdsturi('{UNREACHABLE}')
KSR.tm.t_relay()
KSR.tm.t_is_set('branch_route')
KSR.htable.sht_get('nonce_counts', 'unsent')
KSR.pv.sets('$ru', KSR.pv.get('$ou'))
KSR.setdsturi(KSR.pv.get('$ou'))
KSR.tm.t_on_branch('PROBE_BRANCH')
KSR.tm.t_relay()
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
KSR.htable.sht_get('nosuch', 'a')
KSR.htable.sht_sets('nosuch', 'a', 'x')
KSR.htable.sht_seti('nosuch', 'a', 1)
KSR.htable.sht_inc('nosuch', 'a')
KSR.htable.sht_rm('nosuch', 'a')
KSR.htable.sht_get('NONCES', 'a')
KSR.htable.sht_get('', 'a')
KSR.htable.sht_get('nonces')
KSR.htable.sht_get('nonces', 'a', 'b')
KSR.htable.sht_get('nonces', 1)
KSR.htable.sht_get('nonces', b'a')
KSR.htable.sht_get('nonces', None)
KSR.htable.sht_sets('nonces', 'refused', 1)
KSR.htable.sht_sets('nonces', 'refused')
KSR.htable.sht_seti('nonces', 'refused', '1')
KSR.htable.sht_seti('nonces', 'refused', 1.0)
KSR.htable.sht_inc('nonce_counts')
KSR.htable.sht_inc('nonce_counts', 'refused', 1)
KSR.htable.sht_rm('nonces')
KSR.htable.sht_get('nonces', 'a\0b')
KSR.htable.sht_setex('nosuch', 'a', 1)
KSR.htable.sht_setex('NONCES', 'a', 1)
KSR.htable.sht_setex('lasting', 'a', 1)
KSR.htable.sht_setex('nonces', 'a')
KSR.htable.sht_setex('nonces', 'a', 1, 1)
KSR.htable.sht_setex('nonces', 'a', '1')
KSR.htable.sht_setex('nonces', 'a', 1.0)
KSR.htable.sht_setex('nonces', 'a', None)
KSR.htable.sht_setex('nonces', 1, 1)
KSR.htable.sht_setex('nonces', b'a', 1)
KSR.htable.sht_setex(1, 'a', 1)
KSR.htable.sht_setex('nonces', 'a\0b', 1)
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
        """Ask of each call's INVITE; leave everything else alone."""
        if not self.ksr.is_INVITE():
            return 1
        if "request" not in self.answers:
            self._ask("refused", REFUSED)
            self._ask("tables", TABLES)
            self._ask("request", REQUEST)
        else:
            self._ask("expired", EXPIRED)
            self._ask("second request", SECOND_REQUEST)
        return 1

    def PROBE_BRANCH(self, _message: object) -> int:
        """Ask in the branch routes of the second call's first and third INVITE."""
        self._ask_next(["first branch", "second branch"], [BRANCH, BRANCH])
        return 1

    def PROBE_UNSENT(self, _message: object) -> int:
        """Count the runs of a branch route whose message is not sent."""
        self.ksr.htable.sht_inc("nonce_counts", "unsent")
        return 1

    def PROBE_REPLY(self, _message: object) -> int:
        """Ask in the reply routes of the second call."""
        self._ask_next(["first reply", "second reply", "third reply"], [REPLY, REPLY, REPLY])
        return 1

    def PROBE_FAILURE(self, _message: object) -> int:
        """Ask in the failure routes: two of each call."""
        self._ask_next(
            ["first failure", "second failure", "third failure", "fourth failure"],
            [FIRST_FAILURE, SECOND_FAILURE, THIRD_FAILURE, FOURTH_FAILURE],
        )
        return 1

    def ksr_reply_route(self, _message: object) -> int:
        """Must exist."""
        return 1

    def ksr_onsend_route(self, _message: object) -> int:
        """Must exist."""
        return 1

    def _ask(self, route: str, questions: str) -> None:
        self.answers[route] = []  # there already while the questions run: a t_relay among them runs the branch route
        self.answers[route] += ask(self.ksr, questions)

    def _ask_next(self, routes: list[str], questions: list[str]) -> None:
        """Ask what is due in the first of these routes that has not been run yet."""
        number = sum(route in self.answers for route in routes)
        self._ask(routes[number], questions[number])


class LiveProbe(Probe):
    """In Kamailio: the answers are written out when there are no more to come."""

    def PROBE_REPLY(self, message: object) -> int:
        """As above, and then the report."""
        super().PROBE_REPLY(message)
        if "third reply" in self.answers:
            report = Path(os.environ["KSR_PROBE_REPORT"])
            unfinished = report.with_suffix(".part")
            unfinished.write_text(json.dumps(self.answers), encoding="utf-8")
            unfinished.rename(report)
        return 1


def mod_init() -> LiveProbe:
    """Called by app_python3."""
    import KSR

    return LiveProbe(KSR)
