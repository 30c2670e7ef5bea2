"""Rows of the DBA's tables: what is wrong with one is said in a sentence, and what is right with it is left alone."""

from __future__ import annotations

import pytest

from kemi.trunks.listen import Listen
from kemi.trunks.rows import KEYS, Rules, Verdict

RULES = Rules((
    Listen("udp", "192.0.2.1", 5060), Listen("tcp", "192.0.2.1", 5060), Listen("udp", "[2001:db8::1]", 5060),
    Listen("udp", "", 5080),
))  # fmt: skip

TRUNK: dict[str, object] = {
    "id": 7, "l_uuid": "berlin", "l_username": "", "l_domain": "", "r_username": "", "r_domain": "", "realm": "r",
    "auth_username": "u", "auth_password": "p", "auth_ha1": "", "auth_proxy": "", "expires": 0, "flags": 0,
    "reg_delay": 0, "contact_addr": "", "socket": "",
}  # fmt: skip
REGISTERED = {
    "l_username": "100", "l_domain": "pbx.example", "r_username": "u", "r_domain": "carrier.example",
    "auth_proxy": "sip:carrier.example", "expires": 300,
}  # fmt: skip
ADDRESS: dict[str, object] = {"id": 7, "grp": 1, "ip_addr": "192.0.2.7", "mask": 32, "port": 0, "tag": None}

USABLE = [
    {"auth_proxy": "sip:sbc.carrier.example:5061;transport=TCP"},
    {"auth_proxy": "SIP:u:p@[2001:db8::2]:65535;lr"},
    {"auth_proxy": "sip:carrier_1.example;x=y?Subject=z"},
    {"r_domain": "carrier.example:5080;user=phone"},
    {"r_domain": "[2001:db8::2]"},
    {"r_domain": "192.0.2.1", "auth_proxy": "sip:192.0.2.1:5081"},
    {"auth_password": "", "auth_ha1": "0f" * 32},
    {"auth_password": "", "auth_ha1": "0F" * 32},
    {"auth_username": "Jürgen", "auth_password": "ключ€ \\"},
    {"l_uuid": "Über uns", "id": 2**32 - 1},
    {"l_username": None, "r_domain": None, "expires": None, "flags": None},
    {"auth_username": 4711, "r_username": 1.5},
    {"realm": "", "r_domain": "carrier.example"},
    {"realm": None, "auth_proxy": "sip:carrier.example"},
]


@pytest.mark.parametrize("columns", USABLE, ids=str)
def test_a_trunk_that_can_be_used(columns: dict[str, object]) -> None:
    assert RULES.trunk(TRUNK | columns)[1:] == ("", "")


@pytest.mark.parametrize(("uri", "fault"), [
    ("sip:192.0.2.1:5061", ""), ("sip:192.0.2.1", "leads to us"), ("sips:192.0.2.1", "leads to us"),
    ("sip:192.0.2.1;transport=tls", "leads to us"), ("sip:192.0.2.1:5060;transport=tls", ""),
])  # fmt: skip
def test_a_port_is_ours_by_its_transport(uri: str, fault: str) -> None:
    rules = Rules((Listen("udp", "192.0.2.1", 5060), Listen("tls", "192.0.2.1", 5061)))
    assert rules.trunk(TRUNK | {"auth_proxy": uri}).fault == (fault and f"auth_proxy {fault}")


