"""What is missing in a kamailio.cfg of one's own, over a stand-in for Kamailio that prints a configuration as it is."""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from pathlib import Path

import pytest

from kemi import cli
from kemi.settings import PROJECT
from kemi.start import config, run, user
from kemi.start.config import NEEDED, Config, ConfigError
from kemi.start.sockets import Socket

CAT = """#!/bin/sh
for word; do [ "$before" = -f ] && exec cat "$word"; before=$word; done
"""
INCLUDED = NEEDED.read_text()
LISTEN = "listen=TRUNKAUTH_SOCKETS\n"
SOCKETS = (Socket.parse("udp:127.0.0.1:5060"), Socket.parse("tcp:127.0.0.1:5060"))

Fault = Callable[..., str]


@pytest.fixture
def fault(tmp_path: Path) -> Fault:
    """Return what is wrong with a configuration that is included by one's own; empty for nothing."""
    kamailio, file = tmp_path / "kamailio", tmp_path / "own.cfg"
    kamailio.write_text(CAT)
    kamailio.chmod(0o755)

    def found(text: str, sockets: tuple[Socket, ...] = SOCKETS) -> str:
        file.write_text(text)
        try:
            config.check([str(kamailio), "-DD", "-f", "/ours", "-A", "HTTP=1", "-f", str(file)], sockets, {})
        except ConfigError as error:
            return str(error).replace(str(tmp_path), "")
        return ""

    return found


def lacks(*missing: str) -> str:
    return f'/own.cfg lacks {", ".join(missing)}; it takes include_file "{NEEDED}"'


def test_one_that_holds_all_of_it_is_as_it_should_be(fault: Fault) -> None:
    assert fault(LISTEN + INCLUDED) == ""


@pytest.mark.parametrize("statement", [
    'loadmodule "rtimer.so"', 'modparam("tm", "on_sl_reply", "STRAY")', "dns_servers_no=0",
    'modparam("htable", "htable", "acks=>size=12;autoexpire=32;")', 'modparam("dialog", "ka_timer", 1)',
    'modparam("rtimer", "exec", "timer=names;route=NAMES")', 'modparam("permissions", "load_backends", 1)',
])  # fmt: skip
def test_what_is_missing_is_named(fault: Fault, statement: str) -> None:
    assert statement in INCLUDED
    for without in (INCLUDED.replace(statement, ""), INCLUDED.replace(statement, f"# {statement}")):
        assert fault(LISTEN + without) == lacks(statement)
    assert fault(LISTEN + INCLUDED.replace(statement, f"/* {statement}\n */")) == lacks(statement)


@pytest.mark.parametrize(("name", "line"), [
    ("route[APPEND]", "route[APPEND] {"), ("onsend_route", "onsend_route {"),
    ('cfgengine="python"', 'cfgengine "python"'),
])  # fmt: skip
def test_a_route_that_is_missing_is_named(fault: Fault, name: str, line: str) -> None:
    assert line in INCLUDED
    assert fault(LISTEN + INCLUDED.replace(line, "")) == lacks(name)


@pytest.mark.parametrize(("after", "missing"), [
    ('modparam("dialog", "track_cseq_updates", 1)', 'modparam("dialog", "track_cseq_updates", 0) in place of 1'),
    ('modparam("dialog|rr", "dlg_match_mode", 0)', 'modparam("dialog", "dlg_match_mode", 1) in place of 0'),
    ('modparam("dialog", "profiles_with_value", "mine")',
     'modparam("dialog", "profiles_with_value", "trunk") in place of "mine"'),
    ("modparam('tm', 'on_sl_reply', 'MINE')", "modparam(\"tm\", \"on_sl_reply\", \"STRAY\") in place of 'MINE'"),
    ("  dns_servers_no = 2;", "dns_servers_no=0 in place of 2"),
])  # fmt: skip
def test_what_is_set_otherwise_behind_it_is_named(fault: Fault, after: str, missing: str) -> None:
    assert fault(f"{LISTEN}{INCLUDED}\n{after}\n") == lacks(missing)
    assert fault(f"{LISTEN}{after}\n{INCLUDED}\n") == ""


