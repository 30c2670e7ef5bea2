"""The mock against Kamailio: the same questions, the same answers, the same requests on the wire."""

from __future__ import annotations

from functools import cache

import pytest

from tests.ksr.behaviours import TABLE
from tests.ksr.probe import ROUTES, read_questions
from tests.ksr.probe_call import Record, load_record, through_the_mock

STRICTER = {"WrongArgumentsError", "UnknownVariableError", "MisuseError", "SystemError"}
NOT_IN_THE_PROBE = {"dbg", "notice", "warn", "err", "sl.sl_send_reply", "sanity.sanity_reply"}


@cache
def mocked(version: str) -> Record:
    return through_the_mock(version)


@pytest.mark.parametrize("route", [route for route in ROUTES if route != "refused"])
def test_mock_answers_as_kamailio_did(ksr_version: str, route: str) -> None:
    assert mocked(ksr_version).answers[route] == load_record(ksr_version).answers[route]


def test_mock_runs_the_routes_that_kamailio_ran_in_its_order(ksr_version: str) -> None:
    assert [*load_record(ksr_version).answers] == [*mocked(ksr_version).answers] == [*ROUTES]


def test_mock_sends_what_kamailio_sent(ksr_version: str) -> None:
    real = load_record(ksr_version)
    assert len(real.sent) == 5
    assert mocked(ksr_version).sent == real.sent


def test_caller_hears_from_the_mock_what_kamailio_told_him(ksr_version: str) -> None:
    assert mocked(ksr_version).replies == load_record(ksr_version).replies == ["503 1 INVITE", "200 1 INVITE"]


def test_mock_raises_where_kamailio_says_nothing(ksr_version: str) -> None:
    refused = mocked(ksr_version).answers["refused"]
    assert [question for question, _ in refused] == [
        question for question, _ in load_record(ksr_version).answers["refused"]
    ]
    assert {answer for _, answer in refused} <= STRICTER


def test_kamailio_was_asked_of_every_behaviour() -> None:
    asked = "\n".join(question for questions in read_questions().values() for question in questions)
    assert {path for path in TABLE if f"KSR.{path}(" not in asked} == NOT_IN_THE_PROBE
