"""Checks that a kamailio.cfg of one's own holds all that trunkauth.inc.cfg does, as Kamailio itself reads both: it
prints a configuration with its includes and `#!ifdef`s carried out (`--cfg-print`, without a look at the modules).

What cannot be seen: values that only the start makes (`modparamx`, a `#!define` under another name), and what an RPC
changes later. Equal text is equal here, other text is not.
"""

from __future__ import annotations

import argparse
import re
import subprocess
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path

from kemi.settings import FILES
from kemi.start.loglevel import of_modules
from kemi.start.sockets import Socket

NEEDED = FILES / "kamailio" / "trunkauth.inc.cfg"
PRINTS_WITHIN = 10.0  # seconds
MOST_NAMED = 6

# Given again and again, each time with another value.
_LISTS = {("ctl", "binrpc"), ("htable", "htable"), ("rtimer", "timer"), ("rtimer", "exec")}
# A list in one value, to which others may add.
_JOINED = {("dialog", "profiles_with_value")}
# Another value breaks nothing.
_FREE = {
    ("app_python3", "load"), ("jsonrpcs", "transport"), ("dialog", "ka_interval"), ("dialog", "ka_failed_limit"),
    ("uac", "reg_timer_interval"), ("uac", "reg_retry_interval"), "children", "mhomed", "kemi.reply_route_callback",
    "kemi.onsend_route_callback",
}  # fmt: skip

_COMMENT = re.compile(r"""("(?:\\.|[^"\\])*"|'(?:\\.|[^'\\])*')|/\*.*?\*/|\#[^\n]*""", re.DOTALL)
_MODULE = re.compile(r"""\bloadmodulex?\s*\(?\s*["'](?:[^"'\n]*/)?([^"'/\n]+?)(?:\.so)?["']""")
_MODPARAM = re.compile(
    r"""\bmodparamx?\s*\(\s*["']([^"']*)["']\s*,\s*["']([^"']*)["']\s*,\s*((?:"(?:\\.|[^"\\])*"|[^()"])+?)\s*\)"""
)
_SETTING = re.compile(r"""(?m)^[ \t]*([a-z][a-z0-9_.]*)[ \t]*=[ \t]*([^\n;]*?)[ \t]*;?[ \t]*$""")
_ENGINE = re.compile(r"""(?m)^[ \t]*(cfgengine)[ \t]*=?[ \t]*(["'][^"'\n]*["'])""")
_ROUTE = re.compile(r"""(?m)^[ \t]*((?:onsend_route|route)\b[ \t]*(?:\[[^\]\n]*\])?)[ \t]*\{""")
_SOCKET = re.compile(r"""(?m)^[ \t]*listen[ \t]*=[ \t]*["']?([^\s"';]+)""")
_UNREAD = re.compile(
    r"(?:cannot open|env variable not defined|cannot load|too many includes|No such file|Permission denied"
    r"|input in flex scanner failed).*"
)
_ADDRESS = re.compile(r"[a-z]+:.*:[0-9]+")
_FILE = re.compile(r"-([cDdEeKrRSTv]*)f(.*)")  # behind flags that share its dash, and with its value in one word


class ConfigError(RuntimeError):
    """A configuration that kemi-trunkauth cannot work with; the text is one line for the operator."""


