"""The program `kemi-trunkauth` as its operator runs it, in the test's own process: arguments and stdin in, output and
exit status out. It looks names up at the test's own name server.
"""

from __future__ import annotations

import io
import os
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest
from sqlalchemy import URL, text

from kemi import cli
from kemi.command import lookup
from kemi.names import nameserver
from kemi.start import schema
from tests.harness.nameserver import NameServer


class Done(NamedTuple):
    """How a command has ended."""

    status: int
    output: str
    errors: str


class Shell:
    """A terminal of the operator's. url: the database at TRUNKAUTH_DB_URL."""

    def __init__(
        self, url: URL, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], names: NameServer
    ) -> None:
        self.url, self.names = url, names
        self._monkeypatch, self._capsys = monkeypatch, capsys

    def set(self, **settings: str) -> None:
        """Set TRUNKAUTH_* variables, named without that."""
        for name, value in settings.items():
            self._monkeypatch.setenv(f"TRUNKAUTH_{name}", value)

    def run(self, *arguments: str, stdin: str = "") -> Done:
        """Run one command."""
        self._monkeypatch.setattr("sys.stdin", io.StringIO(stdin))
        self._capsys.readouterr()
        try:
            status = cli.main(arguments)
        except SystemExit as ended:  # argparse
            status = ended.code if isinstance(ended.code, int) else 1
        return Done(status, *self._capsys.readouterr())

    def execute(self, *statements: str) -> None:
        """Do in the database what its DBA would."""
        engine = schema.open_database(self.url)
        with engine.connect() as connection:
            for statement in statements:
                connection.execute(text(statement))
        engine.dispose()

    def rows(self, question: str) -> list[tuple[object, ...]]:
        """Return what the database answers."""
        engine = schema.open_database(self.url)
        with engine.connect() as connection:
            found = [tuple(row) for row in connection.execute(text(question))]
        engine.dispose()
        return found


def shell(
    url: URL, folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Iterator[Shell]:
    """Yield a shell whose only settings are a state directory in this folder, a free socket and the database."""
    for name in [name for name in os.environ if name.startswith("TRUNKAUTH_")]:
        monkeypatch.delenv(name)
    monkeypatch.setattr(os, "umask", lambda mask: mask)
    with NameServer() as names:
        configuration = names.configuration(folder)
        monkeypatch.setattr(
            lookup,
            "NameServer",
            lambda: nameserver.NameServer(configuration, names.port, folder / "hosts"),
        )
        made = Shell(url, monkeypatch, capsys, names)
        made.set(
            STATE_DIR=str(folder / "state"),
            DB_URL=url.render_as_string(hide_password=False),
            LISTEN="udp:127.0.0.1:25060 tcp:127.0.0.1:25060",
        )
        yield made
