"""Keeps a connection by TLS to every carrier that has one: asks when secured.py says so, and tells SIP workers."""

from __future__ import annotations

import secrets
import time
from collections.abc import Iterable, Mapping

from kemi.health.connections import most
from kemi.health.secured import MOST, NOT_SENT, SILENT, TOO_MANY, Link, Links, Peer, Secured, Verdict
from kemi.line import warning
from kemi.settings import Settings
from kemi.sip import api, own, rpc, secure
from kemi.trunks.hops import Hop, Hops, Target


class Securing:
    """The connections of this node."""

    def __init__(self, settings: Settings) -> None:
        self._links = Links(settings.try_seconds)
        self._most = min(MOST, most(settings.memory) // 2)
        self._call_ids: dict[str, str] = {}  # of the last OPTIONS of each
        self._beyond: set[str] = set()  # keys of those that there is no room for
        self._is_told = False

    def tick(self, trunks: Iterable[Secured], hops: Mapping[Target, Hops]) -> None:
        """Judge the connections whose replies came, and ask those that are due. hops: of the names that are known."""
        now = time.monotonic()
        found, beyond = self._wanted(trunks, hops)
        for key in (*self._links.watch(found, now), *(self._beyond - beyond)):
            secure.forget(key)
        for key in beyond - self._beyond:
            secure.keep(key, secure.FAILED)
        self._beyond = beyond
        for key in self._links.in_use():
            if secure.look(key) == secure.PENDING:
                self._links.ended(key, now)
        for key in self._links.under_way():
            if own.take_reply(self._call_ids[key]):
                self._follow(self._links.heard(key, Peer.of(secure.take_peer(self._call_ids[key])), now))
            elif self._links.is_late(key, now):
                self._follow(self._links.missed(key, SILENT, now))
        for link in self._links.due(now):
            self._ask(link, now)

    def _ask(self, link: Link, now: float) -> None:
        call_id = self._call_ids[link.key] = secrets.token_hex(16)
        self._links.asked(link.key, now)
        if not own.send(link.request(call_id, secrets.token_hex(8))):
            self._follow(self._links.missed(link.key, NOT_SENT, now))

    def _follow(self, verdict: Verdict) -> None:
        """Tell workers, and the log."""
        secure.keep(verdict.key, verdict.number or secure.FAILED)
        if verdict.close:
            secure.close(verdict.close)
        if verdict.hangs:
            self._close_all_to(verdict.hangs)
        if verdict.line:
            api.write(verdict.line)

    def _close_all_to(self, hop: Hop) -> None:
        """Close the connections to this hop that were not found right: there Kamailio opens no other one."""
        in_use = self._links.numbers()
        for one in rpc.connections():
            if (one.source, one.source_port) == hop[:2] and one.number not in in_use:
                secure.close(one.number)

    def _wanted(self, trunks: Iterable[Secured], hops: Mapping[Target, Hops]) -> tuple[dict[str, Link], set[str]]:
        """Return the connections to keep, by their keys, and the keys of those that there is no room for."""
        found: dict[str, Link] = {}
        beyond: set[str] = set()
        for trunk in trunks:
            for link in trunk.links(hops):
                if len(found) < self._most or link.key in found:
                    found.setdefault(link.key, link)
                    continue
                beyond.add(link.key)
                if not self._is_told:
                    self._is_told = True
                    api.write(warning(trunk=trunk.uuid, outcome="tls-failed", reason=TOO_MANY))
        return found, beyond
