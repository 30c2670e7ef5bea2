"""What this package does of a call that goes well, in as little Python as that takes: it asks Kamailio the same, and
has it do the same, in the same order, over one trunk that is in the script. No other trunk, fault or carrier is thought
of. It shows what of the package's cost is that of the work itself. Started as bare.py is; ahead.py is preemptive.
"""

from __future__ import annotations

import os
import re
import time
from base64 import urlsafe_b64decode, urlsafe_b64encode
from hashlib import blake2b
from struct import Struct

import KSR

FACTS = (
    "$_s($rm\n$ci\n$ft\n$tt\n$cs\n$ml\n$route_uri\n$si $sp $proto\n$sel(via.host)"
    "\n$fu\n$ru\n$(hdr(Proxy-Require)[*])\n$hdr(X-Trunk))"
)
NEXT_HOP = "$_s($dd $dP $(du{uri.scheme}) $(du{uri.port})\n$rd $rP $(ru{uri.scheme}) $(ru{uri.port}))"
MARK = re.compile(r";ta=([A-Za-z0-9_-]{1,100})(?:;|$)")
CHALLENGE = re.compile(r'Digest realm="([^"\\]*)", nonce="([^"\\]*)", qop="auth", algorithm=MD5')
CREDENTIALS = re.compile(rb"^(?:Proxy-)?Authorization[ \t]*:[^\r]*\r\n", re.IGNORECASE | re.MULTILINE)
FORM = Struct(">BIIIII8s8s")
KEY, SEAL_BYTES = bytes(32), 12
CARRIERS_FIELD = {"401": "WWW-Authenticate", "407": "Proxy-Authenticate"}


def seal(name: str, body: bytes) -> bytes:
    """Return the seal of a dialog's mark."""
    return blake2b(body + name.encode(), key=KEY, digest_size=SEAL_BYTES).digest()


def short(text: str, size: int) -> str:
    """Return a hash of so many bytes."""
    return blake2b(text.encode(), digest_size=size).hexdigest()


