"""Make the tables or the copy, check the settings against this machine, then become Kamailio.

No database server is asked, so that Kamailio starts without it and serves calls from the copy.
"""

from __future__ import annotations

import errno
import os
import re
import shutil
import stat
import sys
import sysconfig
from collections.abc import Mapping
from pathlib import Path

from sqlalchemy.exc import SQLAlchemyError

from kemi import schema
from kemi.replica import copy as replica
from kemi.settings import PROJECT, Settings
from kemi.sockets import Socket
from kemi.trunks.tables import cause

# Kamailio's memory manager with constant-time allocation; a call costs less CPU than with its default, qm.
ALLOCATOR = "tlsf"


class StartError(RuntimeError):
    """A reason not to start Kamailio; the text is one line for the operator."""


def run(settings: Settings, extra: list[str]) -> None:
    """Check the settings against this machine, then become Kamailio. Never returns; raises StartError."""
    kamailio = shutil.which("kamailio", path=f"{os.environ.get('PATH', os.defpath)}:/usr/local/sbin:/usr/sbin")
    if not kamailio:
        raise StartError("kamailio is not installed; on Debian: apt-get install kamailio kamailio-python3-modules")
    check_interpreter()
    prepare_database(settings)
    for sip_socket in settings.listen:
        check_free(sip_socket)
    settings.rpc_socket.unlink(missing_ok=True)
    arguments = [kamailio, "-DD", "-E", "-f", str(PROJECT / "kamailio/kamailio.cfg"), "-Y", str(settings.state_dir)]
    arguments += ["-x", ALLOCATOR]
    os.execve(kamailio, [*arguments, *extra], kamailio_environment(settings, os.environ))  # noqa: S606


def kamailio_environment(settings: Settings, environment: Mapping[str, str]) -> dict[str, str]:
    """Return the environment that kamailio.cfg and trunkauth.py read: every setting but the database's URL spelled
    out, and PYTHONPATH.
    """
    pythonpath = [str(PROJECT), sysconfig.get_path("purelib"), environment.get("PYTHONPATH", "")]
    return {
        **environment,
        "PYTHONPATH": os.pathsep.join(filter(None, pythonpath)),
        "TRUNKAUTH_STATE_DIR": str(settings.state_dir),
        "TRUNKAUTH_LISTEN": " ".join(map(str, settings.listen)),
        "TRUNKAUTH_DEFAULT_TRUNK": settings.default_trunk,
        "TRUNKAUTH_REG_CONTACT": settings.reg_contact,
        "TRUNKAUTH_WORKERS": str(settings.workers),
        "TRUNKAUTH_LOG_LEVEL": str(settings.log_level),
        "TRUNKAUTH_PREEMPTIVE": "auto" if settings.preemptive else "off",
        "TRUNKAUTH_KAMAILIO_DB_URL": settings.kamailio_db_url,
        "TRUNKAUTH_REG_TABLE": "registrations" if settings.is_embedded or settings.is_copied else "uacreg",
        "TRUNKAUTH_RPC_SOCKET": f"unixs:{settings.rpc_socket}",
        "TRUNKAUTH_SCRIPT": str(PROJECT / "kamailio/trunkauth.py"),
    }


def check_interpreter() -> None:
    """Check that app_python3 embeds this Python: packages made for another version would not load there."""
    for module in Path("/usr").glob("lib*/**/kamailio/modules/app_python3.so"):
        embedded = re.search(rb"libpython(3\.[0-9]+)", module.read_bytes())
        mine = f"{sys.version_info.major}.{sys.version_info.minor}"
        if embedded and embedded[1].decode() != mine:
            raise StartError(f"app_python3 embeds Python {embedded[1].decode()}, and this is {mine}: use that one")


def prepare_database(settings: Settings) -> None:
    """Make the local file that calls are served from, or check that it can be used. Raises StartError."""
    check_private(settings)
    if settings.is_embedded:
        make_tables(settings)
    elif settings.is_copied:
        try:
            replica.prepare(settings.local_file, settings.db_url)
        except replica.CopyError as error:
            raise StartError(f"TRUNKAUTH_STATE_DIR: {settings.local_file} cannot be made: {error}") from None
    else:
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
        if settings.is_copied and (reason := schema.install_notice(engine)):
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
