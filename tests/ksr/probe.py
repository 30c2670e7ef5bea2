"""The script that puts questions.txt to a live Kamailio. The mock is asked the same.

As app_python3's script (probe.cfg loads it) it answers the questions into the file KSR_PROBE_REPORT, of two calls:

- one that is challenged twice and then ended with 503: the request route and the two failure routes;
- one that is challenged twice and then accepted, whose first and third INVITE leave through a branch route: the branch
  routes, and the reply routes of all three replies.

It imports nothing of this project, so that it runs wherever Kamailio does. The answers of each version are kept under
`answers/`.
"""

from __future__ import annotations

import json
import os
import re
from pathlib import Path
from typing import Any

Answers = dict[str, list[list[str]]]

# Each route, and the sections of questions.txt that it is asked. In this order the routes run; those that a relay runs
# (branch, reply) come after the route that relayed.
ROUTES = {
    "refused": ["refused"],
    "tables": ["tables"],
    "request": ["request"],
    "first failure": ["any failure of the first call", "first failure"],
    "second failure": ["any failure of the first call", "second failure"],
    "expired": ["expired"],
    "second request": ["second request"],
    "first branch": ["branch"],
    "first reply": ["reply"],
    "third failure": ["any failure of the second call", "third failure"],
    "second reply": ["reply"],
    "fourth failure": ["any failure of the second call", "fourth failure"],
    "second branch": ["branch"],
    "third reply": ["reply"],
}


def read_questions() -> dict[str, list[str]]:
    """The questions of each route."""
    _, *parts = re.split(r"^\[(.*)\]\n", Path(__file__).with_name("questions.txt").read_text("utf-8"), flags=re.M)
    sections = {name: text.split("\n") for name, text in zip(parts[::2], parts[1::2], strict=True)}
    return {route: [line for name in names for line in sections[name] if line] for route, names in ROUTES.items()}


def ask(ksr: Any, question: str) -> str:
    """The answer: a Python literal, or the name of the exception."""
    try:
        return repr(eval(question, {"KSR": ksr}))
    except Exception as error:
        return type(error).__name__


class Probe:
    """The handlers: for Kamailio through mod_init(), for the mock as they are."""

    def __init__(self, ksr: Any) -> None:
        self.ksr = ksr
        self.answers: Answers = {}
        self._questions = read_questions()

    def child_init(self, _rank: int) -> int:
        """Called in every process."""
        return 0

    def ksr_request_route(self, _message: object) -> int:
        """Ask of each call's INVITE; leave everything else alone."""
        if self.ksr.pv.get("$rm") == "INVITE":
            first, second = ("refused", "tables", "request"), ("expired", "second request")
            for route in second if "request" in self.answers else first:
                self._ask(route)
        return 1

    def PROBE_BRANCH(self, _message: object) -> int:
        """Ask in the branch routes of the second call's first and third INVITE."""
        self._ask_next("branch")
        return 1

    def PROBE_UNSENT(self, _message: object) -> int:
        """Count the runs of a branch route whose message is not sent."""
        self.ksr.htable.sht_inc("nonce_counts", "unsent")
        return 1

    def PROBE_REPLY(self, _message: object) -> int:
        """Ask in the reply routes of the second call."""
        self._ask_next("reply")
        return 1

    def PROBE_FAILURE(self, _message: object) -> int:
        """Ask in the failure routes: two of each call."""
        self._ask_next("failure")
        return 1

    def ksr_reply_route(self, _message: object) -> int:
        """Must exist."""
        return 1

    def ksr_onsend_route(self, _message: object) -> int:
        """Must exist."""
        return 1

    def _ask(self, route: str) -> None:
        answers = self.answers[route] = []  # there already while the questions run: a t_relay runs the branch route
        for question in self._questions[route]:
            answers.append([question, ask(self.ksr, question)])

    def _ask_next(self, kind: str) -> None:
        """Ask what is due in the first route of this kind that has not been run yet."""
        self._ask(next(route for route in ROUTES if route.endswith(f" {kind}") and route not in self.answers))


class LiveProbe(Probe):
    """In Kamailio: the answers are written out when there are no more to come."""

    def PROBE_REPLY(self, message: object) -> int:
        """As above, and then the report."""
        super().PROBE_REPLY(message)
        if "third reply" in self.answers:
            report = Path(os.environ["KSR_PROBE_REPORT"])
            unfinished = report.with_suffix(".part")
            unfinished.write_text(json.dumps(self.answers), encoding="utf-8")
            unfinished.rename(report)
        return 1


def mod_init() -> LiveProbe:
    """Called by app_python3."""
    import KSR

    return LiveProbe(KSR)
