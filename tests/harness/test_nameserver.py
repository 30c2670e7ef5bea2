"""The test's name server and the product's questions to it, over a socket."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path

import pytest

from kemi.names import nameserver as product
from kemi.names.nameserver import NoAnswerError, Records
from tests.harness.nameserver import NameServer


@pytest.fixture
def server() -> Iterator[NameServer]:
    with NameServer() as running:
        yield running


@pytest.fixture
def asked(server: NameServer, tmp_path: Path) -> product.NameServer:
    return product.NameServer(server.configuration(tmp_path), server.port)


def ask(asked: product.NameServer, name: str, kind: str = "A") -> Records:
    return asyncio.run(asked(name, kind))


def texts(records: Records) -> list[str]:
    return [str(record) for record in records.found]


def test_records_come_with_their_ttl(server: NameServer, asked: product.NameServer) -> None:
    server.set("h.test", "A", "192.0.2.2", "192.0.2.1")
    server.zone.ttls["h.test"] = 7
    records = ask(asked, "h.test")
    assert (sorted(texts(records)), records.ttl) == (["192.0.2.1", "192.0.2.2"], 7)  # a server shuffles them


def test_an_alias_is_followed_and_its_ttl_counts(server: NameServer, asked: product.NameServer) -> None:
    server.set("alias.test", "CNAME", "h.test.")
    server.set("h.test", "A", "192.0.2.1")
    server.zone.ttls |= {"alias.test": 5, "h.test": 60}
    records = ask(asked, "alias.test")
    assert (texts(records), records.ttl) == (["192.0.2.1"], 5)


@pytest.mark.parametrize("name", ["nowhere.test", "h.test", f"{'x' * 64}.test", "a..test"])
def test_what_does_not_exist_is_no_fault(server: NameServer, asked: product.NameServer, name: str) -> None:
    server.set("h.test", "AAAA", "2001:db8::1")
    assert ask(asked, name) == Records()


def test_names_are_absolute(server: NameServer, tmp_path: Path) -> None:
    path = server.configuration(tmp_path)
    path.write_text(f"{path.read_text()}search elsewhere.test\n")
    ask(product.NameServer(path, server.port), "h")
    assert {name for name, _ in server.asked} == {"h"}


def test_a_server_that_fails_is_not_one_that_knows_of_no_such_name(
    server: NameServer, asked: product.NameServer
) -> None:
    server.failing.add("*")
    with pytest.raises(NoAnswerError, match="SERVFAIL"):
        ask(asked, "h.test")


def test_a_silent_server_is_given_up(
    server: NameServer, asked: product.NameServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(product, "TRY_LIMIT", 0.1)
    monkeypatch.setattr(product, "QUESTION_LIMIT", 0.3)
    server.silent.add("*")
    with pytest.raises(NoAnswerError, match="no answer"):
        ask(asked, "h.test")
    assert server.count("h.test") > 1


def test_another_resolv_conf_is_noticed(server: NameServer, tmp_path: Path) -> None:
    path = tmp_path / "resolv.conf"
    asked = product.NameServer(path, server.port)
    with pytest.raises(NoAnswerError):
        ask(asked, "h.test")  # there is none
    path.write_text("# no server\n")
    with pytest.raises(NoAnswerError):
        ask(asked, "h.test")
    server.set("h.test", "A", "192.0.2.1")
    path.unlink()
    server.configuration(tmp_path).rename(path)
    assert texts(ask(asked, "h.test")) == ["192.0.2.1"]
