"""The names in a certificate, and which carrier's name they are."""

from __future__ import annotations

import base64

import pytest

from kemi.trunks.certificate import covers, names

# Made by openssl: subjectAltName = DNS:Sip.Carrier.test., DNS:*.pool.carrier.test, IP:192.0.2.7, IP:2001:db8::7,
# URI:sip:uri.test, URI:sip:user@no.test, URI:https://web.test, email:mail@mail.test; CN = common.test
PEM = """-----BEGIN CERTIFICATE-----
MIICFjCCAbugAwIBAgIUOhblYlzZRMKtmBas5elv9E54T1MwCgYIKoZIzj0EAwIw
FjEUMBIGA1UEAwwLY29tbW9uLnRlc3QwIBcNMjYxMTI2MTcxNTExWhgPMjEyNjEx
MDIxNzE1MTFaMBYxFDASBgNVBAMMC2NvbW1vbi50ZXN0MFkwEwYHKoZIzj0CAQYI
KoZIzj0DAQcDQgAEb0b64uE5HOQEKrAcuzDR4LNkK8Ug8FzJBceDDlj2FzyYqlfy
nKfqFFOst8tRBdyhojP1wq8ZtYKjNx5tBAAQuKOB5DCB4TAdBgNVHQ4EFgQUkVgS
QI8M75FAWw5yPQbOdHCSEHUwHwYDVR0jBBgwFoAUkVgSQI8M75FAWw5yPQbOdHCS
EHUwDwYDVR0TAQH/BAUwAwEB/zCBjQYDVR0RBIGFMIGCghFTaXAuQ2Fycmllci50
ZXN0LoITKi5wb29sLmNhcnJpZXIudGVzdIcEwAACB4cQIAENuAAAAAAAAAAAAAAA
B4YMc2lwOnVyaS50ZXN0hhBzaXA6dXNlckBuby50ZXN0hhBodHRwczovL3dlYi50
ZXN0gQ5tYWlsQG1haWwudGVzdDAKBggqhkjOPQQDAgNJADBGAiEAqlxwpB9ib16O
hVu0Yh60TtXi5u3UiGTQx/aoY3AVKpYCIQCeagopn8PsxbNQgDrkM1EIy1esuVfy
T1udRA9ebOVAKA==
-----END CERTIFICATE-----
"""
COMMON_NAME_ALONE = """-----BEGIN CERTIFICATE-----
MIIBgzCCASmgAwIBAgIUP6EEXoBxdEXtyYBKpU1mLIyIeEswCgYIKoZIzj0EAwIw
FjEUMBIGA1UEAwwLY29tbW9uLnRlc3QwIBcNMjYxMTI2MTcxNTExWhgPMjEyNjEx
MDIxNzE1MTFaMBYxFDASBgNVBAMMC2NvbW1vbi50ZXN0MFkwEwYHKoZIzj0CAQYI
KoZIzj0DAQcDQgAEMFbI8s72Jp+YFsCaIjmIbmxEN6szS+oaUW1JbkwewS7FKBfJ
bzJeaQnRntTfc90fDlyZq+Vxr+3yIACG/zoil6NTMFEwHQYDVR0OBBYEFESFtSN2
dwMOh9elBDuJgdJP1QVBMB8GA1UdIwQYMBaAFESFtSN2dwMOh9elBDuJgdJP1QVB
MA8GA1UdEwEB/wQFMAMBAf8wCgYIKoZIzj0EAwIDSAAwRQIhAIZPG4Ob0Q4uaVUM
4i2PUyNmkD5Jta6Fzte5/zvrRVEeAiB0vwforFGAIiSR6j4P7KEtBx/l/hla+t9K
MHAacWodqQ==
-----END CERTIFICATE-----
"""
# subjectAltName = otherName:msUPN;UTF8:sbc@carrier.test, dirName:O=Bücher, DNS:sip.carrier.test,
# RID:1.3.6.1.4.1.311, email:mail@mail.test
OF_OTHER_KINDS = """-----BEGIN CERTIFICATE-----
MIIB9TCCAZugAwIBAgIUencXyQzSXk8M9+zeICZPwUeTxlowCgYIKoZIzj0EAwIw
FjEUMBIGA1UEAwwLY29tbW9uLnRlc3QwIBcNMjYxMTI3MDgwMjE3WhgPMjEyNjEx
MDMwODAyMTdaMBYxFDASBgNVBAMMC2NvbW1vbi50ZXN0MFkwEwYHKoZIzj0CAQYI
KoZIzj0DAQcDQgAEc1ciAQ1Fx2I6sPpCbXQfSxjNiGceM9Jt9Sg8a1iWM1gRtTPD
WHoCqCjvAS270a8GgfzzvSejVtfKidhdPmJp3KOBxDCBwTAdBgNVHQ4EFgQUlt8f
Gu9FLDwvSWJ34+iReLcb2M0wHwYDVR0jBBgwFoAUlt8fGu9FLDwvSWJ34+iReLcb
2M0wDwYDVR0TAQH/BAUwAwEB/zBuBgNVHREEZzBloCAGCisGAQQBgjcUAgOgEgwQ
c2JjQGNhcnJpZXIudGVzdKQWMBQxEjAQBgNVBAoMCULDg8K8Y2hlcoIQc2lwLmNh
cnJpZXIudGVzdIgHKwYBBAGCN4EObWFpbEBtYWlsLnRlc3QwCgYIKoZIzj0EAwID
SAAwRQIgYdeODdb6f1wc+MpyDi9YvlLk7blQJxdEJqbxPkg0NroCIQC0gebGx9fF
0zW8Rr2oh7PNcG/9OiBmUVlNr1r+oxYC/w==
-----END CERTIFICATE-----
"""
NAMES = frozenset({"sip.carrier.test", "*.pool.carrier.test", "192.0.2.7", "2001:db8::7", "uri.test"})


