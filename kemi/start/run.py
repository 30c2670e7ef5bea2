"""Make the tables or the copy, check the settings against this machine, then become Kamailio.

No database server is asked, so that Kamailio starts without it and serves calls from the copy.
"""

from __future__ import annotations

import contextlib
import errno
import os
import re
import shutil
import stat
import sys
import sysconfig
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from sqlalchemy.exc import SQLAlchemyError

from kemi.health import connections
from kemi.names.file import NamesFile
from kemi.replica.copy import Copy, prepare
from kemi.replica.keeper import Keeper
from kemi.replica.writer import CopyError
from kemi.settings import FILES, LOGS_SECRETS, MOST_LOGGED, PROJECT, Settings
from kemi.start import config, key, loglevel, memory, schema, tls
from kemi.start.sockets import Socket, is_running
from kemi.trunks.tables import cause

# Kamailio's memory manager with constant-time allocation; a call costs less CPU than with its default, qm.
ALLOCATOR = "tlsf"

# MiB of memory of each process's own, taken as it is used: a module reads a whole table into it (trunks/groups.py).
# 20,000 addresses ended all of Kamailio with its default of 8.
PRIVATE_MEMORY = 64

DEBIANS_PREFIX = Path("/usr")  # of its Kamailio, and of its libpython and standard library


class StartError(RuntimeError):
    """A reason not to start Kamailio; the text is one line for the operator."""


def run(settings: Settings, extra: list[str]) -> None:
    """Check the settings against this machine, then become Kamailio. Never returns; raises StartError."""
    kamailio = shutil.which("kamailio", path=f"{os.environ.get('PATH', os.defpath)}:/usr/local/sbin:/usr/sbin")
    if not kamailio:
        raise StartError("kamailio is not installed; on Debian: apt-get install kamailio kamailio-python3-modules")
    check_interpreter()
    named, settings = settings.listen, replace(settings, listen=tuple(map(looked_up, settings.listen)))
    prepare_database(settings)
    try:
        memory.check(settings.memory)
        key.load(settings.key_file)
    except (memory.MemoryLackError, key.KeyFileError) as error:
        raise StartError(str(error)) from None
    if settings.has_tls:
        prepare_tls(settings)
    extra = config.with_files(extra)
    check_log_level(settings, extra)
    arguments = [kamailio, "-DD", "-E", "-f", str(FILES / "kamailio/kamailio.cfg"), "-Y", str(settings.state_dir)]
    arguments += ["-x", ALLOCATOR, "-m", str(settings.memory), "-M", str(PRIVATE_MEMORY), "-w", str(settings.state_dir)]
    arguments += ["-A", "HTTP=1"] if settings.http else []
    arguments += ["-A", "TLS=1"] if settings.has_tls else []
    arguments += ["-A", "RTPENGINE=1"] if settings.rtpengine else []
    arguments += extra
    environment = kamailio_environment(settings, os.environ)
    if arguments.count("-f") > 1:
        try:
            level = config.check(arguments, named, environment)
        except config.ConfigError as error:
            raise StartError(str(error)) from None
        check_level(settings, "-f", level)
    for sip_socket in settings.listen:
        check_free(sip_socket)
    if settings.http:
        check_http(*settings.http)
    if is_running(settings.rpc_socket):
        raise StartError(
            f"TRUNKAUTH_STATE_DIR: a Kamailio runs over {settings.state_dir}; stop it, or choose another directory"
        )
    settings.rpc_socket.unlink(missing_ok=True)
    # Kamailio looks for a file to include in its working directory first, and only then beside the one that says so.
    os.chdir(settings.state_dir)
    os.execve(kamailio, arguments, environment)  # noqa: S606


