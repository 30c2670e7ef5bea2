"""`kemi-trunkauth check` on each kind of database: whatever is wrong is named, and nothing else."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import URL

from tests.harness.shell import Shell, shell

INSERT = "INSERT INTO uacreg (l_uuid, r_domain, auth_username, auth_password, auth_proxy, expires) VALUES "
GOOD = f"{INSERT} ('good', 'good.test', 'u', 'the-password', 'sip:sbc.test:5060', 0)"
CALLERS = "INSERT INTO address (grp, ip_addr, mask) VALUES (1, '192.0.2.0', 24)"


@pytest.fixture
def operator(
    operators_database: URL, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Iterator[Shell]:
    for made in shell(operators_database, tmp_path, monkeypatch, capsys):
        assert made.run("db").status == 0
        made.names.set("sbc.test", "A", "192.0.2.9")
        yield made


def test_nothing_is_wrong(operator: Shell) -> None:
    operator.execute(GOOD, CALLERS)
    done = operator.run("check")
    assert done == (0, "checked: sockets 2, trunks 1, addresses 1, names 1 - faults 0\n", "")


def test_every_fault_is_named_and_no_secret_is_shown(operator: Shell) -> None:
    operator.execute(
        GOOD,
        f"{INSERT} ('no user', 'n.test', '', 'the-password', 'sip:sbc.test:5060', 0)",
        f"{INSERT} ('unregistered', 'n.test', 'u', 'the-password', 'sip:sbc.test:5060', 60)",
        f"{INSERT} ('lost', 'n.test', 'u', 'the-password', 'sip:nowhere.test:5060', 0)",
        f"{INSERT} ('dumb', 'n.test', 'u', 'the-password', 'sip:silent.test:5060', 0)",
        "INSERT INTO address (grp, ip_addr, mask) VALUES (1, 'pbx.test', 32)",
    )
    operator.names.failing.add("silent.test")
    operator.set(DEFAULT_TRUNK="nobody")
    done = operator.run("check")
    number = operator.rows("SELECT id FROM address")[0][0]
    assert done.output.splitlines() == [
        'trunk="no user" unusable: auth_username is empty or has a control character',
        "trunk=unregistered unregistered: expires is set and l_username is empty",
        f"address={number} unusable: ip_addr is not an IP address",
        "TRUNKAUTH_DEFAULT_TRUNK: no usable row of uacreg has l_uuid 'nobody'",
        "address: no usable row is in group 1, so nobody may call",
        "name=nowhere.test unresolved: it does not exist; trunks: lost",
        "name=silent.test unresolved: SERVFAIL; trunks: dumb",
        "checked: sockets 2, trunks 5, addresses 1, names 3 - faults 7",
    ]
    assert (done.status, done.errors) == (1, "")


def test_rows_of_the_table_trunk_are_judged_too(operator: Shell) -> None:
    insert = "INSERT INTO trunk (l_uuid, weight) VALUES "
    operator.execute(GOOD, CALLERS, f"{insert} ('good', -1)", f"{insert} ('nobody', 1)")
    done = operator.run("check")
    assert done.output.splitlines()[:2] == [
        "trunk=good unusable: weight is not a number from 0 to 65535",
        "trunk=nobody has a row in trunk, and none in uacreg",
    ]
    operator.execute("DROP TABLE trunk")
    assert operator.run("check").status == 0


def test_a_socket_that_cannot_be_bound_is_a_fault(operator: Shell) -> None:
    operator.execute(GOOD, CALLERS)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as holder:
        holder.bind(("127.0.0.1", 0))
        listen = f"udp:127.0.0.1:{holder.getsockname()[1]}"
        operator.set(LISTEN=listen)
        done = operator.run("check")
    assert done.status == 1
    assert done.output.startswith(f"TRUNKAUTH_LISTEN: {listen}: Address already in use; stop what uses it")


def test_the_sockets_of_a_running_kamailio_are_its_own(operator: Shell, tmp_path: Path) -> None:
    operator.execute(GOOD, CALLERS)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sip, socket.socket(socket.AF_UNIX) as rpc:
        sip.bind(("127.0.0.1", 0))
        rpc.bind(str(tmp_path / "state/rpc.sock"))
        rpc.listen()
        operator.set(LISTEN=f"udp:127.0.0.1:{sip.getsockname()[1]}")
        assert operator.run("check").status == 0


def test_a_database_without_tables_cannot_be_checked(operator: Shell) -> None:
    operator.execute("DROP TABLE address")
    done = operator.run("check")
    assert (done.status, done.output) == (1, "")
    assert done.errors.startswith("TRUNKAUTH_DB_URL: ")
    assert done.errors.endswith("table address is missing; `make db` creates it\n")


def test_nothing_is_made(operator: Shell, tmp_path: Path) -> None:
    operator.set(STATE_DIR=str(tmp_path / "none"), DB_URL=f"sqlite:///{tmp_path}/none/none.sqlite")
    done = operator.run("check")
    assert (done.status, done.output) == (1, "")
    assert done.errors == (
        f"TRUNKAUTH_DB_URL: sqlite:///{tmp_path}/none/none.sqlite: there is no such file; "
        "`kemi-trunkauth db` makes it\n"
    )
    assert not (tmp_path / "none").exists()
