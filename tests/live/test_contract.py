"""The contract between the mocked KSR and the real one: what each live Kamailio exports with our own configuration,
and how it answers the questions of tests/ksr/probe.py.
"""

from __future__ import annotations

from tests.harness.node import Installation, Kamailio
from tests.ksr.api_list import load
from tests.ksr.contract import differences
from tests.ksr.export import read_live
from tests.ksr.probe_call import load_record, through_a_live_one


def test_the_export_list_is_the_live_one(kamailio: Kamailio) -> None:
    live = read_live(f"unixs:{kamailio.rpc_socket}")
    assert {function.module for function in live.functions} >= {"tm", "uac", "dialog", "permissions"}
    assert differences(live.functions, load(kamailio.version)) == []


def test_the_mock_was_taught_by_the_live_one(installation: Installation) -> None:
    api, record = through_a_live_one(installation.image)
    assert record == load_record(api.version)
