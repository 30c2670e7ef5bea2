"""Debian's name server nsd in a network of the tests' own, with one zone, `test`."""

from __future__ import annotations

import contextlib
import shutil
from collections.abc import Iterator
from pathlib import Path

import dns.exception
import dns.resolver

from lab.programs import Foreground, wait_for
from tests.harness.machine import SBIN
from tests.harness.network import Network

ADDRESS = "127.0.0.53"
_READY_WITHIN = 10.0
_SERVER = """
server:
    ip-address: {address}
    username: ""
    zonesdir: "{folder}"
    zonelistfile: "{folder}/zones"
    xfrdfile: ""
    pidfile: ""
    database: ""
    verbosity: 1
remote-control:
    control-enable: no
zone:
    name: test
    zonefile: test.zone
"""
_HEAD = """$ORIGIN test.
$TTL 300
@ SOA here.test. nobody.test. 1 3600 600 86400 60
@ NS here.test.
here A 127.0.0.53
"""


def is_missing() -> str:
    """Return why no name server can be started, "" if one can."""
    return "" if shutil.which("nsd", path=SBIN) else "no nsd on this machine; `make test` installs Debian's"


@contextlib.contextmanager
def serving(network: Network, folder: Path, records: str) -> Iterator[Path]:
    """Serve these records, as a zone file has them; give a resolv.conf that names the server."""
    folder.chmod(0o755)
    (folder / "test.zone").write_text(_HEAD + records)
    configuration, resolv_conf = folder / "nsd.conf", folder / "resolv.conf"
    configuration.write_text(_SERVER.format(address=ADDRESS, folder=folder))
    resolv_conf.write_text(f"nameserver {ADDRESS}\n")
    command = [*network.command, "nsd", "-d", "-c", str(configuration)]
    server = Foreground("nsd", command, folder / "nsd.log", environment={"PATH": SBIN})
    try:
        with network.entered():
            assert wait_for(_answers, _READY_WITHIN), server.log()
        yield resolv_conf
    finally:
        server.kill()


def _answers() -> bool:
    asking = dns.resolver.Resolver(configure=False)
    asking.nameservers, asking.lifetime = [ADDRESS], 0.5
    try:
        return bool(asking.resolve("here.test", "A"))
    except (dns.exception.DNSException, OSError):
        return False
