"""`python -m kemi run [ARGUMENT…]` starts Kamailio in the foreground with the settings of the environment; the
arguments given go on to Kamailio. `python -m kemi db` makes the tables. Whatever keeps either from its work is said
in one line on stderr, with exit status 1.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence

from kemi import start, user
from kemi.settings import SettingError, Settings


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command and return the exit status. arguments: None for those of the command line."""
    parser = argparse.ArgumentParser(prog="python -m kemi", description=__doc__)
    parser.add_argument("command", choices=("run", "db"))
    asked, extra = parser.parse_known_args(arguments)
    os.umask(0o077)
    try:
        settings = Settings.from_environment(os.environ)
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
    except OSError as error:
        print(f"TRUNKAUTH_STATE_DIR: {error}", file=sys.stderr)
        return 1
    return 0
