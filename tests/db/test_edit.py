"""`kemi-trunkauth add`, `set` and `remove` on each kind of database: rows are judged first, and secrets stay secret."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import URL

from tests.harness.shell import Shell, shell

ROW = ("r_domain=carrier.example", "realm=carrier.example", "auth_username=u4711", "auth_proxy=sip:192.0.2.9")
EVERYTHING = "SELECT l_uuid, r_domain, realm, auth_username, auth_proxy, expires, auth_password, auth_ha1 FROM uacreg"
POLICY = "SELECT l_uuid, enabled, priority, weight FROM trunk"
WRITTEN = ("berlin", "carrier.example", "carrier.example", "u4711", "sip:192.0.2.9", 0)
PASSWORD = "p@ss w'rd"  # with what SQL and shells are broken by


@pytest.fixture
def operator(
    operators_database: URL, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Iterator[Shell]:
    for made in shell(operators_database, tmp_path, monkeypatch, capsys):
        assert made.run("db").status == 0
        yield made


def ha1(algorithm: str, realm: str = "carrier.example") -> str:
    return hashlib.new(algorithm, f"u4711:{realm}:{PASSWORD}".encode()).hexdigest()


def added(operator: Shell, *more: str) -> None:
    assert operator.run("add", "berlin", *ROW, *more, stdin=f"{PASSWORD}\n") == (0, "added trunk berlin\n", "")


def test_a_trunk_is_added(operator: Shell) -> None:
    added(operator)
    assert operator.rows(EVERYTHING) == [(*WRITTEN, PASSWORD, "")]


@pytest.mark.parametrize(("option", "algorithm"), [(["--ha1"], "md5"), (["--ha1", "SHA-256"], "sha256")])
def test_an_ha1_is_stored_in_place_of_the_password(operator: Shell, option: list[str], algorithm: str) -> None:
    added(operator, *option)
    assert operator.rows(EVERYTHING) == [(*WRITTEN, "", ha1(algorithm))]


def test_a_trunk_is_changed(operator: Shell) -> None:
    added(operator)
    done = operator.run("set", "berlin", "auth_proxy=sip:192.0.2.10", "expires=0")
    assert done == (0, "changed trunk berlin: auth_proxy, expires\n", "")
    assert operator.rows(EVERYTHING) == [(*WRITTEN[:4], "sip:192.0.2.10", 0, PASSWORD, "")]


def test_a_secret_is_changed_and_not_shown(operator: Shell) -> None:
    added(operator)
    done = operator.run("set", "berlin", "--ha1", stdin=PASSWORD)
    assert done == (0, "changed trunk berlin: auth_password, auth_ha1\n", "")
    assert operator.rows(EVERYTHING) == [(*WRITTEN, "", ha1("md5"))]
    assert operator.run("set", "berlin", "--password", stdin="another\n").status == 0
    assert operator.rows(EVERYTHING) == [(*WRITTEN, "another", "")]


def test_an_ha1_does_not_outlive_its_realm(operator: Shell) -> None:
    added(operator, "--ha1")
    done = operator.run("set", "berlin", "realm=other.example")
    assert (done.status, done.errors) == (
        1, "auth_ha1 is of the realm and auth_username of before; give --ha1 as well\n",
    )  # fmt: skip
    assert operator.run("set", "berlin", "realm=other.example", "--ha1", stdin=PASSWORD).status == 0
    assert operator.rows("SELECT auth_ha1 FROM uacreg") == [(ha1("md5", "other.example"),)]
    assert operator.run("set", "berlin", "realm=other.example", "r_domain=other.example").status == 0


def test_a_secret_that_is_only_named_may_be_an_argument(operator: Shell, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BERLIN", "from the environment")
    assert operator.run("add", "berlin", *ROW, "auth_password=env:BERLIN").status == 0
    assert operator.rows(EVERYTHING) == [(*WRITTEN, "env:BERLIN", "")]
    assert operator.run("set", "berlin", "--ha1", stdin=PASSWORD).status == 0
    assert operator.run("set", "berlin", "auth_password=env:BERLIN").status == 0
    assert operator.rows(EVERYTHING) == [(*WRITTEN, "env:BERLIN", "")]
    done = operator.run("set", "berlin", "auth_password=env:NOTHING")
    assert (done.status, done.errors) == (1, "nothing is written: auth_password names a variable that is not set\n")
    done = operator.run("set", "berlin", "--ha1", stdin="env:NOTHING")
    assert (done.status, done.errors) == (1, "the password names a variable that is not set\n")


def test_a_trunk_is_removed(operator: Shell) -> None:
    added(operator)
    assert operator.run("add", "hamburg", *ROW, stdin=PASSWORD).status == 0
    assert operator.run("remove", "berlin") == (0, "removed trunk berlin\n", "")
    assert operator.rows("SELECT l_uuid FROM uacreg") == [("hamburg",)]


def test_a_trunk_is_disabled_and_enabled(operator: Shell) -> None:
    added(operator)
    assert operator.rows(POLICY) == []
    assert operator.run("disable", "berlin") == (0, "disabled trunk berlin\n", "")
    assert operator.rows(POLICY) == [("berlin", 0, 0, 1)]
    assert operator.run("set", "berlin", "priority=2", "realm=x").output == "changed trunk berlin: realm, priority\n"
    assert operator.run("enable", "berlin") == (0, "enabled trunk berlin\n", "")
    assert operator.rows(POLICY) == [("berlin", 1, 2, 1)]
    assert operator.run("remove", "berlin").status == 0
    assert operator.rows(POLICY) == []


def test_a_trunk_is_added_with_its_policy_or_not_at_all(operator: Shell) -> None:
    done = operator.run("add", "berlin", *ROW, "weight=70000", stdin=PASSWORD)
    assert (done.status, done.errors) == (1, "nothing is written: weight is not a number from 0 to 65535\n")
    assert operator.rows(EVERYTHING) == []
    added(operator, "weight=7", "enabled=0")
    assert operator.rows(POLICY) == [("berlin", 0, 0, 7)]


def test_numbers_are_set_as_the_carrier_wants_them(operator: Shell) -> None:
    added(operator, "country=GB")
    done = operator.run("set", "berlin", "strip=1", "prefix=+49", "number_format=national", "country=DE")
    assert (done.status, done.errors) == (0, "")
    done = operator.run("set", "berlin", "country=")
    assert (done.status, done.errors) == (1, "nothing is written: number_format is national and country is empty\n")
    kept = operator.rows("SELECT strip, prefix, number_format, country FROM trunk")
    assert kept == [(1, "+49", "national", "DE")]


def test_a_database_without_the_table_trunk_is_written_all_the_same(operator: Shell) -> None:
    operator.execute("DROP TABLE trunk")
    added(operator)
    done = operator.run("disable", "berlin")
    assert (done.status, done.errors) == (1, "table trunk is missing; `kemi-trunkauth db` creates it\n")
    assert operator.run("remove", "berlin").status == 0
    assert operator.rows(EVERYTHING) == []


def test_a_server_that_refuses_the_row_quotes_no_secret_of_it(operator: Shell) -> None:
    """PostgreSQL names the failing row, whole."""
    refusal = "ALTER TABLE uacreg ADD CONSTRAINT not_berlin CHECK (l_uuid <> 'berlin')"
    if operator.url.get_backend_name() == "sqlite":
        refusal = "CREATE TRIGGER r BEFORE INSERT ON uacreg BEGIN SELECT RAISE(ABORT, 'a constraint'); END"
    operator.execute(refusal)
    done = operator.run("add", "berlin", *ROW, stdin=f"{PASSWORD}\n")
    assert done.status == 1
    assert "constraint" in done.errors.lower()
    assert PASSWORD not in done.errors


def test_a_name_in_other_letters_is_no_trunks(operator: Shell) -> None:
    """MariaDB finds it, and calls do not."""
    added(operator)
    for command in (("set", "BERLIN", "weight=3"), ("disable", "BERLIN"), ("remove", "Berlin")):
        assert operator.run(*command) == (1, "", f"there is no trunk {command[1]}\n")
    assert (len(operator.rows(EVERYTHING)), operator.rows(POLICY)) == (1, [])
    operator.execute("INSERT INTO trunk (l_uuid) VALUES ('BERLIN')")
    assert operator.run("disable", "berlin").status == 0
    assert ("berlin", 0, 0, 1) in operator.rows(POLICY)


REFUSED = {
    "a row that cannot be used": (["add", "b", "r_domain=[x"], "nothing is written: r_domain is not a host"),
    "one that cannot be registered": (
        ["add", "b", *ROW, "expires=60"], "nothing is written: expires is set and l_username is empty",
    ),
    "no name": (["add", "", *ROW], "nothing is written: l_uuid is empty"),
    "a name that is too long": (["add", 65 * "b", *ROW], "nothing is written: l_uuid is too long"),
    "a name that is taken": (["add", "berlin", *ROW], "there is a trunk berlin already; `set` changes it"),
    "an HA1 of no realm": (["add", "b", "auth_username=u", "--ha1"], "--ha1 takes a realm: an HA1 is of one"),
    "a change for the worse": (["set", "berlin", "auth_username="],
                               "nothing is written: auth_username is empty or has a control character"),
    "no change": (["set", "berlin"], "nothing to set"),
    "a change of nothing": (["set", "nobody", "realm=x"], "there is no trunk nobody"),
    "nobody to disable": (["disable", "nobody"], "there is no trunk nobody"),
    "nothing to remove": (["remove", "nobody"], "there is no trunk nobody"),
}  # fmt: skip


@pytest.mark.parametrize(("command", "reason"), REFUSED.values(), ids=REFUSED)
def test_what_is_refused_changes_nothing(operator: Shell, command: list[str], reason: str) -> None:
    added(operator)
    assert operator.run(*command, stdin=f"{PASSWORD}\n") == (1, "", f"{reason}\n")
    assert operator.rows(EVERYTHING) == [(*WRITTEN, PASSWORD, "")]


@pytest.mark.parametrize("stdin", ["", "\n", 65 * "p"])
def test_a_password_that_cannot_be_stored_is_refused(operator: Shell, stdin: str) -> None:
    done = operator.run("add", "berlin", *ROW, stdin=stdin)
    reason = "auth_password takes 64 characters at most; --ha1 takes any" if stdin.strip() else "no password was given"
    assert (done, operator.rows(EVERYTHING)) == ((1, "", f"{reason}\n"), [])


@pytest.mark.parametrize("option", [[], ["--ha1"]])
def test_a_password_that_is_no_text_is_refused(operator: Shell, option: list[str]) -> None:
    done = operator.run("add", "berlin", *ROW, *option, stdin="p\udce4ss\n")  # as Python reads what is not UTF-8
    assert (done, operator.rows(EVERYTHING)) == ((1, "", "the password is not UTF-8\n"), [])


WRONG = {
    "realm=\udcff": "an argument is not UTF-8",
    "auth_password=secret": "auth_password is never an argument: it is asked for, or read from stdin",
    "auth_ha1=0": "auth_ha1 is never an argument: it is asked for, or read from stdin",
    "id=7": "'id' is none of l_username, ",
    "expires=-1": "expires takes a whole number",
    f"realm={65 * 'r'}": "realm takes 64 characters at most",
    "realm": "'realm' is not COLUMN=VALUE",
}


@pytest.mark.parametrize(("argument", "reason"), WRONG.items())
def test_what_is_no_column_and_value_is_refused(operator: Shell, argument: str, reason: str) -> None:
    done = operator.run("add", "berlin", *ROW, argument, stdin=PASSWORD)
    assert (done.status, operator.rows(EVERYTHING)) == (2, [])
    assert reason in done.errors


def test_a_role_that_may_only_read_is_told_so(
    postgresql_tables: URL, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for operator in shell(postgresql_tables, tmp_path, monkeypatch, capsys):
        assert operator.run("db").status == 0
        operator.set(DB_URL=f"{operator.url.render_as_string(False)}?options=-cdefault_transaction_read_only%3Don")
        done = operator.run("add", "berlin", *ROW, stdin=PASSWORD)
        assert done.status == 1
        assert "read-only" in done.errors
        assert PASSWORD not in done.errors
        assert done.errors.count("\n") == 1
