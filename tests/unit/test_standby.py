"""Which of two nodes is active, and when what it remembers of calls is not all there is."""

from __future__ import annotations

from itertools import count
from pathlib import Path

from kemi.health import standby
from kemi.health.standby import Standby
from kemi.start.sockets import Socket
from tests.lines import told

SHARED, SECOND = "192.0.2.100", "192.0.2.101"
BOTH = frozenset({SHARED, SECOND})
INTERFACES, LOOPBACK = Path("/proc/net/if_inet6"), f"{1:032x}"  # a container may have no IPv6


def node(*addresses: str) -> Standby:
    standby.RUN[0] = 0
    return Standby(addresses, count(1).__next__)


def test_the_node_that_has_the_first_address_is_active() -> None:
    found = node(SHARED, SECOND)
    seen = []
    for here in (BOTH, frozenset({SECOND}), frozenset({SHARED}), frozenset[str](), BOTH):
        found.look(here)
        seen.append(found.is_active)
    assert seen == [True, False, True, False, True]


def test_the_log_says_when_its_part_changes_and_nothing_on_a_node_that_stays_active() -> None:
    found = node(SHARED)
    here = frozenset({SHARED})
    lines = [found.look(each) for each in (here, here, frozenset[str](), frozenset[str](), here, here)]
    assert [told(line) for line in lines if line] == [
        f"outcome=standby address={SHARED}",
        f"outcome=active address={SHARED}",
    ]
    assert [bool(line) for line in lines] == [False, False, True, False, True, False]


def test_whenever_an_address_goes_or_comes_the_run_is_another_one() -> None:
    found = node(SHARED, SECOND)
    seen = []
    for here in (BOTH, frozenset({SHARED}), BOTH, BOTH, frozenset[str](), frozenset({SECOND}), BOTH):
        found.look(here)
        seen.append(standby.RUN[0])
    assert seen == [0, 1, 2, 2, 3, 4, 5]


def test_an_address_is_here_if_it_is_this_machines() -> None:
    known = {
        "udp:127.0.0.1:5060": True,
        "udp:127.9.9.9:5060": True,
        "udp:[::1]:5060": LOOPBACK in INTERFACES.read_text() if INTERFACES.exists() else False,
        "udp:198.51.100.7:5060": False,
        "udp:[2001:db8::7]:5060": False,
        "udp:lo:5060": True,
        "udp:a.name.test:5060": True,
    }
    assert {text: Socket.parse(text).is_here for text in known} == known