@pytest.mark.parametrize("after", [
    'modparam("htable", "htable", "mine=>size=4;")', 'modparam("app_python3", "load", "/etc/kamailio/own.py")',
    'modparam("dialog", "profiles_with_value", "mine; trunk")', 'modparam("dialog", "ka_interval", 60)', "children=8",
    'kemi.reply_route_callback="ksr_reply_route"', 'modparam("tm", "fr_timer", 5000)', 'loadmodule "usrloc.so"',
])  # fmt: skip
def test_what_is_the_operators_is_left_to_him(fault: Fault, after: str) -> None:
    assert fault(f"{LISTEN}{INCLUDED}\n{after}\n") == ""


def test_much_that_is_missing_is_still_one_line(fault: Fault) -> None:
    line = fault("debug=2\n")
    assert line.startswith('/own.cfg lacks loadmodule "app_python3.so", loadmodule "corex.so", ')
    assert f' more; it takes include_file "{NEEDED}"' in line
    assert "\n" not in line
    assert len(line) < 500


@pytest.mark.parametrize("listen", [
    "listen=udp:127.0.0.1:5060\nlisten = TCP:127.0.0.1:5060 advertise 203.0.113.5:5060\n", "listen=MY_SOCKETS\n",
    'listen="udp:127.0.0.1:5060"\nlisten=tcp:127.0.0.1:5060;\n',
])  # fmt: skip
def test_it_listens_where_the_setting_says(fault: Fault, listen: str) -> None:
    assert fault(listen + INCLUDED) == ""


@pytest.mark.parametrize("listen", ["", "listen=udp:127.0.0.1:5060\nlisten=tcp:127.0.0.1:5070\n"])
def test_one_that_listens_elsewhere_is_told_so(fault: Fault, listen: str) -> None:
    socket = SOCKETS[1 if listen else 0]
    assert fault(listen + INCLUDED).startswith(f"TRUNKAUTH_LISTEN: /own.cfg does not listen on {socket}; write listen=")


def test_a_kamailio_that_prints_nothing_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"/own\.cfg cannot be read by /nowhere/kamailio: "):
        config.check(["/nowhere/kamailio", "-f", "/own.cfg"], SOCKETS, {})


@pytest.mark.parametrize(("said", "reason"), [
    ("loading config file: cannot open included file: x.cfg", "cannot open included file: x.cfg"),
    ("ERROR: loading config file(/own.cfg): No such file or directory, check", "No such file or directory, check"),
    ("ERROR: loading config file(/own.cfg): Permission denied, check", "Permission denied, check"),
    ("input in flex scanner failed", "input in flex scanner failed"),  # a directory
])  # fmt: skip
def test_a_file_that_cannot_be_read_is_named(tmp_path: Path, said: str, reason: str) -> None:
    kamailio = tmp_path / "kamailio"
    kamailio.write_text(f'#!/bin/sh\nprintf "{said}" >&2\n')
    kamailio.chmod(0o755)
    with pytest.raises(ConfigError, match=rf"^/own\.cfg: {reason}$"):
        config.check([str(kamailio), "-f", "/own.cfg"], SOCKETS, {})


def test_a_value_of_several_strings_is_read_whole() -> None:
    read = Config.of('modparam("a", "b", "x)#y" "z")  # "c"\nmodparam("a", "c", 0x1 )')
    assert read.parameters == {("a", "b"): ['"x)#y" "z"'], ("a", "c"): ["0x1"]}


@pytest.fixture
def start(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., list[str]]:
    """Run it with these arguments, and return those of the Kamailio that it becomes."""
    became: list[list[str]] = []
    (tmp_path / "kamailio").write_text(CAT)
    (tmp_path / "kamailio").chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    monkeypatch.setenv("TRUNKAUTH_STATE_DIR", str(tmp_path / "state"))
    monkeypatch.setattr(os, "execve", lambda _program, arguments, _environment: became.append(arguments))
    monkeypatch.setattr(run, "check_free", lambda _: None)
    monkeypatch.setattr(user, "step_down", lambda _, extra: extra)
    monkeypatch.chdir(tmp_path)

    def started(*arguments: str) -> list[str]:
        assert cli.main(["run", *arguments]) == 0
        return became.pop()

    return started


