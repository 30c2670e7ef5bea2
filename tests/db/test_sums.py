"""Any change of a row changes its sum, on each kind of database: comparison finds it."""

from __future__ import annotations

from pathlib import Path

import pytest
from sqlalchemy import URL

from kemi.start import schema
from kemi.trunks.tables import trunk
from tests.db.conftest import drop_tables
from tests.db.site import site

SAME_TEXT = {  # columns of trunk -> before, after
    "digits moved to the next number": ("max_calls, max_cps", "2, 50", "25, 0"),
    "a text moved to the next column": ("from_user, from_domain", "'ab', 'c'", "'a', 'bc'"),
    "a number moved to the next column": ("priority, weight", "NULL, 5", "5, NULL"),
    "a name moved to the next column": ("from_user, from_domain", "NULL, 'a'", "'a', NULL"),
}


@pytest.mark.parametrize("what", SAME_TEXT)
def test_a_change_that_leaves_the_same_text_is_found(empty_database: URL, tmp_path: Path, what: str) -> None:
    columns, before, after = SAME_TEXT[what]
    with site(empty_database, tmp_path) as place:
        schema.create(place.dba)
        place.execute("DROP TABLE trunk")
        trunk.create(place.dba)  # all columns but id may be NULL
        place.execute(f"INSERT INTO trunk (id, l_uuid, {columns}) VALUES (1, 'a', {before})")
        place.tick()
        place.tick()
        copied = place.copied()
        place.execute("DELETE FROM trunk", f"INSERT INTO trunk (id, l_uuid, {columns}) VALUES (1, 'a', {after})")
        place.tick()
        assert place.copied() != copied


def test_a_row_that_is_too_long_for_a_sum_keeps_no_other_out(mariadb: URL, tmp_path: Path) -> None:
    longest = 2**20  # octets of a text that the server makes
    insert = "INSERT INTO uacreg (id, l_uuid, realm, auth_username, auth_password)"
    with site(mariadb, tmp_path) as place:
        try:
            schema.create(place.dba)
            place.execute(
                "ALTER TABLE uacreg MODIFY auth_proxy LONGTEXT",
                f"SET GLOBAL max_allowed_packet = {longest}",
                f"{insert} VALUES (1, 'long', 'r', 'u', 'p'), (1000, 'a', 'r', 'u', 'p')",
            )
            with place.dba.connect() as dba:
                dba.exec_driver_sql(f"UPDATE uacreg SET auth_proxy = REPEAT('x', {longest} - 10) WHERE id = 1")
            place.tick()
            assert place.store.by_uuid("a")
            assert place.said('trunk=long outcome=unusable reason="auth_proxy is not a SIP URI"')
        finally:
            place.execute("SET GLOBAL max_allowed_packet = DEFAULT")
            drop_tables(mariadb)
