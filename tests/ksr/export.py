"""Writes the lists under `api/` and the stubs under `stubs/` from running Kamailios. Reads; never starts one.

    python -m tests.ksr.export list unixs:SOCKET    # api/VERSION.json, of the Kamailio that listens there
    python -m tests.ksr.export stubs                # stubs/KSR/*.pyi, from the committed lists

The list is what the RPC `app_python.api_list` answers, over ctl's stream socket, where it arrives whole: `msize`, the
number of functions that Kamailio announces, is checked against the number that came. Two things it does not tell:

- A parameter of type `long` has no name in Kamailio's table (sr_kemi_param_map_get_params in src/core/kemi.c), so the
  whole parameter list comes as a null. Those functions are spelled out below, from the source; a null that is not
  spelled out there is an error.
- `KSR.x`, which holds `modf` alone (app_python3/apy_kemi.c), is not a KEMI module and is not listed. It calls config
  functions by name, past every check that KEMI makes: it has no place in a routing script, and so none here either.
"""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Iterable

from tests.ksr.api_list import HERE, LISTS, VERSIONS, Api, Function, in_every, load

# What kamailio.cfg loads or will load, the modules that come with those, and the core's own ("" and hdr).
MODULES = frozenset(
    {
        "",
        "app_python3",
        "auth",
        "dialog",
        "hdr",
        "htable",
        "jsonrpcs",
        "maxfwd",
        "permissions",
        "pv",
        "pvx",
        "rr",
        "rtimer",
        "sanity",
        "siputils",
        "sl",
        "tcpops",
        "textops",
        "textopsx",
        "tm",
        "tmx",
        "uac",
        "xlog",
    }
)

# src/core/kemi.c, _sr_kemi_pv: {SR_KEMIP_STR, SR_KEMIP_LONG, …}
HAS_A_LONG = {("pv", "setl"): ("str", "long")}

STUBS = HERE / "stubs" / "KSR"
PYTHON_TYPE = {
    "bool": "bool",
    "int": "int",
    "none": "int",
    "xval": "str | int | None",
    "str": "str",
    "long": "int",
}

# An "xval" can be anything; these can be less (src/core/kemi.c: sr_kemi_hdr_get_mode, sr_kemi_pv_get_mode).
NARROWER = {
    ("hdr", "get"): "str | None",
    ("hdr", "gete"): "str",
    ("hdr", "getw"): "str",
    ("hdr", "get_idx"): "str | None",
    ("hdr", "gete_idx"): "str",
    ("hdr", "getw_idx"): "str",
    ("pv", "gete"): "str | int",
    ("pv", "getw"): "str | int",
}

_STUBS_HEAD = '''"""What a KEMI script may call on every Kamailio that the project runs on: {versions}.

Generated from tests/ksr/api by `python -m tests.ksr.export stubs`; do not edit. A function that one of the versions
lacks, or has with another signature, is left out. Parameters have no names: a keyword argument raises TypeError.
"""
'''

_FUNCTION = re.compile(
    r"func: \{\s*ret: (?P<returns>\S+)\s+module: ?(?P<module>\S*)\s*?\n"
    r"\s*name: (?P<name>\S+)\s+params: (?P<params>[^\n]*?)\s*\}"
)


def parse_api_list(answer: str) -> tuple[Function, ...]:
    """The functions of our modules in an answer of `kamcmd app_python.api_list`. Raises ValueError if any is lost."""
    announced = re.search(r"msize: (\d+)", answer)
    found = [m.groupdict() for m in _FUNCTION.finditer(answer)]
    if announced is None or int(announced[1]) != len(found):
        raise ValueError(f"api_list is cut short: {announced and announced[1]} functions announced, {len(found)} read")
    return tuple(sorted(_function(f) for f in found if f["module"] in MODULES))


def _function(found: dict[str, str]) -> Function:
    key = (found["module"], found["name"])
    if found["params"] == "<null string>":
        if key not in HAS_A_LONG:
            raise ValueError(f"{key}: parameters not listed, and not spelled out in HAS_A_LONG")
        return Function(*key, found["returns"], HAS_A_LONG[key])
    params = () if found["params"] == "none" else tuple(found["params"].split(", "))
    return Function(*key, found["returns"], params)


def read_live(rpc_socket: str) -> Api:
    """The list of the Kamailio that listens on this ctl socket, `unixs:PATH`."""
    version = re.search(r"kamailio (\d+\.\d+\.\d+)", _rpc(rpc_socket, "core.version"))
    if version is None:
        raise ValueError("core.version names no version")
    return Api(
        version[1],
        "python -m tests.ksr.export list unixs:SOCKET (RPC app_python.api_list)",
        parse_api_list(_rpc(rpc_socket, "app_python.api_list")),
    )


def _rpc(rpc_socket: str, command: str) -> str:
    done = subprocess.run(["kamcmd", "-s", rpc_socket, command], capture_output=True, text=True, timeout=20, check=True)
    return done.stdout


def stubs(apis: Iterable[Api]) -> dict[str, str]:
    """File name -> text, for the folder `stubs/KSR`: one module of stubs for each KEMI module."""
    apis = tuple(apis)
    head = _STUBS_HEAD.format(versions=", ".join(api.version for api in apis))
    shared = in_every(apis)
    modules = sorted({f.module for f in shared if f.module})
    files = {f"{module}.pyi": head + _definitions(f for f in shared if f.module == module) for module in modules}
    imports = "\n".join(f"from . import {module} as {module}" for module in modules) + "\n"
    files["__init__.pyi"] = f"{head}\n{imports}{_definitions(f for f in shared if not f.module)}"
    return files


def _definitions(functions: Iterable[Function]) -> str:
    return "".join(f"\ndef {f.name}({_parameters(f)}) -> {_result(f)}: ..." for f in functions) + "\n"


def _parameters(function: Function) -> str:
    if not function.params:
        return ""
    return ", ".join(f"_{i}: {PYTHON_TYPE[p]}" for i, p in enumerate(function.params, 1)) + ", /"


def _result(function: Function) -> str:
    return NARROWER.get((function.module, function.name), PYTHON_TYPE[function.returns])


def main(arguments: list[str]) -> int:
    """Run one of the two commands in the opening paragraph."""
    match arguments:
        case ["list", rpc_socket]:
            api = read_live(rpc_socket)
            (LISTS / f"{api.version}.json").write_text(api.to_json(), encoding="utf-8")
        case ["stubs"]:
            STUBS.mkdir(parents=True, exist_ok=True)
            for name, text in stubs(map(load, VERSIONS)).items():
                (STUBS / name).write_text(text, encoding="utf-8")
        case _:
            print(__doc__, file=sys.stderr)
            return 2
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
