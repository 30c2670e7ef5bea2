"""`kemi-trunkauth test` of a trunk by TLS: the certificate is judged as for calls."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import URL

from kemi.command.asking import Status
from tests.harness.carrier import Carrier, Script
from tests.harness.certificates import Authority
from tests.harness.shell import Shell, shell
from tests.harness.verifier import Challenge

PASSWORD, NAME = "the-password", "sip.carrier.test"
ACCEPTS = Script(Challenge(requests=frozenset({"REGISTER"})))


@pytest.fixture
def operator(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Iterator[Shell]:
    for made in shell(URL.create("sqlite", database=f"{tmp_path}/trunks"), tmp_path, monkeypatch, capsys):
        assert made.run("db").status == 0
        yield made


@pytest.mark.parametrize(
    ("names", "row", "status", "said"),
    [
        ("DNS:sip.carrier.test", (), 0, "trunk berlin works"),
        (
            "DNS:other.test",
            (),
            Status.SILENT,
            "the carrier's certificate is wrong: Hostname mismatch, certificate is not valid for",
        ),
        ("DNS:other.test", ("tls_verify=0",), 0, "trunk berlin works"),
    ],
)
def test_a_trunk_by_tls(
    operator: Shell, tmp_path: Path, names: str, row: tuple[str, ...], status: int, said: str
) -> None:
    authority = Authority(tmp_path / "certificates")
    operator.set(LISTEN="udp:127.0.0.1:5060 tls:127.0.0.1:5061", TLS_CA=str(authority.certificate))
    with Carrier(ACCEPTS, {"u4711": PASSWORD}, transport="tls", identity=authority.issue(names)) as carrier:
        columns = (f"r_domain={NAME}", "auth_username=u4711", f"auth_proxy={carrier.proxy_uri}", *row)
        assert operator.run("add", "berlin", *columns, stdin=PASSWORD).status == 0
        done = operator.run("test", "berlin", "--seconds", "1.5")
    assert done.status == status
    assert said in done.output + done.errors


def test_a_ca_that_cannot_be_read(operator: Shell, tmp_path: Path) -> None:
    operator.set(LISTEN="tls:127.0.0.1:5061", TLS_CA=f"{tmp_path}/none")
    columns = (f"r_domain={NAME}", "auth_username=u4711", "auth_proxy=sips:127.0.0.1:5071")
    assert operator.run("add", "berlin", *columns, stdin=PASSWORD).status == 0
    done = operator.run("test", "berlin")
    assert done.status == 1
    assert "TRUNKAUTH_TLS_CA" in done.errors
