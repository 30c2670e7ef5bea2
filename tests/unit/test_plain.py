"""The form of challenges that Kamailio's C code is given, to the letter (kemi/auth/plain.py).

`make fuzz-uac` gives it such fields, and test_uac_auth.py a few of them.
"""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kemi.auth.challenge import Challenge, parse
from kemi.auth.plain import is_plain, spelled

PLAIN = {
    "the least": 'Digest realm="r", nonce="n"',
    "in any order": 'Digest qop="auth",nonce="n",algorithm=MD5,realm="r"',
    "two spaces": 'Digest  realm="r",  nonce="n"',
    "upper case": 'DIGEST realm="r", nonce="n"',
    "auth and auth-int": 'Digest realm="r", nonce="n", qop="auth,auth-int"',
    "all": 'Digest realm="r", domain="sip:c", nonce="n", opaque="o", stale=FALSE, algorithm=MD5, qop="auth"',
    "parameters in a value": 'Digest realm="r, qop=x", nonce="stale=true, n"',
    "a long nonce": f'Digest realm="r", nonce="{"n" * 512}"',
}

NOT_PLAIN = {
    # these end Kamailio 5.6 to 6.1 with SIGSEGV
    "a space before qop's value": 'Digest realm="r", nonce="n", qop=" auth"',
    "qop begins with a comma": 'Digest realm="r", nonce="n", qop=",auth"',
    "a tab in qop": 'Digest realm="r", nonce="n", qop="\tauth"',
    "qop is a comma": 'Digest realm="r", nonce="n", qop=","',
    "a no-break space in qop": 'Digest realm="r", nonce="n", qop="\xa0auth"',
    "qop begins with auth-int": 'Digest realm="r", nonce="n", qop="token,auth"',
    # these make it compute a wrong digest
    "a space behind qop's value": 'Digest realm="r", nonce="n", qop="auth "',
    "spaces in qop's list": 'Digest realm="r", nonce="n", qop="auth , auth-int"',
    "auth-int alone": 'Digest realm="r", nonce="n", qop="auth-int"',
    "auth in upper case": 'Digest realm="r", nonce="n", qop="AUTH"',
    "a quoted pair": 'Digest realm="a\\"b", nonce="n"',
    "a fold in a value": 'Digest realm="r", nonce="n\r\n m"',
    "an empty opaque": 'Digest realm="r", nonce="n", opaque=""',
    "sess": 'Digest realm="r", nonce="n", algorithm=MD5-sess',
    "sha-256": 'Digest realm="r", nonce="n", algorithm=SHA-256',
    # and nobody has proven these
    "a space in qop's list": 'Digest realm="r", nonce="n", qop="auth, auth-int"',
    "a parameter twice": 'Digest realm="r", nonce="n", realm="r"',
    "an unknown parameter": 'Digest realm="r", nonce="n", charset=UTF-8',
    "a name in upper case": 'Digest Realm="r", nonce="n"',
    "a space before =": 'Digest realm ="r", nonce="n"',
    "a space behind =": 'Digest realm= "r", nonce="n"',
    "a fold between parameters": 'Digest realm="r",\r\n nonce="n"',
    "a tab between parameters": 'Digest realm="r",\tnonce="n"',
    "a space before a comma": 'Digest realm="r" , nonce="n"',
    "an empty element": 'Digest realm="r",, nonce="n"',
    "a comma at the end": 'Digest realm="r", nonce="n",',
    "a space at the end": 'Digest realm="r", nonce="n" ',
    "a line end at the end": 'Digest realm="r", nonce="n"\n',
    "a space at the start": ' Digest realm="r", nonce="n"',
    "another case of the scheme": 'digest realm="r", nonce="n"',
    "a second scheme": 'Digest realm="r", nonce="n", Basic realm="r"',
    "a second scheme without a space": 'Digest realm="r", nonce="n", Digestrealm="s"',
    "md5 in lower case": 'Digest realm="r", nonce="n", algorithm=md5',
    "qop unquoted": 'Digest realm="r", nonce="n", qop=auth',
    "not ASCII": 'Digest realm="é", nonce="n"',
    "digits that are not ASCII": 'Digest realm="٣", nonce="n"',
    "a control character": 'Digest realm="r\x00", nonce="n"',
    "no realm": 'Digest nonce="n"',
    "no nonce": 'Digest realm="r"',
    "an empty realm": 'Digest realm="", nonce="n"',
    "a nonce that is too long": f'Digest realm="r", nonce="{"n" * 513}"',
    "a realm that is too long": f'Digest realm="{"r" * 129}", nonce="n"',
    "nothing": "",
}


