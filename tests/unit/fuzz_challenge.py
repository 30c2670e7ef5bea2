"""A coverage-guided fuzz of what reads the wire: challenges, and the decision about them. `make fuzz` runs it.

    python -m tests.unit.fuzz_challenge [libFuzzer options] CORPUS_FOLDER

The corpus starts from the fields that the parser's own tests read and refuse.
Whatever the fields hold, the parser raises its own error or none, the decision raises nothing, what is answered can be
computed and read back, and what is remembered comes back as it was.
"""

from __future__ import annotations

import contextlib
import sys
from pathlib import Path

import atheris

with atheris.instrument_imports(include=["kemi"]):
    from kemi.auth import digest, session
    from kemi.auth.challenge import ChallengeError, next_nonce, parse

from tests.unit.test_challenge import READ, REFUSED, STYLES

CREDENTIALS = session.Credentials(realm="", username="user", password="secret")
REQUEST = digest.Request("INVITE", "sip:1@carrier.test", b"v=0")


def one_reply(data: bytes) -> None:
    """Fields, one a line, of a reply to a request of which another realm's challenge was answered before."""
    fields = data.decode("utf-8", "replace").split("\n\n")
    for field in fields:
        next_nonce(field)
        with contextlib.suppress(ChallengeError):
            parse(field)
    answered = tuple(session.Answered(401, one) for one in parse('Digest realm="before", nonce="n"'))
    decision = session.decide(407, fields, CREDENTIALS, answered, lambda: True)
    if isinstance(decision, session.GiveUp):
        return
    assert session.recalled(session.remembered(decision.carried)) == decision.carried
    for one in decision.carried:
        qop = session.qop_for(one.challenge, lambda: True) or ""
        answer = digest.Answer(one.challenge, CREDENTIALS.username, CREDENTIALS.ha1_for(one.challenge), qop)
        value = answer.value(REQUEST, one.nc, "0011223344556677")
        assert not {"\r", "\n", "\0"} & set(value)
        [read] = parse(value)
        assert (read.realm, read.nonce, read.opaque) == (
            one.challenge.realm,
            one.challenge.nonce,
            one.challenge.opaque,
        )


def sow(corpus: Path) -> None:
    """Put the fields of the parser's tests into the corpus."""
    for number, field in enumerate((*STYLES.values(), *READ, *REFUSED)):
        (corpus / f"seed-{number}").write_text(field)


if __name__ == "__main__":
    sow(Path(sys.argv[-1]))
    atheris.Setup(sys.argv, one_reply)
    atheris.Fuzz()
