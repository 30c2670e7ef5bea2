"""Every setting, read from the environment once and checked before anything starts.

A value that cannot be used raises SettingError, whose text is the one line that the operator sees: the variable, what
it holds, what it takes. A database password is never part of that line.
"""

from __future__ import annotations

import fcntl
import re
import socket
import struct
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from sqlalchemy.engine import URL, make_url
from sqlalchemy.exc import ArgumentError

PROJECT = Path(__file__).resolve().parent.parent

# SQLAlchemy's name of a driver -> the scheme by which Kamailio's own modules know that kind of server
KAMAILIO_SCHEMES = {
    "sqlite": "sqlite",
    "sqlite+pysqlite": "sqlite",
    "postgresql+psycopg": "postgres",
    "mysql+pymysql": "mysql",
}

RPC_SOCKET = "rpc.sock"
LONGEST_SOCKET_PATH = 103  # Kamailio's ctl module refuses more than 104 with the final NUL (init_unix_sock)

_SIOCGIFADDR = 0x8915  # <linux/sockios.h>; ifreq: 16 bytes of name, then a sockaddr_in with its address at 20
_SOCKET = re.compile(r"(?P<proto>udp|tcp):(?P<host>\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9._-]+):(?P<port>[0-9]{1,5})")
_TRUNK = re.compile(r"[\x21-\x7e]{0,64}")  # uacreg.l_uuid is VARCHAR(64)
_CONTACT = re.compile(r"[A-Za-z0-9._:;=\[\]-]+")
_UNQUOTABLE = re.compile(r'["\\\x00-\x1f\x7f]')  # what would break out of a quoted string of kamailio.cfg


class SettingError(ValueError):
    """A setting that cannot be used; the text is one line for the operator."""


@dataclass(frozen=True)
class Socket:
    """One SIP socket: proto `udp` or `tcp`; host a name, an interface, an IPv4 or a bracketed IPv6 address; port
    1-65535.
    """

    proto: str
    host: str
    port: int

    def __str__(self) -> str:
        return f"{self.proto}:{self.host}:{self.port}"

    @property
    def address(self) -> str:
        """The host as a peer can reach it: an interface's own address; empty for a wildcard, which names none."""
        if self.host in (name for _, name in socket.if_nameindex()):
            return _address_of_interface(self.host)
        return "" if self.host in ("0.0.0.0", "[::]") else self.host  # noqa: S104


@dataclass(frozen=True)
class Settings:
    """The contract's settings, parsed. `db_url` may hold a password and stays out of repr."""

    db_url: URL = field(repr=False)
    is_embedded: bool
    state_dir: Path
    listen: tuple[Socket, ...]
    default_trunk: str
    reg_contact: str
    workers: int
    log_level: int

    @classmethod
    def from_environment(cls, environment: Mapping[str, str]) -> Settings:
        """Read the TRUNKAUTH_* variables; an empty one counts as unset. Raises SettingError."""

        def value(name: str, default: str) -> str:
            return environment.get(name, "").strip() or default

        state_dir = _fits_socket(_state_dir(value("TRUNKAUTH_STATE_DIR", str(PROJECT / "var"))))
        listen = _listen(value("TRUNKAUTH_LISTEN", "udp:127.0.0.1:5060"))
        db_url = value("TRUNKAUTH_DB_URL", "")
        return cls(
            db_url=_db_url(db_url or f"sqlite:///{state_dir}/trunkauth.sqlite"),
            is_embedded=not db_url,
            state_dir=state_dir,
            listen=listen,
            default_trunk=_matching("TRUNKAUTH_DEFAULT_TRUNK", value("TRUNKAUTH_DEFAULT_TRUNK", ""), _TRUNK,
                                    "the l_uuid of a trunk: up to 64 printable characters"),
            reg_contact=_reg_contact(value("TRUNKAUTH_REG_CONTACT", ""), listen[0]),
            workers=_number("TRUNKAUTH_WORKERS", value("TRUNKAUTH_WORKERS", "4"), 1, 256),
            log_level=_number("TRUNKAUTH_LOG_LEVEL", value("TRUNKAUTH_LOG_LEVEL", "1"), -5, 3),
        )  # fmt: skip

    @property
    def rpc_socket(self) -> Path:
        """Kamailio's RPC socket (ctl module, binrpc over a Unix stream)."""
        return self.state_dir / RPC_SOCKET

    @property
    def kamailio_db_url(self) -> str:
        """The same database as Kamailio's modules parse it (src/lib/srdb1/db_id.c): nothing is percent-encoded."""
        url = self.db_url
        scheme = KAMAILIO_SCHEMES[url.drivername]
        if scheme == "sqlite":
            return f"sqlite:///{url.database}"
        login = f"{url.username}:{url.password}@" if url.password else f"{url.username}@" if url.username else ""
        port = f":{url.port}" if url.port else ""
        host = f"[{url.host}]" if url.host and ":" in url.host else url.host or "localhost"
        return f"{scheme}://{login}{host}{port}/{url.database}"

    @property
    def shown_db_url(self) -> str:
        """The database's URL as it may be shown: its password masked."""
        return self.db_url.render_as_string(hide_password=True)


