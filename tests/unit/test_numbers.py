"""Numbers as carriers want them: German, British and American ones; what is no number, and emergency numbers."""

from __future__ import annotations

import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kemi.trunks.numbers import E164, E164_PLAIN, FORMATS, LONGEST, NATIONAL, Numbers, load
from kemi.trunks.trunk import Policy, Trunk

# Numbers that are nobody's: of the Bundesnetzagentur's and Ofcom's ranges for films, and NANP's 555-01XX.
BERLIN, LONDON, NEW_YORK = "493023125555", "442079460123", "12125550123"

# country -> as dialled -> the whole number
WHOLE = {
    "DE": {
        "03023125555": BERLIN, f"00{BERLIN}": BERLIN, f"+{BERLIN}": BERLIN, BERLIN: BERLIN, f"%2B{BERLIN}": BERLIN,
        "030-2312.5555": BERLIN, "(030)23125555": BERLIN, "+49(30)2312-5555": BERLIN, f"%2b{BERLIN}": BERLIN,
        f"00{LONDON}": LONDON, f"+{NEW_YORK}": NEW_YORK, "08001234567": "498001234567", "017612345678": "4917612345678",
    },
    "GB": {
        "02079460123": LONDON, f"00{LONDON}": LONDON, f"+{LONDON}": LONDON, LONDON: LONDON, "020-7946-0123": LONDON,
        f"00{BERLIN}": BERLIN, f"00{NEW_YORK}": NEW_YORK, "07400123456": "447400123456",
    },
    "US": {
        "2125550123": NEW_YORK, NEW_YORK: NEW_YORK, f"+{NEW_YORK}": NEW_YORK, f"011{LONDON}": LONDON,
        "(212)555-0123": NEW_YORK, "1-212-555-0123": NEW_YORK, f"011{BERLIN}": BERLIN, f"+{BERLIN}": BERLIN,
    },
    "": {f"+{BERLIN}": BERLIN, f"+{LONDON}": LONDON, "+1.212.555.0123": NEW_YORK},
}  # fmt: skip
CASES = [(country, dialled, whole) for country, numbers in WHOLE.items() for dialled, whole in numbers.items()]


@pytest.mark.parametrize(("country", "dialled", "whole"), CASES)
def test_a_whole_number_is_written_in_e164(country: str, dialled: str, whole: str) -> None:
    assert Numbers(0, "", E164, country).shaped(dialled) == f"+{whole}"
    assert Numbers(0, "", E164_PLAIN, country).shaped(dialled) == whole


@pytest.mark.parametrize(("country", "dialled", "expected"), [
    ("DE", f"+{BERLIN}", "03023125555"), ("DE", f"00{BERLIN}", "03023125555"), ("DE", "030-23125555", "03023125555"),
    ("DE", f"+{LONDON}", f"00{LONDON}"), ("DE", f"00{NEW_YORK}", f"00{NEW_YORK}"),
    ("GB", f"+{LONDON}", "02079460123"), ("GB", f"00{LONDON}", "02079460123"), ("GB", f"+{BERLIN}", f"00{BERLIN}"),
    ("US", f"+{NEW_YORK}", "2125550123"), ("US", NEW_YORK, "2125550123"), ("US", f"+{LONDON}", f"011{LONDON}"),
    ("US", "+16135550123", "6135550123"),  # Canada shares the numbering plan
    ("IT", "+390612345678", "0612345678"),  # whose zero is part of the number
])  # fmt: skip
def test_a_number_is_written_as_it_is_dialled_in_its_country(country: str, dialled: str, expected: str) -> None:
    assert Numbers(0, "", NATIONAL, country).shaped(dialled) == expected


def test_all_countries_are_read_at_once() -> None:
    load()
    assert {f"phonenumbers.shortdata.region_{country}" for country in ("ZW", "AD")} <= sys.modules.keys()


NO_WHOLE_NUMBER = {
    "DE": (
        "100",
        "1234",
        "22833",
        "115",
        "116117",
        "0116117",
        "11833",
        "231255",
        "23125555",
        "+49110",
        "+999123456",
        "0049",
        "+",
    ),
    "GB": ("101", "111", "1571", "100", "118500", "79460123", "2079460123", "+441"),
    "US": ("411", "611", "988", "5550123", "100", "1000", "+1212555", f"00{LONDON}"),
    "": ("100", "03023125555", BERLIN, f"00{BERLIN}", "2125550123"),
}
NO_NUMBER = (
    "alice", "nobody", "anonymous", "", "1800FLOWERS", "*21*03023125555#", "*31*03023125555", "%23100", "100%20",
    "03023125555p1", "+493023125555x5", "++493023125555", "49+30", "()", "-", "٠٣٠٢٣١٢٥٥٥٥", "u4711",
    "1" * (LONGEST + 1), "03023125555\n", "23125555;phone-context=+4930", "03023125555;Phone-Context=pbx.test",
)  # fmt: skip