NOT_A_HOST = "r_domain is not a host"
NO_SUCH_SOCKET = "socket is not one that Kamailio listens on"
NO_SUCH_TRANSPORT = "auth_proxy has a transport that no socket of TRUNKAUTH_LISTEN has"
LEADS_NOWHERE = (  # a URI that no request can be sent by
    ".", "x" * 256, "a.example;transport=udp;transport=pigeon", "a.example;maddr=.", "a.example;maddr=[::1",
    "0.0.0.0", "[::]", "224.0.0.1", "255.255.255.255",
)  # fmt: skip
UNUSABLE = [
    ({"id": -1}, "id is not a number from 0 to 4294967295"),
    ({"id": 2**32}, "id is not a number from 0 to 4294967295"),
    ({"l_uuid": ""}, "l_uuid is empty"),
    ({"l_uuid": None}, "l_uuid is empty"),
    *(({name: "x" * 65}, f"{name} is longer than 64 characters") for name in KEYS),
    ({"l_uuid": "a\nb"}, "l_uuid has a control character"),
    *(({"auth_proxy": f"sip:{hop}"}, "auth_proxy leads nowhere") for hop in LEADS_NOWHERE),
    ({"r_domain": "."}, "r_domain leads nowhere"),
    ({"r_domain": "carrier.example;transport=sctp"}, "r_domain has a transport that no socket of TRUNKAUTH_LISTEN has"),
    ({"auth_proxy": "sip:192.0.2.1"}, "auth_proxy leads to us"),
    ({"auth_proxy": "sip:[2001:DB8:0::1]:5060"}, "auth_proxy leads to us"),
    ({"r_domain": "192.0.2.1:5060"}, "r_domain leads to us"),
    ({"l_uuid": b"\xff"}, "l_uuid is not text in UTF-8"),
    ({"auth_password": b"p"}, "auth_password is not text in UTF-8"),
    ({"contact_addr": b"\xff"}, "contact_addr is not text in UTF-8"),
    ({"r_domain": "carrier example"}, NOT_A_HOST),
    ({"r_domain": "carrier.example\r\n"}, NOT_A_HOST),
    ({"r_domain": "u@carrier.example"}, NOT_A_HOST),
    ({"r_domain": "2001:db8::2"}, NOT_A_HOST),
    ({"r_domain": "[2001:db8:]"}, NOT_A_HOST),
    ({"r_domain": "carrier.example:99999"}, NOT_A_HOST),
    ({"realm": ""}, "realm, auth_proxy and r_domain are empty"),
    ({"auth_username": ""}, "auth_username is empty or has a control character"),
    ({"auth_username": "u\x7f"}, "auth_username is empty or has a control character"),
    ({"auth_password": "p\0"}, "auth_password has a control character"),
    ({"auth_ha1": "0f" * 20}, "auth_ha1 is not 32 or 64 hex digits"),
    ({"auth_password": ""}, "auth_password and auth_ha1 are empty"),
    ({"auth_proxy": "sbc.carrier.example"}, "auth_proxy is not a SIP URI"),
    ({"auth_proxy": "sip:a b"}, "auth_proxy is not a SIP URI"),
    ({"auth_proxy": "sip:[::g]"}, "auth_proxy is not a SIP URI"),
    (
        {"auth_proxy": "sip:[2001:db8::2];transport=tcp"},
        "auth_proxy is an IPv6 address, and no socket of TRUNKAUTH_LISTEN has one",
    ),
    ({"auth_proxy": "sip:[192.0.2.1]"}, "auth_proxy is not a SIP URI"),
    ({"auth_proxy": "sip:h:99999"}, "auth_proxy has a port that cannot be"),
    ({"auth_proxy": "sip:h:0"}, "auth_proxy has a port that cannot be"),
    ({"auth_proxy": "sip:h;transport=carrier-pigeon"}, NO_SUCH_TRANSPORT),
    ({"auth_proxy": "sip:h;x=y;Transport=tls?a=b"}, NO_SUCH_TRANSPORT),
    ({"auth_proxy": "sip:h;transport="}, NO_SUCH_TRANSPORT),
    ({"auth_proxy": "sip:h;transport"}, NO_SUCH_TRANSPORT),
    ({"auth_proxy": "sips:h;transport=tcp"}, NO_SUCH_TRANSPORT),
    ({"socket": "192.0.2.1"}, NO_SUCH_SOCKET),
    ({"socket": "udp:192.0.2.1"}, NO_SUCH_SOCKET),
    ({"socket": "udp:eth0:5080"}, NO_SUCH_SOCKET),
    ({"socket": "udp:192.0.2.2:5060"}, NO_SUCH_SOCKET),
    ({"socket": "udp:192.0.2.1:5061"}, NO_SUCH_SOCKET),
    ({"socket": "tls:192.0.2.1:5060"}, NO_SUCH_SOCKET),
]


@pytest.mark.parametrize(("columns", "fault"), UNUSABLE, ids=str)
def test_a_trunk_that_cannot_be_used(columns: dict[str, object], fault: str) -> None:
    assert RULES.trunk(TRUNK | columns)[1:] == (fault, "")


