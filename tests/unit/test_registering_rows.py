"""The rows as the uac module sees them."""

from __future__ import annotations

import pytest

from kemi.names.rows import resolved
from kemi.trunks.tables import copied_uacreg

SECURED = "sip:203.0.113.1:5061;transport=tls"


@pytest.mark.parametrize(
    ("auth_proxy", "written"),
    [
        ("sips:203.0.113.1", SECURED),
        ("sips:203.0.113.1;transport=tcp", SECURED),
        ("sip:203.0.113.1:5061;transport=TLS", SECURED),
        ("sip:203.0.113.1;transport=tcp", "sip:203.0.113.1;transport=tcp"),
        ("sip:203.0.113.1", "sip:203.0.113.1"),
    ],
)
def test_a_sips_uri_is_written_as_the_hop_that_calls_take(auth_proxy: str, written: str) -> None:
    columns = list(copied_uacreg.columns.keys())
    row = tuple(auth_proxy if name == "auth_proxy" else name for name in columns)
    found = resolved({"t": row}, {}, {})["t"]
    assert dict(zip(columns, found, strict=True))["auth_proxy"] == written
    assert [one for one in found if one != written] == [one for one in row if one != auth_proxy]
