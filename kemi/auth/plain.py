"""The challenges that Kamailio's own C code is given: uac_auth() for calls, the uac module for its registrations.

That code has a parser of its own (uac/auth_hdr.c), which reads some fields differently from challenge.py, answers some
with a wrong digest, and ends Kamailio over others. So it is given nothing but fields of a form that was proven, by
reading it and by `make fuzz-uac`, on 5.6, 6.0 and 6.1. The form, to the letter:

1. `Digest` or `DIGEST`, one or two spaces, and parameters, each after the first behind a comma and at most two spaces.
2. A parameter is written as in FORMS: name in lower case, `=` without spaces. Each comes at most once, in any order.
3. realm and nonce are there. No parameter has another name: an unknown one may mean what nobody here knows.
4. A quoted value is not empty, and is printable ASCII without `"` and `\\`, so that it is copied as it stands.
5. qop is absent, `"auth"` or `"auth,auth-int"`: C code compares its first four characters, hashes what stands before
   the first comma, and crashes if that makes no sense.
6. Lengths are bounded: the C code writes the response into 2,048 bytes with what else a REGISTER has.

Every other field is answered by digest.py, or for a registration written anew in this form.

Pure: no I/O, no clock, no state.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from contextlib import suppress

from kemi.auth.challenge import Challenge, ChallengeError, parse
from kemi.auth.credentials import Credentials

_CONTROL = re.compile(r"[\x00-\x1f\x7f]")
_NEEDS_QUOTED_PAIR = re.compile(r'["\\]')

_TEXT = r"[ !#-\[\]-~]"

FORMS = (
    f'realm="{_TEXT}{{1,128}}"',
    f'nonce="{_TEXT}{{1,512}}"',
    f'opaque="{_TEXT}{{1,256}}"',
    f'domain="{_TEXT}{{1,256}}"',
    "algorithm=MD5",
    'qop="auth(?:,auth-int)?"',
    "stale=(?:true|false|TRUE|FALSE)",
)
_ONE = "|".join(f"(?({group})(?!)|({form}))" for group, form in enumerate(FORMS, 1))  # if it has not come yet
_PLAIN = re.compile(rf"D(?:igest|IGEST)[ ]{{1,2}}(?:(?:{_ONE})(?:,[ ]{{0,2}}(?=[a-z])|\Z))+(?(1)(?(2)|(?!))|(?!))")


def is_plain(field: str) -> bool:
    """Return True if the field is of the form that was proven."""
    return _PLAIN.fullmatch(field) is not None


def spelled(challenge: Challenge) -> str:
    """Return the field that asks the same in the proven form, empty if there is none.

    The C code leaves an empty opaque out of its response, and so does this.
    """
    if challenge.hash_name != "MD5" or challenge.is_session or (challenge.qop and not challenge.offers("auth")):
        return ""
    field = f'Digest realm="{challenge.realm}", nonce="{challenge.nonce}"'
    field += f', opaque="{challenge.opaque}"' if challenge.opaque else ""
    field += ", algorithm=MD5" if challenge.algorithm else ""
    field += ', qop="auth"' if challenge.qop else ""
    field += ", stale=true" if challenge.stale else ""
    return field if is_plain(field) else ""


def first_plain(fields: Sequence[str]) -> str:
    """Return the first challenge of these fields that has the proven form, in it; empty if none has.

    The C code of 5.6 and 6.0 looks at the first field alone, that of 6.1 at the first that it can read.
    """
    if fields and is_plain(fields[0]):
        return fields[0]
    for field in fields:
        with suppress(ChallengeError):
            for challenge in parse(field):
                if plain := spelled(challenge):
                    return plain
    return ""


def suits_uac_auth(text: str, credentials: Credentials) -> bool:
    """Return True for a plain challenge that is answered from a password which uac_auth() takes as it is. text: the
    challenge's field.
    """
    return (
        not credentials.ha1
        and _PLAIN.fullmatch(text) is not None
        and not _NEEDS_QUOTED_PAIR.search(credentials.username)
        and not _CONTROL.search(credentials.password)
    )
