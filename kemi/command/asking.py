"""One question to a carrier, with a trunk's credentials: it is sent, challenged, and sent again as kemi.auth.session
decides for calls as well.
"""

from __future__ import annotations

from collections.abc import Iterator
from enum import IntEnum

from kemi.auth import digest, session
from kemi.auth.attempt import CHALLENGES, OTHER_KIND, Attempt
from kemi.auth.challenge import Challenge
from kemi.auth.session import Refuse, Resend
from kemi.command.base import Failure
from kemi.command.client import Client
from kemi.command.message import Reply, Request, new_token
from kemi.line import quoted
from kemi.trunks.trunk import Trunk


class Status(IntEnum):
    """The exit status of `test`, by what is wrong."""

    UNKNOWN_NAME = 3
    SILENT = 4
    CREDENTIALS_REFUSED = 5
    OTHER_REALM = 6
    UNANSWERABLE = 7
    TURNED_DOWN = 8


_STATUS_OF = {
    "credentials refused": Status.CREDENTIALS_REFUSED,
    "realm not the trunk's": Status.OTHER_REALM,
}


class Asking:
    """request: as it was sent last. attempt: with the challenges that it answers."""

    def __init__(self, client: Client, trunk: Trunk, request: Request) -> None:
        self.request = request
        self.attempt = Attempt(trunk.uuid, trunk.destination, request.method)
        self._client, self._trunk = client, trunk

    def replies(self, seconds: float) -> Iterator[Reply]:
        """Yield all replies, those of challenges too. Raises Failure if a challenge is not answered, or nothing is said
        for so many seconds.
        """
        while True:
            reply: Reply | None = None
            for reply in self._client.replies(self.request, seconds):
                yield reply
            if reply is None:
                raise Failure(f"the carrier does not answer {self.request.method} within {seconds:g} s", Status.SILENT)
            if reply.status < 200:
                self._client.cancel(self.request)
                raise Failure(f"the carrier says {reply} to {self.request.method} and no more", Status.SILENT)
            if reply.status not in CHALLENGES:
                return
            self._answer(reply)

    def _answer(self, reply: Reply) -> None:
        """Have the request carry the responses to a challenge. Raises Failure."""
        credentials = self._trunk.credentials
        decision = session.after_failure(_facts(reply), self.attempt, credentials)
        if isinstance(decision, Refuse):
            status = _STATUS_OF.get(decision.reason, Status.UNANSWERABLE)
            raise Failure(_sentence(decision, self._trunk), status)
        assert isinstance(decision, Resend)  # noqa: S101 (a challenge is answered or refused)
        self.attempt = decision.attempt
        made = session.responses(self.attempt.sent, credentials)
        covered = digest.Request(self.request.method, self.request.uri, self.request.body)
        lines = made.headers(self.attempt.sent, covered, new_token())
        headers = tuple((name, value.strip()) for name, _, value in (line.partition(": ") for line in lines))
        self.request = self.request.again(headers)


def _facts(reply: Reply) -> session.Failure:
    """Return a challenge as the session takes it."""
    fields, others = (reply.all(CHALLENGES[kind].challenge) for kind in (reply.status, OTHER_KIND[reply.status]))
    return session.Failure(reply.status, fields, others)


def _sentence(refusal: Refuse, trunk: Trunk) -> str:
    """Say why a challenge is not answered."""
    challenge = refusal.challenge
    if refusal.reason == "credentials refused":
        return (
            f"the carrier refuses the credentials: auth_username {quoted(trunk.auth_username)} or its secret is wrong"
        )
    if challenge and refusal.reason == "realm not the trunk's":
        return f"the carrier's realm is {quoted(challenge.realm)}, and the row's is {quoted(trunk.realm)}"
    if challenge and refusal.reason == "no secret, algorithm or qop for it":
        return f"the carrier asks for what the row cannot answer: {_asked_for(challenge)}"
    return f"the carrier's challenge cannot be answered: {refusal.reason}"


def _asked_for(challenge: Challenge) -> str:
    qop = f", qop {quoted(', '.join(challenge.qop))}" if challenge.qop else ""
    return f"algorithm {quoted(challenge.algorithm or 'MD5')}{qop}"