def kamailio_environment(settings: Settings, environment: Mapping[str, str]) -> dict[str, str]:
    """Return the environment that kamailio.cfg and trunkauth.py read: every setting but the database's URL spelled
    out, PYTHONPATH, and PYTHONHOME for Debian's app_python3.

    Without PYTHONHOME the embedded interpreter takes its standard library from the first python3 on PATH (CPython's
    Modules/getpath.py), whose C extensions do not load into Debian's libpython.
    """
    pythonpath = [str(PROJECT), sysconfig.get_path("purelib"), environment.get("PYTHONPATH", "")]
    return {
        **environment,
        **({"PYTHONHOME": str(DEBIANS_PREFIX)} if embedded_version() else {}),
        "PYTHONPATH": os.pathsep.join(filter(None, pythonpath)),
        "TRUNKAUTH_STATE_DIR": str(settings.state_dir),
        "TRUNKAUTH_LISTEN": " ".join(map(str, settings.listen)),
        "TRUNKAUTH_SOCKETS": " listen=".join(each.statement for each in settings.listen),
        "TRUNKAUTH_MHOMED": str(int(len({one for each in settings.listen for one in each.addresses}) > 1)),
        "TRUNKAUTH_DEFAULT_TRUNK": settings.default_trunk,
        "TRUNKAUTH_REG_CONTACT": settings.reg_contact,
        "TRUNKAUTH_WORKERS": str(settings.workers),
        "TRUNKAUTH_MEMORY": str(settings.memory),
        "TRUNKAUTH_RING_SECONDS": str(settings.ring_seconds),
        "TRUNKAUTH_SETUP_SECONDS": str(settings.setup_seconds),
        "TRUNKAUTH_TRY_SECONDS": str(settings.try_seconds),
        "TRUNKAUTH_NEXT_ON": ",".join(map(str, sorted(settings.next_on))) or "none",
        "TRUNKAUTH_LOG": settings.log,
        "TRUNKAUTH_HTTP": http_text(settings.http),
        "TRUNKAUTH_RTPENGINE": settings.rtpengine.at if settings.rtpengine else "",
        "TRUNKAUTH_RTP_FLAGS": settings.rtpengine.flags if settings.rtpengine else "",
        "TRUNKAUTH_LOG_LEVEL": str(settings.log_level),
        "TRUNKAUTH_KEY_FILE": str(settings.key_file),
        "TRUNKAUTH_MAX_CPS": str(settings.max_cps),
        "TRUNKAUTH_PREEMPTIVE": "auto" if settings.preemptive else "off",
        "TRUNKAUTH_RING_MS": str(1000 * settings.ring_seconds),
        "TRUNKAUTH_SETUP_MS": str(1000 * settings.setup_seconds),
        "TRUNKAUTH_EARLY_SECONDS": str(settings.setup_seconds + 60),
        "TRUNKAUTH_SEQUENCES": f"sequences=>size=12;autoexpire={settings.setup_seconds + 60};",
        "TRUNKAUTH_TCP_CONNECTIONS": str(connections.most(settings.memory)),
        "TRUNKAUTH_TCP_PER_SOURCE": str(connections.most_of_a_source(settings.memory)),
        "TRUNKAUTH_KAMAILIO_DB_URL": settings.kamailio_db_url,
        "TRUNKAUTH_NAMES_DB_URL": settings.names_db_url,
        "TRUNKAUTH_RPC_SOCKET": f"unixs:{settings.rpc_socket}",
        "TRUNKAUTH_TLS_CA": str(settings.tls_ca),
        "TRUNKAUTH_TLS_CERT": str(settings.tls_cert or ""),
        "TRUNKAUTH_TLS_KEY": str(settings.tls_key or ""),
        "TRUNKAUTH_TLS_CONFIG": str(tls.config(settings)),
        "TRUNKAUTH_SCRIPT": str(FILES / "kamailio/trunkauth.py"),
    }


def http_text(address: tuple[str, int] | None) -> str:
    """Return the address as TRUNKAUTH_HTTP has it."""
    if not address:
        return ""
    host, port = address
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def check_http(host: str, port: int) -> None:
    """Check that HTTP can be served there. Raises StartError."""
    try:
        Socket("tcp", host, port).bind_briefly()
    except OSError as error:
        advice = (
            "stop what uses it, or choose another port"
            if error.errno == errno.EADDRINUSE
            else "choose an address of this machine"
        )
        raise StartError(f"TRUNKAUTH_HTTP: {http_text((host, port))}: {error.strerror or error}; {advice}") from None


def prepare_tls(settings: Settings) -> None:
    """Check the certificates, and write the profiles that name them. Raises StartError."""
    try:
        tls.check(settings)
        tls.write(settings)
    except tls.CertificateError as error:
        raise StartError(str(error)) from None
    except OSError as error:
        raise StartError(f"TRUNKAUTH_STATE_DIR: {error}") from None
    if not modules("tls.so"):
        raise StartError("Kamailio's tls module is not installed; on Debian: apt-get install kamailio-tls-modules")


def check_interpreter() -> None:
    """Check that app_python3 embeds this Python: packages made for another version would not load there."""
    embedded, mine = embedded_version(), f"{sys.version_info.major}.{sys.version_info.minor}"
    if embedded not in ("", mine):
        raise StartError(f"app_python3 embeds Python {embedded}, and this is {mine}: use that one")


def embedded_version() -> str:
    """Return the version of Python that Debian's app_python3 embeds, such as 3.11; empty if it is not installed."""
    for module in modules("app_python3.so"):
        if found := re.search(rb"libpython(3\.[0-9]+)", module.read_bytes()):
            return found[1].decode()
    return ""