@pytest.mark.parametrize("number_format", FORMATS)
@pytest.mark.parametrize(("country", "user"), [(c, user) for c, users in NO_WHOLE_NUMBER.items() for user in users])
def test_what_is_no_whole_number_goes_as_it_is(country: str, user: str, number_format: str) -> None:
    assert Numbers(0, "", number_format, country).shaped(user) == user


@pytest.mark.parametrize("user", NO_NUMBER)
def test_what_is_no_number_is_not_touched(user: str) -> None:
    assert Numbers(1, "99", E164, "DE").shaped(user) == user


EMERGENCY = {"DE": ("110", "112"), "GB": ("112", "999"), "US": ("112", "911"), "": ("112", "911")}
ORDINARY = {"DE": ("911", "0110x", "1122"), "GB": ("911", "9990"), "US": ("110", "999"), "": ("110", "999", "+112")}


@pytest.mark.parametrize("number_format", FORMATS)
@pytest.mark.parametrize(("country", "number"), [(c, number) for c, numbers in EMERGENCY.items() for number in numbers])
def test_an_emergency_number_is_never_changed(country: str, number: str, number_format: str) -> None:
    numbers = Numbers(1, "99", number_format, country)
    assert numbers.shaped(number) == number
    assert numbers.shaped(f"0{number}") == number  # the digit for an outside line goes, and no more
    for uri in (f"sip:{number}@pbx.test;user=phone", f"sip:{number};phone-context=+49@pbx.test", f"tel:{number}",
                f"sips:{number[0]}-{number[1:]}@pbx.test", f"sip:0{number}@pbx.test"):  # fmt: skip
        assert numbers.is_emergency(uri)
    for uri in (f"sip:{number}", f"im:{number}@pbx.test", f"sip:pbx.test;x={number}"):
        assert not numbers.is_emergency(uri)


@pytest.mark.parametrize(("country", "number"), [(c, number) for c, numbers in ORDINARY.items() for number in numbers])
def test_other_numbers_are_no_emergency(country: str, number: str) -> None:
    assert not Numbers(country=country).is_emergency(f"sip:{number}@pbx.test")


@pytest.mark.parametrize(("method", "number", "expected"), [
    ("INVITE", "113", True), ("INVITE", "112", False), ("MESSAGE", "113", False),
])  # fmt: skip
def test_the_limit_on_calls_holds_for_calls_that_are_no_emergency(method: str, number: str, expected: bool) -> None:
    assert Trunk("t", policy=Policy(max_calls=1)).counts(method, f"sip:{number}@pbx.test") is expected


@pytest.mark.parametrize(("uri", "expected"), [
    ("urn:service:sos", True), ("URN:Service:SOS.police", True),
    ("urn:service:sosx", False), ("urn:service:counseling", False), ("sip:urn:service:sos@a", False), ("", False),
])  # fmt: skip
def test_an_emergency_service_is_known_by_its_urn(uri: str, expected: bool) -> None:
    assert Numbers().is_emergency(uri) is expected


@pytest.mark.parametrize(("strip", "prefix", "dialled", "expected"), [
    (1, "", "003023125555", "03023125555"), (0, "99", "03023125555", "9903023125555"), (1, "49", "030", "4930"),
    (2, "0", f"+{BERLIN}", "03023125555"), (0, "00", f"+{BERLIN}", f"00{BERLIN}"), (0, "+", BERLIN, f"+{BERLIN}"),
    (0, "+", f"+{BERLIN}", f"+{BERLIN}"), (3, "", "100", "100"), (4, "9", "100", "100"), (1, "*31*", "0-30", "*31*30"),
    (1, "", "0301;npdi;rn=+49", "301;npdi;rn=+49"), (1, "", "0301:secret", "301:secret"), (0, "", "03-0", "03-0"),
])  # fmt: skip
def test_digits_go_off_the_front_and_others_come_there(strip: int, prefix: str, dialled: str, expected: str) -> None:
    assert Numbers(strip, prefix).shaped(dialled) == expected


