"""RTP through rtpengine (docs/media.md): what either end is told, that a packet passes, and a call while it is away."""

from __future__ import annotations

import re
import shutil
import socket
from collections.abc import Iterator

import pytest

from lab.programs import Foreground, free_port, wait_for
from tests.harness.agent import SDP
from tests.harness.carrier import Carrier, Script
from tests.harness.node import Installation, Native, Options
from tests.harness.nonces import ONE_REQUEST, Nonces
from tests.harness.scene import Scene
from tests.harness.steps import list_carrier
from tests.harness.verifier import Challenge, Offer

pytestmark = [
    pytest.mark.once,
    pytest.mark.skipif(not shutil.which("rtpengine"), reason="no rtpengine on this machine; `make test` installs it"),
]

CARRIER = "127.0.0.9"
PROFILES = {
    "RTP/AVP": (),
    "RTP/SAVP": (b"a=crypto:",),
    "UDP/TLS/RTP/SAVP": (b"a=fingerprint:", b"a=setup:"),
}
PACKET = bytes((0x80, 8, 0, 1, 0, 0, 0, 160, 0, 0, 0, 7)) + b"\xd5" * 160  # RFC 3550 5.1: 20 ms of G.711 A-law


@pytest.fixture(scope="module")
def engine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A running rtpengine, and where it takes commands."""
    port = free_port()
    command = ["rtpengine", "--foreground", "--log-stderr", "--table=-1", "--interface=127.0.0.1"]
    command += [f"--listen-ng=127.0.0.1:{port}", "--port-min=30000", "--port-max=30999"]
    program = Foreground("rtpengine", command, tmp_path_factory.mktemp("rtpengine") / "log")
    yield f"udp:127.0.0.1:{port}"
    program.end()


def audio(body: bytes) -> tuple[str, int, str]:
    """Address, port and profile of a body's audio."""
    address, media = re.search(rb"c=IN IP4 (\S+)", body), re.search(rb"m=audio (\d+) (\S+)", body)
    assert address, body
    assert media, body
    return address[1].decode(), int(media[1]), media[2].decode()


@pytest.mark.parametrize("profile", PROFILES)
def test_both_ends_send_to_rtpengine_and_the_carrier_in_its_own_way(native: Native, engine: str, profile: str) -> None:
    also = {"TRUNKAUTH_RTPENGINE": f"{engine} {profile}"}
    asking = frozenset({"INVITE", "re-INVITE", "BYE"})
    with native.running(Options(also=also)) as node, Scene(node) as scene, socket.socket(type=socket.SOCK_DGRAM) as rtp:
        rtp.bind(("127.0.0.1", 0))
        rtp.settimeout(5)
        own = SDP.replace(b"m=audio 40000", b"m=audio %d" % rtp.getsockname()[1])
        list_carrier(node, CARRIER, 0, "")
        for offer in (Offer(), Offer("SHA-256", qop="auth-int")):
            trunk = scene.trunk(
                Script(Challenge(requests=asking, offers=(offer,), nonces=Nonces(ONE_REQUEST))), host=CARRIER
            )
            call = scene.call(trunk, body=own)
            answer = audio(call.expect(200).body)
            offered = trunk.carrier.received("INVITE")[-1].body
            assert (audio(offered)[2], answer[2]) == (profile, "RTP/AVP")
            assert {30000 <= port < 31000 for _, port, _ in (answer, audio(offered))} == {True}
            assert [line in offered for line in (b"a=crypto:", b"a=fingerprint:", b"a=setup:")] == [
                line in PROFILES[profile] for line in (b"a=crypto:", b"a=fingerprint:", b"a=setup:")
            ]
            if profile == "RTP/AVP":
                carry(trunk.carrier, audio(offered)[1], rtp)
            call.inside("INVITE", body=own).expect(200)
            again = trunk.carrier.in_call(call.request.call_id, "INVITE", SDP)
            assert audio(again.expect(200).body)[2] == profile
            call.inside("BYE").expect(200)


def carry(carrier: Carrier, port: int, pbx: socket.socket) -> None:
    """A packet of the carrier's reaches the PBX."""
    with socket.socket(type=socket.SOCK_DGRAM) as its:
        its.bind((carrier.address[0], 0))

        def arrives() -> bytes:
            its.sendto(PACKET, ("127.0.0.1", port))
            pbx.settimeout(0.2)
            try:
                return pbx.recv(2048)
            except TimeoutError:
                return b""

        assert wait_for(arrives, 5) == PACKET


def test_a_call_passes_while_rtpengine_is_away(installation: Installation) -> None:
    also = {"TRUNKAUTH_RTPENGINE": f"udp:127.0.0.1:{free_port()}"}
    with installation.running(Options(also=also)) as node, Scene(node) as scene:
        list_carrier(node, CARRIER, 0, "")
        trunk = scene.trunk(Script(Challenge()), host=CARRIER)
        call = scene.call(trunk)
        call.expect(200)
        assert trunk.carrier.received("INVITE")[-1].body == SDP
        call.inside("BYE").expect(200)
