"""`test`: asks a trunk's carrier, from the machine it is run on, and changes nothing there.

1. Resolve the next hop.
2. Reach it: OPTIONS. Whatever is answered will do; silence too, if the next step is answered.
3. Authenticate: a REGISTER without Contact, which only asks for the bindings (RFC 3261 10.2.3); with a number, an
   INVITE that is cancelled when it rings.
"""

from __future__ import annotations

import argparse
import ssl
import sys
import time
from collections.abc import Iterator
from urllib.parse import quote

from sqlalchemy import select

from kemi import uri
from kemi.command.asking import Asking, Status
from kemi.command.base import Failure
from kemi.command.client import Client
from kemi.command.ladder import ladder
from kemi.command.lookup import look_up
from kemi.command.message import Reply, Request
from kemi.command.snapshot import snapshot
from kemi.settings import Settings
from kemi.start import tls
from kemi.trunks.hops import Hop, Hops
from kemi.trunks.tables import uacreg
from kemi.trunks.trunk import Trunk

IN_A_USER = "-_.!~*'()&=+$,;?/"  # RFC 3261 25.1, besides letters and digits
NOBODY_THERE = frozenset({480, 486, 600, 603})  # the call was let through, and the number does not take it
SDP = (
    "v=0\r\no=- 0 0 IN {version} {host}\r\ns=-\r\nc=IN {version} {host}\r\nt=0 0\r\n"
    "m=audio 9 RTP/AVP 8 0\r\na=inactive\r\n"
)


def declare(parser: argparse.ArgumentParser) -> None:
    """Add the arguments."""
    parser.add_argument("trunk", metavar="TRUNK", help="its l_uuid")
    parser.add_argument("number", metavar="NUMBER", nargs="?", help="call it, and cancel when it rings")
    parser.add_argument("--seconds", type=float, default=4.0, help="how long to wait for a reply (4)")
    parser.add_argument("--trace", action="store_true", help="show every message")


def run(asked: argparse.Namespace, settings: Settings) -> int:
    """Print each step, and a sentence at the end. Raises Failure with a Status."""
    trunk, user = _trunk(settings, asked.trunk)
    hop = _resolve(trunk, settings)[0]
    source = uri.split(f"sip:{trunk.socket.partition(':')[2]}").host if trunk.socket else ""
    by_tls = hop.transport == "tls"
    try:
        context = tls.context(settings, trunk.wanted) if by_tls else None
        client = Client(hop, source, context, trunk.wanted.name or trunk.wanted.server_name(trunk.target))
    except tls.CertificateError as error:
        raise Failure(str(error)) from None
    except ssl.SSLCertVerificationError as error:
        raise Failure(f"the carrier's certificate is wrong: {error.verify_message}", Status.SILENT) from None
    except OSError as error:
        raise Failure(f"the carrier cannot be reached at {hop.uri}: {error.strerror or error}", Status.SILENT) from None
    with client:
        try:
            _reach(client, trunk, asked.seconds)
            account = f"sip:{quote(user, safe=IN_A_USER)}@{trunk.domain or client.peer}"
            if asked.number:
                said = _call(client, trunk, account, asked)
            else:
                said = _register(client, trunk, account, asked.seconds)
        except OSError as error:
            reason = f"the carrier cannot be reached at {client.peer}: {error.strerror or error}"
            raise Failure(reason, Status.SILENT) from None
        finally:
            if asked.trace:
                print(f"\n{ladder(client.trace, {client.address: 'here', client.peer: 'carrier'})}\n")
                sys.stdout.flush()
    print(f"trunk {trunk.uuid} works: {said}")
    return 0


def _trunk(settings: Settings, uuid: str) -> tuple[Trunk, str]:
    """Return the trunk, and the user of its account: r_username, or auth_username if that is empty. Raises Failure."""
    with snapshot(settings) as copy:
        found = copy.store.by_name(uuid)
        [row] = copy.select(select(uacreg.c.r_username).where(uacreg.c.l_uuid == uuid)) or [{}]
    if not found:
        raise Failure(f"there is no trunk {uuid}")
    if found[0].fault:
        raise Failure(f"trunk {uuid} cannot be used: {found[0].fault}")
    if not found[0].target.host:
        raise Failure(f"trunk {uuid} names no carrier: auth_proxy and r_domain are empty")
    return found[0], str(row.get("r_username") or found[0].auth_username)


