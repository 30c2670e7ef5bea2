"""The command of the Debian package: the settings that it reads are those that systemd hands to the service."""

from __future__ import annotations

import subprocess
from pathlib import Path

COMMAND = Path(__file__).resolve().parents[2] / "kamailio/debian/command"
FILE = """\
# a comment
TRUNKAUTH_DB_URL=postgresql+psycopg://u:p$1`id`@db1/trunks?host=db1&host=db2
TRUNKAUTH_LISTEN=udp:192.0.2.1:5060 tcp:192.0.2.1:5060
TRUNKAUTH_NEXT_ON="503"
TRUNKAUTH_DEFAULT_TRUNK='berlin'
TRUNKAUTH_WORKERS=8
no setting=1
TRUNKAUTH_HTTP=127.0.0.1:9494"""


def test_settings_are_taken_to_the_letter(tmp_path: Path) -> None:
    (tmp_path / "default").write_text(FILE)
    script = COMMAND.read_text().replace("/etc/default/kemi-trunkauth", str(tmp_path / "default"))
    before, exec_line = script.rsplit("exec ", 1)
    assert exec_line == '/usr/bin/python3 -P -m kemi "$@"\n'
    environment = {"PATH": "/usr/bin:/bin", "TRUNKAUTH_WORKERS": "2"}
    done = subprocess.run(
        ["sh", "-c", f"{before}exec env"], env=environment, capture_output=True, text=True, check=True
    )
    found = dict(line.split("=", 1) for line in done.stdout.splitlines())
    assert {name: value for name, value in found.items() if name.startswith("TRUNKAUTH_")} == {
        "TRUNKAUTH_DB_URL": "postgresql+psycopg://u:p$1`id`@db1/trunks?host=db1&host=db2",
        "TRUNKAUTH_LISTEN": "udp:192.0.2.1:5060 tcp:192.0.2.1:5060",
        "TRUNKAUTH_NEXT_ON": "503",
        "TRUNKAUTH_DEFAULT_TRUNK": "berlin",
        "TRUNKAUTH_WORKERS": "2",
        "TRUNKAUTH_HTTP": "127.0.0.1:9494",
    }
