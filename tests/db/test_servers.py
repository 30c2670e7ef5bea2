"""Servers as they are run where it matters: behind TLS that is verified, and with a standby that takes over."""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import URL, text

from kemi.replica import keeper
from kemi.settings import Settings
from kemi.start import schema
from lab.programs import free_port
from tests.db import servers
from tests.db.servers import PASSWORD, Server, program
from tests.db.site import Site, site

ROW = "INSERT INTO uacreg (id, l_uuid, realm, auth_username, auth_password) VALUES (1, 'a', 'r', 'u', 'first')"


def as_set(url: URL, **options: str | list[str]) -> URL:
    """The URL with the driver's options, read back from TRUNKAUTH_DB_URL."""
    written = url.update_query_dict(options).render_as_string(hide_password=False)
    return Settings.from_environment({"TRUNKAUTH_DB_URL": written}).db_url


# --- TLS


def openssl(folder: Path, *words: str) -> None:
    subprocess.run([program("openssl"), *words], cwd=folder, check=True, capture_output=True, timeout=30)


def make_certificates(folder: Path) -> None:
    """A server's certificate for the name localhost, its CA, and a CA that has nothing to do with it."""
    for name in ("ca", "other"):  # from 3.13 on, Python takes no CA that does not say what its key is for
        openssl(folder, "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "2",
                "-subj", f"/CN={name}", "-addext", "keyUsage=critical,keyCertSign", "-keyout", f"{name}.key",
                "-out", f"{name}.pem")  # fmt: skip
    openssl(folder, "req", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-subj", "/CN=localhost",
            "-keyout", "server.key", "-out", "server.csr")  # fmt: skip
    (folder / "names").write_text("subjectAltName=DNS:localhost\n")
    openssl(folder, "x509", "-req", "-in", "server.csr", "-CA", "ca.pem", "-CAkey", "ca.key", "-CAcreateserial",
            "-days", "2", "-extfile", "names", "-out", "server.pem")  # fmt: skip


@pytest.fixture(scope="module", params=["postgresql", "mysql"])
def with_tls(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[URL, Path]]:
    """A server behind TLS, known as localhost, and where the CAs' certificates are."""
    certificates = tmp_path_factory.mktemp("tls")
    make_certificates(certificates)
    is_postgresql = request.param == "postgresql"
    with servers.home_of("postgres" if is_postgresql else "mysql") as (home, owner):
        for name in ("server.key", "server.pem", "ca.pem"):
            shutil.copy(certificates / name, home / name)
            (home / name).chmod(0o600)
            if owner:
                shutil.chown(home / name, owner["user"], owner["group"])
        running = (
            servers.postgresql("-cssl=on", f"-cssl_cert_file={home}/server.pem", f"-cssl_key_file={home}/server.key")
            if is_postgresql
            else servers.mariadb(f"--ssl-cert={home}/server.pem", f"--ssl-key={home}/server.key")
        )
        with running as server:
            url = server.url.set(host="localhost")
            engine = schema.open_database(url)
            schema.create(engine)
            with engine.connect() as connection:
                connection.execute(text(ROW))
            engine.dispose()
            yield url, certificates


def verifying(url: URL, ca: Path) -> URL:
    """The URL as the README has it."""
    if url.get_backend_name() == "postgresql":
        # psycopg 3.2 says why the first address failed, which may be one that the server does not listen on
        return as_set(url, sslmode="verify-full", sslrootcert=str(ca), hostaddr="127.0.0.1")
    return as_set(url, ssl_ca=str(ca), ssl_check_hostname="true")


ENCRYPTED = {
    "postgresql": "SELECT count(*) FROM pg_stat_ssl JOIN pg_stat_activity USING (pid)"
    " WHERE ssl AND application_name = 'kemi-trunkauth'",
    "mysql": "SELECT variable_value FROM information_schema.global_status"
    " WHERE variable_name = 'SSL_FINISHED_ACCEPTS'",
}  # fmt: skip


def test_a_server_whose_certificate_is_right_is_read(with_tls: tuple[URL, Path], tmp_path: Path) -> None:
    url, certificates = with_tls
    with site(url, tmp_path, reader=verifying(url, certificates / "ca.pem")) as place:
        place.tick()
        assert place.is_equal()
        assert place.said("away") == []
        with place.dba.connect() as connection:
            assert int(connection.execute(text(ENCRYPTED[url.get_backend_name()])).scalar_one()) >= 1


