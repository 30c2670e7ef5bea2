"""Numbers as a trunk's carrier wants them, and which of them are emergency numbers.

1. What is no number stays: a name, `*` or `#`, letters, more than 32 characters, and a number of another plan
   (`;phone-context`). `+`, digits and visual separators (RFC 3966 3) are one; parameters behind it stay as they are.
2. An emergency number stays. One that is left once `strip` digits are off goes out as that.
3. `strip` digits go off the front, a `+` with them; if none would be left, the number stays.
4. `prefix` comes in front, in place of a `+`.
5. The result is written by `number_format`, if it is a whole number: one that begins with `+` or the country's
   international prefix (00, 011) and may be one; or one in the country's numbering plan, with the country code, or with
   the trunk prefix if its numbers have one. Extensions, short codes and numbers without their area code stay.

Pure. The library is phonenumbers; it is slow, so what it has said is kept.
"""

from __future__ import annotations

import re
from functools import lru_cache
from typing import NamedTuple

import phonenumbers
from phonenumbers import (
    CountryCodeSource,
    NumberParseException,
    PhoneMetadata,
    PhoneNumber,
    PhoneNumberFormat,
    ValidationResult,
)

from kemi import uri

AS_DIALLED, E164, E164_PLAIN, NATIONAL = "as-dialled", "e164", "e164-plain", "national"
FORMATS = (AS_DIALLED, E164, E164_PLAIN, NATIONAL)
COUNTRIES = frozenset(phonenumbers.SUPPORTED_REGIONS)
LONGEST = 32  # characters of a number

_NUMBER = re.compile(rf"(?:\+|%2[Bb])?(?=[().-]*[0-9])[0-9().-]{{1,{LONGEST}}}")
_SEPARATORS = str.maketrans("", "", "().-")
_BEHIND = re.compile(r"[;:].*", re.DOTALL)  # parameters, or a password
_SOS = re.compile(r"urn:service:sos(?:\..*)?", re.IGNORECASE | re.DOTALL)  # RFC 5031 4.2
_ANYWHERE = ("112", "911")  # emergency numbers of mobile networks, if no country is known
_INTERNATIONAL = (CountryCodeSource.FROM_NUMBER_WITH_PLUS_SIGN, CountryCodeSource.FROM_NUMBER_WITH_IDD)


class Numbers(NamedTuple):
    """The columns of `trunk` that say how its carrier wants numbers."""

    strip: int = 0
    prefix: str = ""
    number_format: str = AS_DIALLED
    country: str = ""

    def shaped(self, user: str) -> str:
        """Return the user of a URI, or the number of a tel URI, as the carrier wants it."""
        number = _number(user)
        behind = _BEHIND.search(user)
        if not number or (behind and "phone-context=" in behind[0].lower()):
            return user
        shaped = _shaped(number, self)
        return f"{shaped}{behind[0] if behind else ''}" if shaped else user

    def in_uri(self, text: str) -> str:
        """Return a URI with its number as the carrier wants it."""
        parts = uri.split(text)
        if not parts.userinfo or "phone-context=" in parts.parameters.lower():
            return text
        start = len(parts.scheme) + 1
        return f"{text[:start]}{self.shaped(parts.userinfo)}{text[start + len(parts.userinfo) :]}"

    def is_emergency(self, dialled: str) -> bool:
        """Return True if a call to this URI is an emergency call."""
        if _SOS.fullmatch(dialled):
            return True
        number = _number(uri.split(dialled).userinfo)
        return any(_is_emergency(each, self.country) for each in (number, _stripped(number, self.strip)))


def load() -> None:
    """Have the library read all that it has on the disk, before any worker is forked."""
    PhoneMetadata.load_all()
    for country in COUNTRIES:
        PhoneMetadata.short_metadata_for_region(country)


def _number(user: str) -> str:
    """Return the number that a user is, without visual separators; empty if it is none."""
    number = _BEHIND.sub("", user)
    if not _NUMBER.fullmatch(number):
        return ""
    return re.sub("^%2[Bb]", "+", number).translate(_SEPARATORS)


@lru_cache(maxsize=4096)
def _shaped(number: str, wanted: Numbers) -> str:
    """Return a number as the carrier wants it; empty if it stays as it was written."""
    left = _stripped(number, wanted.strip)
    if not left or _is_emergency(number, wanted.country):
        return ""
    if _is_emergency(left, wanted.country):
        return left
    changed = f"{wanted.prefix}{left.removeprefix('+')}" if wanted.prefix else left
    return _formatted(changed, wanted) or (changed if changed != number else "")


def _stripped(number: str, strip: int) -> str:
    return number.removeprefix("+")[strip:] if strip else number


@lru_cache(maxsize=1024)
def _is_emergency(number: str, country: str) -> bool:
    if not country:
        return number in _ANYWHERE
    return phonenumbers.is_emergency_number(number, country)


def _formatted(number: str, wanted: Numbers) -> str:
    """Return a number by its format; empty if it is no whole one."""
    if wanted.number_format == AS_DIALLED or not re.fullmatch(r"\+?[0-9]+", number):
        return ""
    try:
        parsed = phonenumbers.parse(number, wanted.country or None, keep_raw_input=True)
    except NumberParseException:
        return ""
    if not _is_whole(parsed, number):
        return ""
    if wanted.number_format != NATIONAL:
        whole = phonenumbers.format_number(parsed, PhoneNumberFormat.E164)
        return whole if wanted.number_format == E164 else whole.removeprefix("+")
    if parsed.country_code == phonenumbers.country_code_for_region(wanted.country):
        return _national(parsed)
    return _digits(phonenumbers.format_out_of_country_calling_number(parsed, wanted.country))


def _is_whole(parsed: PhoneNumber, number: str) -> bool:
    if parsed.country_code_source in _INTERNATIONAL:
        return phonenumbers.is_possible_number_with_reason(parsed) == ValidationResult.IS_POSSIBLE
    has_prefix = number != phonenumbers.national_significant_number(parsed)
    return phonenumbers.is_valid_number(parsed) and (has_prefix or number == _national(parsed))


def _national(parsed: PhoneNumber) -> str:
    return _digits(phonenumbers.format_number(parsed, PhoneNumberFormat.NATIONAL))


def _digits(written: str) -> str:
    return re.sub("[^0-9+]", "", written)
