"""`kemi-trunkauth explain` on each kind of database: the rule, the rows, the R-URI and the next hop that a call would
get, and what a change would move. The database stays as it is.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import URL

from tests.harness.shell import Shell, shell

INSERT = "INSERT INTO uacreg (l_uuid, l_username, l_domain, r_domain, auth_username, auth_password, auth_proxy) VALUES "
ROWS = (
    f"{INSERT} ('berlin', '100', 'pbx.test', 'berlin.test', 'u', 'the-password', 'sip:sbc.test:5070')",
    f"{INSERT} ('bremen', '100', 'pbx.test', 'bremen.test', 'u', '', 'sip:192.0.2.8')",
    f"{INSERT} ('hamburg', '100', 'PBX.test', 'hamburg.test', 'u', 'the-password', 'sip:192.0.2.7')",
    f"{INSERT} ('anywhere', '200', '', 'any.test', 'u', 'the-password', '')",
    f"{INSERT} ('open', '', '', '', 'u', 'the-password', '')",
    "UPDATE uacreg SET realm = 'open.test' WHERE l_uuid = 'open'",
    "INSERT INTO address (grp, ip_addr, mask, port) VALUES (1, '192.0.2.0', 24, 0)",
    "INSERT INTO address (grp, ip_addr, mask, port) VALUES (2, '198.51.100.1', 32, 0)",
    "INSERT INTO address (grp, ip_addr, mask, port) VALUES (1, '198.51.100.2', 32, 5080)",
)


@pytest.fixture
def operator(
    operators_database: URL, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Iterator[Shell]:
    for made in shell(operators_database, tmp_path, monkeypatch, capsys):
        assert made.run("db").status == 0
        made.execute(*ROWS)
        made.names.set("sbc.test", "A", "192.0.2.9")
        yield made


def explained(operator: Shell, *arguments: str) -> dict[str, list[str]]:
    """Return what is said of a call, by subject."""
    done = operator.run("explain", *arguments)
    assert (done.status, done.errors) == (0, "")
    assert "the-password" not in done.output
    said: dict[str, list[str]] = {}
    for line in done.output.splitlines():
        name, value = line[:10].strip(), line[11:]
        said.setdefault(name, []).append(value)
    return said


def test_a_call_is_explained(operator: Shell) -> None:
    ids = {row[0]: row[1] for row in operator.rows("SELECT l_uuid, id FROM uacreg")}
    assert explained(operator, "100@pbx.test", "4930123", "--source", "192.0.2.77") == {
        "from": ["sip:100@pbx.test"],
        "to": ["sip:4930123@127.0.0.1"],
        "source": [f"192.0.2.77 may call: address {operator.rows('SELECT min(id) FROM address')[0][0]}"],
        "rule": ["2: From user and domain are l_username and l_domain"],
        "candidate": [f"1: berlin (uacreg {ids['berlin']})", f"2: hamburg (uacreg {ids['hamburg']})"],
        "out": [f"bremen (uacreg {ids['bremen']}): auth_password and auth_ha1 are empty"],
        "R-URI": ["sip:4930123@berlin.test"],
        "From": ["as the caller wrote it"],
        "next hop": ["sip:sbc.test:5070: 192.0.2.9:5070;transport=udp"],
        "answers": ['any realm as "u"'],
    }


def test_from_is_what_the_carrier_sees(operator: Shell) -> None:
    named = "INSERT INTO trunk (l_uuid, from_user, from_domain) VALUES ('hamburg', 'u4711', 'carrier.test')"
    said = explained(operator, "100@pbx.test", "4930123", "--trunk", "hamburg", "--with", named)
    assert said["From"] == ["as the caller wrote it", "sip:u4711@carrier.test"]


def test_the_r_uri_and_from_have_numbers_as_the_carrier_wants_them(operator: Shell) -> None:
    wanted = "INSERT INTO trunk (l_uuid, from_user, number_format, country) VALUES ('hamburg', '$', 'e164', 'DE')"
    said = explained(operator, "03023125555", "0044-20-79460123", "--trunk", "hamburg", "--with", wanted)
    assert said["R-URI"] == ["sip:0044-20-79460123@hamburg.test", "sip:+442079460123@hamburg.test"]
    assert said["From"] == ["as the caller wrote it", "sip:+493023125555@127.0.0.1"]


RULES = {
    "X-Trunk": (["300", "1", "--trunk", "hamburg"], "1: X-Trunk is l_uuid", "sip:1@hamburg.test"),
    "From user": (["200@else.test", "1"], "3: From user is l_username, and l_domain is empty", "sip:1@any.test"),
    "domain": (["300", "1@Hamburg.TEST"], "4: the R-URI's domain is r_domain", "sip:1@hamburg.test"),
    "default": (["300", "tel:+1"], "5: the default trunk", "sip:+1@berlin.test;user=phone"),
    "as dialled": (["300", "1@192.0.2.66", "--trunk", "open"], "1: X-Trunk is l_uuid", "sip:1@192.0.2.66"),
}  # fmt: skip


@pytest.mark.parametrize(("call", "rule", "request_uri"), RULES.values(), ids=RULES)
def test_each_rule_is_named(operator: Shell, call: list[str], rule: str, request_uri: str) -> None:
    operator.set(DEFAULT_TRUNK="berlin")
    said = explained(operator, *call)
    assert (said["rule"], said["R-URI"]) == ([rule], [request_uri])


REFUSED = {
    "an unlisted source": (["200", "1", "--source", "203.0.113.1"],
                           "403 Forbidden: the source is not in address, group 1"),
    "a carrier": (["200", "1", "--source", "198.51.100.1"], "it comes in: the source is a carrier, address 2"),
    "another port": (["200", "1", "--source", "198.51.100.2:5060"],
                     "403 Forbidden: the source is not in address, group 1"),
    "nobody's call": (["300", "1"], "404 No Trunk: no rule finds a row"),
    "an order for nobody": (["200", "1", "--trunk", "nobody"], "404 No Trunk: there is no such trunk"),
    "a row with a fault": (["300", "1", "--trunk", "bremen"], "404 No Trunk: auth_password and auth_ha1 are empty"),
    "a loop": (["300", "1", "--trunk", "open"],
               "404 No Trunk: auth_proxy and r_domain are empty and the R-URI is ours"),
}  # fmt: skip


@pytest.mark.parametrize(("call", "reply"), REFUSED.values(), ids=REFUSED)
def test_a_call_that_is_not_sent_has_its_reply(operator: Shell, call: list[str], reply: str) -> None:
    said = explained(operator, *call)
    assert said["reply"] == [reply]
    assert "next hop" not in said


POLICY = "INSERT INTO trunk (l_uuid, enabled, priority, weight, source_tag) VALUES "


def test_the_table_trunk_decides_about_candidates(operator: Shell) -> None:
    ids = {row[0]: row[1] for row in operator.rows("SELECT l_uuid, id FROM uacreg")}
    operator.execute(f"{POLICY} ('berlin', 1, 5, 9, '')", f"{POLICY} ('hamburg', 1, 2, 1, '')")
    said = explained(operator, "100@pbx.test", "1")
    assert said["candidate"] == [
        f"1: hamburg (uacreg {ids['hamburg']}, priority 2, weight 1)",
        f"2: berlin (uacreg {ids['berlin']}, priority 5, weight 9)",
    ]
    named = explained(operator, "100@pbx.test", "1", "--trunk", "berlin, bremen,hamburg")
    assert [each.split()[1] for each in named["candidate"]] == ["berlin", "hamburg"]  # as they are named
    assert named["out"] == [f"bremen (uacreg {ids['bremen']}): auth_password and auth_ha1 are empty"]
    operator.execute("UPDATE trunk SET enabled = 0 WHERE l_uuid = 'hamburg'")
    said = explained(operator, "100@pbx.test", "1")
    assert (len(said["candidate"]), said["out"][1]) == (1, f"hamburg (uacreg {ids['hamburg']}): it is not enabled")
    operator.execute("UPDATE trunk SET weight = -1 WHERE l_uuid = 'berlin'")
    said = explained(operator, "100@pbx.test", "1")
    assert f"berlin (uacreg {ids['berlin']}): weight is not a number from 0 to 65535" in said["out"]
    assert said["reply"] == ["404 No Trunk: it is not enabled"]


def test_a_trunk_that_is_not_the_sources_is_left_out(operator: Shell) -> None:
    operator.execute(f"{POLICY} ('anywhere', 1, 0, 1, 'office')")
    said = explained(operator, "200", "1", "--source", "192.0.2.1")
    assert said["reply"] == ["403 Forbidden: source_tag is another than the source's tag"]
    operator.execute("UPDATE address SET tag = 'office' WHERE ip_addr = '192.0.2.0'")
    assert "reply" not in explained(operator, "200", "1", "--source", "192.0.2.1")


def test_a_source_may_call_from_its_port(operator: Shell) -> None:
    said = explained(operator, "200", "1", "--source", "198.51.100.2:5080")
    assert said["source"][0].startswith("198.51.100.2:5080 may call: address ")


def test_a_row_that_leads_nowhere_of_its_own_answers_whom_group_2_lists(operator: Shell) -> None:
    said = explained(operator, "300", "1@192.0.2.66", "--trunk", "open")
    assert said["answers"] == ['realm "open.test" as "u", if the next hop is listed in address, group 2']


def test_a_row_that_answers_far_ends_says_so(operator: Shell) -> None:
    assert operator.run("set", "open", "answers_far_end=1").status == 0
    said = explained(operator, "300", "1@192.0.2.66", "--trunk", "open")
    assert said["answers"][0].startswith('realm "open.test" of far ends too, as "u"')


def test_a_row_whose_carrier_asks_alone_says_so(operator: Shell) -> None:
    assert operator.run("set", "open", "asks_alone=1").status == 0
    said = explained(operator, "300", "1@192.0.2.66", "--trunk", "open")
    assert said["answers"][0].startswith('realm "open.test" of the first that asks, as "u"')


def test_a_name_that_is_not_resolved_is_said_so(operator: Shell) -> None:
    operator.names.set("sbc.test", "A")
    said = explained(operator, "100@pbx.test", "1")
    assert said["next hop"] == ["sip:sbc.test:5070: 503 while it is unresolved: it does not exist"]


CALLS = "from,to,trunk\n100@pbx.test,1,\n200,2,\n300,3,\n300,4,hamburg\n"


def test_many_calls_have_a_line_each(operator: Shell, tmp_path: Path) -> None:
    (tmp_path / "calls.csv").write_text(CALLS)
    done = operator.run("explain", "--calls", f"{tmp_path}/calls.csv", "--source", "192.0.2.1")
    assert done.output.splitlines() == [
        "sip:100@pbx.test sip:1@127.0.0.1: berlin by rule 2",
        "sip:200@127.0.0.1 sip:2@127.0.0.1: anywhere by rule 3",
        "sip:300@127.0.0.1 sip:3@127.0.0.1: 404 No Trunk: no rule finds a row",
        "sip:300@127.0.0.1 sip:4@127.0.0.1: hamburg by rule 1",
        "4 calls",
    ]


def test_a_change_is_tried_and_not_made(operator: Shell, tmp_path: Path) -> None:
    (tmp_path / "calls.csv").write_text(CALLS)
    before = operator.rows("SELECT l_uuid, l_username, auth_password FROM uacreg ORDER BY id")
    changes = (
        "--with", "UPDATE uacreg SET l_username = '300' WHERE l_uuid LIKE 'any%'",
        "--with", "UPDATE uacreg SET auth_password = '' WHERE l_uuid = 'berlin'",
    )  # fmt: skip
    done = operator.run("explain", "--calls", f"{tmp_path}/calls.csv", *changes)
    assert done.output.splitlines() == [
        "sip:100@pbx.test sip:1@127.0.0.1: berlin -> hamburg",
        "sip:200@127.0.0.1 sip:2@127.0.0.1: anywhere -> 404 No Trunk: no rule finds a row",
        "sip:300@127.0.0.1 sip:3@127.0.0.1: 404 No Trunk: no rule finds a row -> anywhere",
        "3 of 4 calls move",
    ]
    assert operator.rows("SELECT l_uuid, l_username, auth_password FROM uacreg ORDER BY id") == before
    said = operator.run("explain", "300", "3", *changes).output
    assert said.index("404 No Trunk") < said.index("with the change:") < said.index("candidate  1: anywhere")


WRONG = {
    "no call": ([], 2, "explain takes FROM and TO, or --calls"),
    "half a call": (["100"], 2, "explain takes FROM and TO, or --calls"),
    "a source that is none": (["1", "2", "--source", "pbx"], 1, "--source: 'pbx' is neither an address"),
    "a change that is none": (["1", "2", "--with", "UPDATE nothing"], 1, "--with: "),
    "a change that leaves no table": (["1", "2", "--with", "DROP TABLE uacreg"], 1, "--with leaves no database that"),
    "no file": (["--calls", "/nowhere.csv"], 1, "--calls: [Errno 2]"),
    "a file of something else": (["--calls", "/etc/passwd"], 1, "--calls: /etc/passwd: its first line is not from,to"),
}


@pytest.mark.parametrize(("arguments", "status", "reason"), WRONG.values(), ids=WRONG)
def test_what_cannot_be_explained(operator: Shell, arguments: list[str], status: int, reason: str) -> None:
    done = operator.run("explain", *arguments)
    assert (done.status, done.output, done.errors.count("\n")) == (status, "", 1)
    assert done.errors.startswith(reason)
