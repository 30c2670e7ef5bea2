"""SQL that each kind of server has its own words for, or that PostgreSQL alone is asked."""

from __future__ import annotations

from sqlalchemy import text

# A row's sum: the first 60 bits of the MD5 of its columns' text; every kind of server has MD5. NULL is no text: {nulls}
# has a 1 for each.
_MARIADB_SUM = "CAST(CONV(SUBSTR(MD5(CONCAT_WS(CHAR(31), {columns}, {nulls})), 1, 15), 16, 10) AS UNSIGNED)"
ROW_SUM = {
    "postgresql": "('x' || substr(md5(ROW({columns})::text), 1, 15))::bit(60)::bigint",
    "mysql": _MARIADB_SUM,
    "mariadb": _MARIADB_SUM,
}

BEGIN = {
    "sqlite": text("BEGIN"),
    "postgresql": text("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY"),
    "mysql": text("START TRANSACTION WITH CONSISTENT SNAPSHOT"),
    "mariadb": text("START TRANSACTION WITH CONSISTENT SNAPSHOT"),
}

COMMIT = text("COMMIT")

# Of MariaDB and MySQL: without it there is no snapshot, and no error, if the server's default is another level.
REPEATABLE_READ = "SET SESSION TRANSACTION ISOLATION LEVEL REPEATABLE READ"

# The triggers that give notice.
TRIGGERS = text(
    "SELECT count(*) FROM pg_trigger WHERE tgname = 'kemi_trunkauth_notice' AND tgenabled IN ('O', 'A')"
    " AND tgrelid IN (to_regclass('uacreg'), to_regclass('address'), to_regclass('trunk'))"
)

# How many of the tables that we have locked were made, or emptied by TRUNCATE, after the snapshot, which shows them
# without rows (PostgreSQL's manual, "Caveats" of concurrency control). It shows pg_class as it was; the function tells
# what is. 0: not a file of its own.
OVERTAKEN = text(
    "SELECT count(*) FROM pg_locks LEFT JOIN pg_class ON pg_class.oid = relation WHERE locktype = 'relation'"
    " AND pid = pg_backend_pid() AND (relname IS NULL OR relfilenode NOT IN (0, pg_relation_filenode(relation)))"
)
