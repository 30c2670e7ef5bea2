"""The page of metrics, read back by a parser, and the server of pages."""

from __future__ import annotations

import re
import socket
import urllib.error
import urllib.request
from collections.abc import Callable
from contextlib import suppress
from http import HTTPStatus
from threading import Event, Thread

import pytest
from prometheus_client.parser import text_string_to_metric_families

from kemi.health.memory import Memory
from kemi.metrics import counts
from kemi.metrics.page import Facts, Row, page
from kemi.metrics.server import Page, Server
from kemi.outcome import ENDS

NUMBERS = [number if number % 2 else 0 for number in range(counts.NUMBERS)]
FACTS = Facts(
    totals={"berlin": NUMBERS, "": [0] * counts.NUMBERS},
    rows=[
        Row("berlin", max_calls=30, max_cps=5, calls=2, registered=True),
        Row('odd "name"\\', is_up=False, registered=False),
        Row("off", is_enabled=False, is_up=False),
    ],
    dialogs={"ongoing": 2},
    memory=Memory(total=524288, free=400000),
    copy_age=2.5,
    left_out={"uacreg": 1, "trunk": 0, "address": 0},
    build={"version": "1.0", "kamailio": "6.0.1"},
)
PREFIX = "kemi_trunkauth_"


def samples(facts: Facts) -> dict[tuple[str, tuple[tuple[str, str], ...]], float]:
    families = text_string_to_metric_families(page(facts).decode())
    return {
        (sample.name.removeprefix(PREFIX), tuple(sorted(sample.labels.items()))): sample.value
        for family in families
        for sample in family.samples
    }


def value(name: str, **labels: str) -> float | None:
    return samples(FACTS).get((name, tuple(sorted(labels.items()))))


def test_every_counter_is_there_by_its_name() -> None:
    found = [value("calls_total", trunk="berlin", outcome=end) for end in ENDS]
    assert found == NUMBERS[counts.CALLS : counts.ATTEMPTS]
    found = [value("attempts_total", trunk="berlin", status=each) for each in counts.CLASSES]
    assert found == NUMBERS[counts.ATTEMPTS : counts.CHALLENGED]
    for place, (algorithm, result) in enumerate(counts.CHALLENGES, counts.CHALLENGED):
        shown = value("challenges_total", trunk="berlin", algorithm=algorithm, result=result)
        assert shown == (NUMBERS[place] or None)
    shown = value("preemptive_responses_total", trunk="berlin", result="accepted")
    assert (shown, value("calls_total", trunk="", outcome="failed")) == (NUMBERS[counts.ACCEPTED], 0)


def test_the_histogram_adds_up() -> None:
    inside = NUMBERS[counts.SETUPS : counts.SETUP_SUM]
    assert value("setup_seconds_bucket", trunk="berlin", le="0.1") == inside[0]
    assert value("setup_seconds_bucket", trunk="berlin", le="+Inf") == sum(inside)
    assert value("setup_seconds_count", trunk="berlin") == sum(inside)
    assert value("setup_seconds_sum", trunk="berlin") == NUMBERS[counts.SETUP_SUM] / 1000


def test_what_a_trunk_and_the_node_are_like() -> None:
    ups = [value("trunk_up", trunk=row.trunk) for row in FACTS.rows]
    assert ups == [1, 0, None]
    assert [value("registered", trunk=row.trunk) for row in FACTS.rows] == [1, 0, None]
    limits = [value(name, trunk="berlin") for name in ("calls_up", "max_calls", "max_calls_per_second")]
    assert (limits, value("max_calls", trunk="off")) == ([2, 30, 5], None)
    node = [value(name) for name in ("copy_age_seconds", "shared_memory_bytes", "shared_memory_free_bytes")]
    assert node == [2.5, 524288 * 1024, 400000 * 1024]
    assert (value("rows_left_out", table="uacreg"), value("dialogs", state="ongoing")) == (1, 2)
    assert value("build_info", version="1.0", kamailio="6.0.1") == 1


def test_what_is_not_known_is_not_there() -> None:
    text = page(FACTS._replace(memory=None, copy_age=None, dialogs={})).decode()
    assert not re.search(r"^kemi_trunkauth_(shared|copy|dialogs)", text, re.MULTILINE)


def test_the_server_serves_its_pages_and_no_others() -> None:
    pages: dict[str, Callable[[], Page]] = {
        "/a": lambda: Page(HTTPStatus.OK, b"one\n"),
        "/b": lambda: Page(HTTPStatus.SERVICE_UNAVAILABLE, b"two\n"),
    }
    with Server("127.0.0.1", 0, pages) as server:
        thread = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            assert [got(server.server_port, path) for path in ("/a", "/a?x=1", "/b", "/c", "/")] == [
                (200, b"one\n"), (200, b"one\n"), (503, b"two\n"), (404, b"not found\n"), (404, b"not found\n"),
            ]  # fmt: skip
        finally:
            server.shutdown()
            thread.join()


def got(port: int, path: str) -> tuple[int, bytes]:
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=5) as answer:
            return answer.status, answer.read()
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.read()


def test_a_client_that_dawdles_keeps_nobody_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    """It says an octet now and then, and never ends."""
    monkeypatch.setattr("kemi.metrics.server.PATIENCE", 0.1)
    over = Event()

    def dawdle(slow: socket.socket) -> None:
        with suppress(OSError):
            while not over.wait(0.02):
                slow.sendall(b"x")

    with Server("127.0.0.1", 0, {"/": lambda: Page(HTTPStatus.OK, b"here")}) as server:
        address = ("127.0.0.1", server.server_port)
        with socket.create_connection(address) as slow, socket.create_connection(address, timeout=5) as quick:
            Thread(target=dawdle, args=(slow,), daemon=True).start()
            quick.sendall(b"GET / HTTP/1.0\r\n\r\n")
            Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
            try:
                assert quick.recv(65536).startswith(b"HTTP/1.0 200")
            finally:
                over.set()
        server.shutdown()
