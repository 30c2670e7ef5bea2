"""The mock against Kamailio: the same questions, the same answers, the same requests on the wire."""

from __future__ import annotations

import pytest

from tests.ksr.api_list import VERSIONS
from tests.ksr.probe_call import load_record, through_the_mock

ROUTES = (
    "tables",
    "request",
    "first failure",
    "second failure",
    "expired",
    "second request",
    "first branch",
    "first reply",
    "third failure",
    "second reply",
    "fourth failure",
    "second branch",
    "third reply",
)
STRICTER = {"WrongArgumentsError", "UnknownVariableError", "MisuseError", "SystemError"}


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("route", ROUTES)
def test_mock_answers_as_kamailio_did(version: str, route: str) -> None:
    assert through_the_mock(version).answers[route] == load_record(version).answers[route]


@pytest.mark.parametrize("version", VERSIONS)
def test_mock_runs_the_routes_that_kamailio_ran_in_its_order(version: str) -> None:
    assert tuple(load_record(version).answers) == ("refused", *ROUTES)
    assert tuple(through_the_mock(version).answers) == ("refused", *ROUTES)


@pytest.mark.parametrize("version", VERSIONS)
def test_mock_sends_what_kamailio_sent(version: str) -> None:
    mock, real = through_the_mock(version), load_record(version)
    assert len(real.sent) == 5
    assert mock.sent == real.sent


@pytest.mark.parametrize("version", VERSIONS)
def test_mock_raises_where_kamailio_says_nothing(version: str) -> None:
    refused = through_the_mock(version).answers["refused"]
    assert [question for question, _ in refused] == [
        question for question, _ in load_record(version).answers["refused"]
    ]
    assert {answer for _, answer in refused} <= STRICTER
