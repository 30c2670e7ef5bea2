"""The committed API lists, the stubs made from them, and the comparison with a live Kamailio."""

from __future__ import annotations

import dataclasses

import pytest

from tests.ksr.api_list import LISTS, VERSIONS, Api, Function, from_json, in_every, load
from tests.ksr.contract import differences
from tests.ksr.export import STUBS, parse_api_list, stubs

# What `kamcmd app_python.api_list` prints: tabs, a blank module for the core, a null where a long is involved.
ANSWER = """{
	msize: 5
	methods: {
		func: {
			ret: none
			module: 
			name: err
			params: str
		}
		func: {
			ret: int
			module: tm
			name: t_relay
			params: none
		}
		func: {
			ret: int
			module: sl
			name: send_reply
			params: int, str
		}
		func: {
			ret: bool
			module: pv
			name: setl
			params: <null string>
		}
		func: {
			ret: int
			module: dispatcher
			name: ds_select
			params: int, int
		}
	}
}
"""  # noqa: W291

RELAY = Function("tm", "t_relay", "int", ())


@pytest.mark.parametrize("version", VERSIONS)
def test_list_says_which_kamailio_and_which_command_made_it(version: str) -> None:
    api = load(version)
    assert api.version == version
    assert "app_python.api_list" in api.made_by


@pytest.mark.parametrize("version", VERSIONS)
def test_list_is_kept_as_the_generator_writes_it(version: str) -> None:
    text = (LISTS / f"{version}.json").read_text(encoding="utf-8")
    assert from_json(text).to_json() == text


def test_there_is_a_list_for_every_version_and_no_other() -> None:
    assert sorted(path.stem for path in LISTS.iterdir()) == sorted(VERSIONS)


@pytest.mark.parametrize("version", VERSIONS)
def test_list_has_what_the_routes_stand_on(version: str) -> None:
    paths = load(version).by_path.keys()
    assert {"tm.t_relay", "uac.uac_auth", "pv.get", "hdr.append", "dialog.dlg_manage", "is_method", "err"} <= paths


def test_stubs_are_in_step_with_the_lists() -> None:
    on_disk = {path.name: path.read_text(encoding="utf-8") for path in STUBS.iterdir()}
    assert on_disk == stubs(map(load, VERSIONS))


def test_function_that_one_version_lacks_is_in_no_stub() -> None:
    assert "setl" in {f.name for f in load("6.0.1").functions}
    assert "def setl(" not in stubs(map(load, VERSIONS))["pv.pyi"]


def test_function_whose_signature_differs_is_not_shared() -> None:
    other = Function("tm", "t_relay", "int", ("str",))
    assert in_every([Api("1", "", (RELAY,)), Api("2", "", (other,))]) == ()
    assert in_every([Api("1", "", (RELAY,)), Api("2", "", (RELAY,))]) == (RELAY,)


def test_answer_of_kamcmd_is_read_whole() -> None:
    assert parse_api_list(ANSWER) == (
        Function("", "err", "none", ("str",)),
        Function("pv", "setl", "bool", ("str", "long")),
        Function("sl", "send_reply", "int", ("int", "str")),
        RELAY,
    )


def test_answer_that_is_cut_short_is_refused() -> None:
    with pytest.raises(ValueError, match="6 functions announced, 5 read"):
        parse_api_list(ANSWER.replace("msize: 5", "msize: 6"))


def test_null_parameters_that_nobody_looked_up_are_refused() -> None:
    with pytest.raises(ValueError, match="not spelled out"):
        parse_api_list(ANSWER.replace("setl", "new_function_with_a_long"))


@pytest.mark.parametrize("version", VERSIONS)
def test_no_difference_from_itself(version: str) -> None:
    api = load(version)
    assert differences(api.functions, api) == []


def test_module_that_is_not_loaded_is_no_difference() -> None:
    api = load("6.0.1")
    assert differences((f for f in api.functions if f.module != "htable"), api) == []


def test_every_kind_of_difference_is_named() -> None:
    api = load("6.0.1")
    live = [f for f in api.functions if f.path != "tm.t_reply"]
    live[live.index(RELAY)] = dataclasses.replace(RELAY, params=("str",))
    live.append(Function("tm", "t_new", "int", ()))
    assert differences(live, api) == [
        "live tm.t_relay(str) -> int, listed tm.t_relay() -> int",
        "not in the list of 6.0.1: tm.t_new() -> int",
        "not in the live Kamailio: tm.t_reply(int, str) -> int",
    ]
