"""`call`: one call through the running Kamailio, as a PBX places it: INVITE, ACK, BYE, and a ladder of what the PBX
sees.
"""

from __future__ import annotations

import argparse
import sys

from kemi.address import normalised
from kemi.command.base import Failure
from kemi.command.client import Client
from kemi.command.ladder import ladder
from kemi.command.lookup import look_up
from kemi.command.message import Reply, Request
from kemi.command.probe import offer
from kemi.settings import Settings
from kemi.start import tls
from kemi.start.sockets import Socket
from kemi.trunks.hops import Hop, Target

SECONDS = 5.0  # for the first reply


def declare(parser: argparse.ArgumentParser) -> None:
    """Add the arguments."""
    parser.add_argument("number", metavar="NUMBER", help="the number that is dialled")
    parser.add_argument("--trunk", metavar="L_UUID", default="", help="send it over this trunk (X-Trunk)")
    parser.add_argument("--from", metavar="USER", dest="sender", default="kemi-trunkauth", help="the user in From")


def run(asked: argparse.Namespace, settings: Settings) -> int:
    """Place the call, show its ladder and say how it ended; return 1 if it was not answered and hung up."""
    hop = _hop(settings.listen[0], settings)
    try:
        with Client(hop, context=tls.any_certificate() if hop.transport == "tls" else None) as client:
            try:
                said = _place(client, asked)
            finally:
                print(ladder(client.trace, {client.address: "PBX", client.peer: "Kamailio"}), flush=True)
    except OSError as error:
        raise Failure(f"Kamailio cannot be reached at {hop.uri}: {error.strerror or error}") from None
    if said is None:
        raise Failure(f"no final reply came from {hop.uri}")
    if said.status >= 300:
        print(f"\nFAILED: {said}", file=sys.stderr)
        return 1
    print("\nANSWERED: call set up and torn down")
    return 0


def _place(client: Client, asked: argparse.Namespace) -> Reply | None:
    """Call, and hang up at once; return the last final reply, None if none came."""
    dialled = f"sip:{asked.number}@{client.peer}"
    invite = Request.new("INVITE", dialled, f"sip:{asked.sender}@{client.address}", dialled, body=offer(client))
    if asked.trunk:
        invite = invite.with_header("X-Trunk", asked.trunk)
    final = None
    try:
        for reply in client.replies(invite, SECONDS):
            final = reply if reply.status >= 200 else None
    finally:
        if final is None:
            client.send(invite.cancel())
    if final is None:
        return None
    if final.status >= 300:
        return final
    client.send(invite.inside("ACK", final))
    replies = list(client.replies(invite.inside("BYE", final), SECONDS))
    return replies[-1] if replies else None


def _hop(listen: Socket, settings: Settings) -> Hop:
    """Return where the running Kamailio is reached from this machine. Raises Failure."""
    host = normalised(listen.local_address)
    found = look_up([target := Target(host, listen.port, listen.proto)], settings.listen)[target]
    if not found.hops:
        raise Failure(f"{listen} cannot be reached: {found.fault}")
    return found.hops[0]