def as_pem(der: bytes) -> str:
    return f"-----BEGIN CERTIFICATE-----\n{base64.b64encode(der).decode()}\n-----END CERTIFICATE-----\n"


def der_of(pem: str) -> bytes:
    return base64.b64decode("".join(pem.splitlines()[1:-1]))


def test_the_names_of_a_certificate() -> None:
    assert names(PEM) == NAMES


def test_names_of_other_kinds_hide_none() -> None:
    assert names(OF_OTHER_KINDS) == {"sip.carrier.test"}


@pytest.mark.parametrize("text", ["", "no PEM", COMMON_NAME_ALONE, as_pem(b""), as_pem(b"\x30\x80"), as_pem(b"\x30")])
def test_a_certificate_without_names(text: str) -> None:
    assert names(text) == frozenset()


def test_no_damage_raises_and_none_makes_another_host_of_it() -> None:
    der = der_of(PEM)
    for place in range(len(der)):
        assert names(as_pem(der[:place])) <= NAMES
        for octet in (0x00, 0x80, 0xFF):
            names(as_pem(der[:place] + bytes([octet]) + der[place + 1 :]))


@pytest.mark.parametrize(
    ("wanted", "is_covered"),
    [
        ("sip.carrier.test", True),
        ("uri.test", True),
        ("192.0.2.7", True),
        ("2001:db8::7", True),
        ("a.pool.carrier.test", True),
        ("pool.carrier.test", False),
        ("a.b.pool.carrier.test", False),
        (".pool.carrier.test", False),
        ("carrier.test", False),
        ("common.test", False),
        ("192.0.2.8", False),
        ("", False),
    ],
)
def test_a_name_is_covered(wanted: str, is_covered: bool) -> None:
    assert covers(NAMES, wanted) is is_covered


@pytest.mark.parametrize(("name", "wanted"), [("*.test", "a.test"), ("*.0.2.7", "192.0.2.7"), ("*", "a")])
def test_a_wildcard_that_stands_for_too_much(name: str, wanted: str) -> None:
    assert not covers(frozenset({name}), wanted)