@pytest.mark.parametrize(
    ("host", "ca", "reason"),
    [
        ("localhost", "other.pem", "certificate verify failed"),
        ("127.0.0.1", "ca.pem", "does not match host name|IP address mismatch"),
        ("localhost", "none.pem", "does not exist|No such file"),
    ],
)
def test_a_server_whose_certificate_is_wrong_is_not(
    with_tls: tuple[URL, Path], tmp_path: Path, host: str, ca: str, reason: str
) -> None:
    url, certificates = with_tls
    with site(url, tmp_path, reader=verifying(url.set(host=host), certificates / ca)) as place:
        place.tick_until("it was tried again", lambda: place.keeper._pause > 2 * keeper.FIRST_PAUSE)
        [line] = place.lines
        assert line.startswith("outcome=database-away ")
        assert re.search(reason, line)
        assert PASSWORD not in line
        assert not place.store.is_ready()


# --- a standby


@contextlib.contextmanager
def standby_of(primary: Server) -> Iterator[Server]:
    """A hot standby that streams from this server."""
    url = primary.url
    with servers.home_of("postgres") as (home, owner):
        base_backup = program("pg_basebackup", "lib/postgresql/*/bin")
        command = [base_backup, "-h", str(url.host), "-p", str(url.port), "-U", str(url.username), "-D", f"{home}/data"]
        environment = {**os.environ, "PGPASSWORD": str(url.password)}
        subprocess.run(
            [*command, "-R", "-c", "fast"], env=environment, check=True, capture_output=True, cwd="/", **owner
        )
        port = free_port()
        command = [str(Path(base_backup).with_name("postgres")), "-D", f"{home}/data", "-k", str(home)]
        command += ["-h", "127.0.0.1", "-p", str(port)]
        server = Server(command, owner, url.set(port=port), home / "log", signal.SIGINT)
        with servers.running(server):
            yield server


@pytest.fixture
def pair(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[Site, Server, Server]]:
    """A primary with notices, its standby, and a node that has both in its URL and a first copy."""
    monkeypatch.setattr(keeper, "WHOLE_INTERVAL", 0.5)
    with servers.postgresql() as primary:
        engine = schema.open_database(primary.url)
        schema.create(engine)
        assert not schema.install_notice(engine)
        engine.dispose()
        with standby_of(primary) as standby:
            hosts = [f"{url.host}:{url.port}" for url in (primary.url, standby.url)]
            both = as_set(primary.url.set(host=None, port=None), host=hosts)
            with site(primary.url, tmp_path, reader=both) as place:
                place.execute(ROW)
                place.tick_until("there is a copy", lambda: place.store.is_ready() and place.is_equal())
                yield place, primary, standby


def listens(place: Site) -> bool:
    assert place.keeper._source is not None
    return place.keeper._source.gives_notice


def test_a_standby_is_read_while_the_primary_is_away(pair: tuple[Site, Server, Server]) -> None:
    place, primary, standby = pair
    assert listens(place)
    wait_for_standby(place, standby)
    primary.stop()
    place.tick_until("the standby has taken over", lambda: place.said("outcome=database-back"))
    assert not listens(place)
    place.file.unlink()
    place.tick_until(
        "a copy is made from the standby", lambda: place.said("outcome=copy-made-anew") and has_copy(place)
    )
    trunk = place.store.by_uuid("a")
    assert trunk is not None
    primary.start()
    place.dba.dispose()
    place.tick_until("the primary is read again", lambda: listens(place))
    place.execute("UPDATE uacreg SET auth_password = 'second'")
    place.tick_until("the change is noticed", place.is_equal)
    assert len(place.said("outcome=database-away")) == 1


def test_a_standby_that_is_promoted_gives_notices(pair: tuple[Site, Server, Server]) -> None:
    place, primary, standby = pair
    wait_for_standby(place, standby)
    primary.stop()
    place.tick_until("the standby has taken over", lambda: place.said("outcome=database-back"))
    dba = schema.open_database(standby.url)
    with dba.connect() as connection:
        connection.execute(text("SELECT pg_promote()"))
        place.tick_until("it is listened to", lambda: listens(place))
        connection.execute(text("UPDATE uacreg SET auth_password = 'second'"))
    dba.dispose()
    place.tick_until("the change is in the copy", lambda: password(place) == "second")


def wait_for_standby(place: Site, standby: Server) -> None:
    """Until the standby has what the primary has."""
    engine = schema.open_database(standby.url)
    with engine.connect() as connection:
        question = text("SELECT count(*) FROM uacreg")
        place.tick_until("the standby is level", lambda: connection.execute(question).scalar_one() == 1)
    engine.dispose()


def has_copy(place: Site) -> bool:
    return place.file.exists() and [row[1] for row in place.copied()[0]] == ["a"]


def password(place: Site) -> str:
    trunk = place.store.by_uuid("a")
    return trunk.auth_password if trunk else ""