def modules(name: str) -> list[Path]:
    """Return the files of one of Debian's modules for Kamailio; none if it is not installed."""
    return [
        found for folder in ("lib*", "lib*/*") for found in DEBIANS_PREFIX.glob(f"{folder}/kamailio/modules/{name}")
    ]


def check_log_level(settings: Settings, extra: list[str]) -> None:
    """Check that no argument for Kamailio makes it print passwords. Raises StartError."""
    for name, level in loglevel.of_arguments(extra).items():
        check_level(settings, name, level)


def check_level(settings: Settings, name: str, level: int) -> None:
    """Check that a log level does not make Kamailio print passwords. name: who asks for it. Raises StartError."""
    if level > MOST_LOGGED and not settings.may_log_passwords:
        raise StartError(f"{name}: level {level} {LOGS_SECRETS}")


def prepare_database(settings: Settings) -> None:
    """Make the files that calls are served from ready; a database that is a file is copied now. Raises StartError.

    Like a server, a file may be away or locked if there is a copy of it to start from.
    """
    check_private(settings)
    names = NamesFile(settings.names_file)
    try:
        names.open()
    except (SQLAlchemyError, OSError) as error:
        raise StartError(f"TRUNKAUTH_STATE_DIR: {settings.names_file} cannot be made: {cause(error)}") from None
    finally:
        names.close()
    try:
        prepare(settings.local_file, settings.db_url, settings.rules)
        with contextlib.closing(Copy(settings.local_file, settings.rules)) as copy:
            is_filled = copy.synced_at() is not None
    except CopyError as error:
        raise StartError(f"TRUNKAUTH_STATE_DIR: {settings.local_file} cannot be made: {error}") from None
    if settings.db_file is None:
        return
    if not is_filled:
        check_tables(settings)
    elif settings.is_embedded:
        with contextlib.suppress(StartError):
            make_tables(settings)
    keeper = Keeper.of(settings)
    for _ in range(2):  # the second tick opens the copy to calls: Kamailio will read its addresses
        keeper.tick()
    keeper.close()


def check_tables(settings: Settings) -> None:
    """Check that the database has its tables; the embedded one gets those that are missing. Raises StartError."""
    if settings.is_embedded:
        make_tables(settings)
        return
    engine = schema.open_database(settings.db_url)
    try:
        schema.check(engine)
    except (SQLAlchemyError, schema.SchemaError) as error:
        raise StartError(f"TRUNKAUTH_DB_URL: {settings.shown_db_url}: {cause(error)}") from None
    finally:
        engine.dispose()


def make_tables(settings: Settings) -> str:
    """Create the missing tables and return one line that says which. Raises StartError."""
    engine = schema.open_database(settings.db_url)
    notice = ""
    try:
        made = schema.create(engine)
        if settings.is_embedded and "address" in made:
            schema.open_to_loopback(engine)
        if settings.db_file is None and (reason := schema.install_notice(engine)):
            notice = f"; no notice of changes, they are found every {settings.compare_interval} s: {reason}"
    except (SQLAlchemyError, schema.SchemaError) as error:
        raise StartError(f"TRUNKAUTH_DB_URL: {settings.shown_db_url}: {cause(error)}") from None
    finally:
        engine.dispose()
    return f"{settings.shown_db_url}: {'created ' + ', '.join(made) if made else 'up to date'}{notice}"


def check_private(settings: Settings) -> None:
    """Check that nobody else can read the files in the state directory. Raises StartError."""
    for path in (settings.state_dir, *settings.state_dir.glob("*.sqlite*")):
        if stat.S_IMODE(path.stat().st_mode) & 0o077:
            mode = "700" if path.is_dir() else "600"
            raise StartError(f"TRUNKAUTH_STATE_DIR: others can read {path}, which holds passwords: chmod {mode} {path}")


def looked_up(sip_socket: Socket) -> Socket:
    """Return a socket with an address in place of a name. Kamailio asks no name server for it; and for a name that it
    is to advertise and cannot look up, it drops the socket, and listens everywhere instead. Raises StartError.
    """
    try:
        return sip_socket.looked_up()
    except (OSError, UnicodeError) as error:
        reason = (isinstance(error, OSError) and error.strerror) or error
        raise StartError(f"TRUNKAUTH_LISTEN: {sip_socket}: {reason}; write an address") from None


def check_free(sip_socket: Socket) -> None:
    """Check that a socket can be bound, because Kamailio would share a UDP port with another one. Raises StartError."""
    if sip_socket.is_interface:
        return
    try:
        sip_socket.bind_briefly()
    except OSError as error:
        taken = error.errno == errno.EADDRINUSE
        advice = "stop what uses it, or choose another port" if taken else "choose an address of this machine"
        raise StartError(f"TRUNKAUTH_LISTEN: {sip_socket}: {error.strerror or error}; {advice}") from None
