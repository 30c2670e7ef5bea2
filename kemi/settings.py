"""Read every setting from the environment, once, and check it before Kamailio starts.

An invalid value raises SettingError, whose text is the one line that the operator sees: the variable, its value, what
is accepted. It never shows the database's password.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

from sqlalchemy.engine import URL, create_engine, make_url
from sqlalchemy.exc import ArgumentError

from kemi.line import FORMS
from kemi.start.rtpengine import Rtpengine
from kemi.start.sockets import Socket
from kemi.trunks.listen import Listen
from kemi.trunks.rows import Rules, is_domain
from kemi.trunks.secret import revealed

T = TypeVar("T")

_PACKAGE = Path(__file__).resolve().parent
_IS_INSTALLED = (_PACKAGE / "kamailio").is_dir()  # from a wheel, in which kamailio/ and db/ lie inside of kemi/
PROJECT = _PACKAGE.parent  # what Python has to have on its path
FILES = _PACKAGE if _IS_INSTALLED else PROJECT  # where kamailio/ and db/ are

LOCAL_DRIVERS = frozenset({"sqlite", "sqlite+pysqlite"})  # the DBA's database is a local file
SERVER_DRIVERS = frozenset({"postgresql+psycopg", "mysql+pymysql"})  # it is a server

COPY = "replica.sqlite"
RPC_SOCKET = "rpc.sock"
MOST_LOGGED = 2  # Kamailio's level 3 prints the rows that its modules read, and what scripts give it (5.6 to 6.1)
LOGS_SECRETS = "makes Kamailio print passwords; choose 2 or less, or set TRUNKAUTH_LOG_SECRETS=1"
LONGEST_SOCKET_PATH = 103  # Kamailio's ctl module accepts 104 bytes with the final NUL (init_unix_sock)
SYSTEM_CA = "/etc/ssl/certs"  # Debian's, by the hashes of their names; a file of all would be read into shared memory
NEVER_NEXT_ON = frozenset({401, 407, 486, 487})  # challenges, the callee's own word, and the caller's

_TRUNK = re.compile(r"[\x21-\x7e]{0,64}")  # uacreg.l_uuid is VARCHAR(64)
_PREEMPTIVE = re.compile(r"auto|off")
_FORMS = re.compile("|".join(FORMS))
_ADDRESS = re.compile(r"(?P<host>\[[0-9A-Fa-f:.]+\]|[0-9.]+|localhost):(?P<port>[0-9]{1,5})")
_CONTACT = re.compile(r"[A-Za-z0-9._:;=\[\]-]+")
_PATH = re.compile(r'[^\s"\\\x00-\x1f\x7f]+')  # safe in a quoted string of kamailio.cfg and in a URL


class SettingError(ValueError):
    """An invalid setting; the text is one line for the operator."""


@dataclass(frozen=True)
class Settings:
    """The parsed settings. `db_url` may hold a password and stays out of repr."""

    db_url: URL = field(repr=False)
    is_embedded: bool
    compare_interval: int
    state_dir: Path
    listen: tuple[Socket, ...]
    default_trunk: str
    reg_contact: str
    workers: int
    memory: int
    ring_seconds: int
    setup_seconds: int
    try_seconds: int
    next_on: frozenset[int]
    log: str
    log_level: int
    may_log_passwords: bool
    preemptive: bool
    max_cps: int
    key_file: Path
    http: tuple[str, int] | None
    tls_ca: Path
    tls_cert: Path | None
    tls_key: Path | None
    rtpengine: Rtpengine | None

    @classmethod
    def from_environment(cls, environment: Mapping[str, str]) -> Settings:
        """Parse the TRUNKAUTH_* variables; an empty one counts as unset. Raises SettingError."""

        def value(name: str, default: str) -> str:
            return environment.get(name, "").strip() or default

        state_dir = _fits_socket(_file("TRUNKAUTH_STATE_DIR", value("TRUNKAUTH_STATE_DIR", str(_home()))))
        listen = _parsed("TRUNKAUTH_LISTEN", Socket.parse, value("TRUNKAUTH_LISTEN", "udp:127.0.0.1:5060").split())
        db_url = value("TRUNKAUTH_DB_URL", "")
        cert = value("TRUNKAUTH_TLS_CERT", "")
        may_log_passwords = _number("TRUNKAUTH_LOG_SECRETS", value("TRUNKAUTH_LOG_SECRETS", "0"), 0, 1) == 1
        ring = _number("TRUNKAUTH_RING_SECONDS", value("TRUNKAUTH_RING_SECONDS", "180"), 1, 3600)
        return cls(
            db_url=_db_url(
                db_url or f"sqlite:///{state_dir}/trunkauth.sqlite", value("TRUNKAUTH_DB_PASSWORD_FILE", "")
            ),
            compare_interval=_number("TRUNKAUTH_DB_INTERVAL", value("TRUNKAUTH_DB_INTERVAL", "10"), 1, 3600),
            is_embedded=not db_url,
            state_dir=state_dir,
            listen=listen,
            default_trunk=_matching("TRUNKAUTH_DEFAULT_TRUNK", value("TRUNKAUTH_DEFAULT_TRUNK", ""), _TRUNK,
                                    "the l_uuid of a trunk: up to 64 printable characters"),
            reg_contact=_reg_contact(value("TRUNKAUTH_REG_CONTACT", ""), listen[0]),
            workers=_number("TRUNKAUTH_WORKERS", value("TRUNKAUTH_WORKERS", "4"), 1, 256),
            memory=_number("TRUNKAUTH_MEMORY", value("TRUNKAUTH_MEMORY", "512"), 32, 1048576),
            ring_seconds=ring,
            setup_seconds=_number("TRUNKAUTH_SETUP_SECONDS", value("TRUNKAUTH_SETUP_SECONDS", str(max(300, ring))),
                                  ring, 3600),
            try_seconds=_number("TRUNKAUTH_TRY_SECONDS", value("TRUNKAUTH_TRY_SECONDS", "4"), 1, 60),
            next_on=_next_on(value("TRUNKAUTH_NEXT_ON", "408,500,502,503,504")),
            log=_matching("TRUNKAUTH_LOG", value("TRUNKAUTH_LOG", "logfmt"), _FORMS, "logfmt or json"),
            log_level=_log_level(value("TRUNKAUTH_LOG_LEVEL", "1"), may_log_passwords),
            may_log_passwords=may_log_passwords,
            max_cps=_number("TRUNKAUTH_MAX_CPS", value("TRUNKAUTH_MAX_CPS", "0"), 0, 100000),
            preemptive=_matching("TRUNKAUTH_PREEMPTIVE", value("TRUNKAUTH_PREEMPTIVE", "auto"), _PREEMPTIVE,
                                 "auto or off") == "auto",
            key_file=_file("TRUNKAUTH_KEY_FILE", value("TRUNKAUTH_KEY_FILE", f"{state_dir}/key")),
            http=_http(value("TRUNKAUTH_HTTP", "")),
            tls_ca=_file("TRUNKAUTH_TLS_CA", value("TRUNKAUTH_TLS_CA", SYSTEM_CA)),
            tls_cert=_file("TRUNKAUTH_TLS_CERT", cert) if cert else None,
            tls_key=_file("TRUNKAUTH_TLS_KEY", value("TRUNKAUTH_TLS_KEY", cert)) if cert else None,
            rtpengine=_parsed("TRUNKAUTH_RTPENGINE", Rtpengine.parse, [value("TRUNKAUTH_RTPENGINE", "")])[0],
        )  # fmt: skip

    @property
    def rpc_socket(self) -> Path:
        """Kamailio's RPC socket (ctl module, binrpc over a Unix stream)."""
        return self.state_dir / RPC_SOCKET

    @property
    def has_tls(self) -> bool:
        """True if there is a TLS socket, without which nothing is sent by TLS either."""
        return any(each.proto == "tls" for each in self.listen)

    @property
    def db_file(self) -> Path | None:
        """The database's own file; None if it is a server's."""
        return Path(self.db_url.database or "") if self.db_url.drivername in LOCAL_DRIVERS else None

    @property
    def local_file(self) -> Path:
        """The SQLite file that workers read: the copy of the database."""
        return self.state_dir / COPY

    @property
    def rules(self) -> Rules:
        """The rules for rows of the database."""
        listen = tuple(Listen(each.proto, each.literal_address, each.port) for each in self.listen)
        return Rules(listen, revealed)

    @property
    def names_file(self) -> Path:
        """The SQLite file of resolved names, which workers read too."""
        return self.state_dir / "names.sqlite"

    @property
    def calls_file(self) -> Path:
        """The file that notes which calls hold a place of a trunk with a limit."""
        return self.state_dir / "calls"

    @property
    def kamailio_db_url(self) -> str:
        """The copy's URL for Kamailio's own modules, which decode no percent-encoding (src/lib/srdb1/db_id.c)."""
        return f"sqlite:///{self.local_file}"

    @property
    def names_db_url(self) -> str:
        """The same of the file of resolved names, where the uac module finds the rows that register."""
        return f"sqlite:///{self.names_file}"

    @property
    def shown_db_url(self) -> str:
        """The database's URL for the log, without its passwords, also those in the driver's options."""
        secret = [name for name in self.db_url.query if "pass" in name.lower()]
        return self.db_url.difference_update_query(secret).render_as_string(hide_password=True)


