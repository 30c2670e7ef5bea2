"""The htable module's tables, which every process of a Kamailio reaches: two mocks that share them are two workers.

An entry is gone once its time is over, on a clock that only a test moves. A table with an initval answers it for
every key that it does not have. What was not asked of a live Kamailio raises.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from pathlib import Path

from tests.ksr.api_list import HERE
from tests.ksr.state import MisuseError

CONFIG = HERE.parents[1] / "kamailio" / "trunkauth.inc.cfg"
NO_NUMBER = -255  # KSR_HT_KEMI_NOINTVAL, what sht_inc answers where there is nothing to count

Value = str | int

_MODPARAM = re.compile(r'^modparam\("htable", "htable", (?:"([^"]*)"|(TRUNKAUTH_\w+))\)', re.M)
FROM_ENVIRONMENT = {"TRUNKAUTH_SEQUENCES": "sequences=>size=12;autoexpire=360;"}  # with the settings as they come
_DEFINITION = re.compile(r"(?P<name>\w+)=>(?P<settings>(?:\w+=-?\d+;)*)")
_MOST = 2**31 - 1


@dataclass
class _Entry:
    value: Value
    ends: int | None  # the last second in which it is there; None: it stays


@dataclass
class _Table:
    autoexpire: int = 0  # seconds; 0: never
    initval: int | None = None
    entries: dict[str, _Entry] = field(default_factory=dict)


class SharedTables:
    """The tables that these definitions make, each as modparam has it: `nonces=>size=10;autoexpire=1800;`.

    tables = SharedTables.of(CONFIG)
    one, two = (MockKSR("6.0.1", tables=tables) for _ in range(2))  # two workers
    tables.pass_time(1801)
    """

    def __init__(self, *definitions: str) -> None:
        self._tables = dict(map(_table, definitions))
        self._now = 0
        self._locked: set[tuple[str, str]] = set()

    @classmethod
    def of(cls, config: Path) -> SharedTables:
        """The tables of a configuration, and of those beside it that it includes."""
        texts = [path.read_text(encoding="utf-8") for path in sorted(config.parent.glob("*.cfg"))]
        found = _MODPARAM.findall("\n".join(texts))
        return cls(*[quoted or FROM_ENVIRONMENT[variable] for quoted, variable in found])

    def pass_time(self, seconds: int) -> None:
        """Let seconds go by. An entry is there for the whole of the second in which its time ends."""
        self._now += seconds

    def content(self, name: str) -> dict[str, Value]:
        """For assertions: what a table holds now."""
        table = self._named(name)
        return {key: entry.value for key, entry in table.entries.items() if self._lives(entry)}

    # --- what the module's functions do

    def get(self, name: str, key: str) -> Value | None:
        """sht_get."""
        table = self._named(name)
        entry = table.entries.get(_checked(key))
        return entry.value if entry and self._lives(entry) else table.initval

    def put(self, name: str, key: str, value: Value) -> int:
        """sht_sets and sht_seti. An update renews the entry: updateexpire is on by default."""
        table = self._named(name)
        table.entries[_checked(key)] = _Entry(value, self._now + table.autoexpire if table.autoexpire else None)
        return 1

    def set_expiry(self, name: str, key: str, seconds: int) -> int:
        """sht_setex: 1, whether it was there or not. The next update renews the entry as any other."""
        table = self._named(name)
        entry = table.entries.get(_checked(key))
        if not table.autoexpire:
            raise MisuseError(f"sht_setex in {name}, which has no autoexpire: Kamailio answers 1 and does nothing")
        if entry is None:
            return 1
        if not self._lives(entry):
            raise MisuseError(f"sht_setex of {name}=>{key}, which has expired: it comes back if it was not swept yet")
        entry.ends = self._now + seconds if seconds > 0 else None
        return 1

    def increment(self, name: str, key: str) -> int:
        """sht_inc: the new number. Where there was none, or its time is over, it counts on from initval."""
        table = self._named(name)
        value = self.get(name, key)
        if value is None and key in table.entries:
            raise MisuseError(f"sht_inc of {name}=>{key}, which has expired: 6.0 and 6.1 give the old value back")
        if not isinstance(value, int):
            return NO_NUMBER
        if value == _MOST:
            raise MisuseError(f"sht_inc of {name}=>{key}: {value} + 1 does not fit an int")
        self.put(name, key, value + 1)
        return value + 1

    def remove(self, name: str, key: str) -> int:
        """sht_rm: 1, whether it was there or not."""
        self._named(name).entries.pop(_checked(key), None)
        return 1

    def lock(self, name: str, key: str) -> int:
        """sht_lock. Another worker would wait for ever for a lock that nobody gives back."""
        self._named(name)
        if (name, _checked(key)) in self._locked:
            raise MisuseError(f"sht_lock of {name}=>{key}, which is locked")
        self._locked.add((name, key))
        return 1

    def unlock(self, name: str, key: str) -> int:
        """sht_unlock."""
        self._named(name)
        if (name, _checked(key)) not in self._locked:
            raise MisuseError(f"sht_unlock of {name}=>{key}, which is not locked")
        self._locked.remove((name, key))
        return 1

    def _named(self, name: str) -> _Table:
        table = self._tables.get(name)
        if table is None:
            raise MisuseError(f"no table {name!r}: sht_get answers None, sht_inc {NO_NUMBER}, the others -1")
        return table

    def _lives(self, entry: _Entry) -> bool:
        return entry.ends is None or self._now <= entry.ends


def _table(definition: str) -> tuple[str, _Table]:
    found = _DEFINITION.fullmatch(definition)
    if found is None:
        raise ValueError(f"not a table: {definition!r}")
    settings = {key: int(value) for key, value in re.findall(r"(\w+)=(-?\d+);", found["settings"])}
    if not settings.keys() <= {"size", "autoexpire", "initval"}:
        raise ValueError(f"a table with settings that were never tried: {definition!r}")
    return found["name"], _Table(settings.get("autoexpire", 0), settings.get("initval"))


def _checked(key: str) -> str:
    if "\0" in key:
        raise MisuseError(f"key {key!r}: Kamailio compares keys up to a NUL byte only")
    return key
