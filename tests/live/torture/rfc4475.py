"""The messages of RFC 4475, by the names that it gives them, and the answer to each.

They are as odd here as there, but for hosts: `{me}` in a Via is the sender's own address, so that an answer comes back,
and addresses of phones and servers are the tests'. A NUL, an octet above 127 or a line end stands where the RFC has it.

An answer is a status; FORWARDED: the message is sent over the trunk, whose carrier says 480. SILENCE: it is a response to
nothing, or Kamailio's parser cannot read what an answer is made of.
"""

# ruff: noqa: E501  a line of the wire is as long as it is

from __future__ import annotations

from typing import NamedTuple

FORWARDED, SILENCE = 480, 0


class Case(NamedTuple):
    """A message, and the answer that a PBX gets, and one that anybody else gets."""

    octets: bytes
    pbx: int
    others: int


def message(start: str, *fields: str, body: bytes = b"") -> bytes:
    """Return a message of these lines; each may hold octets of Latin-1."""
    return "\r\n".join([start, *fields, "", ""]).encode("latin-1") + body


SDP = b"v=0\r\no=mhandley 29739 7272939 IN IP4 192.0.2.3\r\ns=-\r\nc=IN IP4 192.0.2.4\r\nt=0 0\r\nm=audio 49217 RTP/AVP 0\r\n"
CONTACT = "Contact: <sip:caller@192.0.2.3>"


def plain(start: str, tag: str, *more: str, body: bytes = b"", **other: str) -> bytes:
    """Return a request with the fields that all have, of which `other` replaces some (empty: left out)."""
    method = start.split(" ", 1)[0]
    fields = {
        "Via": f"SIP/2.0/UDP {{me}};rport;branch=z9hG4bK.{tag}", "To": "sip:j.user@example.com",
        "From": f"sip:caller@example.net;tag={tag}", "Max-Forwards": "70", "Call-ID": f"{tag}.0ha0isndaksdj",
        "CSeq": f"8 {method}", "Content-Length": str(len(body)),
    } | {name.replace("_", "-"): value for name, value in other.items()}  # fmt: skip
    return message(start, *(f"{name}: {value}" for name, value in fields.items() if value), *more, body=body)


INVITE = "INVITE sip:user@example.com SIP/2.0"
REGISTER = "REGISTER sip:example.com SIP/2.0"
OPTIONS = "OPTIONS sip:user@example.com SIP/2.0"

