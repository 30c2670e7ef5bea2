"""The pytest fixture `ksr`: a MockKSR that `import KSR` finds, once for every Kamailio version, or for `--ksr VERSION`.

A module that imported KSR keeps that import for the whole test run, so what it imports is a stand-in that hands
every access to the mock of the test that is running.

A test that asks for `ksr_version` alone runs once for each of those as well.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from types import ModuleType
from typing import Any

import pytest

from tests.ksr.api_list import VERSIONS
from tests.ksr.mock import MockKSR


class _StandIn(ModuleType):
    current: MockKSR | None = None

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        if self.current is None:
            raise RuntimeError(f"KSR.{name} outside of a test with the fixture ksr")
        return getattr(self.current, name)


_STAND_IN = _StandIn("KSR")
sys.modules["KSR"] = _STAND_IN


def current() -> MockKSR:
    """The mock that `KSR` is now."""
    assert _STAND_IN.current
    return _STAND_IN.current


@contextmanager
def installed(mock: MockKSR) -> Iterator[MockKSR]:
    """Let `KSR` be this mock meanwhile."""
    before, _STAND_IN.current = _STAND_IN.current, mock
    try:
        yield mock
    finally:
        _STAND_IN.current = before


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--ksr", choices=VERSIONS, help="the mocked KSR of this Kamailio version alone")


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "ksr_version" in metafunc.fixturenames:
        chosen = metafunc.config.getoption("ksr")
        metafunc.parametrize("ksr_version", [chosen] if chosen else VERSIONS)


@pytest.fixture
def ksr(ksr_version: str) -> Iterator[MockKSR]:
    """A strict KSR of each Kamailio version in turn, with no message in it yet: see MockKSR."""
    with installed(MockKSR(ksr_version)) as mock:
        yield mock