def _matching(name: str, text: str, pattern: re.Pattern[str], takes: str) -> str:
    if not pattern.fullmatch(text):
        raise SettingError(f"{name}: {text!r} is not {takes}")
    return text


def _number(name: str, text: str, low: int, high: int) -> int:
    if not re.fullmatch(r"-?[0-9]{1,7}", text) or not low <= int(text) <= high:
        raise SettingError(f"{name}: {text!r} is not a whole number from {low} to {high}")
    return int(text)


def _next_on(text: str) -> frozenset[int]:
    statuses = [one.strip() for one in text.split(",")]
    if text == "none":
        return frozenset()
    for one in statuses:
        if not re.fullmatch(r"[45][0-9]{2}", one) or int(one) in NEVER_NEXT_ON:
            takes = "statuses from 400 to 599 with commas, or none"
            raise SettingError(f"TRUNKAUTH_NEXT_ON: {one!r} is not a status to go on after; it takes {takes}")
    return frozenset(map(int, statuses))


def _log_level(text: str, may_log_passwords: bool) -> int:
    level = _number("TRUNKAUTH_LOG_LEVEL", text, -5, 3)
    if level > MOST_LOGGED and not may_log_passwords:
        raise SettingError(f"TRUNKAUTH_LOG_LEVEL: {level} {LOGS_SECRETS}")
    return level


