"""At which level Kamailio would log, by what is asked of it at its start: from 3 on it prints passwords."""

from __future__ import annotations

import argparse
import re
from collections.abc import Iterable, Sequence

_OF_A_MODULE = re.compile(r"=\s*(-?[0-9]+)")


def of_modules(values: Iterable[str]) -> int:
    """Return the highest level of values of the debugger module's `mod_level`, `core=1;pv=3`; 0 if there is none."""
    return max(map(int, _OF_A_MODULE.findall(" ".join(values))), default=0)


def of_arguments(arguments: Sequence[str]) -> dict[str, int]:
    """Return the level that each of Kamailio's options asks for."""
    parser = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    parser.add_argument("-d", action="count", default=0)
    for flag in "cDEeKrRSTv":  # which may share a dash with it
        parser.add_argument(f"-{flag}", action="store_true")
    parser.add_argument("--debug", type=int, default=0)
    parser.add_argument("--modparam", action="append", default=[])
    asked = parser.parse_known_args(arguments)[0]
    of_debugger = (value for value in asked.modparam if value.startswith("debugger:mod_level:"))
    return {"-d": asked.d, "--debug": asked.debug, "--modparam": of_modules(of_debugger)}