@dataclass(frozen=True)
class Config:
    """What a configuration says. parameters: the values of each module's parameter, in order; the last one counts."""

    modules: frozenset[str] = frozenset()
    parameters: Mapping[tuple[str, str], list[str]] = field(default_factory=dict)
    settings: Mapping[str, str] = field(default_factory=dict)
    routes: frozenset[str] = frozenset()
    sockets: tuple[str, ...] = ()

    @classmethod
    def of(cls, text: str) -> Config:
        """Read the text that Kamailio has printed."""
        text = _COMMENT.sub(lambda found: found[1] or " ", text)
        parameters: dict[tuple[str, str], list[str]] = {}
        for modules, name, value in _MODPARAM.findall(text):
            for module in modules.split("|"):  # Kamailio takes a pattern; written out, it is such a list
                parameters.setdefault((module, name), []).append(value)
        return cls(
            frozenset(_MODULE.findall(text)),
            parameters,
            dict([*_SETTING.findall(text), *_ENGINE.findall(text)]),
            frozenset(re.sub(r"\s", "", route) for route in _ROUTE.findall(text)),
            tuple(_SOCKET.findall(text)),
        )

    @property
    def log_level(self) -> int:
        """The highest level at which all of Kamailio, or one of its modules, logs; 0 if none is set."""
        return of_modules([f"={self.settings.get('debug')}", *self.parameters.get(("debugger", "mod_level"), [])])

    def lacks(self, needed: Config) -> list[str]:
        """Return what is missing of another one, as it would be written, and what is set otherwise."""
        missing = [f'loadmodule "{module}.so"' for module in sorted(needed.modules - self.modules)]
        for (module, name), values in needed.parameters.items():
            given = self.parameters.get((module, name), [])
            is_list = (module, name) in _LISTS
            for value in values if is_list else values[-1:]:
                if not _holds((module, name), given, value):
                    instead = "" if is_list else _instead(given)
                    missing.append(f'modparam("{module}", "{name}", {value}){instead}')
        for name, value in needed.settings.items():
            given = [self.settings[name]] if name in self.settings else []
            if given != [value] and not (given and name in _FREE):
                missing.append(f"{name}={value}{_instead(given)}")
        return missing + sorted(needed.routes - self.routes)


def _holds(name: tuple[str, str], given: list[str], value: str) -> bool:
    if name in _LISTS:
        return value in given
    if name in _JOINED:
        return value.strip("\"'") in "".join(given[-1:]).strip("\"'").replace(" ", "").split(";")
    return given[-1:] == [value] or (bool(given) and name in _FREE)


def _instead(given: list[str]) -> str:
    return f" in place of {given[-1]}" if given else ""


def with_files(extra: list[str]) -> list[str]:
    """Return Kamailio's arguments with each configuration as a word of its own behind `-f`, and absolute, because
    Kamailio runs in another directory.
    """
    words = [""]
    for word in extra:
        found = _FILE.fullmatch(word)
        words += filter(None, (f"-{found[1]}" if found[1] else "", "-f", found[2])) if found else [word]
    return [str(Path(word).absolute()) if before == "-f" else word for before, word in pairwise(words)]


def check(command: Sequence[str], sockets: Iterable[Socket], environment: Mapping[str, str]) -> int:
    """Check the configuration that a command starts Kamailio with, and return its log_level. sockets: those of
    TRUNKAUTH_LISTEN. Raises ConfigError.
    """
    parser = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    parser.add_argument("-f", dest="files", action="append")
    for name in ("-A", "--subst", "--substdef", "--substdefs"):
        parser.add_argument(name, dest="defined", type=f"{name}={{}}".format, action="append", default=[])
    asked = parser.parse_known_args(command[1:])[0]
    file = Path(asked.files[-1])
    defined = [word.replace("-A=", "-A", 1) if word.startswith("-A") else word for word in asked.defined]
    own = _printed(command[0], file, defined, environment)
    missing = own.lacks(_printed(command[0], NEEDED, defined, environment))
    if missing:
        more = f" and {len(missing) - MOST_NAMED} more" if len(missing) > MOST_NAMED else ""
        raise ConfigError(f'{file} lacks {", ".join(missing[:MOST_NAMED])}{more}; it takes include_file "{NEEDED}"')
    given = {one.lower() for one in own.sockets}
    if all(map(_ADDRESS.fullmatch, given)) and (unknown := [one for one in sockets if one.local.lower() not in given]):
        raise ConfigError(
            f"TRUNKAUTH_LISTEN: {file} does not listen on {unknown[0]}; write listen=TRUNKAUTH_SOCKETS there, or name "
            "here what it listens on"
        )
    return own.log_level


def _printed(kamailio: str, file: Path, defined: list[str], environment: Mapping[str, str]) -> Config:
    """Have Kamailio print a configuration. 6.0 loses what it has printed unless it may flush it at its exit."""
    command = [kamailio, "--atexit=y", "-E", *defined, "-f", str(file), "--cfg-print"]
    try:
        done = subprocess.run(command, env=dict(environment), capture_output=True, timeout=PRINTS_WITHIN, check=False)
    except (OSError, subprocess.TimeoutExpired) as error:
        raise ConfigError(f"{file} cannot be read by {kamailio}: {error}") from None
    said = done.stderr.decode(errors="replace")
    if fault := _UNREAD.search(said):
        raise ConfigError(f"{file}: {fault[0]}")
    return Config.of(done.stdout.decode(errors="replace"))