IPV4 = Rules((Listen("udp", "192.0.2.1", 5060),))
IPV6 = Rules((Listen("udp", "[2001:db8::1]", 5060),))
BEYOND = [
    (IPV4, {"auth_proxy": "sip:[2001:db8::2]:5070"}, "auth_proxy is an IPv6 address"),
    (IPV4, {"auth_proxy": "sip:c.example;maddr=[2001:db8::2]"}, "auth_proxy is an IPv6 address"),
    (IPV4, {"r_domain": "[2001:db8::2]"}, "r_domain is an IPv6 address"),
    (IPV6, {"auth_proxy": "sip:u@192.0.2.9"}, "auth_proxy is an IPv4 address"),
    (IPV6, {"r_domain": "192.0.2.9:5070"}, "r_domain is an IPv4 address"),
]


@pytest.mark.parametrize(("rules", "columns", "fault"), BEYOND, ids=str)
def test_a_carrier_that_no_socket_can_reach(rules: Rules, columns: dict[str, object], fault: str) -> None:
    assert rules.trunk(TRUNK | columns).fault == f"{fault}, and no socket of TRUNKAUTH_LISTEN has one"
    reached = {"auth_proxy": "sip:carrier.example"}
    assert not rules.trunk(TRUNK | columns | reached).fault


SOCKETS = {
    "udp:192.0.2.1:5060": "udp:192.0.2.1:5060",
    "UDP:192.0.2.1:5060": "udp:192.0.2.1:5060",
    "Tcp:192.0.2.1:05060": "tcp:192.0.2.1:5060",
    "udp:[2001:DB8:0::1]:5060": "udp:[2001:db8::1]:5060",
    "udp:198.51.100.9:5080": "udp:198.51.100.9:5080",  # Kamailio finds the addresses of that one out itself
}


@pytest.mark.parametrize(("written", "socket"), SOCKETS.items())
def test_a_socket_is_written_as_kamailio_writes_it(written: str, socket: str) -> None:
    verdict = RULES.trunk(TRUNK | {"socket": written})
    assert (verdict.row["socket"], verdict.fault) == (socket, "")


def test_where_no_socket_is_known_any_may_be_one() -> None:
    assert Rules().trunk(TRUNK | {"socket": "tls:192.0.2.9:5061", "auth_proxy": "sips:h"}).fault == ""
    assert Rules().trunk(TRUNK | {"socket": "udp:eth0:5060"}).fault == NO_SUCH_SOCKET


UNREGISTERED = [
    ({name: ""}, f"expires is set and {name} is empty")
    for name in ("l_username", "l_domain", "r_username", "r_domain", "auth_proxy")
] + [
    ({"l_domain": "pbx example"}, "expires is set and l_domain cannot stand in a SIP URI"),
    ({"l_uuid": "a trunk"}, "expires is set and l_uuid cannot stand in a SIP URI"),
    ({"contact_user": "a b"}, "expires is set and contact_user cannot stand in a SIP URI"),
    ({"contact_addr": "192.0.2.1 5060"}, "expires is set and contact_addr is not a host"),
    ({"expires": "soon"}, "expires is not a number from 0 to 2147483647"),
    ({"expires": -1}, "expires is not a number from 0 to 2147483647"),
    ({"flags": 2**70}, "flags is not a number from 0 to 2147483647"),
]


@pytest.mark.parametrize(("columns", "reason"), UNREGISTERED, ids=str)
def test_a_trunk_that_cannot_be_registered_serves_calls(columns: dict[str, object], reason: str) -> None:
    assert RULES.trunk(TRUNK | REGISTERED | columns)[1:] == ("", reason)


def test_a_trunk_that_can_be_registered() -> None:
    columns = {**REGISTERED, "contact_addr": "203.0.113.5:5060", "auth_ha1": "0f" * 16}
    assert RULES.trunk(TRUNK | columns)[1:] == ("", "")


def test_a_row_is_kept_as_sqlite_can_hold_it() -> None:
    kept = RULES.trunk(TRUNK | {"l_domain": None, "flags": 2**70, "realm": object, "expires": None}).row
    assert (kept["l_domain"], kept["flags"], kept["realm"], kept["expires"]) == ("", str(2**70), str(object), None)