def _resolve(trunk: Trunk, settings: Settings) -> Hops:
    began = time.monotonic()
    hops, fault = look_up([trunk.target], settings.listen)[trunk.target]
    if not hops:
        raise Failure(f"the name {trunk.target.host} cannot be resolved: {fault}", Status.UNKNOWN_NAME)
    _step("resolve", began, f"{trunk.target.host}: {', '.join(map(_shown, hops))}")
    return hops


def _reach(client: Client, trunk: Trunk, seconds: float) -> None:
    """Ask OPTIONS."""
    began = time.monotonic()
    domain = trunk.domain or client.peer
    request = Request.new("OPTIONS", f"sip:{domain}", f"sip:kemi-trunkauth@{client.address}", f"sip:{domain}")
    replies = list(client.replies(request, seconds))
    _step("reach", began, f"OPTIONS: {replies[-1] if replies else 'no reply'}")


def _register(client: Client, trunk: Trunk, account: str, seconds: float) -> str:
    """Ask for the account's bindings; return what the carrier made of it."""
    registrar = f"sip:{trunk.domain or client.peer}"
    asking = Asking(client, trunk, Request.new("REGISTER", registrar, account, account))
    *_, final = _noted(asking, seconds)
    if 200 <= final.status < 300:
        return _accepted(asking)
    _judge_refusal(final, asking)
    hint = "" if asking.attempt.sent else "; give a number to try a call"
    raise Failure(f"the carrier says {final} to REGISTER{hint}", Status.TURNED_DOWN)


def _call(client: Client, trunk: Trunk, account: str, asked: argparse.Namespace) -> str:
    """Call a number until it rings; return what the carrier made of it."""
    dialled = f"sip:{asked.number}@{trunk.domain or client.peer}"
    request_uri = trunk.request_uri(dialled)
    asking = Asking(client, trunk, Request.new("INVITE", request_uri, account, request_uri, body=offer(client)))
    is_cancelled = False
    for reply in _noted(asking, asked.seconds):
        if 100 < reply.status < 200 and not is_cancelled:
            client.cancel(asking.request)
            is_cancelled = True
        elif 200 <= reply.status < 300:
            client.send(asking.request.inside("ACK", reply))
            list(Asking(client, trunk, asking.request.inside("BYE", reply)).replies(asked.seconds))
        final = reply
    if is_cancelled or 200 <= final.status < 300:
        return f"{_accepted(asking)}, and {asked.number} {'rings' if is_cancelled else 'was answered at once'}"
    _judge_refusal(final, asking)
    if final.status in NOBODY_THERE:
        return f"{_accepted(asking)}; {asked.number}: {final}"
    raise Failure(f"the carrier says {final} to INVITE", Status.TURNED_DOWN)


def _accepted(asking: Asking) -> str:
    return "the carrier accepts the credentials" if asking.attempt.sent else "the carrier asks for no credentials"


def _judge_refusal(final: Reply, asking: Asking) -> None:
    """A 403 to credentials is how some carriers refuse them. Raises Failure."""
    if final.status == 403 and asking.attempt.sent:
        raise Failure(f"the carrier refuses the credentials: {final}", Status.CREDENTIALS_REFUSED)


def _noted(asking: Asking, seconds: float) -> Iterator[Reply]:
    """Yield all replies, and print the step, whatever comes of it."""
    began = time.monotonic()
    said: list[Reply] = []
    try:
        for reply in asking.replies(seconds):
            said.append(reply)
            yield reply
    finally:
        _step("authenticate", began, f"{asking.request.method}: {', '.join(map(str, said)) or 'no reply'}")


def offer(client: Client) -> bytes:
    """Return an offer of audio that is not sent (RFC 3264 5.1)."""
    host = client.address.rpartition(":")[0].strip("[]")
    return SDP.format(version="IP6" if ":" in host else "IP4", host=host).encode()


def _shown(hop: Hop) -> str:
    return hop.uri.removeprefix("sip:")


def _step(name: str, began: float, said: str) -> None:
    print(f"{name:<13}{1000 * (time.monotonic() - began):6.0f} ms  {said}", flush=True)
