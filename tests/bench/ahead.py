"""least.py with preemptive credentials: once the carrier has taken a response, each request carries the next one."""

from __future__ import annotations

import os
import secrets
from hashlib import md5

import KSR

from tests.bench.least import Least, short

KEEP_SENT = 1  # the flag that kamailio.cfg's onsend_route asks for


class Ahead(Least):
    """held: realm and nonce of the challenge whose response the carrier has taken."""

    held = counter = ha1 = ""

    def accepted(self, answered: str) -> None:
        if self.held:
            return
        self.held = answered
        realm, nonce = answered.split("\n")
        self.counter = short(f"{self.user}\n{nonce}", 16)
        self.ha1 = md5(f"{self.user}:{realm}:{self.password}".encode()).hexdigest()

    def send(self, method: str, attempt: str) -> None:
        if self.held and attempt.endswith("\t"):
            attempt += f"{self.held}\n{KSR.htable.sht_inc('nonce_counts', self.counter)}"
            if method == "INVITE":
                KSR.setflag(KEEP_SENT)
        super().send(method, attempt)

    def carry(self, method: str, answered: str) -> None:
        realm, nonce, *counts = answered.split("\n")
        if not counts:
            return
        uri, nc, cnonce = str(KSR.pv.gete("$ru")), f"{int(counts[0]):08x}", secrets.token_hex(16)
        ha2 = md5(f"{method}:{uri}".encode()).hexdigest()
        response = md5(f"{self.ha1}:{nonce}:{nc}:{cnonce}:auth:{ha2}".encode()).hexdigest()
        KSR.hdr.append(
            f'Authorization: Digest username="{self.user}", realm="{realm}", nonce="{nonce}", uri="{uri}", qop=auth, '
            f'nc={nc}, cnonce="{cnonce}", response="{response}", algorithm=MD5\r\n'
        )


def mod_init() -> Ahead:
    """Called by app_python3."""
    return Ahead(*(os.environ[f"BENCH_{name}"] for name in ("DOMAIN", "CARRIER", "USER", "PASSWORD")))
