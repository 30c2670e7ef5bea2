"""Probes trunks: sends OPTIONS when probes.py says so, and tells the standings what became of them."""

from __future__ import annotations

import random
import secrets
import time
from collections.abc import Mapping

from kemi.flow import standings
from kemi.health.probes import NOT_SENT, SILENT, Probe, Probed, Probes, Verdict
from kemi.sip import own
from kemi.trunks.hops import Hops, Target, in_order, literal


class Probing:
    """The probes of this node. patience: seconds to wait for a reply."""

    def __init__(self, patience: float) -> None:
        self._probes = Probes(patience, random.uniform)
        self._watched: Mapping[str, Probed] = {}
        self._call_ids: dict[str, str] = {}  # of each trunk's last OPTIONS

    def tick(self, trunks: Mapping[str, Probed], hops: Mapping[Target, Hops]) -> None:
        """Take the replies that came, and probe what is due. hops: of the names that are known."""
        now = time.monotonic()
        if trunks is not self._watched:
            self._watched = trunks
            self._probes.watch(trunks, now)
            self._call_ids = {uuid: call for uuid, call in self._call_ids.items() if uuid in trunks}
        for uuid in self._probes.under_way():
            if reply := own.take_reply(self._call_ids[uuid]):
                self._follow(self._probes.heard(uuid, *reply, now), now)
            elif self._probes.is_late(uuid, now):
                self._follow(self._probes.missed(uuid, SILENT, now), now)
        for trunk in self._probes.due(now):
            known = hops.get(trunk.target) if trunk.target.is_name else literal(trunk.target)
            if known is not None:
                self._follow(self._probes.start(trunk.uuid, in_order(known, random.randrange), now), now)

    def _follow(self, step: Probe | Verdict, now: float) -> None:
        """Send an OPTIONS, to another hop if it cannot be sent, or note what a probe has shown."""
        while isinstance(step, Probe):
            call_id = self._call_ids[step.trunk.uuid] = secrets.token_hex(16)
            if own.send(step.request(call_id, secrets.token_hex(8))):
                return
            step = self._probes.missed(step.trunk.uuid, NOT_SENT, now)
        standings.note_probe(step, self._call_ids.get(step.trunk.uuid, ""))