@pytest.mark.parametrize(("line", "level"), [
    ("debug=3", 3), ("debug = 4;", 4), ('modparam("debugger", "mod_level", "core=1;pv = 3")', 3),
])  # fmt: skip
def test_one_that_has_passwords_printed_is_refused(
    start: Callable[..., list[str]],
    line: str,
    level: int,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    Path("own.cfg").write_text(f"{LISTEN}{INCLUDED}\n{line}\n")
    assert cli.main(["run", "-f", "own.cfg"]) == 1
    assert f"-f: level {level} makes Kamailio print passwords" in capsys.readouterr().err
    monkeypatch.setenv("TRUNKAUTH_LOG_SECRETS", "1")
    assert start("-f", "own.cfg")


def test_a_module_that_has_them_printed_by_an_argument_is_refused(
    start: Callable[..., list[str]], capsys: pytest.CaptureFixture[str]
) -> None:
    module = "--loadmodule=debugger.so"
    assert cli.main(["run", module, "--modparam=debugger:mod_level:s:core=1;pv=3"]) == 1
    assert "--modparam: level 3 makes Kamailio print passwords" in capsys.readouterr().err
    assert start(module, "--modparam=debugger:mod_level:s:core=1;pv=2", "--modparam=tm:fr_timer:i:5000")


@pytest.mark.parametrize("line", ["debug=2", "debug=-1", "debug=MY_LEVEL", 'modparam("debugger", "mod_level", "pv=2")'])
def test_one_that_prints_none_is_not(start: Callable[..., list[str]], line: str) -> None:
    Path("own.cfg").write_text(f"{LISTEN}{INCLUDED}\n{line}\n")
    assert start("-f", "own.cfg")


def test_a_file_that_is_named_is_found_and_none_that_lies_around(
    start: Callable[..., list[str]], tmp_path: Path
) -> None:
    Path("own.cfg").write_text(LISTEN + INCLUDED)
    assert start("-f", "own.cfg", "-m", "64")[-4:] == ["-f", str(tmp_path / "own.cfg"), "-m", "64"]
    assert Path.cwd() == tmp_path / "state"  # what Kamailio includes is looked for here first


@pytest.mark.parametrize("arguments", [("-fown.cfg",), ("-Ef", "own.cfg"), ("-eEfown.cfg",)])
def test_it_is_checked_however_it_is_named(
    start: Callable[..., list[str]], tmp_path: Path, capsys: pytest.CaptureFixture[str], arguments: tuple[str, ...]
) -> None:
    Path("own.cfg").write_text(f"{LISTEN}{INCLUDED}\ndebug=3\n")
    assert cli.main(["run", *arguments]) == 1
    assert "-f: level 3 makes Kamailio print passwords" in capsys.readouterr().err
    Path("own.cfg").write_text(LISTEN + INCLUDED)
    assert start(*arguments)[-2:] == ["-f", str(tmp_path / "own.cfg")]


def test_the_names_that_are_taken_are_those_of_its_files() -> None:
    taken = (PROJECT / "docs/embedding.md").read_text().partition("names are taken:")[2].partition("## ")[0]
    text = INCLUDED + (NEEDED.parent / "tls.cfg").read_text()
    tables = re.findall(r'"htable", "htable", "(\w+)=>', text)
    variables = re.findall(r"\$x?(?:var|avp)\(\w+\)", text.replace("$(", "$"))
    routes = [name for name in re.findall(r"(?m)^route\[(\w+)\]", text) if not name.startswith("TLS_")]
    assert [name for name in {*tables, *variables, *routes} if f"`{name}`" not in taken] == []