def _file(name: str, text: str) -> Path:
    return Path(_matching(name, text, _PATH, "a path without spaces, quotes and backslashes")).absolute()


def _home() -> Path:
    """Return the state directory unless another is named: the system's if root has installed us, the user's own if
    somebody else has, and the checkout's var/ if nobody has.
    """
    if not _IS_INSTALLED:
        return PROJECT / "var"
    return Path("/var/lib/kemi-trunkauth") if os.geteuid() == 0 else Path.home() / ".local/state/kemi-trunkauth"


def _fits_socket(state_dir: Path) -> Path:
    if len(str(state_dir / RPC_SOCKET)) > LONGEST_SOCKET_PATH:
        longest = LONGEST_SOCKET_PATH - len(RPC_SOCKET) - 1
        raise SettingError(
            f"TRUNKAUTH_STATE_DIR: {state_dir} is too long a path for the RPC socket; at most {longest} characters"
        )
    return state_dir


def _http(text: str) -> tuple[str, int] | None:
    """Return the address and the port for HTTP, None for an empty text."""
    if not text:
        return None
    match = _ADDRESS.fullmatch(text)
    if not match or not 1 <= int(match["port"]) <= 65535:
        raise SettingError(f"TRUNKAUTH_HTTP: {text!r} is not address:port, such as 127.0.0.1:9494")
    return match["host"].strip("[]"), int(match["port"])


def _parsed(name: str, parse: Callable[[str], T], texts: list[str]) -> tuple[T, ...]:
    try:
        return tuple(map(parse, texts))
    except ValueError as error:
        raise SettingError(f"{name}: {error}") from None


def _reg_contact(text: str, first: Socket) -> str:
    if text and not (_CONTACT.fullmatch(text) and is_domain(text)):
        raise SettingError(f"TRUNKAUTH_REG_CONTACT: {text!r} is not a host or host:port that the carrier can call back")
    if text or first.reached_at:
        return text or first.reached_at
    raise SettingError(
        f"TRUNKAUTH_REG_CONTACT: not set, and the first socket, {first}, names no address to call back; "
        "it takes a host or host:port"
    )


def _db_url(text: str, password_file: str) -> URL:
    takes = "sqlite:////path, postgresql+psycopg://user:password@host/name or mysql+pymysql://user:password@host/name"
    try:
        url = make_url(text)
    except (ArgumentError, ValueError):
        raise SettingError(f"TRUNKAUTH_DB_URL: not a database URL; it takes {takes}") from None
    if url.drivername not in LOCAL_DRIVERS | SERVER_DRIVERS:
        raise SettingError(f"TRUNKAUTH_DB_URL: {url.drivername!r} is not served; it takes {takes}")
    if not url.database or url.database == ":memory:":
        raise SettingError(f"TRUNKAUTH_DB_URL: it names no database; it takes {takes}")
    if url.drivername in LOCAL_DRIVERS:
        path = str(Path(url.database).absolute())
        return url.set(
            database=_matching("TRUNKAUTH_DB_URL", path, _PATH, "a path without spaces, quotes and backslashes")
        )
    _check_options(url)
    return url.set(password=_password(password_file)) if password_file else url


def _check_options(url: URL) -> None:
    """Check that SQLAlchemy accepts the options after the question mark, such as a list of hosts."""
    try:
        create_engine(url).dialect.create_connect_args(url)
    except ImportError as error:
        reason = " ".join(str(error).split())
        raise SettingError(f"TRUNKAUTH_DB_URL: the driver of {url.drivername} is not installed: {reason}") from None
    except (ArgumentError, ValueError, TypeError) as error:
        raise SettingError(f"TRUNKAUTH_DB_URL: its options cannot be used: {' '.join(str(error).split())}") from None


def _password(path: str) -> str:
    try:
        return Path(path).read_text(encoding="utf-8").rstrip("\r\n")
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "not UTF-8"
        raise SettingError(
            f"TRUNKAUTH_DB_PASSWORD_FILE: {path!r}: {reason}; it takes a file with the password"
        ) from None
