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
    from kemi.auth import codec, session
    from kemi.auth.attempt import Attempt, Sent
    from kemi.auth.challenge import ChallengeError, next_nonce, parse
    from kemi.auth.credentials import Credentials
    from kemi.auth.digest import Request

from tests.unit.test_challenge import READ, REFUSED, STYLES

CREDENTIALS = Credentials("", realm="", username="user", password="secret")
REQUEST = Request("INVITE", "sip:1@carrier.test", b"v=0")
BEFORE = Attempt("t", sent=tuple(Sent(401, one) for one in parse('Digest realm="before", nonce="n"')))


def one_reply(data: bytes) -> None:
    """Fields, one a line, of a reply to a request of which another realm's challenge was answered before."""
    fields = tuple(data.decode("utf-8", "replace").split("\n\n"))
    for field in fields:
        next_nonce(field)
        with contextlib.suppress(ChallengeError):
            parse(field)
    decision = session.after_failure(session.Failure(407, fields), BEFORE, CREDENTIALS)
    if not isinstance(decision, session.Resend):
        return
    attempt = decision.attempt
    assert codec.attempt(codec.attempt_text(attempt)) == attempt
    headers = session.responses(attempt.sent, CREDENTIALS).headers(attempt.sent, REQUEST, "0011223344556677")
    for one, header in zip(attempt.sent, headers, strict=True):
        assert header.endswith("\r\n")
        value = header.partition(": ")[2][:-2]
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