VALID = {
    "wsinv": Case(
        message(
            "INVITE sip:vivekg@chair-dnrc.example.com;unknownparam SIP/2.0", "TO :",
            " sip:vivekg@chair-dnrc.example.com ;   tag    = 1918181833n", 'from   : "J Rosenberg \\\\\\""       '
            "<sip:jdrosen@example.com>", "  ;", "  tag = 98asjd8", "MaX-fOrWaRdS: 0068",
            "Call-ID: wsinv.ndaksdj@192.0.2.1", "Content-Length   : 0", "cseq: 0009", "  INVITE",
            "Via  : SIP  /   2.0", " /UDP", "    {me};rport;branch=390skdjuw", "s :", "NewFangledHeader:   newfangled value",
            " continued newfangled value", "UnknownHeaderWithUnusualValue: ;;,,;;,;", "Content-Type: application/sdp",
            "Route:", " <sip:services.example.com;lr;unknownwith=value;unknown-no-value>", "v:  SIP  / 2.0  / TCP"
            "     spindle.example.com   ;", "  branch  =   z9hG4bK9ikj8  ,", " SIP  /    2.0   / UDP  192.168.255.111"
            "   ; branch=", " z9hG4bK30239", 'm:"Quoted string \\"\\"" <sip:jdrosen@example.com> ; newparam =',
            "      newvalue ;", "  secondparam ; q = 0.33",
        ), SILENCE, SILENCE,
    ),
    "intmeth": Case(
        message(
            "!interesting-Method0123456789_*+`.%indeed'~ sip:1_unusual.URI~(to-be!sure)&isn't+it$/crazy?,/;;*"
            ":&it+has=1,weird!*pas$wo~d_too.(doesn't-it)@example.com SIP/2.0",
            "Via: SIP/2.0/UDP {me};rport;branch=z9hG4bK-.!%66*_+`'~", 'To: "BEL:\\\x07 NUL:\\\x00 DEL:\\\x7f" '
            "<sip:1_unusual.URI~(to-be!sure)&isn't+it$/crazy?,/;;*@example.com>",
            "From: token1~` token2'+_ token3*%!.- <sip:mundane@example.com>;fromParam''~+*_!.-%="
            '"\xd1\x80\xd0\xb0\xd0\xb1\xd0\xbe\xd1\x82\xd0\xb0\xd1\x8e\xd1\x89\xd0\xb8\xd0\xb9";tag=_token~1\'+`*%!-.',
            "Call-ID: intmeth.word%ZK-!.*_+'@word`~)(><:\\/\"][?}}{{", "CSeq: 139122385 !interesting-Method0123456789_*+`"
            ".%indeed'~", "Max-Forwards: 255", "extensionHeader-!.%*+_`'~:\xef\xbb\xbf\xe5\xa4\xa7\xe5\x81\x9c\xe9\x9b\xbb",
            "Content-Length: 0",
        ), SILENCE, SILENCE,
    ),
    "esc01": Case(
        plain("INVITE sip:sips%3Auser%40example.com@example.net SIP/2.0", "esc01", CONTACT,
              To="sip:%75se%72@example.com", From="<sip:I%20have%20spaces@example.net>;tag=938"), FORWARDED, 403),
    "escnull": Case(
        plain(REGISTER, "escnull", "Contact: <sip:%00@host5.example.com>", "Contact: <sip:%00%00@host5.example.com>",
              To="sip:null-%00-null@example.com", From="sip:null-%00-null@example.com;tag=839923423"), 405, 403),
    "esc02": Case(
        plain("RE%47IST%45R sip:registrar.example.com SIP/2.0", "esc02", "Contact: <sip:alias1@host1.example.com>",
              To='"%Z%45" <sip:resource@example.com>', From='"%Z%45" <sip:resource@example.com>;tag=f232jadfj23'),
        FORWARDED, 403),
    "lwsdisp": Case(plain(OPTIONS, "lwsdisp", From="caller<sip:caller@example.com>;tag=323"), FORWARDED, 403),
    "longreq": Case(
        plain(INVITE, "longreq", "Unknown-" + 20 * "Long" + "-Name: unknown-" + 20 * "long" + "-value",
              *(f"Via: SIP/2.0/TCP sip{n}.example.com" for n in range(33, 0, -1)), CONTACT,
              To='"I have a user name of ' + 20 * "extreme" + ' proportion"<sip:user@example.com:6000;unknownparam1='
              + 20 * "very" + "longvalue;longparam" + 20 * "name" + "=shortvalue>",
              From="sip:" + 20 * "amazinglylongcallername" + "@example.net;tag=12" + 50 * "982" + "424;unknownheaderparam"
              + 20 * "name" + "=unknownheaderparam" + 20 * "value", Call_ID="longreq.one" + 20 * "really" + "longcallid"),
        FORWARDED, 403),
    "dblreq": Case(
        plain(REGISTER, "dblreq", CONTACT) + plain(INVITE, "dblreq2", CONTACT, body=SDP), 405, 403),
    "semiuri": Case(plain("OPTIONS sip:user;par=u%40example.net@example.com SIP/2.0", "semiuri"), FORWARDED, 403),
    "transports": Case(
        plain(OPTIONS, "transports", "Via: SIP/2.0/SCTP t2.example.com;branch=z9hG4bKklasjdhf",
              "Via: SIP/2.0/TLS t3.example.com;branch=z9hG4bK2980unddj", "Via: SIP/2.0/UNKNOWN t4.example.com;branch="
              "z9hG4bKasd0f3en", "Via: SIP/2.0/TCP t5.example.com;branch=z9hG4bK0a9idfnee"), FORWARDED, 403),
    "mpart01": Case(
        plain("MESSAGE sip:kumiko@example.org SIP/2.0", "mpart01", 'Content-Type: multipart/mixed;boundary="7a9cbec02ceef655"',
              body=b"--7a9cbec02ceef655\r\nContent-Type: text/plain\r\n\r\nHello\r\n--7a9cbec02ceef655\r\nContent-Type: "
              b"application/octet-stream\r\n\r\n\x00\x01\x82\xff0\r\n--7a9cbec02ceef655--"), FORWARDED, 403),
    "unreason": Case(plain("SIP/2.0 200 = 2**3 * 5**2 \xd0\xbd\xd0\xbe \xd1\x81\xd1\x82\xd0\xbe", "unreason",
                           CSeq="35 INVITE"), SILENCE, SILENCE),
    "noreason": Case(plain("SIP/2.0 100 ", "noreason", CSeq="35 INVITE"), SILENCE, SILENCE),
}  # fmt: skip