class Least:
    """The handlers that kamailio.cfg names. What is kept with a transaction is a text with tabs: trunk, key of its
    CSeqs, method, CSeq of the caller, CSeq of the carrier, mark, when it began, realm and nonce that were answered.
    """

    def __init__(self, domain: str, next_hop: str, user: str, password: str) -> None:
        self.domain, self.next_hop, self.user, self.password = domain, next_hop, user, password
        self.carrier = blake2b(f"{next_hop} {domain}".encode(), digest_size=8).digest()

    def child_init(self, _rank: int) -> int:
        """Called in every process; nothing is needed there."""
        return 0

    def ksr_request_route(self, _message: object) -> int:
        """Every request comes in here."""
        if KSR.route("ARRIVED") < 1:
            return 1
        lines = str(KSR.pv.gete(FACTS)).split("\n")
        if len(lines) != 13 or KSR.tm.t_check_trans() == 0:
            return 1
        method, call_id, from_tag, to_tag, cseq, _, route, _, _, _, dialled, _, trunk = lines
        if to_tag != "<null>":
            self._inside(method, short(f"{call_id}\n{from_tag}", 16), int(cseq), route)
        elif method == "OPTIONS":
            KSR.sl.send_reply(200, "OK")
        elif method == "INVITE" and trunk == self.user:
            self._place(short(f"{call_id}\n{from_tag}", 16), int(cseq), dialled)
        return 1

    def _place(self, name: str, cseq: int, dialled: str) -> None:
        """Send a call to the carrier."""
        KSR.pv.sets("$ru", f"{dialled.partition('@')[0]}@{self.domain}")
        KSR.setdsturi(self.next_hop)
        KSR.route("PLACED")
        sequence = f"{name}{self.carrier.hex()}"
        KSR.pv.sets("$var(dialog)", sequence)
        KSR.route("FIRST")
        back = blake2b(str(KSR.pv.gete("$_s($hdr(Record-Route)\n$hdr(Contact))")).encode(), digest_size=8).digest()
        now = time.time()
        body = FORM.pack(2, 1, cseq, 0, int(now), 7, self.carrier, back)
        mark = urlsafe_b64encode(body + seal(name, body)).decode().rstrip("=")
        self.send("INVITE", f"{self.user}\t{sequence}\tINVITE\t{cseq}\t{cseq}\t{mark}\t{now:.3f}\t")

    def send(self, method: str, attempt: str) -> None:
        """Relay a request of this method as this attempt."""
        KSR.pv.sets("$avp(attempt)", attempt)
        KSR.tm.t_on_reply("REPLY")
        KSR.tm.t_on_branch("BRANCH")
        KSR.tm.t_on_failure("TRUNKAUTH")
        KSR.tm.t_relay()

    def _inside(self, method: str, name: str, cseq: int, route: str) -> None:
        """Send a request of a dialog to the carrier."""
        found = MARK.search(route)
        if KSR.route("INSIDE") < 1 or not found:
            return
        text = urlsafe_b64decode(f"{found[1]}==")
        if seal(name, text[:-SEAL_BYTES]) != text[-SEAL_BYTES:]:
            KSR.sl.send_reply(481, "Call/Transaction Does Not Exist")
            return
        KSR.pv.gete(NEXT_HOP)
        number = cseq + int(FORM.unpack(text[:-SEAL_BYTES])[3])
        sequence = f"{name}{self.carrier.hex()}"
        if method == "ACK":
            if number != cseq:
                KSR.hdr.remove("CSeq")
                KSR.hdr.append(f"CSeq: {number} ACK\r\n")
            if fields := KSR.htable.sht_get("acks", f"{sequence}/{cseq}"):
                KSR.pv.sets("$var(octets)", str(fields).encode().hex())
                KSR.route("APPEND")
            KSR.tm.t_relay()
        else:
            KSR.htable.sht_get("sequences", sequence)
            self.send(method, f"{self.user}\t{sequence}\t{method}\t{cseq}\t{number}\t\t0\t")

    def BRANCH(self, _message: object) -> int:
        """The one attempt that goes out now."""
        _, _, method, cseq, number, mark, _, answered = str(KSR.pv.gete("$avp(attempt)")).split("\t")
        if number != cseq:
            KSR.hdr.remove("CSeq")
            KSR.hdr.append(f"CSeq: {number} {method}\r\n")
        if mark:
            KSR.rr.add_rr_param(f";ta={mark}")
        if answered:
            self.carry(method, answered)
        return 1

    def TRUNKAUTH(self, _message: object) -> int:
        """The carrier has said no: answer it, once."""
        status, _, attempt = str(KSR.pv.gete("$_s($T_reply_code\n$avp(attempt))")).partition("\n")
        if status not in CARRIERS_FIELD:
            return 1
        trunk, sequence, method, cseq, number, mark, began, answered = attempt.split("\t")
        field = f"$(hdr({CARRIERS_FIELD[status]})"
        read = str(KSR.pv.gete(f"$_s($T_rpl({field}[0]))\n$T_rpl({field}[1])))"))
        asked = CHALLENGE.match(read)
        if KSR.tm.t_is_canceled() > 0 or answered or not asked:
            KSR.tm.t_reply(503, "Trunk Authentication Failed")
            return 1
        realm, nonce = asked.groups()
        KSR.htable.sht_get("asked", trunk)
        counter = short(f"{trunk}\n{nonce}", 16)
        KSR.htable.sht_inc("nonce_counts", counter)
        KSR.htable.sht_setex("nonce_counts", counter, 300)
        KSR.htable.sht_lock("sequences", sequence)
        raised = int(str(KSR.htable.sht_get("sequences", sequence) or number)) + 1
        KSR.htable.sht_sets("sequences", sequence, str(raised))
        KSR.htable.sht_unlock("sequences", sequence)
        KSR.pv.sets("$avp(auser)", self.user)
        KSR.pv.sets("$avp(apass)", self.password)
        KSR.pv.sets("$avp(arealm)", realm)
        if KSR.uac.uac_auth() < 0:
            KSR.tm.t_reply(503, "Trunk Authentication Failed")
            return 1
        KSR.route("FORGET")
        if mark:
            numbers = list(FORM.unpack(urlsafe_b64decode(f"{mark}==")[:-SEAL_BYTES]))
            numbers[3] = raised - int(cseq)
            body = FORM.pack(*numbers)
            mark = urlsafe_b64encode(body + seal(sequence[:32], body)).decode().rstrip("=")
        answer = f"{realm}\n{nonce}"
        self.send(method, f"{trunk}\t{sequence}\t{method}\t{cseq}\t{raised}\t{mark}\t{began}\t{answer}")
        line = f"level=notice trunk={trunk} outcome=answered realm={realm} algorithm=MD5 call-id={KSR.pv.gete('$ci')}\n"
        os.write(2, line.encode())
        return 1

    def REPLY(self, _message: object) -> int:
        """A reply: the caller sees his own CSeq; what the ACK needs is kept."""
        status, _, attempt = str(KSR.pv.gete("$_s($rs\n$avp(attempt))")).partition("\n")
        if status == "100":
            return 1
        trunk, sequence, method, cseq, number, _, _, answered = attempt.split("\t")
        if number != cseq:
            KSR.hdr.remove("CSeq")
            KSR.hdr.append(f"CSeq: {KSR.pv.gete('$T_req($hdr(CSeq))')}\r\n")
        if not status.startswith("2"):
            return 1
        if method != "INVITE":
            KSR.htable.sht_rm("sequences", sequence)
            return 1
        KSR.pv.sets("$dlg_var(peer)", str(KSR.pv.gete("$_s($si $sp $proto)")))
        if answered:
            KSR.htable.sht_get("asked", trunk)
            KSR.htable.sht_sets("asked", trunk, answered)
            octets, _, _ = bytes.fromhex(str(KSR.pv.gete("$(avp(sent){s.encode.hexa})"))).partition(b"\r\n\r\n")
            KSR.htable.sht_sets("acks", f"{sequence}/{cseq}", b"".join(CREDENTIALS.findall(octets + b"\r\n")).decode())
            self.accepted(answered)
        KSR.pv.sets("$avp(attempt)", attempt)
        return 1

    def carry(self, method: str, answered: str) -> None:
        """The branch answers this challenge; uac_auth() has added the response."""

    def accepted(self, answered: str) -> None:
        """The carrier has taken the response to the challenge with this realm and nonce."""

    def REPLICA(self, _message: object, _event: object) -> int:
        """The timers', and that of stray replies; nothing is kept, resolved, watched or dropped."""
        return 1

    NAMES = MEMORY = STRAY = REPLICA


def mod_init() -> Least:
    """Called by app_python3."""
    return Least(*(os.environ[f"BENCH_{name}"] for name in ("DOMAIN", "CARRIER", "USER", "PASSWORD")))
