"""A coverage-guided fuzz of what reads the wire: challenges, and the decision about them. `make fuzz` runs it.

    python -m tests.unit.fuzz_challenge [libFuzzer options] CORPUS_FOLDER

The corpus starts from the fields that the parser's own tests read and refuse.
Whatever the fields hold, the parser raises its own error or none, the decision raises nothing, what is answered can be
computed and read back, and what is remembered comes back as it was. No response is for a realm that nobody asked for
now or before, none comes twice, and uac_auth() is given nothing but one plain field, which says what was read.
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
    from kemi.auth.plain import first_plain, is_plain
    from kemi.auth.resend import MOST_ANSWERED

from tests.unit.test_challenge import READ, REFUSED, STYLES

CREDENTIALS = Credentials("", realm="", username="user", password="secret")
REQUEST = Request("INVITE", "sip:1@carrier.test", b"v=0")
[REALM_BEFORE] = parse('Digest realm="before", nonce="n"')
[CONTRADICTED] = parse('Digest realm="contradicted", nonce="n"')
BEFORE = (Sent(401, REALM_BEFORE), Sent(407, CONTRADICTED, challenged=False))


def one_reply(data: bytes) -> None:
    """Fields, with an empty line between them, of a reply to a request without responses, and to one that had some."""
    fields = tuple(data.decode("utf-8", "surrogateescape").split("\n\n"))
    for field in fields:
        next_nonce(field)
        with contextlib.suppress(ChallengeError):
            parse(field)
    if plain := first_plain(fields):
        assert is_plain(plain)
        assert len(parse(plain)) == 1
    for sent in ((), BEFORE):
        attempt = Attempt("t", sent=sent, answered=sum(one.challenged for one in sent))
        decision = session.after_failure(session.Failure(407, fields), attempt, CREDENTIALS)
        if isinstance(decision, session.Resend):
            one_resend(decision, fields, sent)


def one_resend(decision: session.Resend, fields: tuple[str, ...], before: tuple[Sent, ...]) -> None:
    """What goes out again, after these responses."""
    attempt = decision.attempt
    answered = [(one.status, one.challenge.realm) for one in attempt.sent]
    asked = {(407, challenge.realm) for challenge in decision.challenges}
    kept = {(one.status, one.challenge.realm) for one in before if one.challenged}
    assert len(answered) == len(set(answered)) <= MOST_ANSWERED
    assert set(answered) == asked | kept
    if decision.suits_uac_auth:
        assert is_plain(fields[0])
        assert parse(fields[0]) == decision.challenges
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
        (corpus / f"seed-{number}").write_bytes(field.encode(errors="surrogateescape"))


if __name__ == "__main__":
    sow(Path(sys.argv[-1]))
    atheris.Setup(sys.argv, one_reply)
    atheris.Fuzz()
