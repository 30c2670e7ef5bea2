"""Large requests: each place is tried by TCP first (trunks/large.py has the rules). One that does not take it is
remembered, and the request goes on by UDP as if nothing had been: no attempt was made, and no trunk has failed.
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from kemi.auth.attempt import ELSEWHERE, Attempt
from kemi.flow import calls, standings
from kemi.outcome import ByUdp, Unreachable
from kemi.sip import api, call, large, relay, wanted
from kemi.trunks.hops import Hop, Hops, Target, target_of
from kemi.trunks.large import LONGEST_BY_UDP, OR_UDP, by_tcp, is_service
from kemi.trunks.places import Place
from kemi.trunks.plan import Plan
from kemi.trunks.store import TrunkStore
from kemi.trunks.trunk import Trunk

if TYPE_CHECKING:
    from kemi.settings import Settings

TCP_SECONDS = 2  # for a connection and the first reply by it: a SYN that was lost comes again after one
LAST_SECONDS = 30  # for the last place, as tm has it (fr_timer)


def longest_by_udp(settings: Settings) -> int:
    """Return above how many octets a request is large; without a TCP socket none is."""
    return LONGEST_BY_UDP if any(one.proto == "tcp" for one in settings.listen) else sys.maxsize


def of_trunk(trunks: TrunkStore, trunk: Trunk, uri: str, hops: tuple[str, ...], settings: Settings) -> tuple[str, ...]:
    """Return the hops of a trunk (nexthop.of_trunk) for a large request: in front of each, its place by TCP."""
    target = trunk.target if trunk.target.host else target_of(uri, "")
    if target.transport or trunk.socket or not target.host:
        return hops
    known = trunks.resolved(target) or ()
    services = _services(trunks, target) if any(is_service(target, hop) for hop in known) else ()
    by_uri = {hop.uri: hop for hop in known} if target.is_name else dict.fromkeys(hops, known[0])
    twins = {one: by_tcp(target, hop, services) for one, hop in by_uri.items()}
    return tuple([_paired(one, twins.get(one), settings) for one in hops])  # the file may have changed in between


def _services(trunks: TrunkStore, target: Target) -> Hops:
    """Return a target's services by TCP; none before anybody has asked for them, which is done for the next one."""
    by_name = target._replace(transport="tcp")
    services = trunks.resolved(by_name)
    if services is None:
        wanted.want(by_name.key)
    return services or ()


def _paired(hop: str, twin: Hop | None, settings: Settings) -> str:
    if twin is None or not _own_socket(settings, twin.address) or large.is_without_tcp(Place.of_hop(twin)):
        return hop
    return f"{twin.uri}{OR_UDP}{hop}"


def _own_socket(settings: Settings, address: str) -> str:
    """Return the socket that requests to an address of this kind leave from by TCP; empty if there is none, or if there
    are several hosts to choose from: Kamailio knows by which of them UDP leaves (mhomed), and not TCP.
    """
    alike = [one for one in settings.listen if one.proto != "tls" and one.host.startswith("[") is (":" in address)]
    if len({address for one in alike for address in one.addresses}) > 1:
        return ""
    return next((f"tcp:{one.local_address}:{one.port}" for one in alike if one.proto == "tcp"), "")


def leaves_from(settings: Settings, hop: str) -> str:
    """Return the socket for a hop by TCP: or the kernel would choose an address, which the carrier may not know."""
    return _own_socket(settings, Place.of_uri(hop).address)


def wait(plan: Plan, settings: Settings) -> None:
    """Set how long the attempt at hand is waited for."""
    seconds = settings.try_seconds if plan.goes_on else LAST_SECONDS
    relay.try_for(min(seconds, TCP_SECONDS) if OR_UDP in plan.hop else seconds, settings.ring_seconds)


def was_silent(plan: Plan) -> bool:
    """Return True if the place of an attempt without a final reply was tried by TCP, and has not even said 100."""
    return OR_UDP in plan.hop and not large.has_been_heard()


def heard_by_tcp(plan: Plan) -> Plan:
    """Return the plan after its place has said something by TCP: it is not asked by UDP any more."""
    return plan._replace(hop=plan.hop.partition(OR_UDP)[0])


def unsent(attempt: Attempt, plan: Plan) -> Plan:
    """Return the plan after an attempt could not be sent to its hop."""
    plan = plan.unsent()
    if OR_UDP in plan.hop:
        return without_tcp(attempt, plan, "refused")
    api.tell(Unreachable(attempt.trunk))
    calls.attempted(attempt, calls.NOTHING)
    return standings.unreachable(attempt.trunk, plan)


def without_tcp(attempt: Attempt, plan: Plan, reason: str) -> Plan:
    """Return the plan with its hop by UDP next: its place did not take TCP. Nobody knocks where callers dial."""
    hop, _, by_udp = plan.hop.partition(OR_UDP)
    there = Place.of_uri(hop)
    large.keep_without_tcp(there)
    if attempt.destination not in ("", ELSEWHERE):
        large.have_knocked(there)
    api.tell(ByUdp(attempt.trunk, call.text(there), reason))
    return plan._replace(hops=(by_udp, *plan.hops))
