"""The program `kemi-trunkauth`; `python -m kemi` is the same. `run [ARGUMENT…]` starts Kamailio in the foreground with
the settings of the environment, and hands it the arguments. `db` makes the tables. The other commands are in
kemi.command. Whatever keeps one of them from its work is said in one line on stderr.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence

from kemi import VERSION, command
from kemi.command import COMMANDS
from kemi.settings import SettingError, Settings
from kemi.start import run as start
from kemi.start import user


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command and return the exit status. arguments: None for those of the command line."""
    parser = _parser()
    asked, extra = parser.parse_known_args(arguments)
    if extra and asked.command != "run":
        parser.error(f"{asked.command} does not take {extra[0]} there: options go last")
    if asked.command != "run" and not _is_text("".join(sys.argv[1:] if arguments is None else arguments)):
        parser.error("an argument is not UTF-8")
    os.umask(0o077)
    try:
        settings = Settings.from_environment(os.environ)
        if asked.command in COMMANDS:
            return COMMANDS[asked.command].run(asked, settings)
        settings.state_dir.mkdir(parents=True, exist_ok=True, mode=0o700)
        if asked.command == "db":
            made = start.make_tables(settings)
            user.hand_over(settings.state_dir)
            print(made)
        else:
            extra = user.step_down(settings, extra)
            start.run(Settings.from_environment(os.environ), extra)  # root may have read more than that user can
    except (SettingError, start.StartError, user.UserError) as error:
        print(error, file=sys.stderr)
        return 1
    except command.Failure as failure:
        print(failure, file=sys.stderr)
        return failure.status
    except KeyboardInterrupt:
        return 130
    except OSError as error:
        print(f"TRUNKAUTH_STATE_DIR: {error}", file=sys.stderr)
        return 1
    return 0


def _is_text(given: str) -> bool:
    """Return False if octets that are no text came with it, as surrogates (PEP 383)."""
    return not any("\ud800" <= character <= "\udfff" for character in given)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="kemi-trunkauth", description="Authenticated calls through Kamailio.")
    parser.add_argument("--version", action="version", version=f"kemi-trunkauth {VERSION}")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    commands.add_parser("run", help="start Kamailio; further arguments are its own", allow_abbrev=False)
    commands.add_parser("db", help="make the tables that are missing")
    for name, each in COMMANDS.items():
        each.declare(commands.add_parser(name, help=each.help, description=each.help))
    return parser
