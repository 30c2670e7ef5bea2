"""Names that the machine's hosts file has: they are asked of no name server."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from kemi.names.nameserver import HOSTS_TTL, NameServer, in_hosts

HOSTS = """
127.0.0.1 localhost loopback  # not: comment.test
::1       localhost
# 192.0.2.1 commented.test
192.0.2.7 SBC.Test sbc
192.0.2.8 sbc.test
nonsense  sbc.test
"""


@pytest.fixture
def hosts(tmp_path: Path) -> Path:
    path = tmp_path / "hosts"
    path.write_text(HOSTS)
    return path


@pytest.mark.parametrize(
    ("name", "version", "addresses"),
    [
        ("localhost", 4, ["127.0.0.1"]),
        ("localhost", 6, ["::1"]),
        ("sbc.test", 4, ["192.0.2.7", "192.0.2.8"]),
        ("sbc.test.", 4, ["192.0.2.7", "192.0.2.8"]),
        ("sbc.test", 6, []),
        ("comment.test", 4, []),
        ("commented.test", 4, []),
    ],
)
def test_a_hosts_file_gives_the_addresses_of_a_name(hosts: Path, name: str, version: int, addresses: list[str]) -> None:
    assert in_hosts(hosts, name, version) == addresses


def test_a_hosts_file_that_is_missing_has_none(tmp_path: Path) -> None:
    assert in_hosts(tmp_path / "none", "localhost", 4) == []


def test_a_name_of_the_hosts_file_is_asked_of_nobody(hosts: Path, tmp_path: Path) -> None:
    server = NameServer(tmp_path / "no resolv.conf", hosts=hosts)
    found, ttl = asyncio.run(server("sbc.test", "A"))
    assert ([record.address for record in found], ttl) == (["192.0.2.7", "192.0.2.8"], HOSTS_TTL)