@pytest.mark.parametrize("field", PLAIN.values(), ids=PLAIN)
def test_a_plain_field_is_plain(field: str) -> None:
    assert is_plain(field)


@pytest.mark.parametrize("field", NOT_PLAIN.values(), ids=NOT_PLAIN)
def test_no_other_field_is(field: str) -> None:
    assert not is_plain(field)


TEXT = st.text(alphabet=st.characters(min_codepoint=0x20, max_codepoint=0x7E, exclude_characters='"\\'), min_size=1)


@given(
    realm=TEXT,
    nonce=TEXT,
    opaque=st.none() | TEXT,
    qop=st.sampled_from(((), ("auth",), ("auth", "auth-int"))),
    algorithm=st.sampled_from((None, "MD5")),
    stale=st.booleans(),
    places=st.permutations(range(6)),
    gap=st.sampled_from((",", ", ", ",  ")),
)
def test_the_parser_reads_a_plain_field_as_it_is_written(
    realm: str,
    nonce: str,
    opaque: str | None,
    qop: tuple[str, ...],
    algorithm: str | None,
    stale: bool,
    places: list[int],
    gap: str,
) -> None:
    """What the C code copies is what digest.py and the nonce cache go by."""
    parameters = [
        f'realm="{realm}"',
        f'nonce="{nonce}"',
        f'opaque="{opaque}"' if opaque else "",
        f'qop="{",".join(qop)}"' if qop else "",
        "algorithm=MD5" if algorithm else "",
        "stale=true" if stale else "",
    ]
    field = f"Digest {gap.join(parameters[place] for place in places if parameters[place])}"
    assert is_plain(field)
    assert parse(field) == (Challenge(realm, nonce, opaque, algorithm, qop, stale),)


SPELLED = {
    'DIGEST qop=" auth",nonce="n",realm="r"': 'Digest realm="r", nonce="n", qop="auth"',
    'Digest realm="r", nonce=n, algorithm=md5, future=x': 'Digest realm="r", nonce="n", algorithm=MD5',
    'Digest realm="r",\r\n nonce="n", opaque="o", qop="auth-int, AUTH", stale=true': (
        'Digest realm="r", nonce="n", opaque="o", qop="auth", stale=true'
    ),
    'Digest realm="r", nonce="n", opaque=""': 'Digest realm="r", nonce="n"',
    'Digest realm="a\\rb", nonce="n"': 'Digest realm="arb", nonce="n"',
    'Digest realm="r", nonce="n", qop=","': 'Digest realm="r", nonce="n"',
    'Digest realm="a\\"b", nonce="n"': "",
    'Digest realm="é", nonce="n"': "",
    'Digest realm="r", nonce="n", algorithm=SHA-256': "",
    'Digest realm="r", nonce="n", algorithm=MD5-sess': "",
    'Digest realm="r", nonce="n", qop="auth-int"': "",
}


@pytest.mark.parametrize(("field", "plain"), SPELLED.items(), ids=str)
def test_a_challenge_is_spelled_in_the_plain_form_if_it_has_one(field: str, plain: str) -> None:
    assert spelled(parse(field)[0]) == plain
