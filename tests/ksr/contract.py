"""Holds the committed API lists against a live Kamailio: what the mock believes must be what Kamailio exports."""

from __future__ import annotations

from collections.abc import Iterable

from tests.ksr.api_list import Api, Function


def differences(live: Iterable[Function], committed: Api) -> list[str]:
    """One line for every function in which the two disagree, for the modules that the live Kamailio has loaded.

    A module that is not loaded is no difference; a loaded one must have every function that the list knows, no other.
    """
    exported = {f.path: f for f in live}
    loaded = {f.module for f in exported.values()}
    known = {path: f for path, f in committed.by_path.items() if f.module in loaded}
    lines = [f"not in the list of {committed.version}: {exported[p]}" for p in exported.keys() - known.keys()]
    lines += [f"not in the live Kamailio: {known[p]}" for p in known.keys() - exported.keys()]
    lines += [
        f"live {exported[p]}, listed {known[p]}" for p in exported.keys() & known.keys() if exported[p] != known[p]
    ]
    return sorted(lines)