NOT_AN_ADDRESS = "ip_addr is not an IP address"
REFUSED = [
    ({"grp": 0}, "grp is not a number from 1 to 2147483647"),
    ({"grp": 2**31}, "grp is not a number from 1 to 2147483647"),
    ({"grp": None}, "grp is not a number from 1 to 2147483647"),
    ({"ip_addr": ""}, NOT_AN_ADDRESS),
    ({"ip_addr": None}, NOT_AN_ADDRESS),
    ({"ip_addr": "pbx.example"}, NOT_AN_ADDRESS),
    ({"ip_addr": "192.0.2.7 "}, NOT_AN_ADDRESS),
    ({"ip_addr": "192.0.2.256"}, NOT_AN_ADDRESS),
    ({"ip_addr": "2001:db8::7]"}, NOT_AN_ADDRESS),
    ({"ip_addr": "2001:db8::g"}, NOT_AN_ADDRESS),
    ({"ip_addr": "fe80::1%eth0"}, NOT_AN_ADDRESS),
    ({"ip_addr": b"\xff"}, "ip_addr is not text in UTF-8"),
    ({"tag": b"\xff"}, "tag is not text in UTF-8"),
    ({"mask": -1}, "mask is not a number from 0 to 32"),
    ({"mask": 33}, "mask is not a number from 0 to 32"),
    ({"mask": "24"}, "mask is not a number from 0 to 32"),
    ({"ip_addr": "2001:db8::", "mask": 129}, "mask is not a number from 0 to 128"),
    ({"ip_addr": "0.0.0.0", "mask": 0}, "mask 0 lists one address, and this is none"),
    ({"ip_addr": "::", "mask": 0}, "mask 0 lists one address, and this is none"),
    ({"port": 65536}, "port is not a number from 0 to 65535"),
    ({"port": -1}, "port is not a number from 0 to 65535"),
]


@pytest.mark.parametrize(("columns", "fault"), REFUSED, ids=str)
def test_an_address_that_cannot_be_used(columns: dict[str, object], fault: str) -> None:
    assert RULES.address(ADDRESS | columns).fault == fault


ADDRESSES = {
    "192.0.2.7": "192.0.2.7",
    "2001:db8::7": "2001:0db8:0000:0000:0000:0000:0000:0007",
    "[2001:DB8::7]": "2001:0db8:0000:0000:0000:0000:0000:0007",
}


@pytest.mark.parametrize(("written", "kept"), ADDRESSES.items())
def test_an_address_is_written_so_that_kamailio_can_read_it(written: str, kept: str) -> None:
    row = ADDRESS | {"ip_addr": written, "mask": 24, "port": 65535, "tag": "pbx"}
    assert RULES.address(row) == Verdict(row | {"ip_addr": kept})


@pytest.mark.parametrize(("address", "mask"), [("192.0.2.7", 32), ("2001:db8::7", 128)])
def test_mask_0_lists_one_address_on_every_kamailio(address: str, mask: int) -> None:
    assert RULES.address(ADDRESS | {"ip_addr": address, "mask": 0}).row["mask"] == mask


def test_the_rules_have_another_name_where_kamailio_listens_elsewhere() -> None:
    assert Rules().name != RULES.name == Rules(tuple(reversed(RULES.listen))).name


POLICY: dict[str, object] = {
    "id": 7, "l_uuid": "berlin", "enabled": 1, "priority": 0, "weight": 1, "max_calls": 0, "max_cps": 0, "probe": 0,
    "source_tag": "", "inbound_uri": "", "from_user": "", "from_domain": "", "identity": "", "weakest_algorithm": "",
    "answers_far_end": 0, "asks_alone": 0, "strip": 0, "prefix": "", "number_format": "as-dialled", "country": "",
    "tls_verify": 1,
}  # fmt: skip