INVALID = {
    "badinv01": Case(plain(INVITE, "badinv01", 'Contact: "Joe" <sip:joe@example.org>;;;;',
                           Via="SIP/2.0/UDP {me};rport;;,;,,"), SILENCE, SILENCE),
    "clerr": Case(plain(INVITE, "clerr", CONTACT, body=SDP, Content_Length="9999"), 400, 400),
    "ncl": Case(plain(INVITE, "ncl", CONTACT, body=SDP, Content_Length="-999"), SILENCE, SILENCE),
    "scalar02": Case(
        plain(REGISTER, "scalar02", "Contact: <sip:user@host129.example.com>;expires=280297596632815", CSeq=
              "36893488147419103232 REGISTER", Max_Forwards="300", Expires="10000000000000000000000000000000000000"),
        400, 400),
    "scalarlg": Case(plain("SIP/2.0 503 Service Unavailable", "scalarlg", "Retry-After: 949302838503028349304023988",
                           "Warning: 1812 overture \"In Progress\"", CSeq="9292394834772304023312 OPTIONS"),
                     SILENCE, SILENCE),
    "quotbal": Case(plain(INVITE, "quotbal", CONTACT, To='"Mr. J. User <sip:j.user@example.com>'), SILENCE, SILENCE),
    "ltgtruri": Case(plain("INVITE <sip:user@example.com> SIP/2.0", "ltgtruri", CONTACT), 400, 400),
    "lwsruri": Case(plain("INVITE sip:user@example.com; lr SIP/2.0", "lwsruri", CONTACT), SILENCE, SILENCE),
    "lwsstart": Case(plain("INVITE  sip:user@example.com  SIP/2.0", "lwsstart", CONTACT), SILENCE, SILENCE),
    "trws": Case(plain("OPTIONS sip:remote-target@example.com SIP/2.0  ", "trws"), FORWARDED, 403),
    "escruri": Case(plain("INVITE sip:user@example.com?Route=%3Csip:example.com%3E SIP/2.0", "escruri", CONTACT),
                    FORWARDED, 403),
    "baddate": Case(plain(INVITE, "baddate", "Date: Fri, 01 Jan 2010 16:00:00 EST", CONTACT), FORWARDED, 403),
    "regbadct": Case(plain(REGISTER, "regbadct", "Contact: sip:user@example.com?Route=%3Csip:sip.example.com%3E"), 405, 403),
    "badaspec": Case(plain("OPTIONS sip:user@example.org SIP/2.0", "badaspec", To='"Watson, Thomas" < sip:t.watson@example.org >'),
                     FORWARDED, 403),
    "baddn": Case(plain("OPTIONS sip:t.watson@example.org SIP/2.0", "baddn", From="Bell, Alexander <sip:a.g.bell@example.com>;"
                        "tag=43"), FORWARDED, 403),
    "badvers": Case(plain("OPTIONS sip:t.watson@example.org SIP/7.0", "badvers", Via="SIP/7.0/UDP {me};rport;branch=z9hG4bKk"),
                    SILENCE, SILENCE),
    "mismatch01": Case(plain(OPTIONS, "mismatch01", CSeq="8 INVITE"), 400, 400),
    "mismatch02": Case(plain("NEWMETHOD sip:user@example.com SIP/2.0", "mismatch02", CSeq="8 INVITE"), 400, 400),
    "bigcode": Case(plain("SIP/2.0 4294967301 better not break the receiver", "bigcode", CSeq="35 INVITE"),
                    SILENCE, SILENCE),
}  # fmt: skip

ODD = {
    "badbranch": Case(plain(OPTIONS, "badbranch", Via="SIP/2.0/UDP {me};rport;branch=z9hG4bK"), FORWARDED, 403),
    "insuf": Case(message("INVITE sip:user@example.com SIP/2.0", "CSeq: 193942 INVITE", "Via: SIP/2.0/UDP {me};rport;branch="
                          "z9hG4bKkdj.insuf", "Content-Length: 0"), SILENCE, SILENCE),
    "unkscm": Case(plain("OPTIONS nobodyKnowsThisScheme:totallyopaquecontent SIP/2.0", "unkscm"), 400, 400),
    "novelsc": Case(plain("OPTIONS soap.beep://192.0.2.103:3002 SIP/2.0", "novelsc"), 400, 400),
    "unksm2": Case(plain(REGISTER, "unksm2", "Contact: <name:John_Smith>", To="isbn:2983792873",
                         From="<http://www.example.com>;tag=3234233"), 400, 400),
    "bext01": Case(plain(OPTIONS, "bext01", "Require: nothingSupportsThis", "Proxy-Require: noProxiesSupportThis"), 420, 420),
    "invut": Case(plain(INVITE, "invut", CONTACT, "Content-Type: application/unknownformat", body=b"<audio>"),
                  FORWARDED, 403),
    "regaut01": Case(plain(REGISTER, "regaut01", "Authorization: NoOneKnowsThisScheme opaque-data=here"), 405, 403),
    "multi01": Case(plain(INVITE, "multi01", CONTACT, "CSeq: 59 INVITE", "Call-ID: multi01.98asdh@192.0.2.2", "From: "
                          "sip:other@example.net;tag=3413415", "To: sip:user@example.net", "Max-Forwards: 5"), SILENCE, SILENCE),
    "mcl01": Case(plain(OPTIONS, "mcl01", "Content-Length: 5", body=b"There's no way to know how many octets are supposed "
                        b"to be here.\r\n", Content_Length="13"), SILENCE, SILENCE),
    "bcast": Case(plain("SIP/2.0 200 OK", "bcast", "Via: SIP/2.0/UDP 255.255.255.255;branch=z9hG4bK1saber23",
                        CSeq="14 INVITE"), SILENCE, SILENCE),
    "zeromf": Case(plain(OPTIONS, "zeromf", Max_Forwards="0"), 483, 483),
    "cparam01": Case(plain(REGISTER, "cparam01", "Contact: sip:+19725552222@gw1.example.net;unknownparam"), 405, 403),
    "cparam02": Case(plain(REGISTER, "cparam02", "Contact: <sip:+19725552222@gw1.example.net;unknownparam>"), 405, 403),
    "regescrt": Case(plain(REGISTER, "regescrt", "Contact: <sip:user@example.com?Route=%3Csip:sip.example.com%3E>"), 405, 403),
    "sdp01": Case(plain(INVITE, "sdp01", CONTACT, "Accept: text/nobodyKnowsThis", "Content-Type: application/sdp", body=SDP),
                  FORWARDED, 403),
    "inv2543": Case(message("INVITE sip:UserB@example.com SIP/2.0", "Via: SIP/2.0/UDP {me}", "From: <sip:UserA@example.com>",
                            "To: <sip:UserB@example.com>", "Call-ID: inv2543.1717@ift.client.example.com",
                            "CSeq: 56 INVITE", "Content-Length: 0"), FORWARDED, 403),
}  # fmt: skip

