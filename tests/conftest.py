"""What every test shares."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Generator
from pathlib import Path
from typing import Any

import pytest

from tests.harness.machine import NO_DOCKER, native_version

pytest_plugins = ["tests.ksr.fixtures"]
MAY_SKIP = os.environ.get("CI") != "1"

# Databases wait for the disk at each commit, which no test is about: they are kept in memory if it has room for them.
MEMORY, ROOM = Path("/dev/shm"), 2 << 30  # octets; a container has 64 MiB there
if "TMPDIR" not in os.environ and MEMORY.is_dir() and shutil.disk_usage(MEMORY).free > ROOM:
    os.environ["TMPDIR"] = tempfile.tempdir = str(MEMORY)


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--whole", action="store_true", help="run every live test in every manner on every Kamailio")


def pytest_report_header() -> str:
    """Say what the live tests run against, and what is left out."""
    native = f"Kamailio {native_version() or 'missing'} of this machine"
    left_out = "TRUNKAUTH_NO_DOCKER=1: NOT TESTED are the image, the lab, and database servers in containers"
    return f"live: {native}; {left_out if NO_DOCKER else 'Kamailio in a container, kamailio/Dockerfile'}"


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    """Split a file in two for `--dist loadfile`: each half starts the Kamailio of its own."""
    if config.getvalue("dist") != "loadfile":
        return None
    from tests.order import ByKamailio

    return ByKamailio(config, log)


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Begin with the files that take long: nobody waits for one of them at the end."""
    items.sort(key=lambda item: item.get_closest_marker("long") is None)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport() -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Judge a test that was skipped."""
    report = yield
    if not hasattr(report, "wasxfail"):
        judge_skip(report)
    return report


@pytest.hookimpl(wrapper=True)
def pytest_make_collect_report() -> Generator[None, pytest.CollectReport, pytest.CollectReport]:
    """Judge a file that was skipped."""
    report = yield
    judge_skip(report)
    return report


def judge_skip(report: pytest.TestReport | pytest.CollectReport) -> None:
    """Turn a skip into a failure under CI=1: a machine that changes land on has all that the tests need."""
    if report.skipped and not MAY_SKIP:
        report.outcome = "failed"
        report.longrepr = f"skipped, and nothing may be under CI=1: {report.longrepr}"