def test_the_format_is_that_of_what_strip_and_prefix_have_made() -> None:
    assert Numbers(1, "", E164, "DE").shaped("003023125555") == f"+{BERLIN}"
    assert Numbers(0, "030", E164, "DE").shaped("23125555") == f"+{BERLIN}"
    assert Numbers(1, "+49", NATIONAL, "DE").shaped("03023125555") == "03023125555"
    assert Numbers(0, "*31*", E164, "DE").shaped("03023125555") == "*31*03023125555"
    assert Numbers(0, "030*", E164, "DE").shaped("23125555") == "030*23125555"


DIALLED = {
    "sip:03023125555@192.0.2.1:5060;transport=udp": "sip:+493023125555@carrier.test",
    "sip:030-23125555;npdi;rn=+49301@192.0.2.1;user=phone": "sip:+493023125555;npdi;rn=+49301@carrier.test;user=phone",
    "tel:03023125555": "sip:+493023125555@carrier.test;user=phone",
    "tel:+49-30-23125555;ext=12": "sip:+493023125555;ext=12@carrier.test;user=phone",
    "tel:03023125555;phone-context=+49": "sip:03023125555;phone-context=+49@carrier.test;user=phone",
    "SIPS:03023125555:pw@[2001:db8::1]": "SIPS:+493023125555:pw@carrier.test",
    "sip:alice@pbx.test": "sip:alice@carrier.test",
    "sip:112@pbx.test": "sip:112@carrier.test",
    "sip:pbx.test": "sip:carrier.test",
    "urn:service:sos": "urn:service:sos",
}  # fmt: skip


@pytest.mark.parametrize(("dialled", "expected"), DIALLED.items())
def test_the_r_uri_has_the_number_as_the_carrier_wants_it(dialled: str, expected: str) -> None:
    policy = Policy(number_format=E164, country="DE")
    assert Trunk("t", domain="carrier.test", policy=policy).request_uri(dialled) == expected


def test_without_a_domain_the_rest_of_the_r_uri_stays() -> None:
    trunk = Trunk("t", policy=Policy(number_format=E164, country="DE"))
    assert trunk.request_uri("sip:03023125555@far.test:5070;user=phone") == f"sip:+{BERLIN}@far.test:5070;user=phone"
    assert trunk.request_uri("tel:03023125555") == f"tel:+{BERLIN}"


@pytest.mark.parametrize(("caller", "sent", "asserted"), [
    ("sip:03023125555@pbx.test", f"sip:+{BERLIN}@pbx.test", f"sip:+{BERLIN}@pbx.test"),
    (f"sip:00{LONDON};cpc=priority@pbx.test", *[f"sip:+{LONDON};cpc=priority@pbx.test"] * 2),
    ("tel:030-23125555", "", f"tel:+{BERLIN}"),
    ("sip:100@pbx.test", "sip:100@pbx.test", "sip:100@pbx.test"),
    ("sip:alice@pbx.test", "sip:alice@pbx.test", "sip:alice@pbx.test"),
])  # fmt: skip
def test_the_caller_is_written_the_same_way(caller: str, sent: str, asserted: str) -> None:
    trunk = Trunk("t", policy=Policy(from_user="$", number_format=E164, country="DE"))
    assert (trunk.sender(caller), trunk.asserted(caller)) == (sent, asserted)


def test_a_from_that_the_row_names_is_not_changed() -> None:
    named = Policy(from_user="03023125555", from_domain="c.test", number_format=E164, country="DE")
    assert Trunk("t", policy=named).sender("sip:100@pbx.test") == "sip:03023125555@c.test"
    as_written = named._replace(from_user="")
    assert Trunk("t", policy=as_written).sender("sip:03023125555@pbx.test") == "sip:03023125555@c.test"


@given(st.text(max_size=60) | st.from_regex(r"(\+|%2B)?[0-9().-]{0,40}[;:*#]?.{0,9}", fullmatch=True),
       st.sampled_from(FORMATS), st.sampled_from(["DE", "GB", "US"]), st.integers(0, 3))  # fmt: skip
def test_whatever_is_dialled_stays_or_becomes_a_number(user: str, form: str, country: str, strip: int) -> None:
    shaped = Numbers(strip, "+49", form, country).shaped(user)
    assert shaped == user or set(shaped.partition(";")[0].partition(":")[0]) <= set("+0123456789")