# Not of the RFC: what else a parser may trip over.
LONG = 60_000
OTHERS = {
    "64 kB header": Case(plain(INVITE, "long", f"X-Long: {'x' * LONG}"), FORWARDED, 403),
    "64 kB Call-ID": Case(plain(INVITE, "longid", Call_ID="x" * LONG), FORWARDED, 403),
    "64 kB From": Case(plain(INVITE, "longfrom", From=f"<sip:{'x' * LONG}@h>;tag=1"), FORWARDED, 403),
    "64 kB R-URI": Case(plain(f"INVITE sip:{'1' * LONG}@h SIP/2.0", "longuri"), FORWARDED, 403),
    "10,000 headers": Case(plain(INVITE, "many", *["X: y"] * 10_000), FORWARDED, 403),
    "NUL in Call-ID": Case(plain(INVITE, "nulid", Call_ID="a\0b"), 400, 400),
    "NUL in From": Case(plain(INVITE, "nulfrom", From="<sip:a\0b@h>;tag=1"), 400, 400),
    "NUL in R-URI": Case(plain("INVITE sip:a\0b@h SIP/2.0", "nuluri"), 400, 400),
    "NUL in the method": Case(plain("MESS\0AGE sip:a@h SIP/2.0", "nulmethod"), 400, 400),
    "NUL in X-Trunk": Case(plain(INVITE, "nultrunk", "X-Trunk: a\0b"), 400, 400),
    "not UTF-8 in Call-ID": Case(plain(INVITE, "utfid", Call_ID="\xff\xfe"), 400, 400),
    "not UTF-8 in From": Case(plain(INVITE, "utffrom", From="<sip:\xff@h>;tag=1"), 400, 403),
    "not UTF-8 in R-URI": Case(plain("INVITE sip:\xff@h SIP/2.0", "utfuri"), 400, 403),
    "not UTF-8 in X-Trunk": Case(plain(INVITE, "utftrunk", "X-Trunk: \xff"), 400, 403),
    "CSeq 2^31-1": Case(plain(INVITE, "cseq31", CSeq="2147483647 INVITE"), FORWARDED, 403),
    "CSeq 2^31": Case(plain(INVITE, "cseq32", CSeq="2147483648 INVITE"), 400, 400),
    "CSeq 2^64": Case(plain(INVITE, "cseq64", CSeq="18446744073709551616 INVITE"), 400, 400),
    "Content-Length 2^32": Case(plain(INVITE, "cl32", Content_Length="4294967296"), SILENCE, SILENCE),
    "Content-Length short": Case(plain(INVITE, "clshort", body=SDP, Content_Length="3"), FORWARDED, 403),
    "no line end": Case(b"INVITE sip:user@example.com SIP/2.0\r\nVia: SIP/2.0/UDP {me};rport;branch=z9hG4bKx", SILENCE, SILENCE),
    "one octet": Case(b"x", SILENCE, SILENCE),
    "zeros": Case(b"\0" * 1000, SILENCE, SILENCE),
}  # fmt: skip

CASES = {**VALID, **INVALID, **ODD, **OTHERS}
SILENT_SINCE_6_1 = {"NUL in From"}  # Kamailio looks at From sooner, and drops what has none
