"""A Kamailio as carrier that wants each count of a nonce to be higher (`nonce_count` of its auth module). Requests that
are sent at once overtake each other, and it turns some down; it takes nonces again all the same, and is not backed off.
"""

from __future__ import annotations

import os
import secrets
from collections.abc import Iterator
from pathlib import Path

import pytest

from lab.programs import Foreground, free_port
from tests.harness.caller import Caller
from tests.harness.carrier import Carrier, Script
from tests.harness.database import Database
from tests.harness.machine import SBIN, native_is_missing, native_version
from tests.harness.node import Kamailio, Native, Options
from tests.harness.scene import MOST_TURNED_DOWN

pytestmark = pytest.mark.skipif(bool(native_is_missing()), reason=native_is_missing())

CONFIG = Path(__file__).with_name("carrier.cfg")
PASSWORD = f"pw-{secrets.token_hex(8)}"
AT_ONCE, ROUNDS = 75, 4


@pytest.fixture
def far_end() -> Iterator[Carrier]:
    with Carrier(Script(ring=False), {}) as found:
        yield found


@pytest.fixture
def carrier(tmp_path: Path, far_end: Carrier) -> Iterator[Kamailio]:
    sip = ("127.0.0.1", free_port())
    names = {
        "CARRIER_LISTEN": f"udp:{sip[0]}:{sip[1]}", "CARRIER_PASSWORD": PASSWORD, "CARRIER_FAR_END": far_end.proxy_uri
    }  # fmt: skip
    command = ["kamailio", "-DD", "-E", "-f", str(CONFIG), "-Y", str(tmp_path)]
    environment = {**os.environ, "PATH": SBIN, **names}
    program = Foreground("the carrier", command, tmp_path / "carrier.log", environment=environment)
    found = Kamailio(native_version(), sip, tmp_path, Database(tmp_path / "none"), program)
    try:
        found.wait_until_ready()
        yield found
    finally:
        program.stop()


def at_once(pbx: Caller, far_end: Carrier, calls: int) -> None:
    """Place calls that the far end takes once all have reached it, and hang them up."""
    before = len(far_end.received("INVITE"))
    far_end.hold()
    made = [pbx.invite("sip:5551234@pbx.test") for _ in range(calls)]
    far_end.expect("INVITE", count=before + calls)
    far_end.release()
    for call in made:
        call.expect(200)
    for bye in [call.inside("BYE") for call in made]:
        bye.expect(200)


def test_a_carrier_that_minds_the_order_stays_preemptive(native: Native, carrier: Kamailio, far_end: Carrier) -> None:
    host, port = carrier.sip
    row = {"l_uuid": "t", "auth_username": "u", "auth_password": PASSWORD, "auth_proxy": f"sip:{host}:{port}"}
    options = Options(udp_workers=4, default_trunk="t", trunks=(row,))
    with native.running(options) as node, Caller(node.sip) as pbx:
        at_once(pbx, far_end, 1)
        for _ in range(ROUNDS):
            at_once(pbx, far_end, AT_ONCE)
        assert carrier.log().count("turned down: ") >= MOST_TURNED_DOWN  # or this shows nothing
        assert "outcome=backed-off" not in node.log()
        at_once(pbx, far_end, 1)  # a nonce is known by now, if none was
        asked = carrier.log().count("asked: ")
        at_once(pbx, far_end, 1)
        assert carrier.log().count("asked: ") == asked
