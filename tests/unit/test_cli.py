"""The program `kemi-trunkauth`: its names, and what it does not take."""

from __future__ import annotations

import importlib
import tomllib

import pytest

from kemi import VERSION, cli
from kemi.settings import PROJECT


def test_the_entry_point_is_the_same_program() -> None:
    project = tomllib.loads((PROJECT / "pyproject.toml").read_text())["project"]
    module, _, name = project["scripts"]["kemi-trunkauth"].partition(":")
    assert getattr(importlib.import_module(module), name) is cli.main


def test_version(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        cli.main(["--version"])
    assert (ended.value.code, capsys.readouterr().out) == (0, f"kemi-trunkauth {VERSION}\n")


@pytest.mark.parametrize("arguments", [[], ["nothing"], ["db", "--force"], ["check", "all"]])
def test_what_it_does_not_take_ends_with_status_2(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        cli.main(arguments)
    assert ended.value.code == 2
    assert capsys.readouterr().err.startswith("usage: kemi-trunkauth ")