@pytest.mark.parametrize(("columns", "kept"), [
    ({}, {}),
    ({"enabled": 0, "priority": 2**31 - 1, "weight": 65535, "probe": 86400}, {}),
    ({"weakest_algorithm": "SHA-512-256", "source_tag": "träger"}, {}),
    ({"enabled": None, "weight": None, "source_tag": None}, {"enabled": 1, "weight": 1, "source_tag": ""}),
    ({"inbound_uri": None, "identity": None}, {"inbound_uri": "", "identity": ""}),
    ({"identity": "rpid"}, {}),
    ({"from_user": None, "from_domain": None}, {"from_user": "", "from_domain": ""}),
    ({"from_user": "$", "from_domain": "carrier.test:5070"}, {}),
    ({"from_user": "+4930123;ext=1", "from_domain": "[2001:db8::1]"}, {}),
    ({"inbound_uri": "sip:192.0.2.10"}, {}),
    ({"strip": 32, "prefix": "+49*31", "number_format": "national", "country": "DE"}, {}),
    ({"prefix": "9" * 32, "number_format": "e164-plain"}, {}),
    ({"strip": None, "prefix": None, "country": None}, {"strip": 0, "prefix": "", "country": ""}),
    ({"tls_verify": 0}, {}),
    ({"asks_alone": 1}, {}),
    ({"asks_alone": None, "answers_far_end": 1}, {"asks_alone": 0}),
    ({"tls_verify": None}, {"tls_verify": 1}),
    ({"number_format": None}, {"number_format": "as-dialled"}),
    ({"number_format": ""}, {"number_format": "as-dialled"}),
    ({"inbound_uri": "sip:pbx.test:5062;transport=tcp , sip:[2001:db8::9],"}, {}),
    ({"inbound_uri": "sip:192.0.2.1:5062"}, {}),
], ids=str)  # fmt: skip
def test_a_policy_that_can_be_used(columns: dict[str, object], kept: dict[str, object]) -> None:
    assert RULES.policy(POLICY | columns) == Verdict(POLICY | columns | kept)


@pytest.mark.parametrize(("columns", "fault"), [
    ({"source_tag": b"\xff"}, "source_tag is not text in UTF-8"),
    ({"enabled": 2}, "enabled is not a number from 0 to 1"),
    ({"priority": -1}, "priority is not a number from 0 to 2147483647"),
    ({"weight": "x"}, "weight is not a number from 0 to 65535"),
    ({"probe": 86401}, "probe is not a number from 0 to 86400"),
    ({"tls_verify": 2}, "tls_verify is not a number from 0 to 1"),
    ({"answers_far_end": 2}, "answers_far_end is not a number from 0 to 1"),
    ({"asks_alone": 2}, "asks_alone is not a number from 0 to 1"),
    ({"asks_alone": 1, "answers_far_end": 1}, "answers_far_end and asks_alone are both set"),
    ({"from_user": "$1"}, "from_user is neither $ nor the user of a SIP URI"),
    ({"from_user": "a@b"}, "from_user is neither $ nor the user of a SIP URI"),
    ({"from_user": "a b"}, "from_user is neither $ nor the user of a SIP URI"),
    ({"identity": "PAI"}, "identity is none of none, pai, ppi, rpid"),
    ({"from_domain": "a/b"}, "from_domain is not a host"),
    ({"strip": 33}, "strip is not a number from 0 to 32"),
    ({"prefix": "9" * 33}, "prefix is not of digits and *, with a + in front at most"),
    ({"prefix": "4+9"}, "prefix is not of digits and *, with a + in front at most"),
    ({"prefix": "#31#"}, "prefix is not of digits and *, with a + in front at most"),
    ({"number_format": "E164"}, "number_format is none of as-dialled, e164, e164-plain, national"),
    ({"country": "UK"}, "country is no country of ISO 3166, as DE"),
    ({"country": "de"}, "country is no country of ISO 3166, as DE"),
    ({"country": "001"}, "country is no country of ISO 3166, as DE"),
    ({"number_format": "national"}, "number_format is national and country is empty"),
    ({"inbound_uri": "192.0.2.10"}, "inbound_uri is not a SIP URI"),
    ({"inbound_uri": "sip:192.0.2.10, tel:100"}, "inbound_uri is not a SIP URI"),
    ({"inbound_uri": "sip:100@192.0.2.10"}, "inbound_uri has a user, where the called number goes"),
    ({"inbound_uri": "sip:192.0.2.10:0"}, "inbound_uri has a port that cannot be"),
    ({"inbound_uri": "sip:a;transport=sctp"}, "inbound_uri has a transport that no socket of TRUNKAUTH_LISTEN has"),
    ({"inbound_uri": "sip:192.0.2.1"}, "inbound_uri leads to us"),
    ({"inbound_uri": "sip:192.0.2.10,sip:192.0.2.1:5060;transport=tcp"}, "inbound_uri leads to us"),
    ({"weakest_algorithm": "sha-256"}, "weakest_algorithm is none of SHA-512-256, SHA-256, MD5"),
], ids=str)  # fmt: skip
def test_a_policy_that_cannot_be_used(columns: dict[str, object], fault: str) -> None:
    assert RULES.policy(POLICY | columns).fault == fault
