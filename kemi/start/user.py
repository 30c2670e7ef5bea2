"""The user that Kamailio runs as: never root without being told so (`-u root`).

Root is given up before anything is read or made, for good: Kamailio itself never has it, and SIP's ports need none.
"""

from __future__ import annotations

import argparse
import grp
import os
import pwd
import stat
from pathlib import Path

import sqlalchemy

from kemi.settings import PROJECT, Settings

USUAL = "kamailio"  # made by Debian's package


class UserError(RuntimeError):
    """A user that Kamailio cannot run as; the text is one line for the operator."""


def step_down(settings: Settings, extra: list[str]) -> list[str]:
    """Become the user that `-u` names, and the group that `-g` names; without them, root becomes the owner of the state
    directory, or `kamailio` if that is root. Return the other arguments. Raises UserError.
    """
    parser = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    parser.add_argument("-u", dest="user", default="")
    parser.add_argument("-g", dest="group", default="")
    asked, others = parser.parse_known_args(extra)
    is_root = os.geteuid() == 0
    if not (is_root or asked.user):
        return extra
    user = _user(asked.user or _usual(settings.state_dir))
    if user.pw_uid == os.geteuid():
        return extra if asked.group else others
    if not is_root:
        raise UserError(f"-u {asked.user}: only root can become another user")
    _become(user, asked.group, settings)
    return others


def hand_over(state_dir: Path) -> None:
    """Give files that root has made in the state directory to its owner."""
    owner = state_dir.stat()
    if os.geteuid() == 0 and owner.st_uid:
        _give(state_dir, owner.st_uid, owner.st_gid)


def _usual(state_dir: Path) -> str:
    owner = state_dir.stat().st_uid
    return str(owner) if owner else USUAL


def _user(name: str) -> pwd.struct_passwd:
    try:
        return pwd.getpwuid(int(name)) if name.isdecimal() else pwd.getpwnam(name)
    except KeyError:
        raise UserError(f"-u {name}: there is no such user; name another one with -u") from None


def _group(name: str, user: pwd.struct_passwd) -> int:
    try:
        return int(name) if name.isdecimal() else grp.getgrnam(name).gr_gid if name else user.pw_gid
    except KeyError:
        raise UserError(f"-g {name}: there is no such group") from None


def _become(user: pwd.struct_passwd, group: str, settings: Settings) -> None:
    group_id = _group(group, user)
    files = [PROJECT / "kemi/flow/routes.py", Path(sqlalchemy.__file__), settings.state_dir, settings.key_file]
    files += [settings.db_file] if settings.db_file else []
    needed = [path for path in files if path.exists()]
    _give(settings.state_dir, user.pw_uid, group_id)
    os.setgroups(os.getgrouplist(user.pw_name, group_id))
    os.setgid(group_id)
    os.setuid(user.pw_uid)
    os.environ.update(HOME=user.pw_dir, USER=user.pw_name, LOGNAME=user.pw_name)
    for path in needed:
        if not os.access(path, os.R_OK):
            raise UserError(
                f"-u {user.pw_name}: that user cannot read {path}; chown or move it, or name another user with -u"
            )


def _give(state_dir: Path, user: int, group: int) -> None:
    """Give the state directory, and the files that root has made in it. A link leads out of it, and stays."""
    os.chown(state_dir, user, group)
    for pattern in ("*.sqlite*", "key"):
        for path in state_dir.glob(pattern):
            file = path.lstat()
            if file.st_uid == 0 and file.st_nlink == 1 and stat.S_ISREG(file.st_mode):
                os.chown(path, user, group, follow_symlinks=False)