def _matching(name: str, text: str, pattern: re.Pattern[str], takes: str) -> str:
    if not pattern.fullmatch(text):
        raise SettingError(f"{name}: {text!r} is not {takes}")
    return text


def _number(name: str, text: str, low: int, high: int) -> int:
    if not re.fullmatch(r"-?[0-9]{1,4}", text) or not low <= int(text) <= high:
        raise SettingError(f"{name}: {text!r} is not a whole number from {low} to {high}")
    return int(text)


def _state_dir(text: str) -> Path:
    if _UNQUOTABLE.search(text) or any(character.isspace() for character in text):
        raise SettingError(f"TRUNKAUTH_STATE_DIR: {text!r} is not a path without spaces, quotes and backslashes")
    return Path(text).absolute()


def _fits_socket(state_dir: Path) -> Path:
    if len(str(state_dir / RPC_SOCKET)) > LONGEST_SOCKET_PATH:
        longest = LONGEST_SOCKET_PATH - len(RPC_SOCKET) - 1
        raise SettingError(
            f"TRUNKAUTH_STATE_DIR: {state_dir} is too long a path for the RPC socket; at most {longest} characters"
        )
    return state_dir


def _listen(text: str) -> tuple[Socket, ...]:
    sockets = []
    for word in text.split():
        match = _SOCKET.fullmatch(word)
        if not match or not 1 <= int(match["port"]) <= 65535:
            raise SettingError(
                f"TRUNKAUTH_LISTEN: {word!r} is not a socket; it takes proto:address:port with proto udp or tcp, "
                "space-separated, such as udp:127.0.0.1:5060 tcp:127.0.0.1:5060"
            )
        sockets.append(Socket(match["proto"], match["host"], int(match["port"])))
    return tuple(sockets)


def _reg_contact(text: str, first: Socket) -> str:
    if not text:
        if not first.address:
            raise SettingError(
                f"TRUNKAUTH_REG_CONTACT: not set, and the first socket, {first}, names no address to call back; "
                "it takes a host or host:port"
            )
        return f"{first.address}:{first.port}"
    return _matching("TRUNKAUTH_REG_CONTACT", text, _CONTACT, "a host or host:port that the carrier can call back")


def _address_of_interface(name: str) -> str:
    """The IPv4 address of a network interface, which Kamailio listens on; empty where it has none."""
    request = struct.pack("16s16x8x", name.encode()[:15])
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            answer = fcntl.ioctl(probe, _SIOCGIFADDR, request)
        except OSError:
            return ""
    return socket.inet_ntoa(answer[20:24])


def _db_url(text: str) -> URL:
    takes = "sqlite:////path, postgresql+psycopg://user:password@host/name or mysql+pymysql://user:password@host/name"
    try:
        url = make_url(text)
    except (ArgumentError, ValueError):
        raise SettingError(f"TRUNKAUTH_DB_URL: not a database URL; it takes {takes}") from None
    if url.drivername not in KAMAILIO_SCHEMES:
        raise SettingError(f"TRUNKAUTH_DB_URL: {url.drivername!r} is not served; it takes {takes}")
    if not url.database or url.database == ":memory:":
        raise SettingError(f"TRUNKAUTH_DB_URL: it names no database; it takes {takes}")
    if any(_UNQUOTABLE.search(part) for part in (url.username or "", url.password or "", url.host or "", url.database)):
        raise SettingError(
            "TRUNKAUTH_DB_URL: quotes, backslashes and control characters cannot be handed on to Kamailio's modules"
        )
    if KAMAILIO_SCHEMES[url.drivername] == "sqlite":
        return url.set(database=str(Path(url.database).absolute()))
    return url
