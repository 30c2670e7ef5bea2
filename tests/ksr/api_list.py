"""Kamailio's own lists of KEMI functions, as committed under `api/`: what a routing script may call, and with what.

A list is made by `export.py` from a running Kamailio, never edited by hand. Nothing here knows what a function does.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache, cached_property
from pathlib import Path

HERE = Path(__file__).parent
LISTS = HERE / "api"
VERSIONS = ("5.6.3", "6.0.1", "6.1.5")

RETURNS = frozenset({"bool", "int", "none", "xval"})
PARAMETERS = frozenset({"int", "long", "str"})


@dataclass(frozen=True, order=True)
class Function:
    """One KEMI function: `KSR.module.name(params)`, or `KSR.name(params)` where the module is empty."""

    module: str
    name: str
    returns: str
    params: tuple[str, ...]

    def __post_init__(self) -> None:
        if self.returns not in RETURNS or not PARAMETERS.issuperset(self.params):
            raise ValueError(f"not a KEMI signature: {self}")

    @property
    def path(self) -> str:
        """As a script writes it, without the leading `KSR.`."""
        return f"{self.module}.{self.name}" if self.module else self.name

    def __str__(self) -> str:
        return f"{self.path}({', '.join(self.params)}) -> {self.returns}"


@dataclass(frozen=True)
class Api:
    """Every function of one Kamailio version, for the modules that the project loads or plans to."""

    version: str
    made_by: str
    functions: tuple[Function, ...]

    @cached_property
    def by_path(self) -> dict[str, Function]:
        """The functions under the names that a script calls them by."""
        return {function.path: function for function in self.functions}

    def to_json(self) -> str:
        """The text of the committed file: one function a line, so that a diff of two versions reads well."""
        lines = [
            json.dumps({"module": f.module, "name": f.name, "returns": f.returns, "params": list(f.params)})
            for f in sorted(self.functions)
        ]
        head = f'{{\n "kamailio": {json.dumps(self.version)},\n "made_by": {json.dumps(self.made_by)},\n'
        return head + ' "functions": [\n  ' + ",\n  ".join(lines) + "\n ]\n}\n"


def from_json(text: str) -> Api:
    """The reverse of Api.to_json()."""
    stored = json.loads(text)
    functions = (Function(f["module"], f["name"], f["returns"], tuple(f["params"])) for f in stored["functions"])
    return Api(stored["kamailio"], stored["made_by"], tuple(functions))


@cache
def load(version: str) -> Api:
    """The committed list of one version."""
    return from_json((LISTS / f"{version}.json").read_text(encoding="utf-8"))


def in_every(apis: Iterable[Api]) -> tuple[Function, ...]:
    """The functions that every one of these versions has with the same signature: the only ones safe to call."""
    shared = set.intersection(*(set(api.functions) for api in apis))
    return tuple(sorted(shared))
