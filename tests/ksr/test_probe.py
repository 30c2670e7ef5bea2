"""The mock against Kamailio: the same questions, the same answers, the same requests on the wire."""

from __future__ import annotations

import shutil

import pytest

from tests.ksr.api_list import VERSIONS, Api, load
from tests.ksr.contract import differences
from tests.ksr.probe_call import Record, load_record, through_a_live_one, through_the_mock

ROUTES = ("request", "first failure", "second failure")
STRICTER = {"WrongArgumentsError", "UnknownVariableError", "MisuseError", "SystemError"}


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("route", ROUTES)
def test_mock_answers_as_kamailio_did(version: str, route: str) -> None:
    assert through_the_mock(version).answers[route] == load_record(version).answers[route]


@pytest.mark.parametrize("version", VERSIONS)
def test_mock_sends_what_kamailio_sent(version: str) -> None:
    mock, real = through_the_mock(version), load_record(version)
    assert len(real.sent) == 2
    assert mock.sent == real.sent


@pytest.mark.parametrize("version", VERSIONS)
def test_mock_raises_where_kamailio_says_nothing(version: str) -> None:
    refused = through_the_mock(version).answers["refused"]
    assert [question for question, _ in refused] == [
        question for question, _ in load_record(version).answers["refused"]
    ]
    assert {answer for _, answer in refused} <= STRICTER


# --- with the machine's own Kamailio


@pytest.fixture(scope="module")
def live() -> tuple[Api, Record]:
    if shutil.which("kamailio") is None:
        pytest.skip("Kamailio is not installed here")
    api, record = through_a_live_one()
    if api.version not in VERSIONS:
        pytest.skip(f"no committed lists for Kamailio {api.version}: see export.py and probe_call.py")
    return api, record


def test_committed_list_is_what_kamailio_exports(live: tuple[Api, Record]) -> None:
    api, _ = live
    assert differences(api.functions, load(api.version)) == []


def test_committed_answers_are_what_kamailio_answers(live: tuple[Api, Record]) -> None:
    api, record = live
    assert record == load_record(api.version)
